//! Base operators: every node that no pattern takes is computed one by one, on tensors in the order of ONNX.
//!
//! An operand is a [`View`]. What moves elements changes the view; what computes reads it whole, copied into order first where it is
//! not. Nothing here knows attention, layers or images.

mod arithmetic;
mod gather;
mod matrix;
mod moves;
mod normalize;
mod reduce;
mod select;
mod window;

use super::node::OnnxNode;
use super::nodes::normalize as axis_of;
use super::view::{PADDING, View, is_run};
use super::{Importer, Item};
use crate::error::{ConvertError, Result};
use crate::function::Function;
use crate::graph::facts::Kind;
use crate::graph::{Op, Source, ValueId, op};
use ndarray::ArrayD;
use std::collections::HashSet;

/// Operators that would have to round off a result of whole numbers.
const ROUNDED: [&str; 8] = [
    "Div",
    "Einsum",
    "Mean",
    "Pow",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMean",
];

/// An input of a node.
enum Operand {
    /// Known now.
    Constant(ArrayD<f32>),
    /// Computed by the model.
    Live(View),
}

impl Importer<'_> {
    /// Imports a node by base operators.
    ///
    /// # Errors
    /// [`crate::error::ConvertError::UnsupportedOp`] where there are none for it.
    pub(super) fn base_node(&mut self, node: &OnnxNode) -> Result<()> {
        let before = self.graph.nodes.len();
        self.base_op(node)?;
        let fallback = (node.name.clone(), node.op.to_owned());
        let known = self.graph.fallbacks.iter();
        let number = match known.enumerate().find(|(_, known)| **known == fallback) {
            Some((number, _)) => number,
            None => {
                self.graph.fallbacks.push(fallback);
                self.graph.fallbacks.len() - 1
            }
        };
        for node in &self.graph.nodes[before..] {
            // What an input of this node needed has its own number by now.
            let own = self.graph.fallback_values.entry(node.output);
            own.or_insert(number);
        }
        Ok(())
    }

    fn base_op(&mut self, node: &OnnxNode) -> Result<()> {
        if self.is_integer(&node.output) && ROUNDED.contains(&node.op) {
            return Err(
                node.form("a result of integers or booleans, computed from the model's inputs")
            );
        }
        match node.op {
            "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Sum" | "Mean" | "PRelu" | "Where"
            | "Pow" | "Clip" => self.base_arithmetic(node),
            "Not" | "And" | "Or" | "Xor" | "Equal" | "Less" | "LessOrEqual" | "Greater"
            | "GreaterOrEqual" => self.base_logic(node),
            "Cast" => self.base_cast(node),
            "IsNaN" => self.sees_nothing(node),
            "Sign" | "ThresholdedRelu" => self.base_jump(node),
            "MatMul" | "Gemm" => self.base_product(node),
            "Einsum" => self.base_einsum(node),
            "CumSum" => self.base_cumulative_sum(node),
            "Conv" | "ConvTranspose" => self.base_convolution(node),
            "MaxPool" | "AveragePool" => self.base_pool(node),
            "GlobalAveragePool" | "GlobalMaxPool" => self.base_global_pool(node),
            "Softmax" | "LogSoftmax" => self.base_softmax(node),
            "BatchNormalization"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "LayerNormalization"
            | "RMSNormalization" => self.base_normalization(node),
            "Concat" => self.base_concat(node),
            "Pad" | "Resize" | "DepthToSpace" | "SpaceToDepth" | "Slice" => self.base_move(node),
            "Gather" if self.constant(node, 1).is_none() => self.base_gather(node),
            "GatherElements" => self.base_gather_elements(node),
            "GatherND" => Err(node.form(
                "elements picked by computed numbers along several axes: pick along one axis, x[:, index], or by torch.gather",
            )),
            "ScatterElements" | "ScatterND" => self.base_scatter(node),
            "GridSample" => self.base_grid_sample(node),
            "ArgMax" => self.base_arg_max(node),
            op if op.starts_with("Reduce") => self.base_reduce(node),
            _ => self.settled(node),
        }
    }

    /// Imports a node as it is otherwise, once all its inputs are tensors: attention scores, for one, are computed first.
    fn settled(&mut self, node: &OnnxNode) -> Result<()> {
        let mut changed = false;
        for input in 0..node.inputs.len() {
            let name = node.inputs[input].clone();
            let open = !matches!(self.items.get(&name), None | Some(Item::View(_)));
            if open && self.constant(node, input).is_none() {
                let view = self.live(node, input)?;
                self.items.insert(name, Item::View(view));
                changed = true;
            }
        }
        // What it was made of before may have been an item, too.
        let open = self.items.get(&node.output);
        let open = open.is_some_and(|item| !matches!(item, Item::View(_)));
        match changed || open {
            true => self.recognised(node),
            false => Err(node.unsupported()),
        }
    }

    /// An input as a tensor without a factor. An item that no tensor stands for yet, such as attention scores, is computed.
    fn operand(&mut self, node: &OnnxNode, input: usize) -> Result<Operand> {
        if let Some(constant) = self.weight(node, input)? {
            return Ok(Operand::Constant(constant));
        }
        self.live(node, input).map(Operand::Live)
    }

    /// As [`Self::operand`]; a constant becomes a tensor, too.
    fn live(&mut self, node: &OnnxNode, input: usize) -> Result<View> {
        let name = node.inputs.get(input).cloned().unwrap_or_default();
        let known = matches!(
            self.items.get(&name),
            None | Some(Item::View(_) | Item::Curve(..) | Item::Terms(_))
        );
        if known && let Ok(view) = self.unscaled(node, input) {
            return Ok(view);
        }
        if let Some(Item::View(view)) = self.items.get(&name).cloned() {
            let function = Function::scaled(view.factor.into());
            return Ok(self.mapped(
                node,
                &View {
                    factor: 1.0,
                    ..view
                },
                function,
            ));
        }
        if let Some(Item::Curve(view, function)) = self.items.get(&name).cloned() {
            let computed = self.mapped(node, &view, function);
            self.items.insert(name, Item::View(computed.clone()));
            return Ok(computed);
        }
        let graph = self.reference.graph();
        let producer = graph.node.iter().find(|node| node.output.contains(&name));
        let producer = producer.ok_or_else(|| node.unsupported())?;
        let producer = OnnxNode::new(producer, &self.values);
        self.base_node(&producer)?;
        match self.items.get(&name) {
            Some(Item::View(_) | Item::Curve(..) | Item::Terms(_)) => self.unscaled(node, input),
            _ => Err(node.unsupported()),
        }
    }

    /// The tensor of this name, whatever it takes to compute it.
    ///
    /// # Errors
    /// Those of [`Self::base_node`].
    pub(super) fn tensor_named(&mut self, name: &str) -> Result<View> {
        let graph = self.reference.graph();
        let Some(any) = graph.node.last() else {
            return Err(ConvertError::NotOnnx {
                path: self.reference.path().into(),
                reason: "it has no nodes".into(),
            });
        };
        let mut reader = OnnxNode::new(any, &self.values);
        reader.inputs = vec![name.into()];
        self.live(&reader, 0)
    }

    /// True for an input, or one under other dimensions: no operator has computed it.
    pub(super) fn is_moved_input(&self, mut id: ValueId) -> bool {
        while let Some(node) = self.graph.producer(id) {
            match self.graph.facts(node).kind {
                Kind::Runtime(_) => return false,
                Kind::Graph(_) => id = node.inputs[0],
            }
        }
        true
    }

    /// A view as a value that an operator has computed: an output must be one.
    pub(super) fn computed(&mut self, name: &str, view: &View) -> ValueId {
        let id = self.plain(view);
        if !self.is_moved_input(id) {
            return id;
        }
        let index = (0..view.position.len() as u32).collect();
        self.inner(name, op::Copy { index }, vec![id], view.shape())
    }

    /// The elements of a view in its own order, one after the other.
    pub(super) fn plain(&mut self, view: &View) -> ValueId {
        let position = view.positions();
        let value = &self.graph.values[view.base.0];
        let dims = dims_of(view.shape());
        if position.len() == value.len() && is_run(&position, 0) {
            return match value.dims == dims {
                true => view.base,
                false => self.shaped(view.base, &dims),
            };
        }
        let name = format!("{}.copy{}", value.name, self.graph.values.len());
        let zero = |p: u32| if p == PADDING { op::Copy::ZERO } else { p };
        let index = position.into_iter().map(zero).collect();
        self.inner(&name, op::Copy { index }, vec![view.base], view.shape())
    }

    /// A node whose result no ONNX tensor holds.
    fn inner(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: Vec<ValueId>,
        shape: &[usize],
    ) -> ValueId {
        let op = op.into();
        let altered = self.stays_altered(&op, &inputs);
        let value = self.add_inner_as(name, op, inputs, &dims_of(shape));
        if altered {
            self.altered.insert(value);
        }
        value
    }

    /// A part of what `node` computes, as a view of that shape.
    pub(super) fn part(
        &mut self,
        node: &OnnxNode,
        what: &str,
        op: impl Into<Op>,
        inputs: Vec<ValueId>,
        shape: &[usize],
    ) -> View {
        let name = format!("{}.{what}{}", node.name, self.graph.values.len());
        View::whole(self.inner(&name, op, inputs, shape), shape)
    }

    /// A function of every element.
    fn mapped(&mut self, node: &OnnxNode, x: &View, function: Function) -> View {
        let input = self.plain(x);
        let op = op::Activation(function);
        self.part(node, "map", op, vec![input], x.shape())
    }

    /// The result of a node is this view.
    pub(super) fn give(&mut self, node: &OnnxNode, view: View) -> Result<()> {
        let shape = self.shape_of(&node.output);
        let view = match view.shape() == shape {
            true => view,
            false => view.reshaped(&shape),
        };
        // The value is the ONNX tensor, if it holds just its elements.
        let position = view.positions();
        let value = &mut self.graph.values[view.base.0];
        let all: HashSet<u32> = position.iter().copied().filter(|&p| p != PADDING).collect();
        let same = position.len() == value.len() && all.len() == value.len();
        if value.source.is_none() && same && !self.altered.contains(&view.base) {
            value.name = node.output.clone();
            let onnx = node.output.clone();
            value.source = Some(Source { onnx, position });
        }
        self.items.insert(node.output.clone(), Item::View(view));
        Ok(())
    }

    /// An axis attribute, counted from 0.
    fn axis(&self, node: &OnnxNode, at: i64, rank: usize) -> Result<usize> {
        axis_of(at, rank).ok_or_else(|| node.form(format!("axis {at} of a tensor of rank {rank}")))
    }
}

/// Dimensions of a value for a tensor of this shape: rows, and channels on the last axis.
fn dims_of(shape: &[usize]) -> Vec<usize> {
    let channels = shape.last().copied().unwrap_or(1).max(1);
    let rows = shape.iter().product::<usize>() / channels;
    match rows {
        1 => vec![channels],
        rows => vec![rows, channels],
    }
}

/// Two shapes broadcast to one.
fn broadcast(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(at) => shape[at],
        None => 1,
    };
    (0..rank)
        .map(|axis| size(a, axis).max(size(b, axis)))
        .collect()
}

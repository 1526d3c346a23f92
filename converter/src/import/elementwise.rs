//! Elementwise nodes: sums, factors, clamps, and functions of one variable in any spelling.
//!
//! Import keeps a function as an item ([`Item::Curve`]) until another operator reads its result; then it becomes one node.

use super::node::OnnxNode;
use super::terms::Terms;
use super::view::View;
use super::{Importer, Item};
use crate::error::Result;
use crate::function::{Binary, Function, Unary};
use crate::graph::op::Affine;
use crate::graph::{Clamp, Node, Op, op};
use ndarray::{ArrayD, IxDyn};

/// Elementary functions in one table, at most: the time that import takes grows with the square of it.
const MOST_FUNCTION: usize = 256;

impl Importer<'_> {
    /// Adds the node for a function that was an item so far, under the ONNX name of its result. `None` if the tensor is read only in
    /// part.
    pub(super) fn materialise(
        &mut self,
        name: &str,
        view: View,
        function: Function,
    ) -> Option<View> {
        let view = self.own_part(view)?;
        let dims = self.graph.values[view.base.0].dims.clone();
        let result = View {
            base: self.next_value(),
            factor: 1.0,
            ..view.clone()
        };
        let output = self.add_value_at(name, &dims, result.positions());
        let op = Op::Activation(op::Activation(function));
        self.graph.nodes.push(Node {
            name: name.into(),
            op,
            inputs: vec![view.base],
            output,
            second: None,
        });
        self.items.insert(name.into(), Item::View(result.clone()));
        Some(result)
    }

    /// A view of part of a value, as a view of a separate value.
    pub(super) fn own_part(&mut self, view: View) -> Option<View> {
        if view.position.len() == self.graph.values[view.base.0].len() {
            return Some(view);
        }
        let channels = view.shape().last().copied().unwrap_or(1);
        let base = self.rows_of(view.base, &view.positions(), channels)?;
        let whole = View::whole(base, view.shape());
        Some(View {
            factor: view.factor,
            ..whole
        })
    }

    /// An input without its factor: the layer before it takes the factor, or else a function does.
    pub(super) fn unscaled(&mut self, node: &OnnxNode, input: usize) -> Result<View> {
        let view = self.view(node, input)?;
        if view.factor == 1.0 {
            return Ok(view);
        }
        let name = node.inputs[input].clone();
        let function = Function::scaled(view.factor.into());
        self.materialise(&name, view, function)
            .ok_or_else(|| node.form("a multiple of a part of a tensor"))
    }

    /// An item as terms, if it is a view of a tensor or a multiple of one.
    pub(super) fn terms(&self, item: &Item) -> Option<Terms> {
        match item {
            Item::View(view) => Terms::of(view, &Function::Input),
            Item::Curve(view, function) => Terms::of(view, function),
            Item::Terms(terms) => Some(terms.clone()),
            _ => None,
        }
    }

    /// An input as a function of a tensor.
    pub(super) fn curve(&mut self, node: &OnnxNode, input: usize) -> Result<(View, Function)> {
        match self.item(node, input)? {
            Item::View(view) => {
                let function = Function::scaled(view.factor.into());
                Ok((
                    View {
                        factor: 1.0,
                        ..view
                    },
                    function,
                ))
            }
            Item::Curve(view, function) => Ok((view, function)),
            Item::Terms(_) => Ok((self.view(node, input)?, Function::Input)),
            _ => Err(node.form(
                "attention scores can only be scaled, masked by nothing, and put through softmax",
            )),
        }
    }

    pub(super) fn insert_curve(
        &mut self,
        node: &OnnxNode,
        view: View,
        function: Function,
    ) -> Result<()> {
        let long = function.size() > MOST_FUNCTION;
        let item = Item::Curve(view.clone(), function.clone());
        self.items.insert(node.output.clone(), item);
        if long {
            // Nothing is lost where it stays a function.
            self.materialise(&node.output, view, function);
        }
        Ok(())
    }

    /// Any operator that is a function of one variable.
    pub(super) fn function(&mut self, node: &OnnxNode) -> Result<()> {
        let (alpha, beta) = (
            |default| f64::from(node.float("alpha", default)),
            f64::from(node.float("beta", 0.5)),
        );
        let unary = |unary| Function::Input.then(unary);
        let outer = match node.op {
            "Sigmoid" => unary(Unary::Sigmoid),
            "Tanh" => unary(Unary::Tanh),
            "Erf" => unary(Unary::Erf),
            "Exp" => unary(Unary::Exp),
            "Sqrt" => unary(Unary::Sqrt),
            "Abs" => unary(Unary::Abs),
            "Softplus" => unary(Unary::Softplus),
            "Log" => unary(Unary::Log),
            "Sin" => unary(Unary::Sin),
            "Cos" => unary(Unary::Cos),
            "Tan" => unary(Unary::Tan),
            "Asin" => unary(Unary::Asin),
            "Acos" => unary(Unary::Acos),
            "Atan" => unary(Unary::Atan),
            "Sinh" => unary(Unary::Sinh),
            "Cosh" => unary(Unary::Cosh),
            "Asinh" => unary(Unary::Asinh),
            "Acosh" => unary(Unary::Acosh),
            "Atanh" => unary(Unary::Atanh),
            "Floor" => unary(Unary::Floor),
            "Ceil" => unary(Unary::Ceil),
            "Round" => unary(Unary::Round),
            "Selu" => Function::selu(
                alpha(1.673_263_2),
                f64::from(node.float("gamma", 1.050_701)),
            ),
            "Celu" => Function::celu(alpha(1.0)),
            "Softsign" => Function::softsign(),
            "Mish" => Function::mish(),
            "Swish" => Function::swish(alpha(1.0)),
            "Neg" => Function::scaled(-1.0),
            "Reciprocal" => Function::Constant(1.0).with(Binary::Div, Function::Input),
            "Gelu" if node.string("approximate").as_deref() == Some("tanh") => {
                Function::gelu_tanh()
            }
            "Gelu" => Function::gelu(),
            "HardSwish" => Function::hard_swish(),
            "HardSigmoid" => Function::hard_sigmoid(alpha(0.2), beta),
            "LeakyRelu" => Function::leaky_relu(alpha(0.01)),
            "Elu" => Function::elu(alpha(1.0)),
            "Pow" if self.constant(node, 1).is_none() => return self.base_node(node),
            "Pow" => Function::Input.with(Binary::Pow, Function::Constant(self.scalar(node, 1)?)),
            _ => return Err(node.unsupported()),
        };
        match self.item(node, 0)? {
            Item::MeanSquare(mean) => return self.root(node, mean, &outer),
            Item::RowSum(sum) if node.op == "Tanh" => return self.squash(node, sum),
            _ => {}
        }
        let (view, inner) = self.curve(node, 0)?;
        self.insert_curve(node, view, outer.of(&inner))
    }

    pub(super) fn scalar(&self, node: &OnnxNode, input: usize) -> Result<f64> {
        let number = self
            .weight(node, input)?
            .filter(|array| array.len() == 1)
            .and_then(|array| array.first().copied());
        number
            .map(f64::from)
            .ok_or_else(|| node.form(format!("input {input} must be one constant number")))
    }

    /// Two functions of the same tensor, combined.
    pub(super) fn combine(&mut self, node: &OnnxNode, binary: Binary) -> Result<bool> {
        let ((a, f), (b, g)) = (self.curve(node, 0)?, self.curve(node, 1)?);
        if a.base != b.base || a.position != b.position {
            return Ok(false);
        }
        self.insert_curve(node, a, f.with(binary, g))?;
        Ok(true)
    }

    pub(super) fn add(&mut self, node: &OnnxNode) -> Result<()> {
        let binary = if node.op == "Sub" {
            Binary::Sub
        } else {
            Binary::Add
        };
        for (scores, mask) in [(0, 1), (1, 0)] {
            if let (Ok(Item::Scores(scores)), Some(constant)) =
                (self.item(node, scores), self.constant(node, mask))
            {
                return match (binary, mask) {
                    (Binary::Add, _) => self.masked(node, scores, &constant),
                    (_, 1) => self.masked(node, scores, &-constant),
                    _ => Err(node.form("attention scores subtracted from a mask")),
                };
            }
        }
        for (sum, bias) in [(0, 1), (1, 0)] {
            if let (Ok(Item::RowSum(sum)), Some(bias)) =
                (self.item(node, sum), self.weight(node, bias)?)
            {
                return self.add_bias(node, sum, &bias);
            }
        }
        if binary == Binary::Add && self.add_epsilon(node)? {
            return Ok(());
        }
        match (self.weight(node, 0)?, self.weight(node, 1)?) {
            (Some(constant), None) if binary == Binary::Add => {
                return self.add_constant(node, constant, 1);
            }
            (None, Some(constant)) => {
                let constant = if binary == Binary::Sub {
                    -constant
                } else {
                    constant
                };
                return self.add_constant(node, constant, 0);
            }
            (Some(constant), None) if constant.len() == 1 => {
                let (view, function) = self.curve(node, 1)?;
                let constant = Function::Constant(constant.iter().copied().map(f64::from).sum());
                return self.insert_curve(node, view, constant.with(Binary::Sub, function));
            }
            _ => {}
        }
        if self.add_terms(node, binary)? || self.combine(node, binary)? {
            return Ok(());
        }
        let (a, b) = (self.unscaled(node, 0)?, self.unscaled(node, 1)?);
        let dims = self.graph.values[a.base.0].dims.clone();
        let fits = binary == Binary::Add
            && a.is_like(&b)
            && b.position.len() == self.graph.values[b.base.0].len()
            && a.position.len() == self.graph.values[a.base.0].len();
        if !fits && binary == Binary::Add && self.add_row(node, &a, &b)? {
            return Ok(());
        }
        if !fits {
            return Err(node.form("only tensors of the same shape and layout can be added"));
        }
        let inputs = vec![a.base, b.base];
        let view = View {
            base: self.next_value(),
            ..a
        };
        self.add_node_as(
            node,
            Op::Add(op::Add { clamp: Clamp::NONE }),
            inputs,
            &dims,
            view,
        );
        Ok(())
    }

    /// A sum with terms of the same tensor; false when it is another sum.
    fn add_terms(&mut self, node: &OnnxNode, binary: Binary) -> Result<bool> {
        let (a, b) = (self.item(node, 0)?, self.item(node, 1)?);
        if !matches!(a, Item::Terms(_)) && !matches!(b, Item::Terms(_)) {
            return Ok(false);
        }
        let sign = if binary == Binary::Sub { -1.0 } else { 1.0 };
        let (Some(a), Some(b)) = (self.terms(&a), self.terms(&b)) else {
            return Ok(false);
        };
        let Some(sum) = a.plus(&b, sign) else {
            return Ok(false);
        };
        self.items.insert(node.output.clone(), Item::Terms(sum));
        Ok(true)
    }

    /// A constant becomes the bias of the layer before it, part of a function, or a separate sum.
    fn add_constant(&mut self, node: &OnnxNode, constant: ArrayD<f32>, input: usize) -> Result<()> {
        let view = match self.item(node, input)? {
            Item::Curve(view, function) if constant.len() == 1 => {
                let constant = Function::Constant(constant.iter().copied().map(f64::from).sum());
                return self.insert_curve(node, view, function.with(Binary::Add, constant));
            }
            Item::View(_) | Item::Curve(..) | Item::Terms(_) => self.unscaled(node, input)?,
            _ => {
                return Err(node.form(
                    "only a mask can be added to attention scores, and nothing to their softmax",
                ));
            }
        };
        let name = node.inputs[input].clone();
        let channels = self.graph.values[view.base.0].channels();
        let per_channel = constant.len() == channels && view.shape().last() == Some(&channels);
        let producer = self.sole_producer(view.base, &name);
        if let Some(Op::Linear(op::Linear(Affine { bias, clamp, .. }))) =
            producer.map(|producer| &mut producer.op)
            && *clamp == Clamp::NONE
            && per_channel
        {
            bias.iter_mut()
                .zip(&constant)
                .for_each(|(bias, c)| *bias += c);
            self.renamed(view, node);
            return Ok(());
        }
        self.sum_with_constant(node, constant, view)
    }

    fn sum_with_constant(
        &mut self,
        node: &OnnxNode,
        constant: ArrayD<f32>,
        view: View,
    ) -> Result<()> {
        let form =
            || node.form("a constant must have the tensor's shape, or one that broadcasts to it");
        let broadcast = constant.broadcast(IxDyn(view.shape())).ok_or_else(form)?;
        let view = self
            .own_part(view)
            .ok_or_else(|| node.form("a constant added to a part of a tensor"))?;
        if constant.iter().any(|&c| c <= super::attention::HIDDEN) {
            return Err(node.form("a mask on what is no score of attention"));
        }
        let value = &self.graph.values[view.base.0];
        let mut physical = vec![0.0; value.len()];
        for (&position, &c) in view.position.iter().zip(broadcast) {
            *physical.get_mut(position as usize).ok_or_else(form)? = c;
        }
        let (dims, inputs) = (value.dims.clone(), vec![view.base]);
        let result = View {
            base: self.next_value(),
            ..view
        };
        let op = Op::AddConstant(op::AddConstant {
            constant: physical,
            clamp: Clamp::NONE,
        });
        self.add_node_as(node, op, inputs, &dims, result);
        Ok(())
    }

    pub(super) fn clip(&mut self, node: &OnnxNode) -> Result<()> {
        let bound = |bound: Option<ArrayD<f32>>, default: f32| {
            bound.and_then(|b| b.first().copied()).unwrap_or(default)
        };
        // Attributes before opset 11, inputs since.
        let min = bound(
            self.optional_weight(node, 1)?,
            node.float("min", f32::NEG_INFINITY),
        );
        let max = bound(
            self.optional_weight(node, 2)?,
            node.float("max", f32::INFINITY),
        );
        self.clamp(node, Clamp { min, max })
    }

    /// ReLU and Clip become the clamp of the operator before them, or a function.
    pub(super) fn clamp(&mut self, node: &OnnxNode, new: Clamp) -> Result<()> {
        if let Item::View(view) = self.item(node, 0)?
            && view.factor == 1.0
        {
            let name = node.inputs[0].clone();
            let producer = self.sole_producer(view.base, &name);
            let clamp = producer.and_then(|producer| match &mut producer.op {
                Op::Add(op::Add { clamp }) | Op::AddConstant(op::AddConstant { clamp, .. }) => {
                    Some(clamp)
                }
                layer => layer.affine_mut().map(|(affine, _)| &mut affine.clamp),
            });
            if let Some(clamp) = clamp {
                *clamp = Clamp {
                    min: clamp.min.max(new.min),
                    max: clamp.max.min(new.max),
                };
                self.renamed(view, node);
                return Ok(());
            }
        }
        let (view, function) = self.curve(node, 0)?;
        let (min, max) = (
            Function::Constant(new.min.into()),
            Function::Constant(new.max.into()),
        );
        self.insert_curve(
            node,
            view,
            function.with(Binary::Max, min).with(Binary::Min, max),
        )
    }
}

//! Import: an ONNX graph, walked node by node, becomes a [`Graph`] of attention-level operators.
//!
//! ONNX is parsed by tract, which also gives every shape and folds every constant (see [`crate::reference`]). What is
//! decided here is only meaning: which nodes move data (`view`), which compute (`nodes`), which together are an
//! attention (`attention`).

mod additive;
mod attention;
mod elementwise;
mod image;
mod layers;
mod node;
mod nodes;
mod normalization;
mod operators;
mod recurrent;
mod sums;
mod terms;
mod view;

use crate::error::ConvertError;
use crate::function::Function;
use crate::graph::{Graph, Node, Op, Source, Value, ValueId};
use crate::reference::{Input, Reference, Values, to_f32};
use ndarray::{ArrayD, Axis, Slice};
use node::OnnxNode;
use std::collections::{HashMap, HashSet};
use view::View;

pub use operators::markdown;

/// What an ONNX name stands for while the graph is built.
#[derive(Clone, Debug)]
enum Item {
    /// A tensor of the graph.
    View(View),
    /// An elementwise function of a tensor that no node of the graph computes yet.
    Curve(View, Function),
    /// The mean square of a tensor's rows: half of an RMSNorm.
    MeanSquare(normalization::MeanSquare),
    /// Sums of at most two elements of a tensor, with constant factors.
    Terms(terms::Terms),
    /// A product of tensors of different shape that is yet to be summed up.
    Product(Box<sums::Product>),
    /// Tensors joined along channels, of which one is a single row repeated.
    Joined(Vec<View>),
    /// A row added to each of some rows.
    RowSum(additive::RowSum),
    /// `query * keys^T`, times a factor: scores of an attention that is not complete yet.
    Scores(attention::Scores),
    /// The softmax of scores.
    Weights(attention::Scores),
}

/// Builds the graph of a model.
///
/// # Errors
/// [`ConvertError::UnsupportedOp`], [`ConvertError::UnsupportedForm`] and [`ConvertError::BadWeights`] name the node;
/// [`ConvertError::Reference`] when the model does not even run in float.
pub fn import(reference: &Reference) -> Result<Graph, ConvertError> {
    let zeros: Vec<_> = reference
        .inputs()
        .iter()
        .map(|input| ArrayD::zeros(input.shape.as_slice()))
        .collect();
    let values = reference.run(&zeros)?;
    let mut importer = Importer::new(reference, values);
    for input in reference.inputs() {
        importer.add_input(input);
    }
    let needed = needed(reference.graph());
    for node in &reference.graph().node {
        let used = node
            .output
            .iter()
            .any(|output| needed.contains(output.as_str()));
        if used && !importer.is_constant(node) {
            importer.node(&OnnxNode::new(node, &importer.values))?;
        }
    }
    importer.finish()
}

/// Names that the outputs depend on: exporters leave dead nodes, such as the averaged weights of nn.MultiheadAttention.
fn needed(graph: &tract_onnx::pb::GraphProto) -> HashSet<&str> {
    let mut needed: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    for node in graph.node.iter().rev() {
        if node
            .output
            .iter()
            .any(|name| needed.contains(name.as_str()))
        {
            needed.extend(node.input.iter().map(String::as_str));
        }
    }
    needed
}

struct Importer<'r> {
    reference: &'r Reference,
    graph: Graph,
    values: Values,
    items: HashMap<String, Item>,
    dynamic: HashSet<String>,
    uses: HashMap<String, usize>,
    rows: HashMap<(ValueId, usize, usize), ValueId>,
    columns: HashMap<(ValueId, usize, usize), ValueId>,
    shapes: HashMap<(ValueId, Vec<usize>), ValueId>,
    /// Attention weights that the model may hand out, by the ONNX name of the softmax.
    handed_out: HashMap<String, ValueId>,
}

impl<'r> Importer<'r> {
    fn new(reference: &'r Reference, values: Values) -> Self {
        let graph = reference.graph();
        let mut dynamic: HashSet<String> = reference
            .inputs()
            .iter()
            .map(|input| input.name.clone())
            .collect();
        let mut uses = HashMap::new();
        let needed = needed(graph);
        for node in &graph.node {
            if !node
                .output
                .iter()
                .any(|name| needed.contains(name.as_str()))
            {
                continue;
            }
            for input in &node.input {
                *uses.entry(input.clone()).or_insert(0) += 1;
            }
            // The shape of a tensor is known even where its values are not.
            if node.op_type != "Shape" && node.input.iter().any(|input| dynamic.contains(input)) {
                dynamic.extend(
                    node.output
                        .iter()
                        .filter(|output| !output.is_empty())
                        .cloned(),
                );
            }
        }
        for output in &graph.output {
            *uses.entry(output.name.clone()).or_insert(0) += 1;
        }
        Self {
            reference,
            graph: Graph::default(),
            values,
            items: HashMap::new(),
            dynamic,
            uses,
            rows: HashMap::new(),
            columns: HashMap::new(),
            shapes: HashMap::new(),
            handed_out: HashMap::new(),
        }
    }

    fn is_constant(&self, node: &tract_onnx::pb::NodeProto) -> bool {
        !node
            .output
            .iter()
            .any(|output| self.dynamic.contains(output))
    }

    fn add_input(&mut self, input: &Input) {
        if self.reads_images()
            && let Some(id) = self.add_image_input(&input.name, &input.shape)
        {
            self.graph.inputs.push(id);
            return;
        }
        let id = self.add_value(&input.name, &input.shape, &input.shape);
        // Three axes are an image's, in an input as in an output.
        let value = &mut self.graph.values[id.0];
        if value.dims.len() > 2 {
            value.dims = vec![value.rows(), value.channels()];
        }
        if input.integer {
            // One token in a row.
            self.graph.values[id.0].dims = vec![input.shape.iter().product(), 1];
            self.graph.tokens.insert(id);
        }
        self.graph.inputs.push(id);
        self.items.insert(
            input.name.clone(),
            Item::View(View::whole(id, &input.shape)),
        );
    }

    /// A value whose physical order is the ONNX order, unit axes dropped.
    fn add_value(&mut self, name: &str, onnx_shape: &[usize], dims: &[usize]) -> ValueId {
        let position = (0..onnx_shape.iter().product::<usize>() as u32).collect();
        self.add_value_at(name, &without_unit_axes(dims), position)
    }

    /// A value with these physical dimensions.
    fn add_value_at(&mut self, name: &str, dims: &[usize], position: Vec<u32>) -> ValueId {
        let source = Some(Source {
            onnx: name.into(),
            position,
        });
        self.graph.values.push(Value {
            name: name.into(),
            dims: dims.to_vec(),
            source,
        });
        ValueId(self.graph.values.len() - 1)
    }

    /// Adds a node whose result is a new value, and the ONNX name for it. Unit axes of `dims` are dropped.
    fn add_node(
        &mut self,
        node: &OnnxNode,
        op: Op,
        inputs: Vec<ValueId>,
        dims: &[usize],
        result: View,
    ) -> ValueId {
        self.add_node_as(node, op, inputs, &without_unit_axes(dims), result)
    }

    /// Adds a node whose result is a new value with these physical dimensions.
    fn add_node_as(
        &mut self,
        node: &OnnxNode,
        op: Op,
        inputs: Vec<ValueId>,
        dims: &[usize],
        result: View,
    ) -> ValueId {
        let output = self.add_value_at(&node.output, dims, result.positions());
        self.graph.nodes.push(Node {
            name: node.name.clone(),
            op,
            inputs,
            output,
            second: None,
        });
        self.items.insert(
            node.output.clone(),
            Item::View(View {
                base: output,
                ..result
            }),
        );
        output
    }

    /// A value that is always there.
    fn add_constant_value(&mut self, name: &str, values: Vec<f32>, shape: &[usize]) -> ValueId {
        let output = self.add_value(name, shape, shape);
        self.graph.nodes.push(Node {
            name: name.into(),
            op: Op::Constant { values },
            inputs: vec![],
            output,
            second: None,
        });
        output
    }

    /// Adds a node whose result is in no ONNX file; `dims` as [`Value::dims`].
    fn add_inner(&mut self, name: &str, op: Op, inputs: Vec<ValueId>, dims: &[usize]) -> ValueId {
        let mut dims: Vec<usize> = dims.iter().copied().filter(|&d| d != 1).collect();
        if dims.is_empty() {
            dims.push(1);
        }
        let output = self.next_value();
        self.graph.values.push(Value {
            name: name.into(),
            dims,
            source: None,
        });
        self.graph.nodes.push(Node {
            name: name.into(),
            op,
            inputs,
            output,
            second: None,
        });
        output
    }

    fn next_value(&self) -> ValueId {
        ValueId(self.graph.values.len())
    }

    /// The node that computes `value`, if only one ONNX node reads `onnx_name`: then what follows can be fused in.
    fn sole_producer(&mut self, value: ValueId, onnx_name: &str) -> Option<&mut Node> {
        let read_in_part = self.rows.keys().chain(self.columns.keys());
        let mut read = read_in_part
            .map(|(base, ..)| base)
            .chain(self.shapes.keys().map(|(base, _)| base));
        // Under any other name (transposed, reshaped), too, it must go to this reader alone.
        let shared = |(name, item): (&String, &Item)| match item {
            Item::View(view) | Item::Curve(view, _) => {
                view.base == value && self.uses.get(name).is_some_and(|&uses| uses > 1)
            }
            _ => false,
        };
        if self.uses.get(onnx_name) != Some(&1)
            || read.any(|base| *base == value)
            || self.items.iter().any(shared)
        {
            return None;
        }
        self.graph
            .nodes
            .iter_mut()
            .find(|node| node.output == value)
    }

    /// After a fusion, the value stands for the ONNX tensor behind the fused node.
    fn renamed(&mut self, view: View, node: &OnnxNode) {
        let value = &mut self.graph.values[view.base.0];
        value.name = node.output.clone();
        value.source = Some(Source {
            onnx: node.output.clone(),
            position: view.positions(),
        });
        self.items.insert(node.output.clone(), Item::View(view));
    }

    /// The rows `[rows, channels]` that `position` reads, as a value: the whole base or adjacent rows of it.
    fn rows_of(&mut self, base: ValueId, position: &[u32], channels: usize) -> Option<ValueId> {
        let value = &self.graph.values[base.0];
        let first = *position.first()? as usize;
        let whole_rows = position.len().is_multiple_of(channels) && first.is_multiple_of(channels);
        let all = first == 0 && position.len() == value.len() && whole_rows;
        if value.channels() != channels && all && view::is_run(position, 0) {
            return Some(self.reshaped(base, channels));
        }
        if value.channels() > channels {
            let (columns, position) = self.columns_of(base, position, channels)?;
            return self.rows_of(columns, &position, channels);
        }
        if value.channels() != channels || !whole_rows || !view::is_run(position, first) {
            return None;
        }
        let (start, rows) = (first / channels, position.len() / channels);
        if rows == value.rows() {
            return Some(base);
        }
        if let Some(&selected) = self.rows.get(&(base, start, rows)) {
            return Some(selected);
        }
        let output = self.next_value();
        let node = self.select_rows(base, start, rows, output);
        self.graph.nodes.push(node);
        self.rows.insert((base, start, rows), output);
        Some(output)
    }

    /// The same elements as rows of another length.
    fn reshaped(&mut self, base: ValueId, channels: usize) -> ValueId {
        match self.graph.values[base.0].len() / channels {
            1 => self.shaped(base, &[channels]),
            rows => self.shaped(base, &[rows, channels]),
        }
    }

    /// A block of columns of a linear layer's result is a linear layer of its own, with those rows of the weights:
    /// its value, and `position` as it reads that.
    fn columns_of(
        &mut self,
        base: ValueId,
        position: &[u32],
        channels: usize,
    ) -> Option<(ValueId, Vec<u32>)> {
        let all = self.graph.values[base.0].channels();
        let first = *position.first()? as usize % all;
        let inside = |p: u32| (first..first + channels).contains(&(p as usize % all));
        if !position.iter().all(|&p| p != view::PADDING && inside(p)) {
            return None;
        }
        let moved = |p: u32| (p as usize / all * channels + p as usize % all - first) as u32;
        let remapped = position.iter().map(|&p| moved(p)).collect();
        if let Some(&columns) = self.columns.get(&(base, first, channels)) {
            return Some((columns, remapped));
        }
        if let Some(part) = self.joined_part(base, first, channels) {
            return Some((part, remapped));
        }
        let Node {
            name,
            op:
                Op::Linear {
                    weight,
                    bias,
                    clamp,
                },
            inputs,
            ..
        } = self.graph.producer(base)?.clone()
        else {
            return None;
        };
        let part = first..first + channels;
        let op = Op::Linear {
            weight: weight
                .slice_axis(Axis(0), Slice::from(part.clone()))
                .to_owned(),
            bias: bias[part.clone()].to_vec(),
            clamp,
        };
        let value = &self.graph.values[base.0];
        let kept = |&p: &u32| {
            if p != view::PADDING && inside(p) {
                moved(p)
            } else {
                view::PADDING
            }
        };
        let source = value.source.as_ref().map(|source| Source {
            onnx: source.onnx.clone(),
            position: source.position.iter().map(kept).collect(),
        });
        let mut dims = value.dims.clone();
        *dims.last_mut()? = channels;
        let label = |name: &str| format!("{name}[:, {}..{}]", part.start, part.end);
        let (value_name, node_name) = (label(&value.name), label(&name));
        let output = self.next_value();
        self.graph.values.push(Value {
            name: value_name,
            dims,
            source,
        });
        self.graph.nodes.push(Node {
            name: node_name,
            op,
            inputs,
            output,
            second: None,
        });
        self.columns.insert((base, first, channels), output);
        Some((output, remapped))
    }

    /// The input of a Concat that stands in these columns of its result.
    fn joined_part(&self, base: ValueId, first: usize, channels: usize) -> Option<ValueId> {
        let node = self.graph.producer(base)?;
        if !matches!(node.op, Op::Concat) {
            return None;
        }
        let mut at = 0;
        for &input in &node.inputs {
            let width = self.graph.values[input.0].channels();
            if at == first && width == channels {
                return Some(input);
            }
            at += width;
        }
        None
    }

    /// Adds the value for adjacent rows of `base` and returns the node that makes it.
    fn select_rows(&mut self, base: ValueId, start: usize, rows: usize, output: ValueId) -> Node {
        let value = &self.graph.values[base.0];
        let channels = value.channels();
        let name = match rows {
            1 => format!("{}[{start}]", value.name),
            _ => format!("{}[{start}..{}]", value.name, start + rows),
        };
        let inside = |p: u32| match (p as usize).checked_sub(start * channels) {
            Some(at) if at < rows * channels => at as u32,
            // Elements of other rows have no place in this value.
            _ => view::PADDING,
        };
        let source = value.source.as_ref().map(|source| Source {
            onnx: source.onnx.clone(),
            position: source.position.iter().map(|&p| inside(p)).collect(),
        });
        let dims = if rows == 1 {
            vec![channels]
        } else {
            vec![rows, channels]
        };
        self.graph.values.push(Value {
            name: name.clone(),
            dims,
            source,
        });
        Node {
            name,
            op: Op::SelectRows { start, rows },
            inputs: vec![base],
            output,
            second: None,
        }
    }

    /// The value for an output: an image, channels last, or rows.
    fn output(&mut self, view: &View) -> Option<ValueId> {
        if let Some(image) = self.image_output(view) {
            return Some(image);
        }
        let channels = self.graph.values[view.base.0].channels();
        let rows = self.rows_of(view.base, &view.positions(), channels)?;
        let value = &self.graph.values[rows.0];
        match value.dims.len() {
            ..=2 => Some(rows),
            _ => Some(self.shaped(rows, &[value.rows(), channels])),
        }
    }

    /// A constant as f32.
    fn constant(&self, node: &OnnxNode, input: usize) -> Option<ArrayD<f32>> {
        let name = node.inputs.get(input).filter(|name| !name.is_empty())?;
        if self.dynamic.contains(name) {
            return None;
        }
        to_f32(self.values.get(name)?)
    }

    /// A constant that is calculated with, so it must be finite.
    fn weight(&self, node: &OnnxNode, input: usize) -> Result<Option<ArrayD<f32>>, ConvertError> {
        let array = self.constant(node, input);
        if array.iter().flatten().any(|x| !x.is_finite()) {
            let tensor = node.inputs[input].clone();
            return Err(ConvertError::BadWeights {
                node: node.name.clone(),
                tensor,
            });
        }
        Ok(array)
    }

    fn finish(mut self) -> Result<Graph, ConvertError> {
        for output in &self.reference.graph().output {
            if let Some(Item::Weights(scores)) = self.items.get(&output.name)
                && let Some(softmax) = &scores.weights
                && let Some(&weights) = self.handed_out.get(softmax)
            {
                self.graph.outputs.push(weights);
                continue;
            }
            let view = match self.items.get(&output.name).cloned() {
                Some(Item::View(view)) if view.factor == 1.0 => Some(view),
                Some(Item::View(view)) => {
                    let factor = Function::scaled(view.factor.into());
                    self.materialise(&output.name, view, factor)
                }
                Some(Item::Curve(view, function)) => self.materialise(&output.name, view, function),
                _ => None,
            };
            let whole = view.and_then(|view| self.output(&view));
            let id = whole.ok_or_else(|| ConvertError::UnsupportedForm {
                node: output.name.clone(),
                op: "output".into(),
                shapes: String::new(),
                reason: "an output must be the result of an operator, not a rearrangement of one"
                    .into(),
            })?;
            self.graph.outputs.push(id);
        }
        let Graph { nodes, outputs, .. } = &mut self.graph;
        for node in nodes.iter_mut() {
            let weighs = matches!(node.op, Op::Attention { .. } | Op::AdditiveAttention { .. });
            node.second = node
                .second
                .filter(|second| !weighs || outputs.contains(second));
        }
        self.graph.drop_unused();
        Ok(self.graph)
    }
}

/// Dimensions without those of 1, but for the last, the channels.
fn without_unit_axes(dims: &[usize]) -> Vec<usize> {
    let (&channels, rows) = dims.split_last().unwrap_or((&1, &[]));
    let mut dims: Vec<usize> = rows.iter().copied().filter(|&d| d != 1).collect();
    dims.push(channels);
    dims
}

//! Import: an ONNX graph, walked node by node, becomes a [`Graph`] of attention-level operators.
//!
//! ONNX is parsed by tract, which also gives every shape and folds every constant (see [`crate::reference`]). Import
//! decides what nodes mean: which move data (`view`), which compute (`nodes`), which together are an attention
//! (`attention`).

mod additive;
mod attention;
mod base;
mod comparisons;
mod elementwise;
mod image;
mod joins;
mod layers;
mod mask;
mod node;
mod nodes;
mod normalization;
mod operators;
mod parts;
mod pool;
mod products;
mod recurrent;
mod sums;
mod terms;
mod tokens;
mod values;
mod view;

use crate::error::{ConvertError, Result};
use crate::function::Function;
use crate::graph::{Graph, Op, ValueId};
use crate::guard::guarded;
use crate::reference::{Input, Reference, Values, to_f32};
use ndarray::ArrayD;
use node::OnnxNode;
use std::collections::{HashMap, HashSet};
use view::View;

pub use mask::PaddingMask;
#[cfg(test)]
pub(crate) use operators::known;
pub use operators::markdown;
pub(crate) use operators::{RECURRENT, computed, nearest};

/// The meaning of an ONNX name while the graph is built.
#[derive(Clone, Debug)]
enum Item {
    /// A tensor of the graph.
    View(View),
    /// An elementwise function of a tensor, not yet a node of the graph.
    Curve(View, Function),
    /// The mean square of a tensor's rows: half of an RMSNorm.
    MeanSquare(normalization::MeanSquare),
    /// Sums of at most two elements of a tensor, with constant factors.
    Terms(terms::Terms),
    /// A product of tensors of different shape, before its sum.
    Product(Box<sums::Product>),
    /// Tensors joined along channels, one of them a single row repeated.
    Joined(Vec<View>),
    /// The sum of one row and each of several rows.
    RowSum(additive::RowSum),
    /// `query * keys^T`, times a factor: scores of an incomplete attention.
    Scores(attention::Scores),
    /// The softmax of scores.
    Weights(attention::Scores),
    /// Where the softmax of scores is NaN, by its ONNX name: for queries that see no key.
    Undefined(String),
    /// Tokens of the model's input, each plus a number.
    Shifted(View, Vec<i64>),
    /// A tensor that depends only on the length of the sequence.
    Mask(mask::Mask),
}

/// Builds the graph of a model.
///
/// # Errors
/// [`ConvertError::UnsupportedOp`], [`ConvertError::UnsupportedForm`] and [`ConvertError::BadWeights`] name the node;
/// [`ConvertError::Reference`] if the model does not run in float.
pub fn import(reference: &Reference) -> Result<Graph> {
    import_masked(reference, None)
}

/// Builds the graph of a model that may have a padding mask as an input. The graph has no such input: the runtime knows the length of
/// the sequence.
///
/// # Errors
/// Those of [`import`]; [`ConvertError::UnsupportedForm`] for a mask that does more than hide padding.
pub fn import_masked(reference: &Reference, mask: Option<&PaddingMask>) -> Result<Graph> {
    guarded(|| imported(reference, mask)).unwrap_or_else(|reason| {
        Err(ConvertError::Unexpected {
            path: reference.path().into(),
            reason,
        })
    })
}

fn imported(reference: &Reference, mask: Option<&PaddingMask>) -> Result<Graph> {
    let zeros: Vec<_> = reference
        .inputs()
        .iter()
        .map(|input| ArrayD::zeros(input.shape.as_slice()))
        .collect();
    let values = reference.run(&zeros)?;
    let mut importer = Importer::new(reference, values);
    for input in reference.inputs() {
        match mask.filter(|mask| mask.input == input.name) {
            Some(mask) => importer.add_mask(mask, input),
            None => importer.add_input(input),
        }
    }
    let needed = needed(reference.graph());
    for node in &reference.graph().node {
        let used = node
            .output
            .iter()
            .any(|output| needed.contains(output.as_str()));
        let empty = |name: &String| {
            importer
                .values
                .get(name)
                .is_some_and(|part| part.len() == 0)
        };
        if used && !importer.is_constant(node) && !node.output.iter().all(empty) {
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
    /// Attention weights that the model may return, by the ONNX name of the softmax.
    handed_out: HashMap<String, ValueId>,
    /// Numbers of places that the model picks: the tokens that they are, and how many there are to pick from.
    places: HashMap<ValueId, (ValueId, usize)>,
    /// Rows of the padding mask, if there is one.
    mask_rows: Option<usize>,
    /// Values with other elements than their ONNX tensor, where a mask hides them.
    altered: HashSet<ValueId>,
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
            // The shape of a tensor is known even if its values are not.
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
            places: HashMap::new(),
            mask_rows: None,
            altered: HashSet::new(),
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
        // Inputs and outputs with three axes are images.
        let value = &mut self.graph.values[id.0];
        if value.dims.len() > 2 {
            value.dims = vec![value.rows(), value.channels()];
        }
        if input.integer {
            // One token per row.
            self.graph.values[id.0].dims = vec![input.shape.iter().product(), 1];
            self.graph.tokens.insert(id);
        }
        self.graph.inputs.push(id);
        self.items.insert(
            input.name.clone(),
            Item::View(View::whole(id, &input.shape)),
        );
    }

    /// A constant as f32.
    fn constant(&self, node: &OnnxNode, input: usize) -> Option<ArrayD<f32>> {
        let name = node.inputs.get(input).filter(|name| !name.is_empty())?;
        if self.dynamic.contains(name) {
            return None;
        }
        to_f32(self.values.get(name)?)
    }

    /// A constant for arithmetic, which must be finite.
    fn weight(&self, node: &OnnxNode, input: usize) -> Result<Option<ArrayD<f32>>> {
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

    /// As [`Self::weight`], for an input that may be left out but must not be computed by the model.
    fn optional_weight(&self, node: &OnnxNode, input: usize) -> Result<Option<ArrayD<f32>>> {
        let weight = self.weight(node, input)?;
        let given = node.inputs.get(input).is_some_and(|name| !name.is_empty());
        match weight.is_none() && given {
            true => Err(node.form(format!("input {input} must be constant"))),
            false => Ok(weight),
        }
    }

    fn finish(mut self) -> Result<Graph> {
        for output in &self.reference.graph().output {
            self.graph.output_names.push(output.name.clone());
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
            let view = view.map(|view| self.as_tokens(&view).unwrap_or(view));
            let whole = view.as_ref().and_then(|view| self.output(view));
            let whole = whole.filter(|&id| !self.is_moved_input(id));
            let id = match (whole, view) {
                (Some(id), _) => id,
                (None, Some(view)) => self.computed(&output.name, &view),
                (None, None) => {
                    let view = self.tensor_named(&output.name)?;
                    self.computed(&output.name, &view)
                }
            };
            self.graph.outputs.push(id);
        }
        let Graph { nodes, outputs, .. } = &mut self.graph;
        for node in nodes.iter_mut() {
            let weighs = matches!(node.op, Op::Attention(_) | Op::AdditiveAttention(_));
            node.second = node
                .second
                .filter(|second| !weighs || outputs.contains(second));
        }
        self.graph.drop_unused();
        Ok(self.graph)
    }
}

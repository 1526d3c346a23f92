//! Lowering: the float graph and its quantization scheme become a program of the runtime's operators.
//!
//! A model is lowered in one of two forms: over a whole window, as it was exported, or as a step for one frame of a
//! stream, with state tensors in place of the past. One file per operator family. No places in memory yet: that is
//! for [`crate::plan`].

mod additive;
mod attention;
mod bundle;
mod elementwise;
mod half;
mod image;
mod matrix;
mod normalization;
mod recurrent;
mod rows;
mod table;

pub use bundle::{Link, Part, lower_bundle};

use crate::error::ConvertError;
use crate::graph::stream;
use crate::graph::{Graph, Node, Op, ValueId};
use crate::program::{Entry, Operator, Place, Program, TensorId};
use crate::quantize::{Quant, Scheme};
use attn_runtime::format::{DType, Encoding, MAX_ENTRY_IO, OpKind};
use std::collections::HashMap;
use zerocopy::{Immutable, IntoBytes};

/// What one run of the program covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The whole window; entry point `run`.
    Window,
    /// One frame; entry point `step`.
    Stream,
}

impl Form {
    /// Name of the entry point.
    pub fn entry_name(self) -> &'static str {
        match self {
            Form::Window => "run",
            Form::Stream => "step",
        }
    }
}

/// Lowers a graph.
///
/// # Errors
/// [`ConvertError::Limit`] where the runtime's limits are exceeded, [`ConvertError::NotStreamable`].
pub fn lower(graph: &Graph, scheme: &Scheme, form: Form) -> Result<Program, ConvertError> {
    if form == Form::Stream {
        stream::check(graph)?;
    }
    let mut lowering = Lowering::new(graph, scheme, form, Program::default());
    for &input in &graph.inputs {
        lowering.add_value(input);
    }
    for node in &graph.nodes {
        lowering.node(node)?;
    }
    lowering.entry(form.entry_name(), 0, &graph.inputs)?;
    Ok(lowering.program)
}

struct Lowering<'g> {
    graph: &'g Graph,
    scheme: &'g Scheme,
    form: Form,
    program: Program,
    tensors: HashMap<ValueId, TensorId>,
    narrowed: HashMap<ValueId, TensorId>,
    /// Keys and values that another entry point has packed for the attention with this result.
    packed: HashMap<ValueId, attention::Window>,
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, scheme: &'g Scheme, form: Form, program: Program) -> Self {
        Self {
            graph,
            scheme,
            form,
            program,
            tensors: HashMap::new(),
            narrowed: HashMap::new(),
            packed: HashMap::new(),
        }
    }
}

impl Lowering<'_> {
    fn node(&mut self, node: &Node) -> Result<(), ConvertError> {
        if self.scheme.is_half() {
            return self.half_node(node);
        }
        match &node.op {
            Op::Linear(op) => self.linear(node, op),
            Op::Conv1d(op) => self.conv1d(node, op),
            Op::DepthwiseConv1d(op) => self.depthwise_conv1d(node, op),
            Op::Gru(op) => self.gru(node, &op.into()),
            Op::Lstm(op) => self.lstm(node, &op.into()),
            Op::Attention(op) => self.attention(node, op),
            Op::AdditiveAttention(op) => self.additive_attention(node, &op.v, op.tanh),
            Op::Activation(op) => self.activation(node, &op.0),
            Op::Add(op) => self.add(node, op.clamp),
            Op::SelectRows(op) => self.select_rows(node, op.start),
            Op::Reshape(_) | Op::Sequence(_) => self.reshape(node),
            Op::ClearRows(_) => self.clear_rows(node),
            Op::AddConstant(op) => self.add_constant(node, &op.constant, op.clamp),
            Op::LayerNorm(op) => self.layer_norm(node, op),
            Op::Mul(op) => self.mul(node, op.factor),
            Op::MeanRows(_) => self.mean_rows(node),
            Op::Concat(_) => self.concat(node),
            Op::Embedding(op) => self.embedding(node, &op.table),
            Op::ConcatRows(_) => self.concat_rows(node),
            Op::Constant(op) => self.constant(node, &op.values),
            Op::Rotary(op) => self.rotary(node, op),
            Op::WeightedRows(_) => self.weighted_rows(node),
            Op::Softmax(_) => self.softmax(node),
            Op::Conv2d(op) => self.conv2d(node, op),
            Op::DepthwiseConv2d(op) => self.depthwise_conv2d(node, op),
            Op::ConvTranspose2d(op) => self.conv_transpose2d(node, op),
            Op::MaxPool2d(op) => self.max_pool2d(node, &op.window),
            Op::AveragePool2d(op) => self.average_pool2d(node, &op.window),
            Op::MaxChannels(_) => self.max_channels(node),
            Op::MeanChannels(_) => self.mean_channels(node),
            Op::Gate(op) => self.gate(node, op.per_row, op.factor),
        }
    }

    /// Makes the operators from `first` on an entry point which the caller gives `inputs`.
    fn entry(&mut self, name: &str, first: usize, inputs: &[ValueId]) -> Result<(), ConvertError> {
        let ids = |values: &[ValueId]| values.iter().map(|id| self.tensors[id]).collect::<Vec<_>>();
        let named = |id: &ValueId| self.graph.values[id.0].name.clone();
        let input_names = inputs.iter().map(named).collect();
        let (inputs, outputs) = (ids(inputs), ids(&self.graph.outputs));
        for (what, list) in [("inputs", &inputs), ("outputs", &outputs)] {
            if list.len() > MAX_ENTRY_IO {
                let reason = format!("{} {what}, at most {MAX_ENTRY_IO}", list.len());
                return Err(ConvertError::Limit {
                    node: name.into(),
                    reason,
                });
            }
        }
        self.program.entries.push(Entry {
            name: name.into(),
            ops: first..self.program.ops.len(),
            inputs,
            outputs,
            input_names,
            output_names: self.graph.output_names.clone(),
        });
        Ok(())
    }

    /// Dimensions of a value in one run.
    fn dims(&self, id: ValueId) -> Vec<usize> {
        let value = &self.graph.values[id.0];
        match self.form {
            Form::Window if value.dims.len() == 1 && self.graph.varying.contains_key(&id) => {
                // Rows of one element.
                vec![value.dims[0], 1]
            }
            Form::Window => value.dims.clone(),
            Form::Stream => vec![value.channels()],
        }
    }

    fn channels(&self, value: ValueId) -> usize {
        self.graph.values[value.0].channels()
    }

    /// Adds the tensor for a value.
    fn add_value(&mut self, value: ValueId) -> TensorId {
        let dims = self.dims(value);
        let name = &self.graph.values[value.0].name;
        let tensor = self
            .program
            .tensor(name, &dims, self.scheme.of(value), Place::Arena);
        self.vary(value, tensor);
        self.tensors.insert(value, tensor);
        tensor
    }

    /// A tensor with the rows of `value` has as many of them in use.
    fn vary(&mut self, value: ValueId, tensor: TensorId) {
        if let Some(&rule) = self.graph.varying.get(&value) {
            self.program.tensors[tensor].rows_rule = self.program.rows_rule(rule);
        }
    }

    /// The tensor of a value that is there already.
    fn tensor(&self, value: ValueId) -> TensorId {
        self.tensors[&value]
    }

    fn quant(&self, tensor: TensorId) -> Quant {
        self.program.tensors[tensor].quant
    }

    /// The value as an int8 tensor: itself, or a copy made once.
    fn int8(&mut self, value: ValueId) -> Result<TensorId, ConvertError> {
        let x = self.tensor(value);
        if self.quant(x).dtype == DType::I8 {
            return Ok(x);
        }
        if let Some(&copy) = self.narrowed.get(&value) {
            return Ok(copy);
        }
        let name = format!("{}.int8", self.graph.values[value.0].name);
        let dims = self.dims(value);
        let copy = self
            .program
            .tensor(&name, &dims, self.scheme.int8_of(value), Place::Arena);
        self.vary(value, copy);
        let params = self.requantize_params(&name, x, copy)?;
        self.op(
            &name,
            OpKind::Requantize,
            vec![x],
            vec![copy],
            None,
            &params,
        );
        self.narrowed.insert(value, copy);
        Ok(copy)
    }

    fn op<P: IntoBytes + Immutable + ?Sized>(
        &mut self,
        name: &str,
        kind: OpKind,
        inputs: Vec<TensorId>,
        outputs: Vec<TensorId>,
        scratch: Option<TensorId>,
        params: &P,
    ) {
        let params = params.as_bytes().to_vec();
        let mut touched = inputs.iter().chain(&outputs);
        let encoding = match touched.any(|&id| self.program.tensors[id].quant.dtype == DType::F16) {
            true => Encoding::Half,
            false => Encoding::Int8,
        };
        self.program.ops.push(Operator {
            name: name.into(),
            kind,
            encoding,
            inputs,
            outputs,
            scratch,
            params,
        });
    }
}

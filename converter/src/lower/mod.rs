//! Lowering: float graphs and their quantization schemes become a program of the runtime's operators.
//!
//! A graph is lowered in one of two forms: over a whole window, as it was exported, or as a step for one frame of a
//! stream, with state tensors in place of the past. One file per operator family, for integers and half precision. No places in
//! memory yet: that is for [`crate::plan`].

mod attention;
mod base;
mod bundle;
mod cell;
mod curves;
mod elementwise;
mod image;
pub mod joined;
mod matrix;
mod normalization;
mod parabolas;
mod parts;
mod points;
mod recurrent;
mod rows;
mod table;

pub use bundle::{Link, Part, lower};
pub use table::Tables;

use crate::error::{ConvertError, Result};
use crate::graph::op::with_operators;
use crate::graph::{Graph, Node, Op, ValueId, op};
use crate::program::{Entry, Operator, Place, Program, TensorId};
use crate::quantize::{Quant, Scheme};
use attn_runtime::format::{DType, Encoding, MAX_ENTRY_IO, OpKind};
use std::collections::{HashMap, HashSet};
use zerocopy::{Immutable, IntoBytes};

/// What one run of the program covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The whole window; entry point `run`.
    #[default]
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

/// A graph's operator that can be lowered, in every encoding.
trait Lower {
    /// Writes operators and tensors for `node` into the program.
    ///
    /// # Errors
    /// [`ConvertError::Limit`] where the runtime's limits are exceeded.
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered;
}

type Lowered = Result<()>;

macro_rules! dispatch {
    ($($name:ident,)*) => {
        fn lower_op(op: &Op, to: &mut Lowering, node: &Node) -> Lowered {
            match op {
                $(Op::$name(op) => <op::$name as Lower>::lower(op, to, node),)*
            }
        }
    };
}

with_operators!(dispatch);

/// No parameters.
const NONE: &[u8] = &[];

struct Lowering<'g> {
    graph: &'g Graph,
    scheme: &'g Scheme,
    form: Form,
    program: Program,
    tensors: HashMap<ValueId, TensorId>,
    /// Copies in int8 of values that are held in int16.
    int8_copies: HashMap<ValueId, TensorId>,
    /// Keys and values that another entry point has packed for the attention with this result.
    packed: HashMap<ValueId, attention::Window>,
    /// Values that are read once more behind all operators: kept for the next run, or handed to another entry point.
    kept: HashSet<ValueId>,
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, scheme: &'g Scheme, form: Form, program: Program) -> Self {
        Self {
            graph,
            scheme,
            form,
            program,
            tensors: HashMap::new(),
            int8_copies: HashMap::new(),
            packed: HashMap::new(),
            kept: HashSet::new(),
        }
    }
}

/// An error at `node`.
fn limit(node: &Node, reason: impl Into<String>) -> ConvertError {
    ConvertError::Limit {
        node: node.name.clone(),
        reason: reason.into(),
    }
}

impl Lowering<'_> {
    fn node(&mut self, node: &Node) -> Lowered {
        lower_op(&node.op, self, node)
    }

    /// Makes the operators from `first` on an entry point which the caller gives `inputs`.
    fn entry(&mut self, name: &str, first: usize, inputs: &[ValueId]) -> Lowered {
        let ids = |values: &[ValueId]| values.iter().map(|id| self.tensors[id]).collect::<Vec<_>>();
        let named = |id: &ValueId| self.graph.values[id.0].name.clone();
        let input_names = inputs.iter().map(named).collect();
        let (inputs, outputs) = (ids(inputs), ids(&self.graph.outputs));
        for (what, list) in [("inputs", &inputs), ("outputs", &outputs)] {
            if list.len() > MAX_ENTRY_IO {
                let reason = format!(
                    "{} {what}, at most {MAX_ENTRY_IO}: keep what the model hands to its next run as states, or join tensors of one kind",
                    list.len()
                );
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

    fn len(&self, value: ValueId) -> usize {
        self.graph.values[value.0].len()
    }

    /// Adds the tensor for a value.
    fn add_value(&mut self, value: ValueId) -> TensorId {
        let tensor = self.copy(value, "", self.scheme.of(value));
        self.tensors.insert(value, tensor);
        tensor
    }

    /// Adds a tensor of a value's dimensions; `suffix` goes behind its name.
    fn copy(&mut self, value: ValueId, suffix: &str, quant: Quant) -> TensorId {
        let name = format!("{}{suffix}", self.graph.values[value.0].name);
        let dims = self.dims(value);
        let tensor = self.program.tensor(name, &dims, quant, Place::Arena);
        if let Some(&rule) = self.graph.varying.get(&value) {
            self.program.tensors[tensor].rows_rule = self.program.rows_rule(rule);
        }
        tensor
    }

    /// A tensor that a stream keeps from frame to frame, and a window only while it runs.
    fn kept(&mut self, name: String, dims: &[usize], quant: Quant) -> TensorId {
        let place = match self.form {
            Form::Stream => Place::State,
            Form::Window => Place::Arena,
        };
        self.program.tensor(name, dims, quant, place)
    }

    /// The tensor of a value that is there already.
    fn tensor(&self, value: ValueId) -> TensorId {
        self.tensors[&value]
    }

    /// The tensors that a node reads.
    fn inputs(&self, node: &Node) -> Vec<TensorId> {
        node.inputs.iter().map(|&id| self.tensor(id)).collect()
    }

    /// The first tensor that a node reads, and a new one for its result.
    fn ends(&mut self, node: &Node) -> [TensorId; 2] {
        [self.tensor(node.inputs[0]), self.add_value(node.output)]
    }

    fn quant(&self, tensor: TensorId) -> Quant {
        self.program.tensors[tensor].quant
    }

    /// The value as an int8 tensor: itself, or a copy made once.
    fn int8(&mut self, value: ValueId) -> Result<TensorId> {
        let x = self.tensor(value);
        if self.quant(x).dtype == DType::I8 {
            return Ok(x);
        }
        if let Some(&copy) = self.int8_copies.get(&value) {
            return Ok(copy);
        }
        let copy = self.copy(value, ".int8", self.scheme.int8_of(value));
        self.requantize(x, copy, None)?;
        self.int8_copies.insert(value, copy);
        Ok(copy)
    }

    /// The value held in just this way: itself, or a copy.
    fn held_as(&mut self, value: ValueId, quant: Quant) -> Result<TensorId> {
        let x = self.tensor(value);
        if self.quant(x) == quant {
            return Ok(x);
        }
        let copy = self.copy(value, ".rescaled", quant);
        self.requantize(x, copy, None)?;
        Ok(copy)
    }

    /// An operator with one input and one output.
    fn unary<P: IntoBytes + Immutable + ?Sized>(
        &mut self,
        node: &Node,
        kind: OpKind,
        [x, y]: [TensorId; 2],
        scratch: Option<TensorId>,
        params: &P,
    ) -> Lowered {
        self.op(&node.name, kind, vec![x], vec![y], scratch, params)
    }

    fn op<P: IntoBytes + Immutable + ?Sized>(
        &mut self,
        name: &str,
        kind: OpKind,
        inputs: Vec<TensorId>,
        outputs: Vec<TensorId>,
        scratch: Option<TensorId>,
        params: &P,
    ) -> Lowered {
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
            params: params.as_bytes().to_vec(),
        });
        Ok(())
    }

    /// Says how the weights of the operator just added lie.
    fn encoded(&mut self, encoding: Encoding) -> Lowered {
        if let Some(op) = self.program.ops.last_mut() {
            op.encoding = encoding;
        }
        Ok(())
    }
}

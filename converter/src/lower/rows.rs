//! Rows chosen, joined, made and weighed: SelectRows, Reshape, Sequence, ClearRows, MeanRows, Concat, ConcatRows, Constant,
//! WeightedRows.

use super::matrix::halves;
use super::{Form, Lower, Lowered, Lowering, NONE, limit};
use crate::graph::facts::Held;
use crate::graph::{Node, ValueId, op};
use crate::program::{Place, Program, TensorId};
use crate::quantize::Quant;
use crate::quantize::weights::{mean, weighted};
use attn_runtime::format::{DType, MAX_OP_INPUTS, OpKind};
use attn_runtime::ops::{ConstantParams, MatMulGeometry, RequantizeParams};

impl Lowering<'_> {
    /// The result is the same bytes as the input, from `offset` on.
    fn within(&mut self, node: &Node, offset: usize) {
        let [tensor, y] = self.ends(node);
        self.program.tensors[y].place = Place::Within { tensor, offset };
    }

    /// Joins the inputs along channels, each tensor as `view` shows it.
    fn join(
        &mut self,
        node: &Node,
        y: TensorId,
        view: impl Fn(&mut Program, TensorId) -> TensorId,
    ) -> Lowered {
        let count = node.inputs.len();
        if count > MAX_OP_INPUTS {
            let reason = format!("{count} inputs; at most {MAX_OP_INPUTS}: nest them");
            return Err(limit(node, reason));
        }
        let inputs = self.inputs(node);
        let params: Vec<RequantizeParams> = match self.scheme.is_half() {
            true => Vec::new(),
            false => {
                let params = inputs.iter().map(|&x| self.rescaled(&node.name, x, y));
                params.collect::<Result<_, _>>()?
            }
        };
        let inputs = inputs.iter().map(|&x| view(&mut self.program, x)).collect();
        let outputs = vec![view(&mut self.program, y)];
        self.op(&node.name, OpKind::Concat, inputs, outputs, None, &*params)
    }

    /// Bound of the sum of the magnitudes of one row of weights.
    fn largest_sum(&self, weights: ValueId, quant: Quant) -> i64 {
        let channels = self.channels(weights);
        if let Some(values) = self.graph.constant(weights) {
            let steps = |&w: &f32| i64::from(quant.quantize(w)).abs();
            let sums = values
                .chunks(channels)
                .map(|row| row.iter().map(steps).sum());
            return sums.max().unwrap_or(0);
        }
        let held = self
            .graph
            .producer(weights)
            .map(|producer| self.graph.facts(producer).held);
        match held == Some(Held::Probability) {
            // Each is rounded to the nearest of 32767 parts of 1.
            true => 32767 + channels as i64,
            false => quant.magnitude() * channels as i64,
        }
    }
}

/// Rows of a tensor are a tensor inside it; of a stream there is only the newest.
impl Lower for op::SelectRows {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let x = to.tensor(node.inputs[0]);
        if to.form == Form::Stream {
            to.tensors.insert(node.output, x);
            return Ok(());
        }
        let start = self.start;
        if start > 0 && to.graph.varying.contains_key(&node.inputs[0]) {
            let ends = to.ends(node);
            return to.unary(node, OpKind::LastRow, ends, None, NONE);
        }
        let row = to.channels(node.inputs[0]) * to.quant(x).dtype.size();
        if !(start * row).is_multiple_of(4) {
            // No tensor starts there.
            let (first, len) = (start * to.channels(node.inputs[0]), to.len(node.output));
            let index = (first..first + len).map(|at| at as u32).collect();
            return op::Copy { index }.lower(to, node);
        }
        to.within(node, start * row);
        Ok(())
    }
}

impl Lower for op::Reshape {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        to.within(node, 0);
        Ok(())
    }
}

impl Lower for op::Sequence {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        to.within(node, 0);
        Ok(())
    }
}

impl Lower for op::ClearRows {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let ends = to.ends(node);
        to.unary(node, OpKind::ClearRows, ends, None, NONE)
    }
}

impl Lower for op::MeanRows {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let rows = to.graph.values[node.inputs[0].0].rows();
        let by = |from: &[Quant], out| mean(&node.name, from[0], rows, out);
        to.requantized(node, OpKind::MeanRows, by)
    }
}

impl Lower for op::Concat {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let y = to.add_value(node.output);
        to.join(node, y, |_, tensor| tensor)
    }
}

/// Rows behind each other are, in memory, channels of one row behind each other.
impl Lower for op::ConcatRows {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let y = to.add_value(node.output);
        to.join(node, y, |program, tensor| {
            let whole = &program.tensors[tensor];
            let (name, quant) = (whole.name.clone(), whole.quant);
            let len = whole.dims.iter().product();
            let place = Place::Within { tensor, offset: 0 };
            program.tensor(name, &[len], quant, place)
        })
    }
}

impl Lower for op::Constant {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let y = to.add_value(node.output);
        let quant = to.quant(y);
        let integers = self.values.iter().map(|&x| quant.quantize(x));
        let data = match quant.dtype {
            DType::F16 => to.program.weights(&halves(node, self.values.iter())?),
            DType::I8 => {
                let data: Vec<i8> = integers.map(|q| q as i8).collect();
                to.program.weights(&data)
            }
            DType::I16 | DType::I32 => {
                let data: Vec<i16> = integers.map(|q| q as i16).collect();
                to.program.weights(&data)
            }
        };
        let (kind, params) = (OpKind::Constant, ConstantParams { data });
        to.op(&node.name, kind, vec![], vec![y], None, &params)
    }
}

impl Lower for op::WeightedRows {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (inputs, y) = (to.inputs(node), to.add_value(node.output));
        let kind = OpKind::WeightedRows;
        if to.scheme.is_half() {
            let scratch = to.f32_scratch(node, to.channels(node.inputs[0]));
            return to.op(&node.name, kind, inputs, vec![y], scratch, NONE);
        }
        let held = [inputs[0], inputs[1], y].map(|tensor| to.quant(tensor));
        let largest = to.largest_sum(node.inputs[0], held[0]);
        let channels = to.channels(node.output);
        // The weights are int16, and the sums have 32 bits. Others are a product of two activations.
        let factor = match weighted(&node.name, held, largest) {
            Ok(factor) if held[0].dtype == DType::I16 => factor,
            Ok(_) | Err(_) if to.program.max_length == 0 => {
                let sizes = MatMulGeometry {
                    batch: 1,
                    m: to.graph.values[node.output.0].rows() as u32,
                    k: to.channels(node.inputs[0]) as u32,
                    n: channels as u32,
                };
                return to.live_product(node, inputs, y, sizes);
            }
            Ok(factor) => factor,
            Err(error) => return Err(error),
        };
        let params = to.by(y, factor);
        let scratch = to.program.scratch(&node.name, DType::I32, channels);
        to.op(&node.name, kind, inputs, vec![y], Some(scratch), &params)
    }
}

//! Constant, ConcatRows, WeightedRows, Rotary.

use super::{Form, Lowering};
use crate::error::ConvertError;
use crate::graph::{Node, Op, ValueId, op};
use crate::program::Place;
use crate::quantize::Quant;
use crate::quantize::weights::{turned, weighted};
use attn_runtime::format::{DType, OpKind};
use attn_runtime::kernels::int::rotary::TURN_BITS;
use attn_runtime::ops::{
    ConstantParams, RequantizeParams, RotaryGeometry, RotaryParams, WeightedRowsParams,
};

/// The positions and pairs of `rotation`.
pub(super) fn turns(rotation: &op::Rotary) -> RotaryGeometry {
    RotaryGeometry {
        positions: (rotation.table.len() / rotation.pairs) as u32,
        head_dim: rotation.head_dim as u32,
        pairs: rotation.pairs as u32,
        interleaved: rotation.interleaved.into(),
    }
}

impl Lowering<'_> {
    pub(super) fn constant(&mut self, node: &Node, values: &[f32]) -> Result<(), ConvertError> {
        let y = self.add_value(node.output);
        let quant = self.quant(y);
        let integers = values.iter().map(|&x| quant.quantize(x));
        let data = match quant.dtype {
            DType::I8 => {
                let data: Vec<i8> = integers.map(|q| q as i8).collect();
                self.program.weights(&data)
            }
            _ => {
                let data: Vec<i16> = integers.map(|q| q as i16).collect();
                self.program.weights(&data)
            }
        };
        let params = ConstantParams { data };
        self.op(&node.name, OpKind::Constant, vec![], vec![y], None, &params);
        Ok(())
    }

    /// Rows behind each other are, in memory, channels of one row behind each other.
    pub(super) fn concat_rows(&mut self, node: &Node) -> Result<(), ConvertError> {
        let y = self.add_value(node.output);
        self.join(node, y, |program, tensor| {
            let whole = &program.tensors[tensor];
            let (name, dims, quant) = (
                whole.name.clone(),
                [whole.dims.iter().product()],
                whole.quant,
            );
            let place = Place::Within { tensor, offset: 0 };
            program.tensor(name, &dims, quant, place)
        })
    }

    /// Rows of zero where padding is.
    pub(super) fn clear_rows(&mut self, node: &Node) -> Result<(), ConvertError> {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let params = [0u8; 0];
        self.op(
            &node.name,
            OpKind::ClearRows,
            vec![x],
            vec![y],
            None,
            &params,
        );
        Ok(())
    }

    /// The same bytes under other dimensions, or the first rows of them.
    pub(super) fn reshape(&mut self, node: &Node) -> Result<(), ConvertError> {
        let tensor = self.tensor(node.inputs[0]);
        let y = self.add_value(node.output);
        self.program.tensors[y].place = Place::Within { tensor, offset: 0 };
        Ok(())
    }

    pub(super) fn weighted_rows(&mut self, node: &Node) -> Result<(), ConvertError> {
        let [w, x] = [0, 1].map(|i| self.tensor(node.inputs[i]));
        let y = self.add_value(node.output);
        let held = [w, x, y].map(|tensor| self.quant(tensor));
        let largest = self.largest_sum(node.inputs[0], held[0]);
        let (multiplier, left_shift) = weighted(&node.name, held, largest)?;
        let (min, max) = held[2].limits();
        let params = WeightedRowsParams {
            multiplier,
            left_shift,
            min,
            max,
        };
        let channels = self.channels(node.output);
        let scratch = self.program.scratch(&node.name, DType::I32, channels);
        self.op(
            &node.name,
            OpKind::WeightedRows,
            vec![w, x],
            vec![y],
            Some(scratch),
            &params,
        );
        Ok(())
    }

    /// Bound of the sum of the magnitudes of one row of weights.
    fn largest_sum(&self, weights: ValueId, quant: Quant) -> i64 {
        let channels = self.channels(weights);
        match self.graph.producer(weights).map(|producer| &producer.op) {
            // Each is rounded to the nearest of 32767 parts of 1.
            Some(Op::Softmax(op::Softmax)) => 32767 + channels as i64,
            Some(Op::Constant(op::Constant { values })) => {
                let sum = |row: &[f32]| {
                    row.iter()
                        .map(|&w| i64::from(quant.quantize(w)).abs())
                        .sum()
                };
                values.chunks(channels).map(sum).max().unwrap_or(0)
            }
            _ => quant.magnitude() * channels as i64,
        }
    }

    pub(super) fn rotary(
        &mut self,
        node: &Node,
        rotation: &op::Rotary,
    ) -> Result<(), ConvertError> {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let (multiplier, left_shift) = turned(&node.name, self.quant(x), self.quant(y).scale)?;
        let (min, max) = self.quant(y).limits();
        let one = f32::from(1u16 << TURN_BITS);
        let q14 = |x: &f32| (x * one).round() as i16;
        let table: Vec<i16> = rotation.table.iter().flatten().map(q14).collect();
        let params = RotaryParams {
            table: self.program.weights(&table),
            turns: turns(rotation),
            by: RequantizeParams {
                multiplier,
                left_shift,
                min,
                max,
            },
        };
        let mut inputs = vec![x];
        if self.form == Form::Stream {
            inputs.push(self.position(node));
        }
        self.op(&node.name, OpKind::Rotary, inputs, vec![y], None, &params);
        Ok(())
    }
}

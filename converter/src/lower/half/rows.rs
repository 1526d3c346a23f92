//! Constant, Rotary and WeightedRows in half precision.

use super::super::rows::turns;
use super::super::{Form, Lowering};
use super::halves;
use crate::error::ConvertError;
use crate::graph::{Node, op};
use attn_runtime::format::OpKind;
use attn_runtime::ops::{ConstantParams, RotaryHalfParams};

impl Lowering<'_> {
    pub(super) fn half_constant(
        &mut self,
        node: &Node,
        values: &[f32],
    ) -> Result<(), ConvertError> {
        let y = self.add_value(node.output);
        let data = self.program.weights(&halves(node, values.iter())?);
        let params = ConstantParams { data };
        self.op(&node.name, OpKind::Constant, vec![], vec![y], None, &params);
        Ok(())
    }

    pub(super) fn half_rotary(
        &mut self,
        node: &Node,
        rotation: &op::Rotary,
    ) -> Result<(), ConvertError> {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let table = halves(node, rotation.table.iter().flatten())?;
        let params = RotaryHalfParams {
            table: self.program.weights(&table),
            turns: turns(rotation),
        };
        let mut inputs = vec![x];
        if self.form == Form::Stream {
            inputs.push(self.position(node));
        }
        self.op(&node.name, OpKind::Rotary, inputs, vec![y], None, &params);
        Ok(())
    }

    pub(super) fn half_weighted_rows(&mut self, node: &Node) -> Result<(), ConvertError> {
        let [w, x] = [0, 1].map(|i| self.tensor(node.inputs[i]));
        let y = self.add_value(node.output);
        let scratch = self.half_scratch(node, self.channels(node.inputs[0]));
        self.op(
            &node.name,
            OpKind::WeightedRows,
            vec![w, x],
            vec![y],
            scratch,
            &[0u8; 0],
        );
        Ok(())
    }
}

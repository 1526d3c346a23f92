//! Linear, Conv1d and DepthwiseConv1d in half precision.

use super::super::Lowering;
use super::super::matrix::rows;
use super::{halves, limits, pack};
use crate::error::ConvertError;
use crate::graph::{Clamp, Node, op};
use crate::program::TensorId;
use attn_runtime::f16;
use attn_runtime::format::{DType, OpKind};
use attn_runtime::ops::{Conv1dHalfParams, LinearHalfParams};

impl Lowering<'_> {
    /// Scratch of `len` f32.
    pub(super) fn half_scratch(&mut self, node: &Node, len: usize) -> Option<TensorId> {
        Some(self.program.scratch(&node.name, DType::I32, len))
    }

    pub(super) fn half_matrix(
        &mut self,
        weights: &[f16],
        bias: &[f32],
        clamp: Clamp,
    ) -> LinearHalfParams {
        let (min, max) = limits(clamp);
        LinearHalfParams {
            weights: self.program.weights(weights),
            bias: self.program.weights(bias),
            min,
            max,
        }
    }

    pub(super) fn half_linear(&mut self, node: &Node, op: &op::Linear) -> Result<(), ConvertError> {
        let (weight, bias, clamp) = (&op.weight, &op.bias, op.clamp);
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let params = self.half_matrix(&pack(node, &rows(weight))?, bias, clamp);
        let scratch = self.half_scratch(node, self.channels(node.inputs[0]));
        self.op(
            &node.name,
            OpKind::Linear,
            vec![x],
            vec![y],
            scratch,
            &params,
        );
        Ok(())
    }

    pub(super) fn half_conv1d(&mut self, node: &Node, op: &op::Conv1d) -> Result<(), ConvertError> {
        let (weight, bias, clamp) = (&op.weight, &op.bias, op.clamp);
        let (kernel, channels) = (op.window.kernel, weight.shape()[2]);
        let x = self.convolved(node, op.window.reach());
        let y = self.add_value(node.output);
        let matrix = self.half_matrix(&pack(node, &rows(weight))?, bias, clamp);
        let window = self.window(op.window);
        let params = Conv1dHalfParams { matrix, window };
        let scratch = self.half_scratch(node, kernel * channels);
        self.op(
            &node.name,
            OpKind::Conv1d,
            vec![x],
            vec![y],
            scratch,
            &params,
        );
        Ok(())
    }

    pub(super) fn half_depthwise(
        &mut self,
        node: &Node,
        op: &op::DepthwiseConv1d,
    ) -> Result<(), ConvertError> {
        let (weight, bias, clamp) = (&op.weight, &op.bias, op.clamp);
        let x = self.convolved(node, op.window.reach());
        let y = self.add_value(node.output);
        let matrix = self.half_matrix(&halves(node, weight.iter())?, bias, clamp);
        let window = self.window(op.window);
        let params = Conv1dHalfParams { matrix, window };
        self.op(
            &node.name,
            OpKind::DepthwiseConv1d,
            vec![x],
            vec![y],
            None,
            &params,
        );
        Ok(())
    }
}

//! Operators with weight matrices: Linear, Conv1d, DepthwiseConv1d, Embedding. Recurrent layers are in `recurrent`.

use super::{Form, Lowering};
use crate::error::ConvertError;
use crate::graph::{Clamp, Node, Window1d, op};
use crate::program::{Place, TensorId};
use crate::quantize::Quant;
use crate::quantize::inputs::Side;
use crate::quantize::weights::{self, Weights};
use attn_runtime::format::{DType, OpKind};
use attn_runtime::kernels::int::dot::pairs_len;
use attn_runtime::ops::{Conv1dParams, EmbeddingParams, LinearParams, Window1dParams};
use ndarray::ArrayD;

/// Rows `[out, …]` of a matrix, each flat.
pub(super) fn rows(matrix: &ArrayD<f32>) -> Vec<Vec<f32>> {
    matrix
        .outer_iter()
        .map(|row| row.iter().copied().collect())
        .collect()
}

/// A clamp in integers.
pub(super) fn limits(clamp: Clamp, quant: Quant) -> (i32, i32) {
    (quant.quantize(clamp.min), quant.quantize(clamp.max))
}

impl Lowering<'_> {
    /// The matrix that a node multiplies its input `x` with.
    pub(super) fn matrix(
        &self,
        node: &Node,
        rows: &[Vec<f32>],
        bias: &[f32],
        x: TensorId,
    ) -> Result<Weights, ConvertError> {
        self.matrix_of(node, Side::Input, rows, bias, x)
    }

    /// The matrix on one side of a node.
    pub(super) fn matrix_of(
        &self,
        node: &Node,
        side: Side,
        rows: &[Vec<f32>],
        bias: &[f32],
        x: TensorId,
    ) -> Result<Weights, ConvertError> {
        Weights::new(
            &node.name,
            rows.iter().map(Vec::as_slice),
            bias,
            self.quant(x),
            self.scheme.rounding(self.graph, node, side),
        )
    }

    pub(super) fn linear_params(
        &mut self,
        node: &Node,
        weights: &Weights,
        stored: &[i8],
        x: TensorId,
        y: TensorId,
        clamp: Clamp,
    ) -> Result<LinearParams, ConvertError> {
        let out = self.quant(y);
        let multipliers = weights.multipliers(&node.name, self.quant(x).scale, out.scale.into())?;
        let (min, max) = limits(clamp, out);
        Ok(LinearParams {
            weights: self.program.weights(stored),
            bias: self.program.weights(weights.bias()),
            multipliers: self.program.weights(&multipliers.values),
            left_shift: multipliers.left_shift,
            min,
            max,
        })
    }

    pub(super) fn linear(&mut self, node: &Node, op: &op::Linear) -> Result<(), ConvertError> {
        let (weight, bias, clamp) = (&op.weight, &op.bias, op.clamp);
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let weights = self.matrix(node, &rows(weight), bias, x)?;
        let params = self.linear_params(node, &weights, &weights.packed(), x, y, clamp)?;
        let k = self.channels(node.inputs[0]);
        let scratch = self.program.scratch(&node.name, DType::I16, pairs_len(k));
        self.op(
            &node.name,
            OpKind::Linear,
            vec![x],
            vec![y],
            Some(scratch),
            &params,
        );
        Ok(())
    }

    /// The rows that a convolution reads: its input, or the history that the newest row was pushed into.
    pub(super) fn convolved(&mut self, node: &Node, reach: usize) -> TensorId {
        let x = self.tensor(node.inputs[0]);
        if self.form == Form::Window || reach == 1 {
            return x;
        }
        let name = format!("{}.history", self.graph.values[node.inputs[0].0].name);
        let dims = [reach, self.channels(node.inputs[0])];
        let history = self
            .program
            .tensor(&name, &dims, self.quant(x), Place::State);
        self.op(
            &name,
            OpKind::ShiftRows,
            vec![x, history],
            vec![],
            None,
            &[0u8; 0],
        );
        history
    }

    /// A kernel's way over rows; over the history of a stream without padding.
    pub(super) fn window(&self, window: Window1d) -> Window1dParams {
        let (before, after) = match self.form {
            Form::Window => window.padding,
            Form::Stream => (0, 0),
        };
        Window1dParams {
            kernel: window.kernel as u32,
            stride: window.stride as u32,
            pad_before: before as u32,
            pad_after: after as u32,
            gap: window.dilation as u32 - 1,
        }
    }

    pub(super) fn conv1d(&mut self, node: &Node, op: &op::Conv1d) -> Result<(), ConvertError> {
        let (weight, bias, clamp) = (&op.weight, &op.bias, op.clamp);
        let (kernel, channels) = (op.window.kernel, weight.shape()[2]);
        let x = self.convolved(node, op.window.reach());
        let y = self.add_value(node.output);
        let weights = self.matrix(node, &rows(weight), bias, x)?;
        let matrix = self.linear_params(node, &weights, &weights.packed(), x, y, clamp)?;
        let window = self.window(op.window);
        let params = Conv1dParams { matrix, window };
        let scratch = self
            .program
            .scratch(&node.name, DType::I16, pairs_len(kernel * channels));
        self.op(
            &node.name,
            OpKind::Conv1d,
            vec![x],
            vec![y],
            Some(scratch),
            &params,
        );
        Ok(())
    }

    pub(super) fn depthwise_conv1d(
        &mut self,
        node: &Node,
        op: &op::DepthwiseConv1d,
    ) -> Result<(), ConvertError> {
        let (weight, bias, clamp) = (&op.weight, &op.bias, op.clamp);
        let x = self.convolved(node, op.window.reach());
        let y = self.add_value(node.output);
        let by_channel = weight.clone().reversed_axes();
        let weights = self.matrix(node, &rows(&by_channel), bias, x)?;
        let matrix = self.linear_params(node, &weights, &weights.transposed(), x, y, clamp)?;
        let window = self.window(op.window);
        let params = Conv1dParams { matrix, window };
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

    pub(super) fn embedding(
        &mut self,
        node: &Node,
        table: &ArrayD<f32>,
    ) -> Result<(), ConvertError> {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let out = self.quant(y);
        let rows = rows(table);
        let rounding = self.scheme.rounding(self.graph, node, Side::Input);
        let slices = rows.iter().map(Vec::as_slice);
        let (stored, multipliers) = weights::table(&node.name, slices, out.scale, rounding)?;
        let (min, max) = out.limits();
        let params = EmbeddingParams {
            table: self.program.weights(&stored),
            multipliers: self.program.weights(&multipliers.values),
            tokens: rows.len() as u32,
            left_shift: multipliers.left_shift,
            min,
            max,
        };
        self.op(
            &node.name,
            OpKind::Embedding,
            vec![x],
            vec![y],
            None,
            &params,
        );
        Ok(())
    }
}

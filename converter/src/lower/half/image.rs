//! Operators over images in half precision.

use super::super::Lowering;
use super::super::image::{Parts, four, window_params};
use super::super::matrix::rows;
use super::{halves, pack};
use crate::error::ConvertError;
use crate::graph::{Node, Window, op};
use attn_runtime::f16;
use attn_runtime::format::OpKind;
use attn_runtime::ops::{Conv2dHalfParams, GateHalfParams};

impl Lowering<'_> {
    pub(super) fn half_conv2d(&mut self, node: &Node, op: &op::Conv2d) -> Result<(), ConvertError> {
        let (weight, bias, window, clamp) = (&op.weight, &op.bias, &op.window, op.clamp);
        let packed = pack(node, &rows(weight))?;
        let params = Conv2dHalfParams {
            matrix: self.half_matrix(&packed, bias, clamp),
            window: window_params(window),
        };
        self.half_convolution(node, OpKind::Conv2d, &params, true);
        Ok(())
    }

    pub(super) fn half_depthwise_conv2d(
        &mut self,
        node: &Node,
        op: &op::DepthwiseConv2d,
    ) -> Result<(), ConvertError> {
        let (weight, bias, window, clamp) = (&op.weight, &op.bias, &op.window, op.clamp);
        let weights = halves(node, weight.iter())?;
        let params = Conv2dHalfParams {
            matrix: self.half_matrix(&weights, bias, clamp),
            window: window_params(window),
        };
        self.half_convolution(node, OpKind::DepthwiseConv2d, &params, false);
        Ok(())
    }

    pub(super) fn half_conv_transpose2d(
        &mut self,
        node: &Node,
        op: &op::ConvTranspose2d,
    ) -> Result<(), ConvertError> {
        let (weight, bias, stride, crop, clamp) =
            (&op.weight, &op.bias, op.stride, op.crop, op.clamp);
        let parts = Parts::new(node, &four(weight), stride, crop)?;
        let mut packed: Vec<f16> = Vec::new();
        for kernel in &parts.kernels {
            packed.extend(pack(node, &rows(&kernel.clone().into_dyn()))?);
        }
        let params = Conv2dHalfParams {
            matrix: self.half_matrix(&packed, &bias.repeat(parts.kernels.len()), clamp),
            window: window_params(&parts.window),
        };
        self.half_convolution(node, OpKind::ConvTranspose2d, &params, true);
        Ok(())
    }

    fn half_convolution(
        &mut self,
        node: &Node,
        kind: OpKind,
        params: &Conv2dHalfParams,
        gathers: bool,
    ) {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let [height, width] = params.window.kernel.map(|n| n as usize);
        let span = height * width * self.channels(node.inputs[0]);
        let scratch = gathers.then(|| self.half_scratch(node, span)).flatten();
        self.op(&node.name, kind, vec![x], vec![y], scratch, params);
    }

    pub(super) fn half_pool(
        &mut self,
        node: &Node,
        kind: OpKind,
        window: &Window,
    ) -> Result<(), ConvertError> {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let params = window_params(window);
        self.op(&node.name, kind, vec![x], vec![y], None, &params);
        Ok(())
    }

    pub(super) fn half_gate(
        &mut self,
        node: &Node,
        per_row: bool,
        factor: f32,
    ) -> Result<(), ConvertError> {
        let inputs = vec![self.tensor(node.inputs[0]), self.tensor(node.inputs[1])];
        let y = self.add_value(node.output);
        let params = GateHalfParams {
            factor,
            per_row: per_row.into(),
        };
        self.op(&node.name, OpKind::Gate, inputs, vec![y], None, &params);
        Ok(())
    }
}

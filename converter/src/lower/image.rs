//! Operators over images: convolution, pooling, gates.

use super::Lowering;
use super::matrix::{limits, rows};
use crate::error::ConvertError;
use crate::graph::{Clamp, Node, Window, op};
use crate::program::TensorId;
use crate::quantize::weights::{mean, product};
use attn_runtime::format::{DType, OpKind};
use attn_runtime::kernels::geometry::Window2d;
use attn_runtime::kernels::int::dot::pairs_len;
use attn_runtime::ops::{
    AveragePool2dParams, Conv2dParams, GateParams, LinearParams, RequantizeParams, Window2dParams,
};
use ndarray::{Array4, ArrayD, Ix4};

/// Most phases of a transposed convolution that the runtime takes.
const MAX_PHASES: usize = 64;

pub(super) fn window_params(window: &Window) -> Window2dParams {
    let numbers = |pair: [usize; 2]| pair.map(|n| n as u32);
    Window2dParams {
        kernel: numbers(window.kernel),
        stride: numbers(window.stride),
        pad_before: numbers(window.pad_before),
        pad_after: numbers(window.pad_after),
        gap: numbers(window.dilation.map(|n| n - 1)),
    }
}

/// A kernel of `[out, height, width, in]` as rows of a matrix, each kernel row padded with zeros to a multiple of 4.
fn kernel_rows(weight: &Array4<f32>) -> Vec<Vec<f32>> {
    let (_, _, width, channels) = weight.dim();
    let one_row = |row: ndarray::ArrayView2<f32>| {
        let mut row: Vec<f32> = row.iter().copied().collect();
        row.resize(pairs_len(width * channels), 0.0);
        row
    };
    weight
        .outer_iter()
        .map(|kernel| kernel.outer_iter().flat_map(one_row).collect())
        .collect()
}

/// The part of a transposed convolution's kernel that results of one phase see, in the order in which a plain convolution
/// meets it: `[out, rows, columns, in]`.
fn phase_kernel(
    weight: &Array4<f32>,
    stride: [usize; 2],
    part: [usize; 2],
    phase: [usize; 2],
) -> Array4<f32> {
    let (out, height, width, channels) = weight.dim();
    let tap = |axis: usize, at: usize| phase[axis] + stride[axis] * (part[axis] - 1 - at);
    Array4::from_shape_fn((out, part[0], part[1], channels), |(o, down, right, c)| {
        let (y, x) = (tap(0, down), tap(1, right));
        if y < height && x < width {
            weight[(o, y, x, c)]
        } else {
            0.0
        }
    })
}

pub(super) fn four(weight: &ArrayD<f32>) -> Array4<f32> {
    let four = weight.to_owned().into_dimensionality::<Ix4>();
    four.expect("kernels over images have four axes")
}

/// A transposed convolution as plain ones, one for each phase.
pub(super) struct Parts {
    /// `[out, rows, columns, in]` of every phase, row-major by remainder.
    pub kernels: Vec<Array4<f32>>,
    /// Size of a part, stride, and what the result loses.
    pub window: Window,
}

impl Parts {
    pub(super) fn new(
        node: &Node,
        weight: &Array4<f32>,
        stride: [usize; 2],
        crop: [usize; 2],
    ) -> Result<Self, ConvertError> {
        let phases = stride[0] * stride[1];
        if phases > MAX_PHASES {
            let reason = format!(
                "strides {stride:?} give {phases} phases, at most {MAX_PHASES}: upsample in steps"
            );
            return Err(ConvertError::Limit {
                node: node.name.clone(),
                reason,
            });
        }
        let (_, height, width, _) = weight.dim();
        let part = [height.div_ceil(stride[0]), width.div_ceil(stride[1])];
        let kernels = (0..phases)
            .map(|phase| [phase / stride[1], phase % stride[1]])
            .map(|phase| phase_kernel(weight, stride, part, phase))
            .collect();
        let window = Window {
            kernel: part,
            stride,
            dilation: [1; 2],
            pad_before: crop,
            pad_after: [0; 2],
        };
        Ok(Self { kernels, window })
    }
}

impl Lowering<'_> {
    fn image_scratch(&mut self, node: &Node, kernel: [usize; 2]) -> TensorId {
        let window = Window2d {
            kernel,
            stride: [1; 2],
            dilation: [1; 2],
            pad: [0; 2],
            pad_value: 0,
        };
        let len = window.scratch_len(self.channels(node.inputs[0]));
        self.program.scratch(&node.name, DType::I16, len)
    }

    pub(super) fn conv2d(&mut self, node: &Node, op: &op::Conv2d) -> Result<(), ConvertError> {
        let (weight, bias, window, clamp) = (&op.weight, &op.bias, &op.window, op.clamp);
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let weights = self.matrix(node, &kernel_rows(&four(weight)), bias, x)?;
        let params = Conv2dParams {
            matrix: self.linear_params(node, &weights, &weights.packed(), x, y, clamp)?,
            window: window_params(window),
        };
        let scratch = Some(self.image_scratch(node, window.kernel));
        self.op(
            &node.name,
            OpKind::Conv2d,
            vec![x],
            vec![y],
            scratch,
            &params,
        );
        Ok(())
    }

    pub(super) fn depthwise_conv2d(
        &mut self,
        node: &Node,
        op: &op::DepthwiseConv2d,
    ) -> Result<(), ConvertError> {
        let (weight, bias, window, clamp) = (&op.weight, &op.bias, &op.window, op.clamp);
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let by_channel = weight.clone().permuted_axes(vec![2, 0, 1]);
        let weights = self.matrix(node, &rows(&by_channel), bias, x)?;
        let params = Conv2dParams {
            matrix: self.linear_params(node, &weights, &weights.transposed(), x, y, clamp)?,
            window: window_params(window),
        };
        self.op(
            &node.name,
            OpKind::DepthwiseConv2d,
            vec![x],
            vec![y],
            None,
            &params,
        );
        Ok(())
    }

    pub(super) fn conv_transpose2d(
        &mut self,
        node: &Node,
        op: &op::ConvTranspose2d,
    ) -> Result<(), ConvertError> {
        let (weight, bias, stride, crop, clamp) =
            (&op.weight, &op.bias, op.stride, op.crop, op.clamp);
        let parts = Parts::new(node, &four(weight), stride, crop)?;
        let (phases, out) = (parts.kernels.len(), bias.len());
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let kernels: Vec<Vec<f32>> = parts.kernels.iter().flat_map(kernel_rows).collect();
        let weights = self.matrix(node, &kernels, &bias.repeat(phases), x)?;
        let packed: Vec<i8> = (0..phases)
            .flat_map(|phase| weights.gate(phase, out).packed())
            .collect();
        let matrix: LinearParams = self.linear_params(node, &weights, &packed, x, y, clamp)?;
        let params = Conv2dParams {
            matrix,
            window: window_params(&parts.window),
        };
        let scratch = Some(self.image_scratch(node, parts.window.kernel));
        let kind = OpKind::ConvTranspose2d;
        self.op(&node.name, kind, vec![x], vec![y], scratch, &params);
        Ok(())
    }

    pub(super) fn max_pool2d(&mut self, node: &Node, window: &Window) -> Result<(), ConvertError> {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let params = window_params(window);
        self.op(
            &node.name,
            OpKind::MaxPool2d,
            vec![x],
            vec![y],
            None,
            &params,
        );
        Ok(())
    }

    pub(super) fn average_pool2d(
        &mut self,
        node: &Node,
        window: &Window,
    ) -> Result<(), ConvertError> {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let (from, out) = (self.quant(x), self.quant(y));
        let pixels = window.kernel[0] * window.kernel[1];
        let (multiplier, left_shift) = mean(&node.name, from, pixels, out.scale)?;
        let (min, max) = limits(Clamp::NONE, out);
        let params = AveragePool2dParams {
            window: window_params(window),
            rescale: RequantizeParams {
                multiplier,
                left_shift,
                min,
                max,
            },
        };
        let kind = OpKind::AveragePool2d;
        self.op(&node.name, kind, vec![x], vec![y], None, &params);
        Ok(())
    }

    pub(super) fn max_channels(&mut self, node: &Node) -> Result<(), ConvertError> {
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let kind = OpKind::MaxChannels;
        self.op(&node.name, kind, vec![x], vec![y], None, &[0u8; 0]);
        Ok(())
    }

    pub(super) fn mean_channels(&mut self, node: &Node) -> Result<(), ConvertError> {
        let x = self.tensor(node.inputs[0]);
        let channels = self.channels(node.inputs[0]);
        let scale = self.scheme.of(node.output).scale;
        let by = mean(&node.name, self.quant(x), channels, scale)?;
        self.requantized(node, OpKind::MeanChannels, vec![x], by);
        Ok(())
    }

    pub(super) fn gate(
        &mut self,
        node: &Node,
        per_row: bool,
        factor: f32,
    ) -> Result<(), ConvertError> {
        let inputs = [0, 1].map(|i| self.tensor(node.inputs[i]));
        let y = self.add_value(node.output);
        let (held, out) = (inputs.map(|x| self.quant(x)), self.quant(y));
        let (multiplier, left_shift) = product(&node.name, held, factor, out.scale)?;
        let (min, max) = out.limits();
        let params = GateParams {
            rescale: RequantizeParams {
                multiplier,
                left_shift,
                min,
                max,
            },
            per_row: per_row.into(),
        };
        let (kind, inputs) = (OpKind::Gate, inputs.to_vec());
        self.op(&node.name, kind, inputs, vec![y], None, &params);
        Ok(())
    }
}

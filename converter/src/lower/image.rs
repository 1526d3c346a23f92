//! Operators over images: convolutions and pooling.

use super::matrix::{Layout, Matrix, rows};
use super::parts::Layer;
use super::{Lower, Lowered, Lowering, limit};
use crate::error::Result;
use crate::graph::{Node, Window, op};
use crate::program::TensorId;
use crate::quantize::weights::mean;
use attn_runtime::format::{DType, OpKind};
use attn_runtime::kernels::geometry::{MAX_PHASES, Window2d};
use attn_runtime::kernels::int::dot::pairs_len;
use attn_runtime::ops::{AveragePool2dParams, Window2dParams};
use ndarray::{ArrayD, ArrayViewD};

fn window_params(window: &Window) -> Window2dParams {
    let numbers = |pair: [usize; 2]| pair.map(|n| n as u32);
    Window2dParams {
        kernel: numbers(window.kernel),
        stride: numbers(window.stride),
        pad_before: numbers(window.pad_before),
        pad_after: numbers(window.pad_after),
        gap: numbers(window.dilation.map(|n| n - 1)),
    }
}

impl Lowering<'_> {
    /// A kernel of `[out, height, width, in]` as rows of a matrix; in integers each kernel row is padded with zeros to a multiple of 4.
    fn kernel_rows(&self, weight: &ArrayD<f32>) -> Vec<Vec<f32>> {
        if self.scheme.is_half() {
            return rows(weight);
        }
        let one_row = |row: ArrayViewD<f32>| {
            let mut row: Vec<f32> = row.iter().copied().collect();
            row.resize(pairs_len(row.len()), 0.0);
            row
        };
        let kernel = |kernel: ArrayViewD<f32>| kernel.outer_iter().flat_map(one_row).collect();
        weight.outer_iter().map(kernel).collect()
    }

    /// Scratch for the pixels under a kernel, for so many of its results.
    fn image_scratch(
        &mut self,
        node: &Node,
        kernel: [usize; 2],
        results: usize,
    ) -> Option<TensorId> {
        let channels = self.channels(node.inputs[0]);
        if self.scheme.is_half() {
            return self.f32_scratch(node, kernel[0] * kernel[1] * channels);
        }
        let window = Window2d {
            kernel,
            stride: [1; 2],
            dilation: [1; 2],
            pad: [0; 2],
            pad_value: 0,
        };
        let len = window.scratch_len(channels, results);
        Some(self.program.scratch(&node.name, DType::I16, len))
    }
}

impl Lower for op::Conv2d {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let ends = to.ends(node);
        let window = window_params(&self.window);
        let layer = Layer {
            kind: OpKind::Conv2d,
            matrix: &Matrix::packed(&self.affine, to.kernel_rows(&self.affine.weight)),
            params: &|matrix| matrix.conv2d(window),
            scratch: to.image_scratch(node, self.window.kernel, to.results(node)),
        };
        to.layer(node, &layer, ends)
    }
}

impl Lower for op::DepthwiseConv2d {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let ends = to.ends(node);
        let window = window_params(&self.window);
        let layer = Layer {
            kind: OpKind::DepthwiseConv2d,
            matrix: &Matrix::depthwise(&self.affine),
            params: &|matrix| matrix.conv2d(window),
            scratch: None,
        };
        to.layer(node, &layer, ends)
    }
}

/// As plain convolutions, one for each phase: each remainder of a result's row and column by the strides.
impl Lower for op::ConvTranspose2d {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (ends, window) = (to.ends(node), self.part(node)?);
        let phases = self.stride[0] * self.stride[1];
        let kernel = |phase| self.phase_kernel(window.kernel, phase);
        let kernels = (0..phases).flat_map(|phase| to.kernel_rows(&kernel(phase)));
        let matrix = Matrix {
            bias: self.affine.bias.repeat(phases),
            layout: Layout::Packed { groups: phases },
            ..Matrix::packed(&self.affine, kernels.collect())
        };
        let params = window_params(&window);
        let layer = Layer {
            kind: OpKind::ConvTranspose2d,
            matrix: &matrix,
            params: &|matrix| matrix.conv2d(params),
            scratch: to.image_scratch(node, window.kernel, 1),
        };
        to.layer(node, &layer, ends)
    }
}

impl op::ConvTranspose2d {
    /// Size of the part of the kernel that one phase sees, stride, and what the result loses.
    fn part(&self, node: &Node) -> Result<Window> {
        let phases = self.stride[0] * self.stride[1];
        if phases > MAX_PHASES {
            let reason = format!(
                "strides {:?} give {phases} phases, at most {MAX_PHASES}: upsample in steps",
                self.stride
            );
            return Err(limit(node, reason));
        }
        let size = |axis: usize| self.affine.weight.shape()[1 + axis].div_ceil(self.stride[axis]);
        Ok(Window {
            kernel: [size(0), size(1)],
            stride: self.stride,
            dilation: [1; 2],
            pad_before: self.crop,
            pad_after: [0; 2],
        })
    }

    /// The part of the kernel that results of one phase see, in the order in which a plain convolution meets it:
    /// `[out, rows, columns, in]`.
    fn phase_kernel(&self, part: [usize; 2], phase: usize) -> ArrayD<f32> {
        let (shape, stride) = (self.affine.weight.shape(), self.stride);
        let phase = [phase / stride[1], phase % stride[1]];
        let tap = |axis: usize, at: usize| phase[axis] + stride[axis] * (part[axis] - 1 - at);
        ArrayD::from_shape_fn(vec![shape[0], part[0], part[1], shape[3]], |at| {
            let taps = [at[0], tap(0, at[1]), tap(1, at[2]), at[3]];
            self.affine.weight.get(&taps[..]).copied().unwrap_or(0.0)
        })
    }
}

impl Lower for op::MaxPool2d {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (ends, params) = (to.ends(node), window_params(&self.window));
        to.unary(node, OpKind::MaxPool2d, ends, None, &params)
    }
}

impl Lower for op::AveragePool2d {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (ends, kind) = (to.ends(node), OpKind::AveragePool2d);
        let window = window_params(&self.window);
        if to.scheme.is_half() {
            return to.unary(node, kind, ends, None, &window);
        }
        let [from, out] = ends.map(|tensor| to.quant(tensor));
        let pixels = self.window.kernel[0] * self.window.kernel[1];
        let rescale = to.by(ends[1], mean(&node.name, from, pixels, out.scale)?);
        let params = AveragePool2dParams { window, rescale };
        to.unary(node, kind, ends, None, &params)
    }
}

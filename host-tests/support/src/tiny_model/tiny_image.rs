//! The operators over images, as an entry point of their own.

use super::{Builder, RESCALE};
use attn_runtime::format::{DType, OpKind, Storage};
use attn_runtime::kernels::int::dot::{packed_len, pairs_len};
use attn_runtime::ops::{AveragePool2dParams, Conv2dParams, GateParams, Window2dParams};

/// Channels of every image.
const C: usize = 3;
const SAME: Window2dParams = Window2dParams {
    kernel: [3, 3],
    stride: [1, 1],
    pad_before: [1, 1],
    pad_after: [1, 1],
    gap: [0, 0],
};
/// From 4 x 5 to 2 x 3.
const HALVED: Window2dParams = Window2dParams {
    kernel: [2, 2],
    stride: [2, 2],
    pad_before: [0, 0],
    pad_after: [0, 1],
    gap: [0, 0],
};

impl Builder {
    /// An image behind the last tensor.
    fn image(&mut self, dtype: DType, [h, w, c]: [usize; 3]) -> u16 {
        let id = self.tensor(Storage::Arena, dtype, h * w, c);
        let record = &mut self.tensors[id as usize];
        (record.rank, record.dims) = (3, [h as u32, w as u32, c as u32, 1, 1, 1]);
        id
    }

    /// Weights and scratch of a full convolution with `phases` kernels.
    fn convolution(&mut self, window: Window2dParams, phases: usize) -> (Conv2dParams, u16) {
        let [height, width] = window.kernel.map(|n| n as usize);
        let row = pairs_len(width * C);
        let matrix = self.linear_params(phases * packed_len(C, height * row), phases * C);
        let scratch = self.tensor(Storage::Arena, DType::I16, 1, (height + 1) * row);
        (Conv2dParams { matrix, window }, scratch)
    }
}

/// Convolution, both attentions, pooling and a transposed convolution.
pub fn image(b: &mut Builder, first: usize) {
    use DType::{I8, I16};
    let x = b.image(I8, [4, 5, C]);
    let [conv, depthwise] = [(); 2].map(|_| b.image(I8, [4, 5, C]));
    let (params, scratch) = b.convolution(SAME, 1);
    b.op(OpKind::Conv2d, &[x], &[conv], Some(scratch), &params);
    let params = Conv2dParams {
        matrix: b.linear_params(9 * C, C),
        window: SAME,
    };
    b.op(
        OpKind::DepthwiseConv2d,
        &[conv],
        &[depthwise],
        None,
        &params,
    );

    let [mean, top] = [(); 2].map(|_| b.image(I8, [4, 5, 1]));
    b.op(OpKind::MeanChannels, &[depthwise], &[mean], None, &RESCALE);
    b.op(OpKind::MaxChannels, &[depthwise], &[top], None, &[0u8; 0]);
    let [by_row, gated] = [(); 2].map(|_| b.image(I8, [4, 5, C]));
    let mut gate = GateParams {
        rescale: RESCALE,
        per_row: 1,
    };
    b.op(OpKind::Gate, &[depthwise, mean], &[by_row], None, &gate);
    let average = b.tensor(Storage::Arena, I16, 1, C);
    b.op(OpKind::MeanRows, &[by_row], &[average], None, &RESCALE);
    gate.per_row = 0;
    b.op(OpKind::Gate, &[by_row, average], &[gated], None, &gate);

    let [most, half] = [(); 2].map(|_| b.image(I8, [2, 3, C]));
    b.op(OpKind::MaxPool2d, &[gated], &[most], None, &HALVED);
    let pool = AveragePool2dParams {
        window: HALVED,
        rescale: RESCALE,
    };
    b.op(OpKind::AveragePool2d, &[gated], &[half], None, &pool);
    let upsampled = b.image(I16, [4, 5, C]);
    let part = Window2dParams {
        kernel: [2, 1],
        stride: [2, 2],
        pad_before: [1, 0],
        pad_after: [0, 0],
        gap: [0, 0],
    };
    let (params, scratch) = b.convolution(part, 4);
    b.op(
        OpKind::ConvTranspose2d,
        &[most],
        &[upsampled],
        Some(scratch),
        &params,
    );
    b.entry("image", first, &[x], &[upsampled, half, top]);
}

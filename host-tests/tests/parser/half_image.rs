//! The half-precision operators over images, as an entry point of their own.

use super::{QUARTER, halves};
use attn_runtime::format::{DType, OpKind, Storage};
use attn_runtime::kernels::half::{LANES, packed_len};
use attn_runtime::ops::{Conv2dHalfParams, GateHalfParams, LinearHalfParams, Window2dParams};
use attn_test_support::tiny_model::Builder;

/// Channels of every image.
const C: usize = 3;
const SAME: Window2dParams = Window2dParams {
    kernel: [3, 2],
    stride: [1, 1],
    pad_before: [1, 0],
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

/// An image behind the last tensor.
fn image(b: &mut Builder, [h, w, c]: [usize; 3]) -> u16 {
    let id = halves(b, h * w, c);
    let record = &mut b.tensors[id as usize];
    (record.rank, record.dims) = (3, [h as u32, w as u32, c as u32, 1, 1, 1]);
    id
}

/// A convolution with `phases` kernels whose weights take `bytes`.
fn convolution(
    b: &mut Builder,
    window: Window2dParams,
    bytes: usize,
    phases: usize,
) -> Conv2dHalfParams {
    Conv2dHalfParams {
        matrix: LinearHalfParams {
            weights: b.weights(phases * bytes),
            bias: b.words(phases * C, QUARTER),
            min: -60.0,
            max: 65504.0,
        },
        window,
    }
}

/// Convolution, both attentions, pooling and a transposed convolution.
pub fn images(b: &mut Builder) {
    let first = b.ops.len();
    let scratch = |b: &mut Builder, len| Some(b.tensor(Storage::Arena, DType::I32, 1, len));
    let bytes = |taps: usize| 2 * LANES * packed_len(C, taps * C);
    let x = image(b, [4, 5, C]);
    let [conv, depthwise] = [(); 2].map(|()| image(b, [4, 5, C]));
    let (params, wide) = (convolution(b, SAME, bytes(6), 1), scratch(b, 6 * C));
    b.op(OpKind::Conv2d, &[x], &[conv], wide, &params);
    let params = convolution(b, SAME, 2 * 6 * C, 1);
    b.op(
        OpKind::DepthwiseConv2d,
        &[conv],
        &[depthwise],
        None,
        &params,
    );

    let [mean, top] = [(); 2].map(|()| image(b, [4, 5, 1]));
    b.op(OpKind::MeanChannels, &[depthwise], &[mean], None, &[0u8; 0]);
    b.op(OpKind::MaxChannels, &[depthwise], &[top], None, &[0u8; 0]);
    let [by_row, gated] = [(); 2].map(|()| image(b, [4, 5, C]));
    let mut gate = GateHalfParams {
        factor: 0.5,
        per_row: 1,
    };
    b.op(OpKind::Gate, &[depthwise, mean], &[by_row], None, &gate);
    let average = halves(b, 1, C);
    b.op(OpKind::MeanRows, &[by_row], &[average], None, &[0u8; 0]);
    gate.per_row = 0;
    b.op(OpKind::Gate, &[by_row, average], &[gated], None, &gate);

    let [most, half] = [(); 2].map(|()| image(b, [2, 3, C]));
    b.op(OpKind::MaxPool2d, &[gated], &[most], None, &HALVED);
    b.op(OpKind::AveragePool2d, &[gated], &[half], None, &HALVED);
    let part = Window2dParams {
        kernel: [2, 1],
        stride: [2, 2],
        pad_before: [1, 0],
        pad_after: [0, 0],
        gap: [0, 0],
    };
    let upsampled = image(b, [4, 5, C]);
    let (params, wide) = (convolution(b, part, bytes(2), 4), scratch(b, 2 * C));
    b.op(
        OpKind::ConvTranspose2d,
        &[most],
        &[upsampled],
        wide,
        &params,
    );
    b.entry("image", first, &[x], &[upsampled, half, top]);
}

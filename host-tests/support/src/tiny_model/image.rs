//! The operators over images, as an entry point of their own.

use super::Param::{self, Int, Real};
use super::{Builder, RESCALE};
use attn_runtime::format::{DType, OpKind, Storage};
use attn_runtime::kernels::int::dot::pairs_len;

/// Channels of every image.
const C: usize = 3;
/// A window: kernel, stride, padding before and after, gaps.
type Window = [[i32; 2]; 5];
const SAME: Window = [[3, 3], [1, 1], [1, 1], [1, 1], [0, 0]];
const NARROW: Window = [[3, 2], [1, 1], [1, 0], [1, 1], [0, 0]];
/// From 4 x 5 to 2 x 3.
const HALVED: Window = [[2, 2], [2, 2], [0, 0], [0, 1], [0, 0]];
/// From 2 x 3 to 4 x 5: each of four kernels.
const PART: Window = [[2, 1], [2, 2], [1, 0], [0, 0], [0, 0]];

fn words(window: &Window) -> Vec<Param> {
    window.as_flattened().iter().map(|&n| Int(n)).collect()
}

impl Builder {
    /// An image behind the last tensor.
    fn image(&mut self, dtype: DType, [h, w, c]: [usize; 3]) -> u16 {
        let id = self.tensor(Storage::Arena, self.held(dtype), h * w, c);
        let record = &mut self.tensors[usize::from(id)];
        (record.rank, record.dims) = (3, [h as u32, w as u32, c as u32, 1, 1, 1]);
        id
    }

    /// A full convolution with `phases` kernels.
    fn convolution(&mut self, kind: OpKind, xy: [u16; 2], window: &Window, phases: usize) {
        let [height, width] = window[0].map(|n| n as usize);
        let row = pairs_len(width * C);
        let k = if self.half { width * C } else { row };
        let matrix = self.layer(phases * self.packed(C, height * k), phases * C);
        let params = [matrix, words(window)].concat();
        self.op(kind, &xy[..1], &xy[1..], (height + 1) * row, &params);
    }
}

/// Convolution, both attentions, pooling and a transposed convolution.
pub fn image(b: &mut Builder) {
    use DType::{I8, I16};
    use OpKind::*;
    let first = b.ops.len();
    let x = b.image(I8, [4, 5, C]);
    let [conv, other, depthwise] = [(); 3].map(|_| b.image(I8, [4, 5, C]));
    b.convolution(Conv2d, [x, conv], &SAME, 1);
    b.convolution(Conv2d, [conv, other], &NARROW, 1);
    let params = [b.layer(9 * C, C), words(&SAME)].concat();
    b.op(DepthwiseConv2d, &[other], &[depthwise], 0, &params);

    let rescale = b.rescale();
    let [mean, top] = [(); 2].map(|_| b.image(I8, [4, 5, 1]));
    b.op(MeanChannels, &[depthwise], &[mean], 0, &rescale);
    b.op(MaxChannels, &[depthwise], &[top], 0, &[]);
    let [by_row, gated] = [(); 2].map(|_| b.image(I8, [4, 5, C]));
    let gate = |per_row| [b.by(&RESCALE, &[Real(0.5)]), vec![Int(per_row)]].concat();
    let [per_channel, per_row] = [0, 1].map(gate);
    b.op(Gate, &[depthwise, mean], &[by_row], 0, &per_row);
    let average = b.tensor(Storage::Arena, b.held(I16), 1, C);
    b.op(MeanRows, &[by_row], &[average], 0, &rescale);
    b.op(Gate, &[by_row, average], &[gated], 0, &per_channel);

    let [most, half] = [(); 2].map(|_| b.image(I8, [2, 3, C]));
    b.op(MaxPool2d, &[gated], &[most], 0, &words(&HALVED));
    let average = [words(&HALVED), rescale].concat();
    b.op(AveragePool2d, &[gated], &[half], 0, &average);
    let upsampled = b.image(I16, [4, 5, C]);
    b.convolution(ConvTranspose2d, [most, upsampled], &PART, 4);
    b.entry("image", first, &[x], &[upsampled, half, top]);
}

//! Convolution over images, channels last: full and transposed. Depthwise ones are in [`super::depthwise`], pooling in
//! [`super::pool`].

use super::dot::{PairRow, packed_len, pairs_len};
use super::linear::{self, Matrix, each_row, matvec};
use super::requantize::{Activation, Output};
use crate::kernels::geometry::{Image, Window2d};
use core::num::NonZeroUsize;

/// Values up to which a kernel row is copied one by one: a call would take longer.
const SHORT: usize = 16;

impl Window2d {
    /// Values in pair order of one kernel row over `channels`.
    const fn row_pairs(&self, channels: usize) -> usize {
        pairs_len(self.kernel[1] * channels)
    }

    /// Inputs of one result: kernel rows over `channels`, each padded to a multiple of 4. The packed weights are
    /// `[out, span]`.
    pub const fn span(&self, channels: usize) -> usize {
        self.kernel[0] * self.row_pairs(channels)
    }

    /// int16 elements of scratch for so many results: the values under the kernel, as [`linear::scratch_len`] says, and one kernel
    /// row. Less is slower, down to that of one result.
    pub const fn scratch_len(&self, channels: usize, results: usize) -> usize {
        linear::scratch_len(self.span(channels), results) + self.row_pairs(channels)
    }
}

/// Full convolution: weights `[out, span]`, `y: [rows, y_width, out]`, `scratch` of at least
/// `window.scratch_len(c, 1)`.
pub fn conv2d<X: Activation, Y: Activation, const JOINED: bool>(
    x: &Image<X>,
    window: &Window2d,
    matrix: &Matrix<JOINED>,
    output: &Output,
    scratch: &mut [i16],
    y: &mut [Y],
    y_width: usize,
) {
    let span = window.span(x.channels);
    let Some((edge, scratch)) = scratch.split_at_mut_checked(window.row_pairs(x.channels)) else {
        return;
    };
    let Some(width) = NonZeroUsize::new(y_width) else {
        return;
    };
    each_row::<Y, true, JOINED>(span, matrix, output, scratch, y, &mut |at, pairs| {
        gather(x, window, window.start(at / width, at % width), edge, pairs);
    });
}

/// Transposed convolution. Results whose row and column have the same remainders by `stride` (the same *phase*) are a plain
/// convolution with one part of the kernel. `window.kernel` is the size of a part. `matrix` and `output` hold the
/// `stride[0] * stride[1]` parts in order. `window.pad` is the number of pixels cut from the full result above and to the
/// left.
pub fn conv_transpose2d<X: Activation, Y: Activation>(
    x: &Image<X>,
    window: &Window2d,
    matrix: &Matrix,
    output: &Output,
    scratch: &mut [i16],
    y: &mut [Y],
    [y_width, out]: [usize; 2],
) {
    let span = window.span(x.channels);
    let Some((edge, scratch)) = scratch.split_at_mut_checked(window.row_pairs(x.channels)) else {
        return;
    };
    let Some(pairs) = scratch.get_mut(..span) else {
        return;
    };
    let mut gathered = None;
    for (row, y) in y.chunks_exact_mut((y_width * out).max(1)).enumerate() {
        for (column, y) in y.chunks_exact_mut(out.max(1)).enumerate() {
            let (start, phase) = window.phase(row, column);
            // The phases of a row follow each other over the same values.
            if gathered.replace(start) != Some(start) {
                gather(x, window, start, edge, PairRow::<false>::alone(pairs));
            }
            let part: Matrix = Matrix {
                weights: tail(matrix.weights, phase * packed_len(out, span)),
                bias: part(matrix.bias, phase, out),
            };
            let output = Output {
                multipliers: self::part(output.multipliers, phase, out),
                ..*output
            };
            matvec(pairs, &part, &output, y);
        }
    }
}

pub(super) fn tail<T>(values: &[T], start: usize) -> &[T] {
    values.get(start..).unwrap_or(&[])
}

fn part(values: &[i32], phase: usize, out: usize) -> &[i32] {
    values.get(phase * out..(phase + 1) * out).unwrap_or(&[])
}

/// Gathers the values under the kernel in pair order, kernel row by kernel row; `edge` holds one kernel row. The padding of
/// a kernel row meets weights of 0.
fn gather<X: Activation, const JOINED: bool>(
    x: &Image<X>,
    window: &Window2d,
    [top, left]: [isize; 2],
    edge: &mut [i16],
    mut pairs: PairRow<JOINED>,
) {
    let (c, row_len) = (x.channels, x.width * x.channels);
    let len = window.kernel[1] * c;
    let Some(edge) = X::scratch(edge).get_mut(..len) else {
        return;
    };
    let start = left.wrapping_mul(c as isize);
    let down = window.dilation[0].wrapping_mul(row_len) as isize;
    let mut at = top.wrapping_mul(row_len as isize);
    let row_pairs = window.row_pairs(c);
    for kernel_row in 0..window.kernel[0] {
        let mut pairs = pairs.part(kernel_row * row_pairs, (kernel_row + 1) * row_pairs);
        let row = usize::try_from(at)
            .ok()
            .and_then(|at| x.values.get(at..at.checked_add(row_len)?));
        at = at.wrapping_add(down);
        let Some(row) = row else {
            pairs.set_all(window.pad_value as i16);
            continue;
        };
        let inside = usize::try_from(start)
            .ok()
            .and_then(|start| row.get(start..start.checked_add(len)?))
            .filter(|_| window.dilation[1] == 1);
        if let Some(inside) = inside {
            pairs.fill(inside, 0);
            continue;
        }
        match window.dilation[1] {
            1 => shifted(row, start, X::from_i32(window.pad_value), edge),
            _ => spread(x, row, window, left, edge),
        }
        pairs.fill(edge, 0);
    }
}

/// A kernel row that reaches over the left or right edge: `-start` values of padding come first.
#[inline(never)]
fn shifted<X: Activation>(row: &[X], start: isize, pad_value: X, edge: &mut [X]) {
    if edge.len() <= SHORT {
        for (slot, at) in edge.iter_mut().zip(start..) {
            let value = usize::try_from(at).ok().and_then(|at| row.get(at));
            *slot = value.copied().unwrap_or(pad_value);
        }
        return;
    }
    let skip = usize::try_from(start.wrapping_neg()).unwrap_or(0);
    let from = usize::try_from(start).unwrap_or(0);
    let values = row.get(from..).unwrap_or(&[]);
    let (before, rest) = edge.split_at_mut(skip.min(edge.len()));
    let (inside, after) = rest.split_at_mut(values.len().min(rest.len()));
    before.fill(pad_value);
    for (slot, &value) in inside.iter_mut().zip(values) {
        *slot = value;
    }
    after.fill(pad_value);
}

/// A kernel row whose taps are not neighbours.
#[inline(never)]
fn spread<X: Activation>(x: &Image<X>, row: &[X], window: &Window2d, left: isize, edge: &mut [X]) {
    for (tap, slots) in edge.chunks_exact_mut(x.channels.max(1)).enumerate() {
        match x.pixel(row, window.under(1, left, tap)) {
            Some(pixel) => (slots.iter_mut().zip(pixel)).for_each(|(slot, &value)| *slot = value),
            None => slots.fill(X::from_i32(window.pad_value)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kernels::int::dot::packed_index;
    use crate::kernels::testing::Under;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    /// An image and a kernel over it, with weights `[out][kernel height][kernel width][c]`.
    #[derive(Debug)]
    pub(in crate::kernels::int) struct Case {
        size: [usize; 2],
        pub c: usize,
        pub window: Window2d,
        x: Vec<i16>,
        pub weights: Vec<Vec<i8>>,
    }

    impl Case {
        pub fn under(&self) -> Under<'_, i16> {
            Under {
                x: &self.x,
                size: self.size,
                channels: self.c,
                window: self.window,
            }
        }

        fn taps(&self) -> impl Iterator<Item = [usize; 2]> + use<> {
            let [height, width] = self.window.kernel;
            (0..height).flat_map(move |y| (0..width).map(move |x| [y, x]))
        }

        pub fn results(&self) -> [usize; 2] {
            core::array::from_fn(|axis| {
                let padded = self.size[axis] + 2 * self.window.pad[axis];
                let reach = 1 + (self.window.kernel[axis] - 1) * self.window.dilation[axis];
                1 + (padded - reach) / self.window.stride[axis]
            })
        }

        pub fn image(&self) -> Image<'_, i16> {
            Image {
                values: &self.x,
                width: self.size[1],
                channels: self.c,
            }
        }

        /// Weights packed with every kernel row padded, `weights[o][tap][channel]` by `value`.
        fn packed(&self, value: impl Fn(usize, [usize; 2], usize) -> i32) -> Vec<i8> {
            let span = self.window.span(self.c);
            let mut packed = vec![0; packed_len(self.weights.len(), span)];
            for o in 0..self.weights.len() {
                for [down, right] in self.taps() {
                    for channel in 0..self.c {
                        let at = down * pairs_len(self.window.kernel[1] * self.c)
                            + right * self.c
                            + channel;
                        packed[packed_index(o, at, span)] = value(o, [down, right], channel) as i8;
                    }
                }
            }
            packed
        }
    }

    pub(in crate::kernels::int) fn case() -> impl Strategy<Value = Case> {
        let pair = |range: core::ops::Range<usize>| [range.clone(), range];
        (
            pair(1..7),
            1usize..10,
            1usize..6,
            pair(1..4),
            pair(1..3),
            pair(1..4),
            pair(0..2),
            -9i32..9,
        )
            .prop_filter(
                "the kernel fits",
                |(size, _, _, kernel, _, dilation, pad, _)| {
                    (0..2).all(|i| (kernel[i] - 1) * dilation[i] < size[i] + 2 * pad[i])
                },
            )
            .prop_flat_map(|(size, c, out, kernel, stride, dilation, pad, pad_value)| {
                let window = Window2d {
                    kernel,
                    stride,
                    dilation,
                    pad,
                    pad_value,
                };
                let x = proptest::collection::vec(-3000i16..3000, size[0] * size[1] * c);
                let row = proptest::collection::vec(any::<i8>(), kernel[0] * kernel[1] * c);
                let weights = proptest::collection::vec(row, out);
                (x, weights).prop_map(move |(x, weights)| Case {
                    size,
                    c,
                    window,
                    x,
                    weights,
                })
            })
    }

    pub(in crate::kernels::int) fn output(multipliers: &[i32]) -> Output<'_> {
        Output {
            multipliers,
            left_shift: 0,
            zero_point: 3,
            min: i16::MIN.into(),
            max: i16::MAX.into(),
        }
    }

    /// What `output` makes of sums: a sixteenth of each, rounded.
    pub(in crate::kernels::int) fn finished(sums: &[f64]) -> Vec<i16> {
        let finished =
            |sum: &f64| ((sum / 16.0 + 0.5).floor() + 3.0).clamp(-32768.0, 32767.0) as i16;
        sums.iter().map(finished).collect()
    }

    proptest! {
        #[test]
        fn a_convolution_equals_plain_sums(case in case(), tiled in any::<bool>()) {
            let ([rows, columns], out) = (case.results(), case.weights.len());
            let (bias, multipliers): (Vec<i32>, _) = ((0..out as i32).map(|o| o * 100).collect(), vec![1 << 28; out]);
            let row = case.window.kernel[1];
            let packed = case.packed(|o, tap, channel| case.weights[o][(tap[0] * row + tap[1]) * case.c + channel].into());
            let matrix: Matrix = Matrix { weights: &packed, bias: &bias };
            let mut y = vec![0i16; rows * columns * out];
            let results = if tiled { rows * columns } else { 1 };
            let mut scratch = vec![77; case.window.scratch_len(case.c, results)];
            conv2d(&case.image(), &case.window, &matrix, &output(&multipliers), &mut scratch, &mut y, columns);
            let bias: Vec<f64> = bias.iter().map(|&b| b.into()).collect();
            prop_assert_eq!(y, finished(&case.under().sums([rows, columns], &case.weights, &bias)));
        }

        /// Against the definition: every input pixel adds its multiple of the kernel to the result.
        #[test]
        fn a_transposed_convolution_equals_spread_kernels(mut case in case()) {
            (case.window.pad_value, case.window.dilation) = (0, [1, 1]);
            let (kernel, stride, out, c) = (case.window.kernel, case.window.stride, case.weights.len(), case.c);
            // The full kernel is `stride` times the part; tap `t` of phase `p` is kernel row `p + stride * (taps - 1 - t)`.
            let full = [kernel[0] * stride[0], kernel[1] * stride[1]];
            let weight = |o: usize, y: usize, x: usize, channel: usize| {
                ((o * 31 + y * 17 + x * 7 + channel * 3) % 251) as i32 - 125
            };
            let mut packed = Vec::new();
            for (down, right) in (0..stride[0]).flat_map(|d| (0..stride[1]).map(move |r| (d, r))) {
                packed.extend(case.packed(|o, tap, channel| {
                    let y = down + stride[0] * (kernel[0] - 1 - tap[0]);
                    weight(o, y, right + stride[1] * (kernel[1] - 1 - tap[1]), channel)
                }));
            }
            let phases = stride[0] * stride[1];
            let (bias, multipliers) = (vec![-9; phases * out], vec![1 << 28; phases * out]);
            let size: [usize; 2] = core::array::from_fn(|i| {
                ((case.size[i] - 1) * stride[i] + full[i]).saturating_sub(case.window.pad[i]).max(1)
            });
            let mut sums = vec![-9.0; size[0] * size[1] * out];
            for (at, &x) in case.x.iter().enumerate() {
                let (row, column, channel) = (at / c / case.size[1], at / c % case.size[1], at % c);
                for (y, x_, o) in (0..full[0]).flat_map(|y| (0..full[1]).flat_map(move |x| (0..out).map(move |o| (y, x, o)))) {
                    let to_row = (row * stride[0] + y).checked_sub(case.window.pad[0]).filter(|&r| r < size[0]);
                    let to_column = (column * stride[1] + x_).checked_sub(case.window.pad[1]).filter(|&r| r < size[1]);
                    if let (Some(r), Some(k)) = (to_row, to_column) {
                        sums[(r * size[1] + k) * out + o] += f64::from(i32::from(x) * weight(o, y, x_, channel));
                    }
                }
            }
            let matrix: Matrix = Matrix { weights: &packed, bias: &bias };
            let mut y = vec![0i16; sums.len()];
            let mut scratch = vec![77; case.window.scratch_len(c, 1)];
            conv_transpose2d(&case.image(), &case.window, &matrix, &output(&multipliers), &mut scratch, &mut y, [size[1], out]);
            prop_assert_eq!(y, finished(&sums));
        }
    }
}

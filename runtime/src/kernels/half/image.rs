//! Images, channels last: convolution, pooling, gates. Padding is 0.

use super::linear::{Matrix, matvec};
use super::{CHUNK, Clamp, Sum, chunks, narrow, packed_len, widen};
use crate::f16;
use crate::kernels::geometry::{Image, Window2d};

/// Values under the kernel.
pub const fn span(window: &Window2d, channels: usize) -> usize {
    window.kernel[0] * window.kernel[1] * channels
}

/// The values under the kernel, kernel row by kernel row.
fn gather(x: &Image<f16>, window: &Window2d, [top, left]: [isize; 2], wide: &mut [f32]) {
    let (len, row_len) = (window.kernel[1] * x.channels, x.width * x.channels);
    let start = left.wrapping_mul(x.channels as isize);
    // Values of padding to the left, and of the image that the kernel leaves out.
    let skip = usize::try_from(start.wrapping_neg()).unwrap_or(0);
    let from = usize::try_from(start).unwrap_or(0);
    let down = window.dilation[0].wrapping_mul(row_len) as isize;
    let mut at = top.wrapping_mul(row_len as isize);
    for wide in wide.chunks_exact_mut(len.max(1)) {
        let row = usize::try_from(at)
            .ok()
            .and_then(|at| x.values.get(at..at.checked_add(row_len)?));
        at = at.wrapping_add(down);
        wide.fill(0.0);
        match row {
            None => {}
            Some(row) if window.dilation[1] != 1 => spread(x, row, window, left, wide),
            Some(row) => {
                let values = row.get(from..).unwrap_or(&[]);
                widen(values, wide.get_mut(skip..).unwrap_or_default());
            }
        }
    }
}

/// A kernel row whose taps are not neighbours.
#[inline(never)]
fn spread(x: &Image<f16>, row: &[f16], window: &Window2d, left: isize, wide: &mut [f32]) {
    for (tap, wide) in wide.chunks_exact_mut(x.channels.max(1)).enumerate() {
        let pixel = x.pixel(row, window.under(1, left, tap));
        widen(pixel.unwrap_or(&[]), wide);
    }
}

/// Full convolution: weights packed `[out, span]`, `y: [rows, y_width, out]`, `wide` is scratch of at least [`span`].
pub fn conv2d(
    x: &Image<f16>,
    window: &Window2d,
    matrix: &Matrix,
    clamp: Clamp,
    wide: &mut [f32],
    y: &mut [f16],
    y_width: usize,
) {
    let out = matrix.bias.len().max(1);
    let Some(wide) = wide.get_mut(..span(window, x.channels)) else {
        return;
    };
    for (row, y) in y.chunks_exact_mut((y_width * out).max(1)).enumerate() {
        for (column, y) in y.chunks_exact_mut(out).enumerate() {
            gather(x, window, window.start(row, column), wide);
            matvec(wide, matrix, clamp, y);
        }
    }
}

/// Transposed convolution, phase by phase as in [`crate::kernels::int::conv2d::conv_transpose2d`]; `y: [rows, y_width, out]`.
pub fn conv_transpose2d(
    x: &Image<f16>,
    window: &Window2d,
    matrix: &Matrix,
    clamp: Clamp,
    wide: &mut [f32],
    y: &mut [f16],
    [y_width, out]: [usize; 2],
) {
    let k = span(window, x.channels);
    let Some(wide) = wide.get_mut(..k) else {
        return;
    };
    let mut gathered = None;
    for (row, y) in y.chunks_exact_mut((y_width * out).max(1)).enumerate() {
        for (column, y) in y.chunks_exact_mut(out.max(1)).enumerate() {
            let (start, phase) = window.phase(row, column);
            // The phases of a row follow each other over the same values.
            if gathered.replace(start) != Some(start) {
                gather(x, window, start, wide);
            }
            let part = Matrix {
                weights: tail(matrix.weights, phase * packed_len(out, k)),
                bias: matrix
                    .bias
                    .get(phase * out..(phase + 1) * out)
                    .unwrap_or(&[]),
            };
            matvec(wide, &part, clamp, y);
        }
    }
}

fn tail<T>(values: &[T], start: usize) -> &[T] {
    values.get(start..).unwrap_or(&[])
}

/// Hands over, for every result and block of channels, the values of that block in each pixel under the window that is not
/// padding: the number of its tap, and the values. `finish` gets the sums.
#[inline(always)]
fn blocks(
    x: &Image<f16>,
    window: &Window2d,
    y: &mut [f16],
    y_width: usize,
    start_from: impl Fn(usize, &mut [f32; CHUNK]),
    mut tap: impl FnMut(usize, usize, &[f32], &mut [f32; CHUNK]),
    finish: impl Fn(&mut [f32; CHUNK]) -> Clamp,
) {
    let c = x.channels.max(1);
    for (row, y) in y.chunks_exact_mut((y_width * c).max(1)).enumerate() {
        for (column, y) in y.chunks_exact_mut(c).enumerate() {
            let [top, left] = window.start(row, column);
            for (block, y) in y.chunks_mut(CHUNK).enumerate() {
                let at = block * CHUNK;
                let (mut sums, mut wide) = ([0.0; CHUNK], [0.0; CHUNK]);
                start_from(at, &mut sums);
                for down in 0..window.kernel[0] {
                    let row = x.row(window.under(0, top, down));
                    for right in 0..window.kernel[1] {
                        let pixel = row.and_then(|row| x.pixel(row, window.under(1, left, right)));
                        let values = pixel.and_then(|pixel| pixel.get(at..at + y.len()));
                        let Some(values) = values else { continue };
                        widen(values, &mut wide);
                        let values = wide.get(..values.len()).unwrap_or(&[]);
                        tap(down * window.kernel[1] + right, at, values, &mut sums);
                    }
                }
                let clamp = finish(&mut sums);
                narrow(&sums, clamp, y);
            }
        }
    }
}

/// Depthwise convolution: weights `[kernel height, kernel width, c]`, bias `[c]`, `y: [rows, y_width, c]`. Each sum starts
/// from the bias and takes the taps in order; padding is left out.
pub fn depthwise_conv2d(
    x: &Image<f16>,
    window: &Window2d,
    weights: &[f16],
    bias: &[f32],
    clamp: Clamp,
    y: &mut [f16],
    y_width: usize,
) {
    let c = x.channels;
    let start_from = |at: usize, sums: &mut [f32; CHUNK]| {
        sums.iter_mut()
            .zip(tail(bias, at))
            .for_each(|(sum, bias)| *sum = *bias);
    };
    let mut factors = [0.0; CHUNK];
    let tap = |tap: usize, at: usize, values: &[f32], sums: &mut [f32; CHUNK]| {
        widen(tail(weights, tap * c + at), &mut factors);
        for ((sum, x), w) in sums.iter_mut().zip(values).zip(&factors) {
            *sum += x * w;
        }
    };
    blocks(x, window, y, y_width, start_from, tap, |_| clamp);
}

/// Mean of the pixels under the window, for every channel; padding counts as 0. Pixels are added in order, and the sum
/// multiplied with 1 / the size of the window.
pub fn average_pool2d(x: &Image<f16>, window: &Window2d, y: &mut [f16], y_width: usize) {
    let share = 1.0 / (window.kernel[0] * window.kernel[1]).max(1) as f32;
    let tap = |_: usize, _: usize, values: &[f32], sums: &mut [f32; CHUNK]| {
        sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
    };
    blocks(
        x,
        window,
        y,
        y_width,
        |_, _| {},
        tap,
        |sums| {
            sums.iter_mut().for_each(|sum| *sum *= share);
            Clamp::NONE
        },
    );
}

/// Largest value under the window, for every channel; padding does not count.
pub fn max_pool2d(x: &Image<f16>, window: &Window2d, y: &mut [f16], y_width: usize) {
    let lowest = |_: usize, tops: &mut [f32; CHUNK]| tops.fill(Clamp::NONE.min);
    let tap = |_: usize, _: usize, values: &[f32], tops: &mut [f32; CHUNK]| {
        for (top, &x) in tops.iter_mut().zip(values) {
            *top = if x > *top { x } else { *top };
        }
    };
    blocks(x, window, y, y_width, lowest, tap, |_| Clamp::NONE);
}

/// Mean of every row: `x: [rows, channels]`, `y: [rows]`.
pub fn mean_channels(x: &[f16], channels: usize, y: &mut [f16]) {
    let share = 1.0 / channels.max(1) as f32;
    for (row, y) in x.chunks_exact(channels.max(1)).zip(y) {
        let mut sum = Sum::default();
        chunks(row, |_, wide| sum.add(wide));
        *y = Clamp::NONE.apply(sum.total() * share);
    }
}

/// Largest value of every row: `x: [rows, channels]`, `y: [rows]`.
pub fn max_channels(x: &[f16], channels: usize, y: &mut [f16]) {
    for (row, y) in x.chunks_exact(channels.max(1)).zip(y) {
        let mut top = Clamp::NONE.min;
        chunks(row, |_, wide| {
            for &mut x in wide {
                top = if x > top { x } else { top };
            }
        });
        *y = Clamp::NONE.apply(top);
    }
}

/// Rows `x: [rows, channels]` times `gate: [channels]`, or `[rows]` where `per_row`, times `factor`, multiplied in this order.
pub fn gate(x: &[f16], gate: &[f16], channels: usize, per_row: bool, factor: f32, y: &mut [f16]) {
    let channels = channels.max(1);
    let rows = x.chunks_exact(channels).zip(y.chunks_exact_mut(channels));
    for (row, (x, y)) in rows.enumerate() {
        let one = gate.get(row).copied().unwrap_or_default().to_f32();
        let mut factors = [one; CHUNK];
        chunks(x, |at, wide| {
            if !per_row {
                widen(tail(gate, at), &mut factors);
            }
            for (x, gate) in wide.iter_mut().zip(&factors) {
                *x = *x * gate * factor;
            }
            narrow(wide, Clamp::NONE, y.get_mut(at..).unwrap_or_default());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::tests::{pack, to_halves as halves};
    use super::*;
    use crate::kernels::testing::{Under, window2d};
    use std::vec;
    use std::vec::Vec;

    /// Small whole numbers: sums of their products are exact.
    fn numbers(count: usize, factor: usize) -> Vec<f16> {
        let number = |i: usize| ((i * factor) % 11) as f32 - 5.0;
        (0..count).map(|i| f16::from_f32(number(i))).collect()
    }

    const WINDOW: Window2d = window2d([3, 2], [1, 2], [1, 1], 0);
    /// Four rows of five pixels.
    const SIZE: [usize; 2] = [4, 5];

    fn image(values: &[f16], width: usize, channels: usize) -> Image<'_, f16> {
        Image {
            values,
            width,
            channels,
        }
    }

    #[test]
    fn convolutions_equal_plain_sums() {
        const C: usize = 3;
        const OUT: usize = 5;
        let x = numbers(SIZE[0] * SIZE[1] * C, 7);
        let image = image(&x, SIZE[1], C);
        let rows: Vec<Vec<f16>> = (0..OUT).map(|o| numbers(6 * C, o + 2)).collect();
        let (packed, bias) = (pack(&rows, 6 * C), [1.0, 2.0, 3.0, 4.0, 5.0]);
        let matrix = Matrix {
            weights: &packed,
            bias: &bias,
        };
        let under = Under {
            x: &x,
            size: SIZE,
            channels: C,
            window: WINDOW,
        };
        let real = bias.map(f64::from);
        let equal = |y: &[f16], sums: Vec<f64>| {
            let y: Vec<f64> = y.iter().map(|&y| y.into()).collect();
            assert_eq!(y, sums);
        };
        let (mut y, clamp) = (vec![f16::ZERO; 4 * 3 * OUT], Clamp::NONE);
        conv2d(
            &image,
            &WINDOW,
            &matrix,
            clamp,
            &mut [9.0; 6 * C],
            &mut y,
            3,
        );
        equal(&y, under.sums([4, 3], &rows, &real));
        let mut y = vec![f16::ZERO; 4 * 3 * C];
        depthwise_conv2d(&image, &WINDOW, &rows[1], &bias, clamp, &mut y, 3);
        equal(&y, under.sums_apart([4, 3], &rows[1], &real[..C]));
    }

    #[test]
    fn a_transposed_convolution_two_by_two_puts_a_square_for_each_pixel() {
        let window = window2d([1, 1], [2, 2], [0, 0], 0);
        let x = halves(&[1.0, 2.0, 3.0]);
        let image = image(&x, 3, 1);
        let packed: Vec<_> = [1.0, 10.0, 100.0, 1000.0]
            .iter()
            .flat_map(|&w| pack(&[halves(&[w])], 1))
            .collect();
        let matrix = Matrix {
            weights: &packed,
            bias: &[0.5; 4],
        };
        let mut y = vec![f16::ZERO; 12];
        conv_transpose2d(
            &image,
            &window,
            &matrix,
            Clamp::NONE,
            &mut [0.0; 1],
            &mut y,
            [6, 1],
        );
        let expected = [
            1.5, 10.5, 2.5, 20.5, 3.5, 30.5, 100.5, 1000.5, 200.5, 2000.5, 300.5, 3000.5,
        ];
        assert_eq!(y, halves(&expected));
    }

    #[test]
    fn padding_counts_in_averages_and_not_in_maxima() {
        let window = window2d([2, 2], [2, 1], [0, 1], 0);
        let x = halves(&[-1.0, -2.0, -3.0, -4.0]);
        let image = image(&x, 2, 1);
        let mut y = vec![f16::ZERO; 2];
        max_pool2d(&image, &window, &mut y, 2);
        assert_eq!(y, halves(&[-1.0, -1.0]));
        average_pool2d(&image, &window, &mut y, 2);
        assert_eq!(y, halves(&[-1.0, -2.5]));
    }

    #[test]
    fn rows_are_pooled_over_channels_and_gated() {
        let x = halves(&[1.0, 2.0, 6.0, -4.0, -8.0, -3.0]);
        let mut y = vec![f16::ZERO; 2];
        mean_channels(&x, 3, &mut y);
        assert_eq!(y, halves(&[3.0, -5.0]));
        max_channels(&x, 3, &mut y);
        assert_eq!(y, halves(&[6.0, -3.0]));
        let mut gated = vec![f16::ZERO; 6];
        gate(&x, &halves(&[1.0, 2.0, 0.5]), 3, false, 2.0, &mut gated);
        assert_eq!(gated, halves(&[2.0, 8.0, 6.0, -8.0, -32.0, -3.0]));
        gate(&x, &halves(&[2.0, -1.0]), 3, true, 1.0, &mut gated);
        assert_eq!(gated, halves(&[2.0, 4.0, 12.0, 4.0, 8.0, 3.0]));
    }
}

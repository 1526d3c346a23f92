//! Convolution over time, channels last.

use super::dot::{pairs_len, to_pairs};
use super::linear::{Matrix, matvec};
use super::requantize::{Activation, Output};
use crate::kernels::geometry::Window1d;

/// Full convolution: `x: [t, c]`, weights `[out, kernel * c]`, `y: [t_out, out]`.
///
/// Under a kernel without gaps lie `kernel * c` adjacent values: a convolution over time is a linear layer on overlapping
/// rows. `pairs` is scratch of at least `pairs_len(kernel * c)`.
pub fn conv1d<X: Activation, Y: Activation>(
    x: &[X],
    c: usize,
    window: &Window1d,
    matrix: &Matrix,
    output: &Output,
    pairs: &mut [i16],
    y: &mut [Y],
) {
    let span = window.kernel * c;
    let Some(pairs) = pairs.get_mut(..pairs_len(span)) else {
        return;
    };
    for (position, y) in y
        .chunks_exact_mut(output.multipliers.len().max(1))
        .enumerate()
    {
        // First value under the kernel, counted from the start of the padding.
        let start = position * window.stride * c;
        match start
            .checked_sub(window.pad_before * c)
            .and_then(|start| x.get(start..start + span))
            .filter(|_| window.dilation == 1)
        {
            Some(row) => to_pairs(row, 0, pairs),
            None => scattered_pairs(x, c, window, start, pairs),
        }
        matvec(pairs, matrix, output, y);
    }
}

/// Pair order of the values under the kernel where they are not adjacent, or some of them are padding.
#[inline(never)]
fn scattered_pairs<X: Activation>(
    x: &[X],
    c: usize,
    window: &Window1d,
    start: usize,
    pairs: &mut [i16],
) {
    pairs.fill(0);
    for tap in 0..window.kernel {
        let first = start + tap * window.dilation * c;
        for channel in 0..c {
            let inside = (first + channel)
                .checked_sub(window.pad_before * c)
                .and_then(|at| x.get(at));
            if let Some(slot) = pairs.get_mut(super::dot::pair_index(tap * c + channel)) {
                *slot = inside.map_or(window.pad_value, |&x| x.into()) as i16;
            }
        }
    }
}

/// Depthwise convolution: `x: [t, c]`, weights `[kernel, c]` (not packed), `y: [t_out, c]`.
pub fn depthwise_conv1d<X: Activation, Y: Activation>(
    x: &[X],
    c: usize,
    window: &Window1d,
    matrix: &Matrix,
    output: &Output,
    y: &mut [Y],
) {
    for (position, y) in y.chunks_exact_mut(c.max(1)).enumerate() {
        for (block, y) in y.chunks_mut(CHANNELS).enumerate() {
            let at = block * CHANNELS;
            let mut sums = [0; CHANNELS];
            let biases = matrix.bias.get(at..).unwrap_or(&[]);
            sums.iter_mut()
                .zip(biases)
                .for_each(|(sum, &bias)| *sum = bias);
            for tap in 0..window.kernel {
                let weights = matrix.weights.get(tap * c + at..).unwrap_or(&[]);
                let row = position * window.stride + tap * window.dilation;
                let row = row.checked_sub(window.pad_before);
                let values = row.and_then(|row| x.get(row * c + at..(row * c + at) + y.len()));
                match (values, values.and_then(|v| v.first_chunk())) {
                    (_, Some(values)) => add_products(&mut sums, weights, values),
                    (Some(values), None) => products(&mut sums, weights, values.iter()),
                    (None, _) => products(&mut sums, weights, [window.pad_value; CHANNELS].iter()),
                }
            }
            let multipliers = output.multipliers.get(at..).unwrap_or(&[]);
            for ((slot, &sum), &multiplier) in y.iter_mut().zip(&sums).zip(multipliers) {
                *slot = Y::from_i32(output.apply(sum, multiplier));
            }
        }
    }
}

/// Channels of a depthwise convolution that are summed together.
pub(super) const CHANNELS: usize = 8;

/// Adds the products of one tap, for a whole block of channels.
#[inline(always)]
pub(super) fn add_products<X: Activation>(
    sums: &mut [i32; CHANNELS],
    weights: &[i8],
    values: &[X; CHANNELS],
) {
    if let Some(weights) = weights.first_chunk::<CHANNELS>() {
        products(sums, weights, values.iter());
    }
}

/// Adds the products of one tap, one channel for each value.
#[inline(always)]
pub(super) fn products<'v, X: Copy + Into<i32> + 'v>(
    sums: &mut [i32; CHANNELS],
    weights: &[i8],
    values: impl Iterator<Item = &'v X>,
) {
    for ((sum, &w), &x) in sums.iter_mut().zip(weights).zip(values) {
        *sum = sum.wrapping_add(x.into().wrapping_mul(w.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int::dot::{packed_index, packed_len};

    const ONE: Output = Output {
        multipliers: &[1 << 30],
        left_shift: 2,
        zero_point: 0,
        min: i16::MIN as i32,
        max: i16::MAX as i32,
    };

    #[test]
    fn a_causal_convolution_sees_padding_before_the_first_row() {
        let mut weights = [0i8; packed_len(1, 6)];
        (0..6).for_each(|i| weights[packed_index(0, i, 6)] = i as i8 + 1);
        let matrix = Matrix {
            weights: &weights,
            bias: &[0],
        };
        let window = Window1d {
            kernel: 3,
            stride: 1,
            dilation: 1,
            pad_before: 2,
            pad_value: -1,
        };
        let mut y = [0i16; 2];
        conv1d(
            &[10i8, 20, 30, 40],
            2,
            &window,
            &matrix,
            &ONE,
            &mut [0; 8],
            &mut y,
        );
        // rows under the kernel: (-1 -1) (-1 -1) (10 20), then (-1 -1) (10 20) (30 40)
        assert_eq!(y, [-1 - 2 - 3 - 4 + 50 + 120, -1 - 2 + 30 + 80 + 150 + 240]);
    }

    #[test]
    fn a_depthwise_convolution_keeps_channels_apart() {
        let matrix = Matrix {
            weights: &[1, 10, 2, 20],
            bias: &[0, 5],
        };
        let output = Output {
            multipliers: &[1 << 30, 1 << 30],
            ..ONE
        };
        let window = Window1d {
            kernel: 2,
            stride: 1,
            dilation: 1,
            pad_before: 0,
            pad_value: 0,
        };
        let mut y = [0i16; 4];
        depthwise_conv1d(&[1i8, 2, 3, 4, 5, 6], 2, &window, &matrix, &output, &mut y);
        assert_eq!(y, [1 + 6, 20 + 80 + 5, 3 + 10, 40 + 120 + 5]);
    }

    #[test]
    fn a_wide_depthwise_convolution_equals_plain_sums() {
        const C: usize = 11;
        let x: [i8; 5 * C] = core::array::from_fn(|i| (i * 37 % 256) as u8 as i8);
        let weights: [i8; 3 * C] = core::array::from_fn(|i| (i * 91 % 255) as u8 as i8);
        let bias: [i32; C] = core::array::from_fn(|i| i as i32 * 1000);
        let matrix = Matrix {
            weights: &weights,
            bias: &bias,
        };
        let output = Output {
            multipliers: &[1 << 30; C],
            left_shift: 0,
            ..ONE
        };
        let window = Window1d {
            kernel: 3,
            stride: 2,
            dilation: 1,
            pad_before: 1,
            pad_value: -5,
        };
        let mut y = [0i16; 3 * C];
        depthwise_conv1d(&x, C, &window, &matrix, &output, &mut y);
        for (i, &y) in y.iter().enumerate() {
            let (position, channel) = (i / C, i % C);
            let tap = |tap: usize| {
                let row = (2 * position + tap).checked_sub(1).filter(|row| *row < 5);
                let value = row.map_or(-5, |row| x[row * C + channel].into());
                value * i32::from(weights[tap * C + channel])
            };
            let sum = bias[channel] + tap(0) + tap(1) + tap(2);
            assert_eq!(i32::from(y), (sum + 2) >> 2, "element {i}");
        }
    }

    #[test]
    fn taps_of_a_dilated_kernel_are_apart() {
        const C: usize = 3;
        let x: [i8; 7 * C] = core::array::from_fn(|i| (i * 37 % 256) as u8 as i8);
        let taps: [i8; 3 * C] = core::array::from_fn(|i| (i * 91 % 255) as u8 as i8);
        let mut packed = [0i8; packed_len(1, 3 * C)];
        (0..3 * C).for_each(|i| packed[packed_index(0, i, 3 * C)] = taps[i]);
        for dilation in 1..4 {
            let window = Window1d {
                kernel: 3,
                stride: 2,
                dilation,
                pad_before: 2,
                pad_value: -5,
            };
            // Row under a tap, counted from the first row of the input.
            let value = |position: usize, tap: usize, channel: usize| {
                let row = (2 * position + tap * dilation).checked_sub(2);
                let row = row.filter(|&row| row < 7);
                row.map_or(-5, |row| i32::from(x[row * C + channel]))
            };
            let positions = (7 + 2 - 2 * dilation - 1) / 2 + 1;
            let mut y = [0i16; 4];
            let y = &mut y[..positions];
            let matrix = Matrix {
                weights: &packed,
                bias: &[7],
            };
            conv1d(&x, C, &window, &matrix, &ONE, &mut [0; 12], y);
            for (position, &y) in y.iter().enumerate() {
                let products =
                    (0..3 * C).map(|i| value(position, i / C, i % C) * i32::from(taps[i]));
                let sum = 7 + products.sum::<i32>();
                assert_eq!(
                    i32::from(y),
                    sum.clamp(-32768, 32767),
                    "dilation {dilation}"
                );
            }
            let matrix = Matrix {
                weights: &taps,
                bias: &[1, 2, 3],
            };
            let output = Output {
                multipliers: &[1 << 30; C],
                ..ONE
            };
            let mut y = [0i16; 4 * C];
            let y = &mut y[..positions * C];
            depthwise_conv1d(&x, C, &window, &matrix, &output, y);
            for (i, &y) in y.iter().enumerate() {
                let (position, channel) = (i / C, i % C);
                let tap = |tap| value(position, tap, channel) * i32::from(taps[tap * C + channel]);
                let sum = channel as i32 + 1 + tap(0) + tap(1) + tap(2);
                assert_eq!(
                    i32::from(y),
                    sum.clamp(-32768, 32767),
                    "dilation {dilation}"
                );
            }
        }
    }
}

//! Convolution over time, channels last. Padding is 0.

use super::linear::{Matrix, matvec};
use super::{Clamp, narrow, widen};
use crate::f16;
use crate::kernels::geometry::Window1d;

/// Full convolution: `x: [t, c]`, weights packed `[out, kernel * c]`, `y: [t_out, out]`; `wide` is scratch of at least
/// `kernel * c`. Under a kernel without gaps lie `kernel * c` adjacent values.
pub fn conv1d(
    x: &[f16],
    c: usize,
    window: &Window1d,
    matrix: &Matrix,
    clamp: Clamp,
    wide: &mut [f32],
    y: &mut [f16],
) {
    let span = window.kernel * c;
    let Some(wide) = wide.get_mut(..span) else {
        return;
    };
    let rows = y.chunks_exact_mut(matrix.bias.len().max(1));
    for (position, y) in rows.enumerate() {
        // First value under the kernel, counted from the start of the padding.
        let start = position * window.stride * c;
        let pad = window.pad_before * c;
        let inside = start
            .checked_sub(pad)
            .and_then(|start| x.get(start..start + span));
        match inside {
            _ if window.dilation != 1 => {
                for (tap, wide) in wide.chunks_exact_mut(c.max(1)).enumerate() {
                    let row = (start + tap * window.dilation * c).checked_sub(pad);
                    match row.and_then(|row| x.get(row..row + c)) {
                        Some(row) => widen(row, wide),
                        None => wide.fill(0.0),
                    }
                }
            }
            Some(row) => widen(row, wide),
            None => {
                // Part of it is padding, before the input or behind it.
                let before = pad.saturating_sub(start).min(span);
                let from = (start + before).saturating_sub(pad);
                wide.fill(0.0);
                let row = x.get(from..).unwrap_or(&[]);
                widen(row, wide.get_mut(before..).unwrap_or_default());
            }
        }
        matvec(wide, matrix, clamp, y);
    }
}

/// Channels of a depthwise convolution that are summed together.
const CHANNELS: usize = 8;

/// Depthwise convolution: `x: [t, c]`, weights `[kernel, c]`, bias `[c]`, `y: [t_out, c]`. Each sum starts from the
/// bias and takes the taps in order; padding is left out.
pub fn depthwise_conv1d(
    x: &[f16],
    c: usize,
    window: &Window1d,
    weights: &[f16],
    bias: &[f32],
    clamp: Clamp,
    y: &mut [f16],
) {
    for (position, y) in y.chunks_exact_mut(c.max(1)).enumerate() {
        let blocks = y.chunks_mut(CHANNELS).zip(bias.chunks(CHANNELS));
        for (block, (y, bias)) in blocks.enumerate() {
            let at = block * CHANNELS;
            let mut sums = [0.0; CHANNELS];
            sums.iter_mut()
                .zip(bias)
                .for_each(|(sum, bias)| *sum = *bias);
            for tap in 0..window.kernel {
                let row = position * window.stride + tap * window.dilation;
                let row = row.checked_sub(window.pad_before);
                let values = row.and_then(|row| x.get(row * c + at..row * c + at + y.len()));
                if let (Some(values), Some(weights)) = (values, weights.get(tap * c + at..)) {
                    let (mut wide, mut factors) = ([0.0; CHANNELS], [0.0; CHANNELS]);
                    widen(values, &mut wide);
                    widen(weights, &mut factors);
                    for ((sum, x), w) in sums.iter_mut().zip(wide).zip(factors) {
                        *sum += x * w;
                    }
                }
            }
            narrow(&sums, clamp, y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::tests::{pack, to_halves as halves};
    use super::*;
    use crate::kernels::testing::window1d;
    use std::vec;

    #[test]
    fn a_causal_convolution_sees_zeros_before_the_first_row() {
        let weights = pack(&[halves(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], 6);
        let matrix = Matrix {
            weights: &weights,
            bias: &[0.5],
        };
        let window = window1d([3, 1, 1, 2], 0);
        let mut y = vec![f16::ZERO; 2];
        let x = halves(&[10.0, 20.0, 30.0, 40.0]);
        conv1d(&x, 2, &window, &matrix, Clamp::NONE, &mut [0.0; 6], &mut y);
        assert_eq!(y, halves(&[170.5, 30.0 + 80.0 + 150.0 + 240.0 + 0.5]));
    }

    #[test]
    fn a_depthwise_convolution_keeps_channels_apart_and_pads_with_zeros() {
        let window = window1d([2, 2, 1, 1], 0);
        let (weights, x) = (
            halves(&[1.0, 10.0, 2.0, 20.0]),
            halves(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        );
        let mut y = vec![f16::ZERO; 4];
        depthwise_conv1d(&x, 2, &window, &weights, &[0.0, 5.0], Clamp::NONE, &mut y);
        assert_eq!(y, halves(&[2.0, 45.0, 3.0 + 10.0, 40.0 + 120.0 + 5.0]));
    }

    #[test]
    fn taps_of_a_dilated_kernel_are_apart() {
        let x = halves(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let window = window1d([2, 1, 2, 2], 0);
        let matrix = Matrix {
            weights: &pack(&[halves(&[1.0, 10.0])], 2),
            bias: &[0.5],
        };
        let mut y = vec![f16::ZERO; 6];
        conv1d(&x, 1, &window, &matrix, Clamp::NONE, &mut [0.0; 2], &mut y);
        // Rows -2 and 0, -1 and 1, 0 and 2, ...
        let expected = [10.5, 20.5, 31.5, 42.5, 53.5, 64.5];
        assert_eq!(y, halves(&expected));
        let weights = halves(&[1.0, 10.0]);
        depthwise_conv1d(&x, 1, &window, &weights, &[0.5], Clamp::NONE, &mut y);
        assert_eq!(y, halves(&expected));
    }
}

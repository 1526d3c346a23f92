//! Convolution over time, channels last.

use super::depthwise::depthwise_conv2d;
use super::dot::{LANES, PairRow, pairs_len};
use super::linear::{Matrix, each_row};
use super::requantize::{Activation, Output};
use crate::kernels::geometry::{Image, Window1d};

/// Full convolution: `x: [t, c]`, weights `[out, kernel * c]`, `y: [t_out, out]`.
///
/// Under a kernel without gaps lie `kernel * c` adjacent values: a convolution over time is a linear layer on overlapping
/// rows, `TILED` as for [`each_row`]. `scratch` is at least `pairs_len(kernel * c)`, better [`super::linear::scratch_len`].
pub fn conv1d<X: Activation, Y: Activation, const TILED: bool, const JOINED: bool>(
    x: &[X],
    c: usize,
    window: &Window1d,
    matrix: &Matrix<JOINED>,
    output: &Output,
    scratch: &mut [i16],
    y: &mut [Y],
) {
    let span = window.kernel * c;
    let len = pairs_len(span);
    each_row::<Y, TILED, JOINED>(
        len,
        matrix,
        output,
        scratch,
        y,
        &mut |position, mut pairs| {
            // First value under the kernel, counted from the start of the padding.
            let start = position * window.stride * c;
            match start
                .checked_sub(window.pad_before * c)
                .and_then(|start| x.get(start..start + span))
                .filter(|_| window.dilation == 1)
            {
                Some(row) => pairs.fill(row, 0),
                None => scattered_pairs(x, c, window, start, pairs),
            }
        },
    );
}

/// Pair order of the values under the kernel where they are not adjacent, or some of them are padding.
#[inline(never)]
fn scattered_pairs<X: Activation, const JOINED: bool>(
    x: &[X],
    c: usize,
    window: &Window1d,
    start: usize,
    mut pairs: PairRow<JOINED>,
) {
    for tap in 0..window.kernel {
        let first = start + tap * window.dilation * c;
        let inside = first
            .checked_sub(window.pad_before * c)
            .and_then(|at| x.get(at..at + c));
        if c.is_multiple_of(LANES) {
            let mut pairs = pairs.part(tap * c, (tap + 1) * c);
            match inside {
                Some(row) => pairs.fill(row, 0),
                None => pairs.set_all(window.pad_value as i16),
            }
            continue;
        }
        for channel in 0..c {
            let value = inside.and_then(|row| row.get(channel));
            let value = value.map_or(window.pad_value, |&x| x.into());
            pairs.set(tap * c + channel, value as i16);
        }
    }
    let span = window.kernel * c;
    (span..pairs_len(span)).for_each(|i| pairs.set(i, 0));
    if JOINED && !c.is_multiple_of(LANES) {
        pairs.turn(0);
    }
}

/// Depthwise convolution: `x: [t, c]`, weights `[kernel, c]` (not packed), `y: [t_out, c]`. It is one over an image of one
/// column.
pub fn depthwise_conv1d<X: Activation, Y: Activation>(
    x: &[X],
    c: usize,
    window: &Window1d,
    matrix: &Matrix,
    output: &Output,
    y: &mut [Y],
) {
    let window = window.over_a_column();
    depthwise_conv2d(&Image::column(x, c), &window, matrix, output, y, 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int::dot::pairs_len;
    use crate::kernels::int::dot::tests::pack;
    use crate::kernels::testing::{Under, numbers, window1d};
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    const ONE: Output = Output {
        multipliers: &[1 << 30],
        left_shift: 2,
        zero_point: 0,
        min: i16::MIN as i32,
        max: i16::MAX as i32,
    };

    #[test]
    fn a_causal_convolution_sees_padding_before_the_first_row() {
        let matrix = Matrix {
            weights: &pack(&[vec![1, 2, 3, 4, 5, 6]], 6),
            bias: &[0],
        };
        let (window, x) = (window1d([3, 1, 1, 2], -1), [10i8, 20, 30, 40]);
        let mut y = [0i16; 2];
        conv1d::<_, _, true, false>(&x, 2, &window, &matrix, &ONE, &mut [0; 8], &mut y);
        // rows under the kernel: (-1 -1) (-1 -1) (10 20), then (-1 -1) (10 20) (30 40)
        assert_eq!(y, [-1 - 2 - 3 - 4 + 50 + 120, -1 - 2 + 30 + 80 + 150 + 240]);
    }

    /// What a multiplier of 1/4 makes of a sum, shifted left by 0 or 2.
    fn finished(sum: f64, left_shift: u32) -> i16 {
        let divisor = if left_shift == 2 { 1.0 } else { 4.0 };
        (sum / divisor + 0.5).floor().clamp(-32768.0, 32767.0) as i16
    }

    proptest! {
        #[test]
        fn convolutions_equal_plain_sums(
            (c, out, rows, behind) in (1usize..12, 1usize..6, 7usize..11, 0usize..2),
            (kernel, stride, dilation, pad) in (1usize..4, 1usize..3, 1usize..4, 0usize..3),
            left_shift in prop::sample::select(&[0, 2][..]),
            seed in any::<u32>(),
        ) {
            let mut next = numbers(seed);
            let window = window1d([kernel, stride, dilation, pad], -5);
            let positions = (rows + pad - (kernel - 1) * dilation - 1) / stride + 1 + behind;
            let x: Vec<i8> = (0..rows * c).map(|_| next() as i8).collect();
            let weights: Vec<Vec<i8>> = (0..out).map(|_| (0..kernel * c).map(|_| next() as i8).collect()).collect();
            let bias: Vec<i32> = (0..out.max(c)).map(|_| next() * 100).collect();
            let real: Vec<f64> = bias.iter().map(|&b| b.into()).collect();
            let under = Under::rows(&x, c, &window);
            let multipliers = vec![1 << 30; out.max(c)];

            let output = Output { multipliers: &multipliers[..out], left_shift, ..ONE };
            let matrix = Matrix { weights: &pack(&weights, kernel * c), bias: &bias[..out] };
            let mut y = vec![0i16; positions * out];
            conv1d::<_, _, true, false>(&x, c, &window, &matrix, &output, &mut vec![77; pairs_len(kernel * c)], &mut y);
            let exact = under.sums([positions, 1], &weights, &real[..out]);
            prop_assert_eq!(y, exact.into_iter().map(|sum| finished(sum, left_shift)).collect::<Vec<_>>());

            let output = Output { multipliers: &multipliers[..c], left_shift, ..ONE };
            let matrix = Matrix { weights: &weights[0], bias: &bias[..c] };
            let mut y = vec![0i16; positions * c];
            depthwise_conv1d(&x, c, &window, &matrix, &output, &mut y);
            let exact = under.sums_apart([positions, 1], &weights[0], &real[..c]);
            prop_assert_eq!(y, exact.into_iter().map(|sum| finished(sum, left_shift)).collect::<Vec<_>>());
        }
    }
}

//! Convolution over time, channels last: over images of one column. Padding is 0.

use super::Clamp;
use super::image::{conv2d, depthwise_conv2d};
use super::linear::Matrix;
use crate::f16;
use crate::kernels::geometry::{Image, Window1d};

/// Full convolution: `x: [t, c]`, weights packed `[out, kernel * c]`, `y: [t_out, out]`; `wide` is scratch of at least
/// `kernel * c`.
pub fn conv1d(
    x: &[f16],
    c: usize,
    window: &Window1d,
    matrix: &Matrix,
    clamp: Clamp,
    wide: &mut [f32],
    y: &mut [f16],
) {
    let window = window.over_a_column();
    conv2d(&Image::column(x, c), &window, matrix, clamp, wide, y, 1);
}

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
    let window = window.over_a_column();
    depthwise_conv2d(&Image::column(x, c), &window, weights, bias, clamp, y, 1);
}

#[cfg(test)]
mod tests {
    use super::super::linear::tests::pack;
    use super::*;
    use crate::kernels::testing::{Under, numbers, window1d};
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    proptest! {
        /// Of small whole numbers, whose sums are exact.
        #[test]
        fn convolutions_equal_plain_sums(
            (c, out, rows, behind) in (1usize..12, 1usize..6, 7usize..11, 0usize..2),
            (kernel, stride, dilation, pad) in (1usize..4, 1usize..3, 1usize..4, 0usize..3),
            seed in any::<u32>(),
        ) {
            let mut next = numbers(seed);
            let mut halves = |count: usize| -> Vec<f16> {
                (0..count).map(|_| f16::from_f32((next() % 6) as f32)).collect()
            };
            let window = window1d([kernel, stride, dilation, pad], 0);
            let positions = (rows + pad - (kernel - 1) * dilation - 1) / stride + 1 + behind;
            let (x, bias) = (halves(rows * c), halves(out.max(c)));
            let weights: Vec<Vec<f16>> = (0..out).map(|_| halves(kernel * c)).collect();
            let real: Vec<f64> = bias.iter().map(|&b| b.into()).collect();
            let bias: Vec<f32> = bias.iter().map(|&b| b.into()).collect();
            let under = Under::rows(&x, c, &window);
            let exact = |y: Vec<f16>| y.into_iter().map(f64::from).collect::<Vec<_>>();

            let matrix = Matrix { weights: &pack(&weights, kernel * c), bias: &bias[..out] };
            let (mut y, mut wide) = (vec![f16::ONE; positions * out], vec![9.0; kernel * c]);
            conv1d(&x, c, &window, &matrix, Clamp::NONE, &mut wide, &mut y);
            prop_assert_eq!(exact(y), under.sums([positions, 1], &weights, &real[..out]));

            let mut y = vec![f16::ONE; positions * c];
            depthwise_conv1d(&x, c, &window, &weights[0], &bias[..c], Clamp::NONE, &mut y);
            prop_assert_eq!(exact(y), under.sums_apart([positions, 1], &weights[0], &real[..c]));
        }
    }
}

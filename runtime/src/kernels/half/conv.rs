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

//! Depthwise convolution: every channel has a kernel of its own. The inner loop is [`crate::kernels::arch::taps`].

use super::conv2d::tail;
use super::linear::Matrix;
use super::requantize::{Activation, Output};
use crate::kernels::arch::taps::Taps;
use crate::kernels::geometry::{Image, Window2d, inside};
use core::ops::Range;

/// Channels of a depthwise convolution that go over all results before the next ones do.
const SLAB: usize = 64;

/// Depthwise convolution: weights `[kernel height, kernel width, c]` (not packed), `y: [rows, y_width, c]`.
///
/// Padding equals the input's zero point. Where the kernel reaches over an edge, the zero point is subtracted from what is
/// inside and added for all taps at once: `sum(w x) = zero * sum(w) + sum over the inside of w (x - zero)`.
pub fn depthwise_conv2d<X: Activation, Y: Activation>(
    x: &Image<X>,
    window: &Window2d,
    matrix: &Matrix,
    output: &Output,
    y: &mut [Y],
    y_width: usize,
) {
    let c = x.channels.max(1);
    let kernel = Depthwise::new(x, window);
    let rows = y.len() / (y_width * c).max(1);
    let last = window.start(rows.saturating_sub(1), y_width.saturating_sub(1));
    let zero = match kernel.is_inside(window.start(0, 0)) && kernel.is_inside(last) {
        true => 0,
        false => window.pad_value,
    };
    if zero == 0 {
        kernel.run(0, zero, matrix, output, y, y_width);
        return;
    }
    for at in (0..c).step_by(SLAB) {
        let mut bias = [0; SLAB];
        (bias.iter_mut().zip(tail(matrix.bias, at))).for_each(|(sum, &bias)| *sum = bias);
        for weights in tail(matrix.weights, at).chunks(c) {
            for (sum, &w) in bias.iter_mut().zip(weights) {
                *sum = sum.wrapping_add(zero.wrapping_mul(w.into()));
            }
        }
        let matrix = Matrix {
            bias: bias.get(..c - at).unwrap_or(&bias),
            ..*matrix
        };
        kernel.run(at, zero, &matrix, output, y, y_width);
    }
}

/// A depthwise kernel over an image.
struct Depthwise<'x, X> {
    x: Image<'x, X>,
    height: usize,
    window: Window2d,
}

impl<'x, X: Activation> Depthwise<'x, X> {
    fn new(x: &Image<'x, X>, window: &Window2d) -> Self {
        Self {
            x: *x,
            height: x.values.len() / (x.width * x.channels).max(1),
            window: *window,
        }
    }

    /// The taps that meet the image, of a kernel that starts at a pixel.
    fn inside(&self, [top, left]: [isize; 2]) -> [Range<usize>; 2] {
        let ([height, width], [down, right]) = (self.window.kernel, self.window.dilation);
        [
            inside(height, down, top, self.height),
            inside(width, right, left, self.x.width),
        ]
    }

    fn is_inside(&self, start: [isize; 2]) -> bool {
        self.inside(start).map(|taps| taps.len()) == self.window.kernel
    }

    /// Computes the channels from `at` on that `matrix` has biases for, of all results.
    fn run<Y: Activation>(
        &self,
        at: usize,
        zero: i32,
        matrix: &Matrix,
        output: &Output,
        y: &mut [Y],
        y_width: usize,
    ) {
        let c = self.x.channels.max(1);
        let output = Output {
            multipliers: tail(output.multipliers, at),
            ..*output
        };
        let end = at + matrix.bias.len().min(c);
        for (row, y) in y.chunks_exact_mut((y_width * c).max(1)).enumerate() {
            for (column, y) in y.chunks_exact_mut(c).enumerate() {
                let start = self.window.start(row, column);
                let taps = self.taps(start, at, zero, matrix, output);
                if let Some(y) = y.get_mut(at..end.min(c)) {
                    taps.run(y);
                }
            }
        }
    }

    /// The taps inside, from channel `at` on.
    fn taps<'w>(
        &self,
        start: [isize; 2],
        at: usize,
        zero: i32,
        matrix: &Matrix<'w>,
        output: Output<'w>,
    ) -> Taps<'w, X>
    where
        'x: 'w,
    {
        let [rows, columns] = self.inside(start);
        let c = self.x.channels;
        let (row, pixel) = (self.x.width * c, self.window.kernel[1] * c);
        let [down, right] = self.window.dilation;
        let first = |start: isize, tap: usize, step: usize| {
            usize::try_from(start.wrapping_add(tap.wrapping_mul(step) as isize)).unwrap_or(0)
        };
        let [top, left] = start;
        let x = first(top, rows.start, down) * row + first(left, columns.start, right) * c + at;
        let count = [rows.len(), columns.len()];
        let (x_steps, weight_steps) = ([down * row, right * c], [pixel, c]);
        // A column of taps is a row of them to the inner loop.
        let turned = |[a, b]: [usize; 2]| if count[1] == 1 { [b, a] } else { [a, b] };
        Taps {
            x: tail(self.x.values, x),
            weights: tail(matrix.weights, rows.start * pixel + columns.start * c + at),
            count: turned(count),
            x_steps: turned(x_steps),
            weight_steps: turned(weight_steps),
            zero,
            bias: matrix.bias,
            output,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::conv2d::tests::{case, finished, output};
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    proptest! {
        #[test]
        fn a_depthwise_convolution_equals_plain_sums(case in case()) {
            let ([rows, columns], c) = (case.results(), case.c);
            let (bias, multipliers) = (vec![50; c], vec![1 << 28; c]);
            let matrix = Matrix { weights: &case.weights[0], bias: &bias };
            let mut y = vec![0i16; rows * columns * c];
            depthwise_conv2d(&case.image(), &case.window, &matrix, &output(&multipliers), &mut y, columns);
            let sums = case.under().sums_apart([rows, columns], &case.weights[0], &vec![50.0; c]);
            prop_assert_eq!(y, finished(&sums));
        }
    }
}

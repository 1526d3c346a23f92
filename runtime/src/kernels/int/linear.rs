//! Rows times a weight matrix: the fully connected layer, and by its row stride also convolution over time.

use super::dot::{pairs_len, to_pairs};
use super::requantize::{Activation, Output};
use crate::kernels::arch::int::{Blocks, Constants};

/// A weight matrix in flash, as the converter packs it.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'w> {
    /// Packed weights, `[out, in]`; see [`super::dot`].
    pub weights: &'w [i8],
    /// One per output; contains the input's zero point.
    pub bias: &'w [i32],
}

/// One row: `y[o] = output(bias[o] + sum_i weights[o, i] * x[i])` with `x` in pair order.
/// `y`, `bias` and `multipliers` have one element per output; results of padding outputs are dropped.
#[inline]
pub fn matvec<Y: Activation>(pairs: &[i16], matrix: &Matrix, output: &Output, y: &mut [Y]) {
    let blocks = Blocks {
        pairs,
        weights: matrix.weights,
        bias: Constants::Each(matrix.bias),
        multipliers: Constants::Each(output.multipliers),
        left_shift: output.left_shift,
        zero_point: output.zero_point,
        min: output.min,
        max: output.max,
    };
    blocks.run_to(y);
}

/// Rows `x: [rows, k]` to `y: [rows, out]`. `pairs` is scratch of at least `pairs_len(k)`.
pub fn linear<X: Activation, Y: Activation>(
    x: &[X],
    k: usize,
    matrix: &Matrix,
    output: &Output,
    pairs: &mut [i16],
    y: &mut [Y],
) {
    let Some(pairs) = pairs.get_mut(..pairs_len(k)) else {
        return;
    };
    for (x, y) in x
        .chunks_exact(k.max(1))
        .zip(y.chunks_exact_mut(output.multipliers.len().max(1)))
    {
        to_pairs(x, 0, pairs);
        matvec(pairs, matrix, output, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int::dot::{packed_index, packed_len};

    #[test]
    fn rows_are_multiplied_clamped_and_shifted_to_the_zero_point() {
        let mut weights = [0i8; packed_len(2, 3)];
        for (i, (a, b)) in [(1, -4), (2, 5), (3, 6)].into_iter().enumerate() {
            weights[packed_index(0, i, 3)] = a;
            weights[packed_index(1, i, 3)] = b;
        }
        let matrix = Matrix {
            weights: &weights,
            bias: &[10, 0],
        };
        let output = Output {
            multipliers: &[1 << 30, 1 << 30],
            left_shift: 1,
            zero_point: -3,
            min: -20,
            max: 100,
        };
        let mut y = [0i8; 4];
        linear(
            &[1i8, 2, 3, 100, 0, 0],
            3,
            &matrix,
            &output,
            &mut [0; 4],
            &mut y,
        );
        // (1 + 4 + 9 + 10) / 2 - 3, (-4 + 10 + 18) / 2 - 3, (100 + 10) / 2 - 3, -400 / 2 - 3 clamped
        assert_eq!(y, [9, 9, 52, -20]);
    }
}

//! Rows times a weight matrix: the fully connected layer, and by its row stride also convolution over time.

use super::dot::{PairRow, ROWS, pairs_len};
use super::requantize::{Activation, Output};
use crate::kernels::arch::int::{Blocks, Constants, TILES};

/// A weight matrix in flash, as the converter packs it, or joins it.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'w, const JOINED: bool = false> {
    /// Packed weights, `[out, in]`, see [`super::dot`]; or joined ones, see [`super::joined`].
    pub weights: &'w [i8],
    /// One per output; contains the input's zero point.
    pub bias: &'w [i32],
}

impl<'w, const JOINED: bool> Matrix<'w, JOINED> {
    fn blocks<'p>(&self, pairs: &'p [i16], output: &Output<'p>) -> Blocks<'p, JOINED>
    where
        'w: 'p,
    {
        Blocks {
            pairs,
            weights: self.weights,
            bias: Constants::Each(self.bias),
            multipliers: Constants::Each(output.multipliers),
            left_shift: output.left_shift,
            zero_point: output.zero_point,
            min: output.min,
            max: output.max,
        }
    }
}

/// One row: `y[o] = output(bias[o] + sum_i weights[o, i] * x[i])` with `x` in the order of the matrix.
/// `y`, `bias` and `multipliers` have one element per output; results of padding outputs are dropped.
#[inline]
pub fn matvec<Y: Activation, const JOINED: bool>(
    pairs: &[i16],
    matrix: &Matrix<JOINED>,
    output: &Output,
    y: &mut [Y],
) {
    matrix.blocks(pairs, output).run_to(y);
}

/// int16 elements of scratch for `rows` rows of `len` values in the order of a matrix, a multiple of 4: a tile, if there are enough of
/// them. [`each_row`] takes less, down to one row, and is slower.
pub const fn scratch_len(len: usize, rows: usize) -> usize {
    len.saturating_mul(if rows < ROWS { 1 } else { ROWS })
}

/// Rows of `len` values, which `fill` writes in the order of the matrix, times a matrix: `y: [rows, out]`. `scratch` is at least `len`, better
/// [`scratch_len`]. Not `TILED`: one row at a time, the same results in less code.
#[inline(never)]
pub fn each_row<Y: Activation, const TILED: bool, const JOINED: bool>(
    len: usize,
    matrix: &Matrix<JOINED>,
    output: &Output,
    scratch: &mut [i16],
    y: &mut [Y],
    fill: &mut dyn FnMut(usize, PairRow<JOINED>),
) {
    let out = output.multipliers.len().max(1);
    let mut row = 0;
    let mut rest = y;
    if let Some(tile) = scratch.get_mut(..len * ROWS).filter(|_| TILES && TILED) {
        let mut tiles = rest.chunks_exact_mut(out * ROWS);
        for y in &mut tiles {
            for at in 0..ROWS {
                fill(row + at, PairRow::of_tile(tile, at));
            }
            matrix.blocks(tile, output).run_tile_to(y, out);
            row += ROWS;
        }
        rest = tiles.into_remainder();
    }
    let Some(pairs) = scratch.get_mut(..len) else {
        return;
    };
    for y in rest.chunks_exact_mut(out) {
        fill(row, PairRow::alone(pairs));
        matvec(pairs, matrix, output, y);
        row += 1;
    }
}

/// Rows `x: [rows, k]` to `y: [rows, out]`, `TILED` as for [`each_row`]. `scratch` is at least `pairs_len(k)`, better [`scratch_len`].
pub fn linear<X: Activation, Y: Activation, const TILED: bool, const JOINED: bool>(
    x: &[X],
    k: usize,
    matrix: &Matrix<JOINED>,
    output: &Output,
    scratch: &mut [i16],
    y: &mut [Y],
) {
    let mut rows = x.chunks_exact(k.max(1));
    let used = rows.len().saturating_mul(output.multipliers.len());
    let used = used.min(y.len());
    let y = y.get_mut(..used).unwrap_or_default();
    each_row::<Y, TILED, JOINED>(
        pairs_len(k),
        matrix,
        output,
        scratch,
        y,
        &mut |_, mut pairs| {
            pairs.fill(rows.next().unwrap_or_default(), 0);
        },
    );
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
        linear::<_, _, true, false>(
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

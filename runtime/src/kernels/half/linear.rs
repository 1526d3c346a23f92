//! Matrix times rows.

use super::{Clamp, LANES, narrow, widen};
use crate::f16;
use crate::kernels::arch::half::{ROWS, dot4, dot4_rows, takes_rows};

/// A weight matrix `[out, k]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'w> {
    /// Packed (see [`super::packed_len`]).
    pub weights: &'w [[f16; LANES]],
    /// Initial value of the sum of each output.
    pub bias: &'w [f32],
}

/// Outputs that are computed together.
pub(super) const BATCH: usize = 4 * LANES;

/// The sums of one row `x: [k]`, handed over a batch of outputs at a time: bias, then the products in the order of the
/// inputs.
#[inline(always)]
pub(super) fn sums(x: &[f32], matrix: &Matrix, mut each: impl FnMut(&[f32])) {
    let mut sums = [[0.0; LANES]; BATCH / LANES];
    let mut blocks = matrix.weights.chunks_exact(x.len().max(1));
    for bias in matrix.bias.chunks(BATCH) {
        let flat = sums.as_flattened_mut();
        flat.iter_mut()
            .zip(bias)
            .for_each(|(sum, bias)| *sum = *bias);
        let count = bias.len().div_ceil(LANES);
        for (sums, block) in sums.iter_mut().zip(blocks.by_ref().take(count)) {
            dot4(x, block, sums);
        }
        each(sums.as_flattened().get(..bias.len()).unwrap_or(&[]));
    }
}

/// One row `x: [k]`, result `y: [out]`.
pub fn matvec(x: &[f32], matrix: &Matrix, clamp: Clamp, y: &mut [f16]) {
    let mut results = y.chunks_mut(BATCH);
    sums(x, matrix, |sums| {
        narrow(sums, clamp, results.next().unwrap_or_default());
    });
}

/// Columns of a matrix of results.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    /// Elements of a row of the matrix.
    pub stride: usize,
    /// Column of the first result.
    pub first: usize,
}

/// `x: [rows, k]`; the results go to those columns of `y: [rows, stride]`, as many as there are biases. `wide` is scratch of `k`.
pub(super) fn rows(
    x: &[f16],
    matrix: &Matrix,
    clamp: Clamp,
    columns: Columns,
    wide: &mut [f32],
    y: &mut [f16],
) {
    let k = wide.len().max(1);
    let (stride, end) = (columns.stride.max(1), columns.first + matrix.bias.len());
    let mut done = 0;
    if takes_rows(x, k) {
        let tiles = x.chunks_exact((ROWS * k).max(1));
        for (x, y) in tiles.zip(y.chunks_exact_mut((ROWS * stride).max(1))) {
            tile(x, k, matrix, clamp, columns, y);
            done += ROWS;
        }
    }
    // Not zipped: that would divide by the length of a row, which the compiler does not know to be above 0.
    let x = x.get(done * k..).unwrap_or(&[]);
    let y = y.get_mut(done * stride..).unwrap_or_default();
    let (mut x, mut y) = (x.chunks_exact(k), y.chunks_exact_mut(stride));
    while let (Some(x), Some(y)) = (x.next(), y.next()) {
        widen(x, wide);
        let y = y.get_mut(columns.first..end).unwrap_or_default();
        matvec(wide, matrix, clamp, y);
    }
}

/// Four rows of [`rows`].
fn tile(x: &[f16], k: usize, matrix: &Matrix, clamp: Clamp, columns: Columns, y: &mut [f16]) {
    let mut sums = [[0.0; LANES]; ROWS];
    let blocks = matrix.weights.chunks_exact(k.max(1));
    for ((block, weights), bias) in blocks.enumerate().zip(matrix.bias.chunks(LANES)) {
        let mut start = [0.0; LANES];
        start.iter_mut().zip(bias).for_each(|(sum, b)| *sum = *b);
        dot4_rows(x, weights, &start, &mut sums);
        let first = columns.first + block * LANES;
        for (sums, y) in sums.iter().zip(y.chunks_exact_mut(columns.stride.max(1))) {
            let y = y.get_mut(first..first + bias.len()).unwrap_or_default();
            narrow(sums, clamp, y);
        }
    }
}

/// `x: [rows, k]`, `y: [rows, out]`; `wide` is scratch of at least `k`.
pub fn linear(x: &[f16], k: usize, matrix: &Matrix, clamp: Clamp, wide: &mut [f32], y: &mut [f16]) {
    let columns = Columns {
        stride: matrix.bias.len(),
        first: 0,
    };
    if let Some(wide) = wide.get_mut(..k) {
        rows(x, matrix, clamp, columns, wide, y);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kernels::half::{packed_index, packed_len};
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    /// Packs rows of weights.
    pub fn pack(rows: &[Vec<f16>], k: usize) -> Vec<[f16; LANES]> {
        let mut packed = vec![[f16::ZERO; LANES]; packed_len(rows.len(), k)];
        for (o, row) in rows.iter().enumerate() {
            for (i, &w) in row.iter().enumerate() {
                packed.as_flattened_mut()[packed_index(o, i, k)] = w;
            }
        }
        packed
    }

    /// The halves nearest to these numbers.
    pub fn to_halves(values: &[f32]) -> Vec<f16> {
        values.iter().map(|&x| f16::from_f32(x)).collect()
    }

    /// Halves between -1 and 1.
    pub fn halves(n: usize) -> impl Strategy<Value = Vec<f16>> {
        proptest::collection::vec((-1.0f32..1.0).prop_map(f16::from_f32), n)
    }

    proptest! {
        #[test]
        fn rows_are_within_a_rounding_of_double_precision(
            (k, weights, bias, x) in (1usize..40, 1usize..11, 1usize..10).prop_flat_map(|(k, out, rows)| (
                Just(k),
                proptest::collection::vec(halves(k), out),
                proptest::collection::vec(-1.0f32..1.0, out),
                halves(rows * k),
            ))
        ) {
            let packed = pack(&weights, k);
            let matrix = Matrix { weights: &packed, bias: &bias };
            let mut y = vec![f16::ZERO; x.len() / k * bias.len()];
            linear(&x, k, &matrix, Clamp::NONE, &mut vec![0.0; k], &mut y);
            for (row, y) in x.chunks(k).zip(y.chunks(bias.len())) {
                for (o, &y) in y.iter().enumerate() {
                    let products = row.iter().zip(&weights[o]).map(|(&x, &w)| f64::from(x) * f64::from(w));
                    let exact = f64::from(bias[o]) + products.sum::<f64>();
                    // Half a step of the result, and k roundings of sums below k + 1.
                    let bound = exact.abs() * 2f64.powi(-11) + 3e-8 + (k as f64 + 1.0).powi(2) * 2f64.powi(-24);
                    prop_assert!((f64::from(y) - exact).abs() <= bound, "{} for {}", y, exact);
                }
            }
        }
    }
}

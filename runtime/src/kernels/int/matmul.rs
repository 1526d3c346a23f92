//! Matrix product of two activations.

use super::elementwise::Rescale;
use super::requantize::{Activation, requantize};

/// Columns whose sums are kept at the same time.
const COLUMNS: usize = 8;

/// `y[m, n] = sum_k a[m, k] * b[k, n]`, for `a: [rows, k]` and `b: [k, n]` with their zero points. Sums are 64 bits wide and shifted
/// right by `shift` (down) before they are rescaled; `by` has the zero point of `b`.
pub fn matmul<A: Activation, B: Activation, Y: Activation>(
    a: &[A],
    a_zero_point: i32,
    b: &[B],
    k: usize,
    shift: u32,
    by: &Rescale,
    y: &mut [Y],
) {
    let n = b.len().checked_div(k).unwrap_or(0).max(1);
    for (a, y) in a.chunks_exact(k.max(1)).zip(y.chunks_exact_mut(n)) {
        for (block, y) in y.chunks_mut(COLUMNS).enumerate() {
            let mut sums = [0i64; COLUMNS];
            for (&a, row) in a.iter().zip(b.chunks_exact(n)) {
                let a = i64::from(a.into().wrapping_sub(a_zero_point));
                let row = row.get(block * COLUMNS..).unwrap_or(&[]);
                for (sum, &b) in sums.iter_mut().zip(row) {
                    let b = i64::from(b.into().wrapping_sub(by.input_zero_point));
                    *sum = sum.wrapping_add(a.wrapping_mul(b));
                }
            }
            for (y, sum) in y.iter_mut().zip(sums) {
                let sum = sum.wrapping_shr(shift) as i32;
                let value = requantize(sum, by.multiplier, by.left_shift);
                let value = value.wrapping_add(by.zero_point);
                *y = Y::from_i32(value.max(by.min).min(by.max));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::rescale;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn products_are_rounded_once(
            a in proptest::collection::vec(any::<i16>(), 3 * 5),
            b in proptest::collection::vec(any::<i8>(), 5 * 11),
        ) {
            let by = Rescale { min: -32768, max: 32767, ..rescale(-7, 1 << 18, 0, 3) };
            let mut y = [0i16; 33];
            matmul(&a, 2, &b, 5, 4, &by, &mut y);
            for (i, y) in y.into_iter().enumerate() {
                let term = |k: usize| (f64::from(a[i / 11 * 5 + k]) - 2.0) * (f64::from(b[k * 11 + i % 11]) + 7.0);
                let exact = ((0..5).map(term).sum::<f64>() / 16.0).floor() / 16384.0 + 3.0;
                let exact = exact.clamp(-32768.0, 32767.0);
                prop_assert!((f64::from(y) - exact).abs() <= 0.5, "{} for {}", y, exact);
            }
        }
    }
}

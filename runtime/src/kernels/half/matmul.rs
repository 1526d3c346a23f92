//! Matrix product of two activations: columns of the second are packed, a strip at a time, for the inner loop.

use super::linear::{BATCH, Columns, Matrix, rows};
use super::{Clamp, LANES, packed_len};
use crate::f16;

/// Groups of four packed halves that [`matmul`] needs for a strip of `b: [k, n]`.
pub const fn strip_len(k: usize, n: usize) -> usize {
    packed_len(if n < BATCH { n } else { BATCH }, k)
}

/// `a: [m, k]` times `b: [k, n]` gives `y: [m, n]`; products are added in the order of `k`. `wide` is scratch of `k`, `packed` of
/// [`strip_len`].
pub fn matmul(
    a: &[f16],
    b: &[f16],
    n: usize,
    wide: &mut [f32],
    packed: &mut [[f16; LANES]],
    y: &mut [f16],
) {
    let (k, n) = (wide.len().max(1), n.max(1));
    for first in (0..n).step_by(BATCH) {
        let columns = BATCH.min(n - first);
        for (block, packed) in packed.chunks_exact_mut(k).enumerate() {
            for (group, row) in packed.iter_mut().zip(b.chunks_exact(n)) {
                *group = [f16::ZERO; LANES];
                let row = row.get(first + block * LANES..).unwrap_or(&[]);
                group.iter_mut().zip(row).for_each(|(slot, &x)| *slot = x);
            }
        }
        let matrix = Matrix {
            weights: packed,
            bias: [0.0; BATCH].get(..columns).unwrap_or(&[]),
        };
        rows(
            a,
            &matrix,
            Clamp::NONE,
            Columns { stride: n, first },
            wide,
            y,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::tests::halves;
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    proptest! {
        #[test]
        fn products_are_added_in_order(
            (m, k, n, a, b) in (1usize..10, 1usize..9, 1usize..40).prop_flat_map(|(m, k, n)| (Just(m), Just(k), Just(n), halves(m * k), halves(k * n)))
        ) {
            let mut y = vec![f16::ZERO; m * n];
            let (mut wide, mut packed) = (vec![0.0; k], vec![[f16::ZERO; LANES]; strip_len(k, n)]);
            matmul(&a, &b, n, &mut wide, &mut packed, &mut y);
            for (i, y) in y.into_iter().enumerate() {
                let term = |at: usize| a[i / n * k + at].to_f32() * b[at * n + i % n].to_f32();
                let sum = (0..k).fold(0.0, |sum, at| sum + term(at));
                let mut exact = [f16::ZERO];
                super::super::narrow(&[sum], Clamp::NONE, &mut exact);
                prop_assert_eq!(y, exact[0]);
            }
        }
    }
}

//! Sums, products, means, joins, and rows of a table.

use super::{CHUNK, Clamp, chunks, narrow, widen};
use crate::f16;

/// `a + b`.
pub fn add(a: &[f16], b: &[f16], clamp: Clamp, y: &mut [f16]) {
    pairs(a, b, clamp, y, |a, b| a + b);
}

/// `a * b * factor`, multiplied in this order.
pub fn mul(a: &[f16], b: &[f16], factor: f32, y: &mut [f16]) {
    pairs(a, b, Clamp::NONE, y, |a, b| a * b * factor);
}

#[inline(always)]
fn pairs(a: &[f16], b: &[f16], clamp: Clamp, y: &mut [f16], one: impl Fn(f32, f32) -> f32) {
    let mut wide = [0.0; CHUNK];
    chunks(a, |at, a| {
        let (b, y) = (b.get(at..).unwrap_or(&[]), y.get_mut(at..));
        widen(b, &mut wide);
        a.iter_mut().zip(&wide).for_each(|(a, b)| *a = one(*a, *b));
        narrow(a, clamp, y.unwrap_or_default());
    });
}

/// Mean over rows: `x: [rows, c]`, `y: [c]`. Rows are added in order, and the sum multiplied with `1 / rows`.
pub fn mean_rows(x: &[f16], y: &mut [f16]) {
    let c = y.len().max(1);
    let share = 1.0 / (x.len() / c) as f32;
    for (i, y) in y.chunks_mut(CHUNK).enumerate() {
        let (mut sums, mut wide) = ([0.0; CHUNK], [0.0; CHUNK]);
        for row in x.chunks_exact(c) {
            widen(row.get(i * CHUNK..).unwrap_or(&[]), &mut wide);
            sums.iter_mut().zip(wide).for_each(|(sum, x)| *sum += x);
        }
        sums.iter_mut().for_each(|sum| *sum *= share);
        narrow(&sums, Clamp::NONE, y);
    }
}

/// Puts rows `x: [rows, channels]` into rows of `y: [rows, row_len]`, from channel `at` on.
pub fn join(x: &[f16], channels: usize, y: &mut [f16], row_len: usize, at: usize) {
    let (mut x, mut y) = (
        x.chunks_exact(channels.max(1)),
        y.chunks_exact_mut(row_len.max(1)),
    );
    while let (Some(x), Some(y)) = (x.next(), y.next()) {
        let places = y.get_mut(at..).unwrap_or_default();
        places.iter_mut().zip(x).for_each(|(slot, x)| *slot = *x);
    }
}

/// Rows of `table: [n, channels]`, by number; a number that it does not have gives zeros.
pub fn look_up(tokens: &[i32], table: &[f16], channels: usize, y: &mut [f16]) {
    let channels = channels.max(1);
    for (&token, y) in tokens.iter().zip(y.chunks_exact_mut(channels)) {
        let start = usize::try_from(token)
            .ok()
            .and_then(|token| token.checked_mul(channels));
        let row = start.and_then(|start| table.get(start..)).unwrap_or(&[]);
        y.fill(f16::ZERO);
        y.iter_mut().zip(row).for_each(|(slot, x)| *slot = *x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves<const N: usize>(values: [f32; N]) -> [f16; N] {
        values.map(f16::from_f32)
    }

    #[test]
    fn sums_products_and_means_round_once() {
        let (a, b) = (halves([1.0, -3.0, 60000.0]), halves([0.5, 2.0, 60000.0]));
        let mut y = [f16::ZERO; 3];
        add(&a, &b, Clamp::NONE, &mut y);
        assert_eq!(y.map(f16::to_f32), [1.5, -1.0, 65504.0]);
        mul(&a, &b, 2.0, &mut y);
        assert_eq!(y.map(f16::to_f32), [1.0, -12.0, 65504.0]);
        let mut mean = [f16::ZERO; 2];
        mean_rows(&halves([1.0, 60000.0, 2.0, 60000.0, 6.0, 0.0]), &mut mean);
        assert_eq!(mean.map(f16::to_f32), [3.0, 40000.0]);
    }

    #[test]
    fn tokens_outside_the_table_are_zeros() {
        let table = halves([1.0, 2.0, 3.0, 4.0]);
        let mut y = [f16::ONE; 10];
        look_up(&[1, -1, 2, i32::MIN, 0], &table, 2, &mut y);
        let expected = [3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0];
        assert_eq!(y, halves(expected));
    }

    #[test]
    fn rows_are_joined_side_by_side() {
        let mut y = halves([0.0; 6]);
        join(&halves([1.0, 2.0]), 1, &mut y, 3, 2);
        join(&halves([3.0, 4.0, 5.0, 6.0]), 2, &mut y, 3, 0);
        assert_eq!(y, halves([3.0, 4.0, 1.0, 5.0, 6.0, 2.0]));
    }
}

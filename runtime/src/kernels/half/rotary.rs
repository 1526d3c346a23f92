//! Rotary positions, in the form of [`crate::kernels::int::rotary`].

use super::{CHUNK, Clamp, narrow, widen};
use crate::f16;

/// How the channels of a row are turned: heads of `head_dim` channels alike.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'w> {
    /// Channels of a head.
    pub head_dim: usize,
    /// Pairs that are turned, at most `head_dim / 2`; the other channels stay.
    pub pairs: usize,
    /// Pairs are neighbours `(2i, 2i + 1)`, not halves `(i, pairs + i)`.
    pub interleaved: bool,
    /// `[rows, pairs, 2]`: cosine and sine.
    pub table: &'w [f16],
}

impl Rotation<'_> {
    /// Angles of row `position`; of the last one that the table has for any beyond.
    fn angles(&self, position: usize) -> &[f16] {
        let width = self.pairs.saturating_mul(2);
        let rows = self.table.len().checked_div(width).unwrap_or(0);
        let start = position.min(rows.saturating_sub(1)).saturating_mul(width);
        let end = start.saturating_add(width);
        self.table.get(start..end).unwrap_or(&[])
    }
}

/// Rows `[rows, channels]` of which the first stands at `first`:
/// `y[a] = cos * x[a] - sin * x[b]`, `y[b] = sin * x[a] + cos * x[b]` for each pair `(a, b)`.
pub fn rotate(x: &[f16], channels: usize, first: usize, rotation: &Rotation, y: &mut [f16]) {
    let channels = channels.max(1);
    let d = rotation.head_dim.max(1);
    let rows = x.chunks_exact(channels).zip(y.chunks_exact_mut(channels));
    for (row, (x, y)) in rows.enumerate() {
        let angles = rotation.angles(first.saturating_add(row));
        for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
            y.iter_mut().zip(x).for_each(|(y, x)| *y = *x);
            if rotation.interleaved {
                turn_neighbours(angles, y.get_mut(..2 * rotation.pairs).unwrap_or_default());
            } else if let Some((upper, rest)) = y.split_at_mut_checked(rotation.pairs) {
                turn_halves(
                    angles,
                    upper,
                    rest.get_mut(..rotation.pairs).unwrap_or_default(),
                );
            }
        }
    }
}

/// Turns the pairs `(upper[i], lower[i])`.
fn turn_halves(angles: &[f16], upper: &mut [f16], lower: &mut [f16]) {
    let (mut a, mut b, mut angle) = ([0.0; CHUNK], [0.0; CHUNK], [0.0; 2 * CHUNK]);
    let parts = upper.chunks_mut(CHUNK).zip(lower.chunks_mut(CHUNK));
    for ((upper, lower), angles) in parts.zip(angles.chunks(2 * CHUNK)) {
        widen(upper, &mut a);
        widen(lower, &mut b);
        widen(angles, &mut angle);
        for ((a, b), angle) in a.iter_mut().zip(&mut b).zip(angle.as_chunks().0) {
            (*a, *b) = turned(*a, *b, angle);
        }
        narrow(&a, Clamp::NONE, upper);
        narrow(&b, Clamp::NONE, lower);
    }
}

/// Turns the pairs `(y[2 * i], y[2 * i + 1])`.
fn turn_neighbours(angles: &[f16], y: &mut [f16]) {
    let (mut wide, mut angle) = ([0.0; CHUNK], [0.0; CHUNK]);
    for (y, angles) in y.chunks_mut(CHUNK).zip(angles.chunks(CHUNK)) {
        widen(y, &mut wide);
        widen(angles, &mut angle);
        for ([a, b], angle) in wide.as_chunks_mut().0.iter_mut().zip(angle.as_chunks().0) {
            (*a, *b) = turned(*a, *b, angle);
        }
        narrow(&wide, Clamp::NONE, y);
    }
}

#[inline(always)]
fn turned(a: f32, b: f32, &[cos, sin]: &[f32; 2]) -> (f32, f32) {
    (cos * a - sin * b, sin * a + cos * b)
}

#[cfg(test)]
mod tests {
    use super::super::linear::tests::halves;
    use super::*;
    use crate::kernels::testing::rotated;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn rows_are_within_a_rounding_of_double_precision(
            (pairs, rest, x) in (1usize..50, 0usize..3).prop_flat_map(|(pairs, rest)| (
                Just(pairs), Just(rest), halves(2 * 3 * (2 * pairs + rest)),
            )),
            interleaved in any::<bool>(),
            first in 0usize..4,
        ) {
            let (rows, d) = (5, 2 * pairs + rest);
            let table: Vec<f16> = (0..rows * pairs).flat_map(|at| {
                let angle = (at / pairs) as f32 * 0.7f32.powi((at % pairs) as i32);
                [angle.cos(), angle.sin()].map(f16::from_f32)
            }).collect();
            let rotation = Rotation { head_dim: d, pairs, interleaved, table: &table };
            let mut y = vec![f16::ZERO; x.len()];
            rotate(&x, 2 * d, first, &rotation, &mut y);
            for (i, got) in y.iter().enumerate() {
                let (row, channel) = (i / (2 * d), i % d);
                let head = &x[i - channel..][..d];
                let angle = |pair: usize| {
                    let at = 2 * ((first + row).min(rows - 1) * pairs + pair);
                    (f64::from(table[at]), f64::from(table[at + 1]))
                };
                let exact = rotated(head, channel, pairs, interleaved, angle);
                let error = (f64::from(*got) - exact).abs();
                prop_assert!(error <= exact.abs() * 2f64.powi(-11) + 3e-7, "{} for {}", got, exact);
            }
        }
    }
}

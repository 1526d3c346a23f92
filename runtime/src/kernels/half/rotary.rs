//! Rotary positions, in the form of [`crate::kernels::int::rotary`].

use super::{CHUNK, Clamp, narrow, widen};
use crate::f16;
use crate::kernels::geometry::Turns;

/// How the channels of a row are turned.
pub type Rotation<'w> = Turns<'w, f16>;

/// Rows `[rows, channels]`; the first row has position `first`:
/// `y[a] = cos * x[a] - sin * x[b]`, `y[b] = sin * x[a] + cos * x[b]` for each pair `(a, b)`.
pub fn rotate(x: &[f16], channels: usize, first: usize, rotation: &Rotation, y: &mut [f16]) {
    let pairs = rotation.pairs;
    rotation.each_head(x, channels, first, y, |x, angles, y| {
        let angles = angles.as_flattened();
        y.iter_mut().zip(x).for_each(|(y, x)| *y = *x);
        if rotation.interleaved {
            turn_neighbours(angles, y.get_mut(..2 * pairs).unwrap_or_default());
        } else if let Some((upper, rest)) = y.split_at_mut_checked(pairs) {
            turn_halves(angles, upper, rest.get_mut(..pairs).unwrap_or_default());
        }
    });
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
            let table: Vec<[f16; 2]> = (0..rows * pairs).map(|at| {
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
                    let [cos, sin] = table[(first + row).min(rows - 1) * pairs + pair];
                    (f64::from(cos), f64::from(sin))
                };
                let exact = rotated(head, channel, pairs, interleaved, angle);
                let error = (f64::from(*got) - exact).abs();
                prop_assert!(error <= exact.abs() * 2f64.powi(-11) + 3e-7, "{} for {}", got, exact);
            }
        }
    }
}

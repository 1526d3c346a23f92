//! Rotary positions: pairs of channels turned by an angle that depends on the row (Su et al., "RoFormer", 2021).

use super::elementwise::Rescale;
use super::requantize::{Activation, requantize};
use crate::kernels::geometry::Turns;

/// Cosines and sines are Q14, so that 1 and -1 are exact.
pub const TURN_BITS: u32 = 14;

/// How the channels of a row are turned and rescaled.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'w> {
    /// Heads, pairs and their angles, Q14.
    pub turns: Turns<'w, i16>,
    /// From centred Q14 products to the result.
    pub by: Rescale,
}

impl Rotation<'_> {
    #[inline(always)]
    fn store<Y: Activation>(&self, sum: i32) -> Y {
        let value = requantize(sum, self.by.multiplier, self.by.left_shift)
            .wrapping_add(self.by.zero_point);
        Y::from_i32(value.max(self.by.min).min(self.by.max))
    }
}

/// Rows `[rows, channels]`; the first row has position `first`:
/// `y[a] = cos * x[a] - sin * x[b]`, `y[b] = sin * x[a] + cos * x[b]` for each pair `(a, b)`.
pub fn rotate<X: Activation, Y: Activation>(
    x: &[X],
    channels: usize,
    first: usize,
    rotation: &Rotation,
    y: &mut [Y],
) {
    let turn = |x: &[X], angles, y: &mut [Y]| rotate_head(x, angles, rotation, y);
    rotation.turns.each_head(x, channels, first, y, turn);
}

fn rotate_head<X: Activation, Y: Activation>(
    x: &[X],
    angles: &[[i16; 2]],
    rotation: &Rotation,
    y: &mut [Y],
) {
    let zero = rotation.by.input_zero_point;
    let centred = |x: X| x.into().wrapping_sub(zero);
    let turned = |a: i32, b: i32, &[cos, sin]: &[i16; 2]| {
        let (cos, sin) = (i32::from(cos), i32::from(sin));
        let upper = a.wrapping_mul(cos).wrapping_sub(b.wrapping_mul(sin));
        let lower = a.wrapping_mul(sin).wrapping_add(b.wrapping_mul(cos));
        (upper, lower)
    };
    let width = (2 * rotation.turns.pairs).min(x.len()).min(y.len());
    let ((x, rest), (y, rest_y)) = (x.split_at(width), y.split_at_mut(width));
    if rotation.turns.interleaved {
        let pairs = x.as_chunks().0.iter().zip(y.as_chunks_mut().0);
        for ((&[a, b], [ya, yb]), angle) in pairs.zip(angles) {
            let (upper, lower) = turned(centred(a), centred(b), angle);
            (*ya, *yb) = (rotation.store(upper), rotation.store(lower));
        }
    } else {
        let (xa, xb) = x.split_at(width / 2);
        let (ya, yb) = y.split_at_mut(width / 2);
        let pairs = xa.iter().zip(xb).zip(ya.iter_mut().zip(yb));
        for (((&a, &b), (ya, yb)), angle) in pairs.zip(angles) {
            let (upper, lower) = turned(centred(a), centred(b), angle);
            (*ya, *yb) = (rotation.store(upper), rotation.store(lower));
        }
    }
    for (&x, y) in rest.iter().zip(rest_y) {
        *y = rotation.store(centred(x).wrapping_shl(TURN_BITS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{rescale, rotated};
    use std::vec;
    use std::vec::Vec;

    /// Same scale on both sides.
    const SAME: Rescale = rescale(-3, 1 << (32 - TURN_BITS), 0, 5);

    fn table(rows: usize, pairs: usize) -> Vec<[i16; 2]> {
        let angle = |row: usize, i: usize| row as f64 * 0.7f64.powi(i as i32);
        (0..rows * pairs)
            .map(|at| {
                let (sin, cos) = angle(at / pairs, at % pairs).sin_cos();
                [cos, sin].map(|x| (x * f64::from(1 << TURN_BITS)).round() as i16)
            })
            .collect()
    }

    fn rotation(
        table: &[[i16; 2]],
        [head_dim, pairs]: [usize; 2],
        interleaved: bool,
    ) -> Rotation<'_> {
        let turns = Turns {
            head_dim,
            pairs,
            interleaved,
            table,
        };
        Rotation { turns, by: SAME }
    }

    #[test]
    fn rows_are_within_half_a_step_of_double_precision() {
        let (rows, d, pairs) = (9, 10, 4);
        for interleaved in [false, true] {
            let table = table(rows, pairs);
            let rotation = rotation(&table, [d, pairs], interleaved);
            let x: Vec<i8> = (0..rows * 2 * d)
                .map(|i| (i * 37 % 170) as i8 / 2)
                .collect();
            let mut y = vec![0i8; x.len()];
            rotate(&x, 2 * d, 0, &rotation, &mut y);
            for (at, &y) in y.iter().enumerate() {
                let (row, c) = (at / (2 * d), at % d);
                let real = |at: usize| f64::from(x[at]) + 3.0;
                let turn = |pair: usize| {
                    let (sin, cos) = (row as f64 * 0.7f64.powi(pair as i32)).sin_cos();
                    (cos, sin)
                };
                let head: Vec<f64> = (at - c..at - c + d).map(real).collect();
                let exact = rotated(&head, c, pairs, interleaved, turn);
                let error = (f64::from(y) - 5.0 - exact).abs();
                assert!(error < 0.51, "{exact} became {y} at {at}");
            }
        }
    }

    #[test]
    fn positions_count_on_from_the_first_and_stop_at_the_last() {
        let table = table(6, 2);
        let rotation = rotation(&table, [4, 2], false);
        let x = [90i8, 3, -60, 41].repeat(6);
        let (mut whole, mut one) = (vec![0i8; 24], vec![0i8; 4]);
        rotate(&x, 4, 0, &rotation, &mut whole);
        for (row, whole) in whole.chunks_exact(4).enumerate() {
            rotate(&x[..4], 4, row, &rotation, &mut one);
            assert_eq!(one, whole);
        }
        rotate(&x[..4], 4, usize::MAX, &rotation, &mut one);
        assert_eq!(one, whole[20..]);
    }
}

//! Weights of a softmax.

use super::pairs::put;
use crate::kernels::arch::exp::Exponent;
use crate::kernels::int::dot::{LANES, ROWS, tiled_mut};
use crate::kernels::int::requantize::Activation;
use crate::kernels::int::softmax::exp_weight;

fn weights<X: Copy + Into<i32>>(by: &Exponent, group: &[X; LANES], sum: &mut u32) -> [i16; LANES] {
    group.map(|score| {
        let weight = exp_weight(by.max.wrapping_sub(score.into()) as u32, by.multiplier);
        *sum = sum.wrapping_add(weight as u32);
        weight
    })
}

/// See [`crate::kernels::arch::exp::greatest`].
pub fn greatest<X: Copy + Into<i32>>(values: &[X], least: i32) -> i32 {
    values.iter().fold(least, |max, &x| max.max(x.into()))
}

/// See [`crate::kernels::arch::exp::normalize`].
pub fn normalize(weights: &mut [i16], sum: u32) {
    for weight in weights {
        let scaled = u32::from(*weight as u16)
            .wrapping_mul(32767)
            .wrapping_add(sum / 2);
        *weight = (scaled / sum.max(1)) as i16;
    }
}

/// See [`Exponent::in_pairs`].
pub fn in_pairs(
    by: &Exponent,
    scores: &[[i32; LANES]],
    pairs: &mut [i16],
    [rows, row]: [usize; 2],
) -> u32 {
    let mut sum = 0;
    match rows {
        _ if row >= rows => {}
        1 => (tiled_mut::<1>(pairs).iter_mut().zip(scores))
            .for_each(|(place, group)| put(place, row, weights(by, group, &mut sum))),
        ROWS => (tiled_mut::<ROWS>(pairs).iter_mut().zip(scores))
            .for_each(|(place, group)| put(place, row, weights(by, group, &mut sum))),
        _ => {}
    }
    sum
}

/// See [`Exponent::in_order`].
pub fn in_order<X: Activation>(
    by: &Exponent,
    scores: &[[X; LANES]],
    y: &mut [[i16; LANES]],
) -> u32 {
    let mut sum = 0;
    (y.iter_mut().zip(scores)).for_each(|(y, group)| *y = weights(by, group, &mut sum));
    sum
}

//! The inner loop of depthwise convolutions.

use crate::kernels::arch::taps::Taps;
use crate::kernels::int::requantize::Activation;

/// Channels that are summed together.
const CHANNELS: usize = 8;

/// See [`Taps::run`].
pub fn run<X: Activation, Y: Activation>(taps: &Taps<X>, y: &mut [Y]) {
    for (block, y) in y.chunks_mut(CHANNELS).enumerate() {
        let taps = taps.from(block * CHANNELS);
        let mut sums = [0i32; CHANNELS];
        (sums.iter_mut().zip(taps.bias)).for_each(|(sum, &bias)| *sum = bias);
        let [rows, columns] = taps.count;
        for row in 0..rows {
            for column in 0..columns {
                let at = |[down, right]: [usize; 2]| row * down + column * right;
                let x = taps.x.get(at(taps.x_steps)..).unwrap_or(&[]);
                let weights = (taps.weights.get(at(taps.weight_steps)..)).unwrap_or(&[]);
                add_products(&mut sums, x, weights, taps.zero);
            }
        }
        let finished = sums.iter().zip(taps.bias).zip(taps.output.multipliers);
        for (y, ((&sum, _), &multiplier)) in y.iter_mut().zip(finished) {
            *y = Y::from_i32(taps.output.apply(sum, multiplier));
        }
    }
}

/// Adds the products of one tap.
#[inline(always)]
fn add_products<X: Activation>(sums: &mut [i32; CHANNELS], x: &[X], weights: &[i8], zero: i32) {
    let add = |(sum, (&x, &w)): (&mut i32, (&X, &i8))| {
        *sum = sum.wrapping_add(x.into().wrapping_sub(zero).wrapping_mul(w.into()));
    };
    match (
        x.first_chunk::<CHANNELS>(),
        weights.first_chunk::<CHANNELS>(),
    ) {
        (Some(x), Some(weights)) => sums.iter_mut().zip(x.iter().zip(weights)).for_each(add),
        _ => sums.iter_mut().zip(x.iter().zip(weights)).for_each(add),
    }
}

//! The passes of a normalisation.

use crate::kernels::arch::norm::Row;
use crate::kernels::int::layer_norm::{BIAS_BITS, UNIT_BITS};
use crate::kernels::int::requantize::Activation;

/// See [`crate::kernels::arch::norm::sums`].
pub fn sums<X: Activation>(x: &[X]) -> (i32, u64) {
    x.iter().fold((0, 0), |(sum, squares): (i32, u64), &x| {
        let x: i32 = x.into();
        (
            sum.wrapping_add(x),
            squares.wrapping_add(x.unsigned_abs().pow(2).into()),
        )
    })
}

/// See [`Row::run`].
pub fn run<X: Activation, Y: Activation>(row: &Row, x: &[X], y: &mut [Y]) {
    let shift = 32 - row.shift.min(31);
    let half = 1i64 << (shift - 1);
    let out_shift = UNIT_BITS + row.multiplier_bits.min(16);
    let out_half = 1i64 << (out_shift - 1);
    let constants = row.multipliers.iter().zip(row.bias);
    for ((y, &x), (&multiplier, &bias)) in y.iter_mut().zip(x).zip(constants) {
        let x: i32 = x.into();
        let d = x.wrapping_mul(row.factor).wrapping_sub(row.offset);
        let unit = (i64::from(d) * i64::from(row.reciprocal) + half) >> shift;
        let scaled = i64::from(unit as i32) * i64::from(multiplier);
        let biased = scaled + (i64::from(bias) << (out_shift - BIAS_BITS));
        let value = ((biased + out_half) >> out_shift).clamp(-(1 << 24), 1 << 24) as i32;
        *y = Y::from_i32((value + row.zero_point).max(row.min).min(row.max));
    }
}

//! Weighted sums of rows: a matrix product of two activations.

use super::elementwise::Rescale;
use super::requantize::{Activation, requantize_saturated};

/// `y[c] = sum_t w[t] * x[t, c]`: weights `w: [t]`, rows `x: [t, c]` with the zero point of `by`, `y: [c]`, scratch
/// `sums: [c]`. Sums saturate in 32 bits; the converter proves that they do not reach that.
pub fn weighted_rows<X: Activation, Y: Activation>(
    w: &[i16],
    x: &[X],
    by: &Rescale,
    sums: &mut [i32],
    y: &mut [Y],
) {
    sums.fill(0);
    for (&w, x) in w.iter().zip(x.chunks_exact(sums.len().max(1))) {
        let w = i32::from(w);
        for (sum, &x) in sums.iter_mut().zip(x) {
            let x = x.into().wrapping_sub(by.input_zero_point);
            *sum = sum.saturating_add(w.wrapping_mul(x));
        }
    }
    for (y, &sum) in y.iter_mut().zip(&*sums) {
        let value =
            requantize_saturated(sum, by.multiplier, by.left_shift).wrapping_add(by.zero_point);
        *y = Y::from_i32(value.max(by.min).min(by.max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::rescale;
    use std::vec::Vec;

    #[test]
    fn a_sum_is_rounded_once() {
        let (t, c) = (7, 5);
        let w: Vec<i16> = (0..t).map(|i| (i * 911 % 4000) as i16).collect();
        let x: Vec<i8> = (0..t * c).map(|i| (i * 57 % 251) as i8).collect();
        let by = Rescale {
            min: -32768,
            max: 32767,
            ..rescale(9, 1 << 19, 0, -4)
        };
        let (mut sums, mut y) = (std::vec![0; c], std::vec![0i16; c]);
        weighted_rows(&w, &x, &by, &mut sums, &mut y);
        for (channel, y) in y.into_iter().enumerate() {
            let term = |i: usize| f64::from(w[i]) * (f64::from(x[i * c + channel]) - 9.0);
            let exact = (0..t).map(term).sum::<f64>() / 8192.0;
            assert!((f64::from(y) + 4.0 - exact).abs() <= 0.5, "{exact}: {y}");
        }
    }
}

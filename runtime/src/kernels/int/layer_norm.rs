//! Layer normalisation (Ba et al. 2016) and its form without a mean (Zhang and Sennrich 2019), in integers.
//!
//! With `d = n * x - sum(x)`, all integers and exact, the normalised value is
//! `sqrt(n) * d / sqrt(sum(d^2) + epsilon')`: scale and zero point of the input drop out, except in `epsilon'`. One
//! fixed-point reciprocal square root per row; then each element is multiplied twice, with one rounding to Q30 in
//! between and one at the end.

use super::requantize::Activation;

/// Longest row: sums of squares then stay within 64 bits for int16 inputs.
pub const MAX_CHANNELS: usize = 1024;
/// Bits below the point of `d / sqrt(sum(d^2))`, whose magnitude is at most 1.
pub const UNIT_BITS: u32 = 30;
/// Most bits below the point of a multiplier: sums then stay within 64 bits.
pub const MAX_MULTIPLIER_BITS: u32 = 16;

/// Bits below the point of a bias.
pub const BIAS_BITS: u32 = 16;

/// Parameters of a row.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'w> {
    /// Per channel: `gamma * sqrt(n) / output scale * 2^multiplier_bits`; magnitude below 2^30.
    pub multipliers: &'w [i32],
    /// At most [`MAX_MULTIPLIER_BITS`].
    pub multiplier_bits: u32,
    /// Per channel: `beta / output scale` in Q16.
    pub bias: &'w [i32],
    /// `epsilon * n^3 / input scale^2`, rounded.
    pub epsilon: u64,
    /// Subtract the row's mean (LayerNorm) or not (RmsNorm).
    pub centre: bool,
    /// Zero point of the input; of use only without a mean.
    pub input_zero_point: i32,
    /// Zero point of the output.
    pub zero_point: i32,
    /// Smallest result.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

/// `floor(sqrt(x))`, bit by bit.
fn isqrt(x: u64) -> u64 {
    let mut root = 0u64;
    let mut rest = x;
    let mut bit = 1u64 << 62;
    while bit > x {
        bit >>= 2;
    }
    while bit != 0 {
        if rest >= root + bit {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
        bit >>= 2;
    }
    root
}

/// `(reciprocal, shift)` with `2^UNIT_BITS / sqrt(u) ~ reciprocal / 2^shift`, `reciprocal` of 31 bits.
fn reciprocal_sqrt(u: u64) -> (i32, u32) {
    let u = u.max(1);
    // An even shift brings u to 62 or 63 bits and its root to 31 or 32; the error of the root is below 2^-31.
    let even = u.leading_zeros() & !1;
    let root = isqrt(u << even).max(1);
    let reciprocal = ((1u64 << 62) / root).min(i32::MAX as u64);
    // 1 / sqrt(u) = 2^(even / 2) / root = reciprocal * 2^(even / 2 - 62)
    (reciprocal as i32, 62 - even / 2 - UNIT_BITS)
}

/// Normalises every row of `x: [rows, n]` into `y`; rows longer than [`MAX_CHANNELS`] are left out.
pub fn layer_norm<X: Activation, Y: Activation>(x: &[X], norm: &LayerNorm, y: &mut [Y]) {
    let n = norm.multipliers.len();
    if n == 0 || n > MAX_CHANNELS {
        return;
    }
    for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
        let sum: i32 = x.iter().map(|&x| x.into()).sum();
        let offset = if norm.centre {
            sum
        } else {
            norm.input_zero_point * n as i32
        };
        let centred = |x: X| x.into() * n as i32 - offset;
        let square = |d: i32| (i64::from(d) * i64::from(d)) as u64;
        let squares: u64 = x.iter().map(|&x| square(centred(x))).sum();
        let (reciprocal, shift) = reciprocal_sqrt(squares.saturating_add(norm.epsilon));
        let half = 1i64 << (shift - 1);
        let out_shift = UNIT_BITS + norm.multiplier_bits.min(MAX_MULTIPLIER_BITS);
        let out_half = 1i64 << (out_shift - 1);
        for (((y, &x), &multiplier), &bias) in
            y.iter_mut().zip(x).zip(norm.multipliers).zip(norm.bias)
        {
            let unit = (i64::from(centred(x)) * i64::from(reciprocal) + half) >> shift;
            let scaled = i64::from(unit as i32) * i64::from(multiplier);
            let biased = scaled + (i64::from(bias) << (out_shift - BIAS_BITS));
            let value = ((biased + out_half) >> out_shift).clamp(-(1 << 24), 1 << 24) as i32;
            *y = Y::from_i32((value + norm.zero_point).max(norm.min).min(norm.max));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn roots_are_exact() {
        for x in [0u64, 1, 3, 4, 99, 100, u64::MAX, 1 << 62, (1 << 32) - 1] {
            let root = u128::from(isqrt(x));
            assert!(root * root <= u128::from(x) && u128::from(x) < (root + 1) * (root + 1));
        }
    }

    /// Rows through the kernel, with an output step of 2^-10, and in f64.
    fn both(
        x: &[i16],
        gamma: &[f64],
        beta: &[f64],
        epsilon: f64,
        centre: bool,
    ) -> (Vec<f64>, Vec<f64>) {
        const STEP: f64 = 1.0 / 1024.0;
        let n = x.len() as f64;
        // The kernel holds epsilon * n^3 as an integer, which shows where all squares are a few steps only.
        let epsilon = (epsilon * n * n * n).round() / (n * n * n);
        let bits = 9; // 2 * sqrt(300) * 1024 stays below 2^21
        let multiplier = |g: &f64| (g * n.sqrt() / STEP * f64::from(1 << bits)).round() as i32;
        let multipliers: Vec<i32> = gamma.iter().map(multiplier).collect();
        let bias: Vec<i32> = beta
            .iter()
            .map(|b| (b / STEP * 65536.0).round() as i32)
            .collect();
        let norm = LayerNorm {
            multipliers: &multipliers,
            multiplier_bits: bits,
            bias: &bias,
            epsilon: (epsilon * n * n * n).round() as u64,
            centre,
            input_zero_point: 0,
            zero_point: 0,
            min: i16::MIN.into(),
            max: i16::MAX.into(),
        };
        let mut y = vec![0i16; x.len()];
        layer_norm(x, &norm, &mut y);
        let x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        let constants = gamma.iter().copied().zip(beta.iter().copied());
        let exact = testing::layer_norm(&x, constants, epsilon, centre);
        let limited = exact
            .iter()
            .map(|y| y.clamp(-32768.0 * STEP, 32767.0 * STEP));
        (
            y.into_iter().map(|y| f64::from(y) * STEP).collect(),
            limited.collect(),
        )
    }

    proptest! {
        #[test]
        fn rows_are_within_half_a_step_of_double_precision(
            (x, gamma, beta) in (1usize..300).prop_flat_map(|n| (
                proptest::collection::vec(any::<i16>(), n),
                proptest::collection::vec(-2.0..2.0, n),
                proptest::collection::vec(-3.0..3.0, n),
            )),
            squeeze in 0u32..16,
            centre in any::<bool>(),
        ) {
            let x: Vec<i16> = x.iter().map(|&x| x >> squeeze).collect();
            let (got, exact) = both(&x, &gamma, &beta, 0.25, centre);
            for (got, exact) in got.iter().zip(&exact) {
                prop_assert!((got - exact).abs() <= 0.51 / 1024.0, "{} for {}", got, exact);
            }
        }
    }

    #[test]
    fn a_constant_row_gives_the_bias() {
        let (got, _) = both(&[700; 64], &[1.0; 64], &[0.5; 64], 0.0, true);
        assert_eq!(got, vec![0.5; 64]);
    }
}

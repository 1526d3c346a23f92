//! Layer normalisation (Ba et al. 2016) and its form without a mean (Zhang and Sennrich 2019), in integers.
//!
//! With `d = n * x - sum(x)`, all integers and exact, the normalised value is
//! `sqrt(n) * d / sqrt(sum(d^2) + epsilon')`: scale and zero point of the input drop out, except in `epsilon'`. One
//! fixed-point reciprocal square root per row; then each element is multiplied twice, with one rounding to Q30 in
//! between and one at the end.

use super::requantize::Activation;
use crate::kernels::arch::norm::{Row, sums};

/// Longest row: `d` of int16 inputs then stays within 32 bits.
pub const MAX_CHANNELS: usize = 1 << 14;
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

/// `floor(sqrt(x))` for a number of 63 or 64 bits: by digits of 8, 8 and 16 bits (Zimmermann 1999), each but the first from a
/// division of 32 bits.
fn isqrt(x: u64) -> u32 {
    let (high, low) = ((x >> 32) as u32, x as u32);
    let mut root = 0u32;
    let top = high >> 16;
    for bit in (0..8).rev() {
        let more = root | 1 << bit;
        if more * more <= top {
            root = more;
        }
    }
    let (root, rest) = half_root(root, top - root * root, high >> 8 & 0xff, high & 0xff, 8);
    half_root(root, rest, low >> 16, low & 0xffff, 16).0
}

/// Root and rest of a number whose upper half has this root and rest; then two digits of `bits` bits follow.
fn half_root(root: u32, rest: u32, digit: u32, last: u32, bits: u32) -> (u32, u32) {
    // The rest is at most twice the root: one bit less than itself fits.
    let half = rest << (bits - 1) | digit >> 1;
    let quotient = half / root.max(1);
    let left = ((half - quotient * root) << 1 | digit & 1) as u64;
    let square = u64::from(quotient) * u64::from(quotient);
    let root = (root << bits).wrapping_add(quotient);
    match (left << bits | u64::from(last)).checked_sub(square) {
        Some(rest) => (root, rest as u32),
        None => {
            let root = root.wrapping_sub(1);
            let missing = square - (left << bits | u64::from(last));
            (root, (2 * u64::from(root) + 1 - missing) as u32)
        }
    }
}

/// `2^62 / by`, rounded down, for a number of 32 bits: by two digits of 16 bits (Knuth, The Art of Computer Programming 2, 4.3.1).
fn divide(by: u32) -> u32 {
    let (high, low) = (by >> 16, by & 0xffff);
    let digit = |rest: u32| {
        let (mut quotient, mut left) = (rest / high.max(1), rest % high.max(1));
        while quotient >> 16 != 0 || quotient * low > left << 16 {
            (quotient, left) = (quotient - 1, left + high);
            if left >> 16 != 0 {
                break;
            }
        }
        quotient
    };
    let first = digit(1 << 30);
    let rest = ((1u32 << 30) << 16).wrapping_sub(first.wrapping_mul(by));
    (first << 16).wrapping_add(digit(rest))
}

/// `(reciprocal, shift)` with `2^UNIT_BITS / sqrt(u) ~ reciprocal / 2^(32 - shift)`, `reciprocal` of 31 bits.
fn reciprocal_sqrt(u: u64) -> (i32, u32) {
    let u = u.max(1);
    // An even shift brings u to 63 or 64 bits and its root to 32; the error of the root is below 2^-31.
    let even = u.leading_zeros() & !1;
    let root = isqrt(u << even);
    let reciprocal = divide(root).min(i32::MAX as u32);
    // 1 / sqrt(u) = 2^(even / 2) / root = reciprocal * 2^(even / 2 - 62)
    (reciprocal as i32, even / 2)
}

/// Normalises every row of `x: [rows, n]` into `y`; rows longer than [`MAX_CHANNELS`] are left out.
pub fn layer_norm<X: Activation, Y: Activation>(x: &[X], norm: &LayerNorm, y: &mut [Y]) {
    let n = norm.multipliers.len();
    if n == 0 || n > MAX_CHANNELS {
        return;
    }
    for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
        norm.row(x).run(x, y);
    }
}

impl LayerNorm<'_> {
    /// What the values of a row meet.
    #[inline(never)]
    fn row<X: Activation>(&self, x: &[X]) -> Row<'_> {
        let n = self.multipliers.len() as i32;
        let (sum, squares) = sums(x);
        let offset = if self.centre {
            sum
        } else {
            self.input_zero_point.wrapping_mul(n)
        };
        // The sum of (n * x - offset)^2, divided by n.
        let [wide_n, wide_sum, wide_offset] = [n, sum, offset].map(i64::from);
        let mixed = wide_offset.wrapping_mul(2 * wide_sum - wide_offset);
        let squares = (squares as i64).wrapping_mul(wide_n).wrapping_sub(mixed) as u64;
        // An even number of bits less, where the sum would have more than 62: long rows of int16 only.
        let bits = (128 - squares.leading_zeros() - u64::from(n as u32).leading_zeros())
            .saturating_sub(62);
        let less = bits + bits % 2;
        let squares = (squares >> less).wrapping_mul(wide_n as u64);
        let (reciprocal, shift) = reciprocal_sqrt(squares.saturating_add(self.epsilon >> less));
        let (reciprocal, shift) = match shift.checked_sub(less / 2) {
            Some(shift) => (reciprocal, shift),
            None => (reciprocal >> (less / 2 - shift), 0),
        };
        Row {
            factor: n,
            offset,
            reciprocal,
            shift,
            multipliers: self.multipliers,
            multiplier_bits: self.multiplier_bits,
            bias: self.bias,
            zero_point: self.zero_point,
            min: self.min,
            max: self.max,
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

    proptest! {
        #[test]
        fn roots_and_quotients_are_exact(x in (1u64 << 62).., root in (1u32 << 31).., near in -3i64..=3) {
            let square = (u64::from(root) * u64::from(root)).saturating_add_signed(near).max(1 << 62);
            for x in [x, square, 1 << 62, u64::MAX] {
                let root = u128::from(isqrt(x));
                prop_assert!(root * root <= u128::from(x) && u128::from(x) < (root + 1) * (root + 1), "{}", x);
            }
            for by in [root, 1 << 31, (1 << 31) + 1, u32::MAX, u32::MAX - 0xffff, root | 0xffff, root & !0xffff] {
                prop_assert_eq!(u64::from(divide(by)), (1 << 62) / u64::from(by));
            }
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
        let bits = 12 - x.len().ilog2() / 2; // 2 * sqrt(n) * 1024 * 2^bits stays below 2^24
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
            (x, gamma, beta) in prop_oneof![8 => 1usize..300, 1 => 300..MAX_CHANNELS].prop_flat_map(|n| (
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

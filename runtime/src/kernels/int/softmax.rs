//! Fixed-point softmax, straight from 32-bit scores (never through an int8 grid).
//!
//! With `d = max - score >= 0`, the weight is `2^-(d * factor)`: the exponent is taken in Q16, its fraction through a
//! table of 33 entries with linear interpolation, its integer part by a shift. Weights are Q15 and unnormalised; the
//! largest is 32767. Error below 0.0005 (tested densely against f64).

use super::dot::PairRow;
use super::requantize::Activation;
use super::tables::EXP2_Q15;
use crate::kernels::arch::exp::{self, Exponent, greatest, greatest_sum};
use crate::kernels::arch::portable;
use crate::kernels::geometry::Shape;

/// `real_factor * log2(e) * 2^32`: what [`exp_weight`] multiplies score differences by.
pub type ScoreMultiplier = u32;

/// Weight in Q15 of a score that is `distance` below the row's maximum.
#[inline(always)]
pub fn exp_weight(distance: u32, multiplier: ScoreMultiplier) -> i16 {
    let exponent_q16 = (u64::from(distance) * u64::from(multiplier)) >> 16;
    if exponent_q16 >= 16 << 16 {
        return 0;
    }
    let exponent_q16 = exponent_q16 as u32;
    let fraction = exp2_fraction(exponent_q16);
    let shift = (exponent_q16 >> 16) + 8;
    ((fraction + (1 << (shift - 1))) >> shift).min(32767) as i16
}

/// `2^-x` in Q23 for the fraction `x` behind the point of an exponent in Q16.
#[inline(always)]
pub(crate) fn exp2_fraction(exponent_q16: u32) -> u32 {
    let (at, rest) = ((exponent_q16 >> 11 & 31) as usize, exponent_q16 & 0x7ff);
    let (high, low) = (u32::from(EXP2_Q15[at]), u32::from(EXP2_Q15[at + 1]));
    (high << 8) - (((high - low) * rest) >> 3)
}

/// Weights of a row of scores, in pair order and followed by zeros; returns their sum.
pub fn row_weights(scores: &[i32], multiplier: ScoreMultiplier, pairs: &mut PairRow) -> u32 {
    let max = greatest_sum(scores, i32::MIN);
    pairs.fill_exp(scores, Exponent { max, multiplier })
}

/// [`row_weights`] of those scores alone whose bit is set (bit `i % 32` of word `i / 32`); 0 if there are none.
pub fn masked_row_weights(
    scores: &[i32],
    bits: &[u32],
    multiplier: ScoreMultiplier,
    pairs: &mut PairRow,
) -> u32 {
    let scores = || scores.iter().enumerate();
    let seen = || scores().filter(|&(i, _)| Shape::sees(bits, i));
    pairs.set_all(0);
    let Some(max) = seen().map(|(_, &score)| score).max() else {
        return 0;
    };
    let mut sum = 0u32;
    for (i, &score) in seen() {
        let weight = exp_weight(max.wrapping_sub(score) as u32, multiplier);
        pairs.set(i, weight);
        sum = sum.wrapping_add(weight as u32);
    }
    sum
}

/// `2^bits / total`, rounded, for `bits` from 31 on; a `total` below that of a single weight of 32767 counts as 32767.
pub fn reciprocal(bits: u32, total: u32) -> u32 {
    // By hand behind the first 31 bits: a division of 64 bits is 900 bytes of library code on a chip.
    let total = total.max(32767);
    let (mut quotient, mut rest) = ((1 << 31) / total, (1 << 31) % total);
    for _ in 31..bits {
        let missing = total - rest;
        let over = rest >= missing;
        quotient = quotient << 1 | u32::from(over);
        rest = if over { rest - missing } else { rest << 1 };
    }
    quotient + u32::from(rest >= total - total / 2)
}

/// Probabilities in Q15 of a row of logits: `softmax(scale * logits)`, `multiplier` made from `scale`.
pub fn probabilities_q15<X: Copy + Into<i32>>(
    logits: &[X],
    multiplier: ScoreMultiplier,
    probabilities: &mut [i16],
) {
    let max = logits.iter().map(|&x| x.into()).max().unwrap_or(0);
    let sum = weights_q15(logits, Exponent { max, multiplier }, probabilities);
    portable::exp::normalize(probabilities, sum.max(1));
}

/// [`probabilities_q15`] of activations.
pub fn softmax_q15<X: Activation>(
    logits: &[X],
    multiplier: ScoreMultiplier,
    probabilities: &mut [i16],
) {
    let max = greatest(logits, i32::MIN);
    let by = Exponent { max, multiplier };
    let (groups, rest) = logits.as_chunks();
    let (slots, last) = probabilities.as_chunks_mut();
    let sum = by.in_order(groups, slots) + weights_q15(rest, by, last);
    exp::normalize(probabilities, sum.max(1));
}

/// Weights of logits, and their sum.
fn weights_q15<X: Copy + Into<i32>>(logits: &[X], by: Exponent, weights: &mut [i16]) -> u32 {
    let mut sum = 0;
    for (slot, &x) in weights.iter_mut().zip(logits) {
        *slot = exp_weight(by.max.wrapping_sub(x.into()) as u32, by.multiplier);
        sum += *slot as u32;
    }
    sum
}

/// The multiplier for scores whose real value is `scale` per step, rounded down; saturates.
pub fn score_multiplier(scale: f32) -> ScoreMultiplier {
    (scale * (core::f32::consts::LOG2_E * 4_294_967_296.0)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_close_for_every_exponent() {
        // One step of the score is 1/4096 in the exponent of e.
        let multiplier = score_multiplier(1.0 / 4096.0);
        for distance in 0..80_000 {
            let exact = 32768.0 * (-f64::from(distance) / 4096.0).exp();
            let error = (f64::from(exp_weight(distance, multiplier)) - exact).abs();
            assert!(error < 8.0, "distance {distance}: off by {error} of 32768");
        }
        assert_eq!(exp_weight(u32::MAX, u32::MAX), 0);
    }

    #[test]
    fn reciprocals_are_rounded_quotients() {
        let totals = (0..20)
            .map(|i| 32767 << i >> (i / 16 * 4))
            .chain([1 << 31, u32::MAX]);
        for total in totals.flat_map(|total: u32| [total, total - total / 3, total - 1]) {
            for bits in [
                31,
                39,
                45,
                45 + 29u32.saturating_sub(total.leading_zeros() + 13),
            ] {
                let by = u64::from(total.max(32767));
                let exact = ((1u64 << bits) + by / 2) / by;
                assert_eq!(
                    u64::from(reciprocal(bits, total)),
                    exact,
                    "2^{bits} / {total}"
                );
            }
        }
    }

    #[test]
    fn probabilities_add_up_and_equal_logits_share() {
        let mut p = [0; 3];
        probabilities_q15(&[5i8, 5, 5], score_multiplier(0.1), &mut p);
        assert_eq!(p, [10922, 10922, 10922]);
        probabilities_q15(&[127i8, -128, -128], score_multiplier(0.1), &mut p);
        assert_eq!(p, [32767, 0, 0]);
    }
}

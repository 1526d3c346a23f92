//! Which tokens are most likely, and how likely: the best of a row of logits with their log-probabilities.
//!
//! The row is seen once, from the first token to the last, and need not exist: [`linear_top_k`] makes it a few logits at
//! a time. Equal logits rank by token, the lower first. The sum of exponentials is kept relative to a power of two
//! ([`LogSum`]), so that a new maximum costs a shift and no multiplication. Formulas and the error bound are in
//! `docs/reference/numerics.md`.

use super::linear::{Matrix, matvec};
use super::requantize::Output;
#[cfg(attn_half)]
use super::softmax::score_multiplier;
use super::softmax::{ScoreMultiplier, exp2_fraction};

/// ln 2 with 26 bits behind the point.
const LN_2_Q26: i64 = (core::f64::consts::LN_2 * 67_108_864.0) as i64;
/// No log-probability is below -2^14 octaves (-11 356 nats), so that sums of them seldom saturate.
const LOG_LIMIT_Q20: i64 = 1 << 34;
/// Logits made at a time by [`linear_top_k`]; a multiple of the block of the inner loop.
const BATCH: usize = 32;

/// `log2(sum of 2^x)` of numbers that come one after the other.
#[derive(Clone, Copy, Debug)]
pub struct LogSum {
    /// The sum times `2^low`, with 39 bits behind the point; 0: nothing has been added.
    sum: u64,
    /// Minus the exponent, rounded up, of the largest number so far.
    low: i64,
}

impl LogSum {
    /// The sum of nothing.
    pub const EMPTY: Self = Self { sum: 0, low: 0 };

    /// Adds `2^octaves`, `octaves` in Q32.
    #[inline(always)]
    pub fn add(&mut self, octaves_q32: i64) {
        let exponent_q16 = octaves_q32.wrapping_neg() >> 16;
        let (whole, fraction) = (exponent_q16 >> 16, exponent_q16 as u32 & 0xffff);
        let term = u64::from(exp2_fraction(fraction)) << 16;
        let lower = self.low.wrapping_sub(whole);
        if self.sum == 0 || lower > 0 {
            self.sum = shifted(self.sum, lower).wrapping_add(term);
            self.low = whole;
        } else {
            self.sum = self.sum.wrapping_add(shifted(term, lower.wrapping_neg()));
        }
    }

    /// The base-2 logarithm of the sum, Q32; 0 for the sum of nothing.
    pub fn log2_q32(&self) -> i64 {
        if self.sum == 0 {
            return 0;
        }
        log2_q32(self.sum).wrapping_sub((39 + self.low) << 32)
    }
}

/// The base-2 logarithm of `x`, Q32, rounded down to 20 bits behind the point; 0 for 0.
pub fn log2_q32(x: u64) -> i64 {
    let Some(whole) = x.checked_ilog2() else {
        return 0;
    };
    // 1 to 2 in Q31. Each squaring brings out one more bit of its logarithm.
    let mut mantissa = (x << (63 - whole)) >> 32;
    let mut bits = 0i64;
    for _ in 0..20 {
        mantissa = (mantissa * mantissa) >> 31;
        let bit = mantissa >> 32;
        mantissa >>= bit;
        bits = bits << 1 | bit as i64;
    }
    (i64::from(whole) << 32) + (bits << 12)
}

/// `value >> by`, 0 when nothing is left; `by` is not negative where `value` is not 0.
#[inline(always)]
fn shifted(value: u64, by: i64) -> u64 {
    if by < 64 {
        value.wrapping_shr(by as u32)
    } else {
        0
    }
}

/// Takes logits in the order of tokens and keeps the best.
#[derive(Debug)]
pub struct Ranking<'r> {
    tokens: &'r mut [i32],
    logits: &'r mut [i32],
    multiplier: ScoreMultiplier,
    sum: LogSum,
    next: i32,
}

impl<'r> Ranking<'r> {
    /// Keeps one candidate for each element of `tokens` and `scores`, which have equal lengths. `multiplier` comes from the
    /// logits' scale by [`super::softmax::score_multiplier`].
    pub fn new(tokens: &'r mut [i32], scores: &'r mut [i32], multiplier: ScoreMultiplier) -> Self {
        tokens.fill(0);
        scores.fill(i32::MIN);
        Self {
            tokens,
            logits: scores,
            multiplier,
            sum: LogSum::EMPTY,
            next: 0,
        }
    }

    /// The logit of the next token; above `i32::MIN`.
    #[inline(always)]
    pub fn push(&mut self, logit: i32) {
        self.sum.add(octaves_q32(logit, self.multiplier));
        if self.logits.last().is_some_and(|&worst| logit > worst) {
            self.insert(logit);
        }
        self.next = self.next.wrapping_add(1);
    }

    #[inline(never)]
    fn insert(&mut self, logit: i32) {
        let mut carried = (self.next, logit);
        let mut moving = false;
        for (token, logit) in self.tokens.iter_mut().zip(self.logits.iter_mut()) {
            moving |= carried.1 > *logit;
            if moving {
                let (token_before, logit_before) = (*token, *logit);
                (*token, *logit) = carried;
                carried = (token_before, logit_before);
            }
        }
    }

    /// Turns the logits of the best into log-probabilities, Q16 nats. With fewer logits than places the rest keeps token
    /// 0 and the least log-probability.
    pub fn finish(self) {
        let total_q32 = self.sum.log2_q32();
        for slot in self.logits {
            let distance_q20 = octaves_q32(*slot, self.multiplier).saturating_sub(total_q32) >> 12;
            let distance_q20 = distance_q20.clamp(-LOG_LIMIT_Q20, 0);
            *slot = ((distance_q20 * LN_2_Q26 + (1 << 29)) >> 30) as i32;
        }
    }
}

/// A logit as an exponent of 2, Q32.
#[inline(always)]
fn octaves_q32(logit: i32, multiplier: ScoreMultiplier) -> i64 {
    i64::from(logit) * i64::from(multiplier)
}

/// The best of `logits` (in the order of tokens) with their log-probabilities in Q16 nats, best first.
pub fn top_k<X: Copy + Into<i32>>(
    logits: &[X],
    multiplier: ScoreMultiplier,
    tokens: &mut [i32],
    scores: &mut [i32],
) {
    let mut ranking = Ranking::new(tokens, scores, multiplier);
    logits.iter().for_each(|&logit| ranking.push(logit.into()));
    ranking.finish();
}

/// [`top_k`] of logits in half precision, cut off at 14 bits behind the point.
#[cfg(attn_half)]
pub fn half_top_k(logits: &[crate::f16], tokens: &mut [i32], scores: &mut [i32]) {
    const ONE: f32 = 16384.0;
    let mut ranking = Ranking::new(tokens, scores, score_multiplier(1.0 / ONE));
    for logit in logits {
        // Conversion saturates, NaN becomes 0.
        ranking.push(((logit.to_f32() * ONE) as i32).max(-i32::MAX));
    }
    ranking.finish();
}

/// [`top_k`] of the int16 row that [`super::linear::linear`] would make from a row in pair order.
pub fn linear_top_k(
    pairs: &[i16],
    matrix: &Matrix,
    output: &Output,
    multiplier: ScoreMultiplier,
    tokens: &mut [i32],
    scores: &mut [i32],
) {
    let mut ranking = Ranking::new(tokens, scores, multiplier);
    let mut weights = matrix
        .weights
        .chunks(BATCH.saturating_mul(pairs.len()).max(1));
    let mut bias = matrix.bias.chunks(BATCH);
    for multipliers in output.multipliers.chunks(BATCH) {
        let (Some(weights), Some(bias)) = (weights.next(), bias.next()) else {
            break;
        };
        let mut row = [0i16; BATCH];
        let row = row.get_mut(..multipliers.len()).unwrap_or_default();
        let output = Output {
            multipliers,
            ..*output
        };
        matvec::<_, false>(pairs, &Matrix { weights, bias }, &output, row);
        row.iter().for_each(|&logit| ranking.push(logit.into()));
    }
    ranking.finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int::dot::{packed_len, pairs_len, to_pairs};
    use crate::kernels::int::linear::linear;
    #[cfg(not(attn_half))]
    use crate::kernels::int::softmax::score_multiplier;
    use crate::kernels::testing::log_softmax;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    /// The definition: sort everything, take the best.
    fn sorted(logits: &[i16], k: usize) -> Vec<i32> {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by_key(|&token| (-i32::from(logits[token]), token));
        order.iter().take(k).map(|&token| token as i32).collect()
    }

    /// Log-probabilities of logits in steps of `scale`.
    fn exact(logits: &[i16], scale: f64) -> Vec<f64> {
        log_softmax(logits.iter().map(|&x| f64::from(x) * scale))
    }

    proptest! {
        #[test]
        fn the_best_are_those_that_sorting_finds(
            logits in proptest::collection::vec(-6i16..6, 1..40), k in 1usize..17,
        ) {
            let k = k.min(logits.len());
            let (mut tokens, mut scores) = (vec![9; k], vec![9; k]);
            top_k(&logits, score_multiplier(0.25), &mut tokens, &mut scores);
            prop_assert_eq!(tokens, sorted(&logits, k));
            prop_assert!(scores.is_sorted_by(|a, b| a >= b));
        }

        #[test]
        fn log_probabilities_are_close_to_double_precision(
            logits in proptest::collection::vec(any::<i16>(), 1..300), range in 0.01f32..60.0,
        ) {
            let scale = range / 32768.0;
            let k = logits.len().min(16);
            let (mut tokens, mut scores) = (vec![0; k], vec![0; k]);
            top_k(&logits, score_multiplier(scale), &mut tokens, &mut scores);
            let exact = exact(&logits, scale.into());
            for (&token, &score) in tokens.iter().zip(&scores) {
                let error = f64::from(score) / 65536.0 - exact[token as usize];
                prop_assert!(error.abs() < 2e-4, "{score}: off by {error} nats");
            }
        }

        #[test]
        fn a_row_that_never_exists_ranks_as_one_that_does(
            (weights, x, constants) in (1usize..100, 1usize..30).prop_flat_map(|(out, k)| (
                proptest::collection::vec(any::<i8>(), packed_len(out, k)),
                proptest::collection::vec(any::<i16>(), k),
                proptest::collection::vec((any::<i16>(), 1 << 16..1 << 28), out),
            )),
            k in 1usize..17,
        ) {
            let bias: Vec<i32> = constants.iter().map(|c| i32::from(c.0) << 4).collect();
            let multipliers: Vec<i32> = constants.iter().map(|c| c.1).collect();
            let matrix = Matrix { weights: &weights, bias: &bias };
            let output = Output {
                multipliers: &multipliers,
                left_shift: 1,
                zero_point: 0,
                min: -32768,
                max: 32767,
            };
            let (k, multiplier) = (k.min(bias.len()), score_multiplier(0.002));
            let mut pairs = vec![0; pairs_len(x.len())];
            let mut row = vec![0i16; bias.len()];
            linear::<_, _, true, false>(&x, x.len(), &matrix, &output, &mut pairs, &mut row);
            let (mut tokens, mut scores) = (vec![0; k], vec![0; k]);
            top_k(&row, multiplier, &mut tokens, &mut scores);

            to_pairs(&x, 0, &mut pairs);
            let (mut fused_tokens, mut fused_scores) = (vec![5; k], vec![5; k]);
            linear_top_k(&pairs, &matrix, &output, multiplier, &mut fused_tokens, &mut fused_scores);
            prop_assert_eq!((tokens, scores), (fused_tokens, fused_scores));
        }
    }

    #[test]
    fn equal_logits_rank_by_token_and_share_their_probability() {
        let (mut tokens, mut scores) = ([0; 3], [0; 3]);
        top_k(
            &[-100i8, 7, 7, -100, 7],
            score_multiplier(0.5),
            &mut tokens,
            &mut scores,
        );
        assert_eq!(tokens, [1, 2, 4]);
        let third = (-(3f64.ln()) * 65536.0).round() as i32;
        assert!(
            scores
                .iter()
                .all(|s| (s - third).abs() <= 8 && *s == scores[0])
        );
    }

    #[cfg(attn_half)]
    #[test]
    fn half_precision_ranks_alike() {
        let logits: Vec<i16> = (0..200i32)
            .map(|i| (i * 7919 % 2003 - 1000) as i16)
            .collect();
        let halves: Vec<crate::f16> = logits
            .iter()
            .map(|&x| crate::f16::from_f32(f32::from(x) / 64.0))
            .collect();
        let (mut tokens, mut scores) = ([0; 16], [0; 16]);
        half_top_k(&halves, &mut tokens, &mut scores);
        assert_eq!(tokens[..], sorted(&logits, 16));
        let exact = exact(&logits, 1.0 / 64.0);
        for (&token, &score) in tokens.iter().zip(&scores) {
            let error = f64::from(score) / 65536.0 - exact[token as usize];
            assert!(error.abs() < 2e-4, "{score}: off by {error} nats");
        }
        let extremes = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY].map(crate::f16::from_f32);
        half_top_k(&extremes, &mut tokens[..3], &mut scores[..3]);
        assert_eq!(tokens[..3], [2, 0, 1]);
    }

    #[test]
    fn extremes_neither_overflow_nor_panic() {
        let (mut tokens, mut scores) = ([7; 4], [7; 4]);
        top_k(
            &[i32::MAX, i32::MIN + 1],
            u32::MAX,
            &mut tokens,
            &mut scores,
        );
        assert_eq!(tokens[..2], [0, 1]);
        assert_eq!(scores[0], 0);
        assert!(scores[1] < -10_000 << 16, "{scores:?}");
        top_k::<i8>(&[], 1, &mut tokens, &mut scores);
        top_k(&[1i8], 1, &mut [], &mut []);
    }
}

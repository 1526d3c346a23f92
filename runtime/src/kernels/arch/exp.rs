//! Weights of a softmax from scores, four at a time: [`exp_weight`](crate::kernels::int::softmax::exp_weight) of each distance from the
//! greatest score, and their sum.
//!
//! Here is the choice of the body; `portable::exp` defines the result.

use crate::kernels::int::dot::LANES;
use crate::kernels::int::requantize::Activation;
use crate::kernels::int::softmax::ScoreMultiplier;

/// The greatest of some values and `least`.
pub fn greatest<X: Activation>(values: &[X], least: i32) -> i32 {
    #[cfg(attn_dsp)]
    return super::dsp::exp::greatest(values, least);
    #[cfg(not(attn_dsp))]
    super::portable::exp::greatest(values, least)
}

/// The same of sums.
pub fn greatest_sum(values: &[i32], least: i32) -> i32 {
    #[cfg(attn_dsp)]
    return super::dsp::exp::greatest_sum(values, least);
    #[cfg(not(attn_dsp))]
    super::portable::exp::greatest(values, least)
}

/// Replaces weights by their shares of `sum`, which is not 0: `(32767 * weight + sum / 2) / sum`.
pub fn normalize(weights: &mut [i16], sum: u32) {
    #[cfg(attn_dsp)]
    super::dsp::exp::normalize(weights, sum);
    #[cfg(not(attn_dsp))]
    super::portable::exp::normalize(weights, sum);
}

/// What a row's scores are compared with, and what a distance is multiplied by.
#[derive(Clone, Copy, Debug)]
pub struct Exponent {
    /// The greatest score.
    pub max: i32,
    /// From a distance to an exponent of 2, Q32.
    pub multiplier: ScoreMultiplier,
}

impl Exponent {
    /// Weights of as many groups as both sides have, in pair order as row `row` of `rows` interleaved ones.
    pub fn in_pairs(&self, scores: &[[i32; LANES]], pairs: &mut [i16], place: [usize; 2]) -> u32 {
        #[cfg(attn_dsp)]
        return super::dsp::exp::in_pairs(self, scores, pairs, place);
        #[cfg(not(attn_dsp))]
        super::portable::exp::in_pairs(self, scores, pairs, place)
    }

    /// Weights of as many groups as both sides have, in their order.
    pub fn in_order<X: Activation>(&self, scores: &[[X; LANES]], y: &mut [[i16; LANES]]) -> u32 {
        #[cfg(attn_dsp)]
        return super::dsp::exp::in_order(self, scores, y);
        #[cfg(not(attn_dsp))]
        super::portable::exp::in_order(self, scores, y)
    }
}

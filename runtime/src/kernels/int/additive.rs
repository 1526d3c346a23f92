//! Additive attention (Bahdanau, Cho and Bengio 2015): a small network, not a dot product, scores the rows of a memory.
//!
//! ```text
//! energy_t = sum_a v_a * tanh(query_a + key_ta)      weights = softmax(energy)      context = sum_t weights_t * value_t
//! ```
//!
//! Query and keys are projections computed by other operators. The keys do not depend on the query, so they are computed
//! once for all queries. Rows of keys and values are not packed: each is read once.

use super::requantize::{Activation, requantize};
use super::softmax::{ScoreMultiplier, exp_weight, reciprocal};
use super::tanh::tanh_q15;

/// A change of scale to Q16; see [`requantize`].
#[derive(Clone, Copy, Debug)]
pub struct ToQ16 {
    /// Factor.
    pub multiplier: i32,
    /// Left shift, 0 to 31.
    pub left_shift: u32,
    /// Integer that represents 0.0.
    pub zero_point: i32,
}

impl ToQ16 {
    #[inline(always)]
    fn apply(&self, x: i32) -> i32 {
        requantize(
            x.wrapping_sub(self.zero_point),
            self.multiplier,
            self.left_shift,
        )
    }
}

/// How energies are made.
#[derive(Clone, Copy, Debug)]
pub struct Energy<'w> {
    /// `v`, int16, `[width]`.
    pub v: &'w [i16],
    /// Scale of the query.
    pub query: ToQ16,
    /// Scale of the keys.
    pub keys: ToQ16,
    /// Through tanh, or as the sums are.
    pub tanh: bool,
}

/// The query in Q16: `query`, `sums: [width]`.
pub fn query_q16<Q: Activation>(query: &[Q], scale: &ToQ16, sums: &mut [i32]) {
    for (sum, &q) in sums.iter_mut().zip(query) {
        *sum = scale.apply(q.into());
    }
}

/// Energies of the rows of `keys: [rows, width]`, in steps of `v`; `query` is in Q16.
pub fn energies<K: Activation>(query: &[i32], keys: &[K], energy: &Energy, scores: &mut [i32]) {
    let width = energy.v.len().max(1);
    for (score, keys) in scores.iter_mut().zip(keys.chunks_exact(width)) {
        let mut sum = 0i64;
        for ((&q, &k), &v) in query.iter().zip(keys).zip(energy.v) {
            let x = q.saturating_add(energy.keys.apply(k.into()));
            let y = if energy.tanh { tanh_q15(x) << 1 } else { x };
            sum = sum.wrapping_add(i64::from(y) * i64::from(v));
        }
        *score = (sum >> 16).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
    }
}

/// Weights in Q15, not normalised, of a row of scores: the largest is 32767. Returns their sum.
pub fn weigh(scores: &[i32], multiplier: ScoreMultiplier, weights: &mut [i16]) -> u32 {
    let max = scores.iter().copied().max().unwrap_or(0);
    let mut total = 0u32;
    for (weight, &score) in weights.iter_mut().zip(scores) {
        *weight = exp_weight(max.wrapping_sub(score) as u32, multiplier);
        total = total.wrapping_add(*weight as u32);
    }
    total
}

/// Normalises weights in place: they then add up to 32767, up to rounding.
pub fn normalize(weights: &mut [i16], total: u32) {
    let total = total.max(1);
    for weight in weights {
        let share = (u32::from(*weight as u16) * 32767).wrapping_add(total / 2) / total;
        *weight = share.min(32767) as i16;
    }
}

/// Bits below the point of the reciprocal of a total.
const RECIPROCAL_BITS: u32 = 45;

/// The mean of the rows of `values: [rows, channels]` less their `zero_point`, times `2^fraction`; `total` is the sum of
/// the weights. With no weight at all it is 0.
pub fn mean<V: Activation>(
    weights: &[i16],
    total: u32,
    values: &[V],
    zero_point: i32,
    fraction: u32,
    context: &mut [i16],
) {
    let channels = context.len().max(1);
    // The sums have at most 15 bits more than their total: shifted, the total has 16.
    let shift = (u32::BITS - total.leading_zeros()).saturating_sub(16);
    let reciprocal = i64::from(reciprocal(RECIPROCAL_BITS + shift, total));
    const BLOCK: usize = 4;
    for (block, context) in context.chunks_mut(BLOCK).enumerate() {
        let mut sums = [0i64; BLOCK];
        for (&weight, row) in weights.iter().zip(values.chunks_exact(channels)) {
            let row = row.get(block * BLOCK..).unwrap_or(&[]);
            for (sum, &value) in sums.iter_mut().zip(row) {
                let value: i32 = value.into();
                *sum += i64::from(i32::from(weight) * value.wrapping_sub(zero_point));
            }
        }
        for (y, sum) in context.iter_mut().zip(sums) {
            let product = ((sum >> shift) as i32 as i64).wrapping_mul(reciprocal);
            let point = RECIPROCAL_BITS.saturating_sub(fraction).max(1);
            let value = product.wrapping_add(1 << (point - 1)) >> point;
            *y = value.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int::softmax::score_multiplier;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    const WIDTH: usize = 5;
    const CHANNELS: usize = 6;
    const V_STEP: f64 = 2.0 / 32767.0;

    /// Steps of 1/1024.
    const SCALE: ToQ16 = ToQ16 {
        multiplier: 1 << 30,
        left_shift: 8,
        zero_point: 0,
    };

    type Rows = Vec<(Vec<i16>, Vec<i8>)>;

    fn rows() -> impl Strategy<Value = Rows> {
        let row = (
            proptest::collection::vec(-4000i16..4000, WIDTH),
            proptest::collection::vec(any::<i8>(), CHANNELS),
        );
        proptest::collection::vec(row, 1..20)
    }

    proptest! {
        #[test]
        fn the_context_is_close_to_double_precision(
            query in proptest::collection::vec(-4000i16..4000, WIDTH),
            v in proptest::collection::vec(any::<i16>(), WIDTH),
            rows in rows(),
            tanh in any::<bool>(),
        ) {
            let keys: Vec<i16> = rows.iter().flat_map(|row| row.0.clone()).collect();
            let values: Vec<i8> = rows.iter().flat_map(|row| row.1.clone()).collect();
            let energy = Energy { v: &v, query: SCALE, keys: SCALE, tanh };
            let mut sums = [0; WIDTH];
            query_q16(&query, &energy.query, &mut sums);
            let (mut scores, mut weights) = (vec![0; rows.len()], vec![0; rows.len()]);
            energies(&sums, &keys, &energy, &mut scores);
            let total = weigh(&scores, score_multiplier(V_STEP as f32), &mut weights);
            let mut context = [0; CHANNELS];
            mean(&weights, total, &values, -7, 7, &mut context);

            let score = |keys: &[i16]| -> f64 {
                let sums = query.iter().zip(keys).map(|(&q, &k)| (f64::from(q) + f64::from(k)) / 1024.0);
                sums.zip(&v).map(|(x, &v)| f64::from(v) * V_STEP * if tanh { x.tanh() } else { x }).sum()
            };
            let exact: Vec<f64> = rows.iter().map(|row| score(&row.0)).collect();
            let max = exact.iter().copied().fold(f64::MIN, f64::max);
            let exact: Vec<f64> = exact.iter().map(|e| (e - max).exp()).collect();
            for (c, &got) in context.iter().enumerate() {
                let sum: f64 = exact.iter().zip(&rows).map(|(w, row)| w * (f64::from(row.1[c]) + 7.0)).sum();
                let mean = 128.0 * sum / exact.iter().sum::<f64>();
                // 0.3 % of the largest value, 255 * 128
                prop_assert!((f64::from(got) - mean).abs() < 98.0, "{got} for {mean}");
            }
            normalize(&mut weights, total);
            let sum: i32 = weights.iter().map(|&w| i32::from(w)).sum();
            prop_assert!((sum - 32767).abs() <= rows.len() as i32);
        }
    }

    #[test]
    fn nothing_seen_gives_zero() {
        let mut context = [5i16; 3];
        mean::<i8>(&[], 0, &[], -7, 7, &mut context);
        assert_eq!(context, [0; 3]);
    }
}

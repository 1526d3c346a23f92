//! Softmax attention over a window of keys and values, in O(window) scratch.
//!
//! Keys and values stand *packed* as the weights of a linear layer do (see [`super::dot`]): per head the keys are a
//! matrix `[slots, d]`, the values a matrix `[d, slots]`. Scores are then one matrix product with the query and the
//! context one with the softmax weights. Slots can be filled in any order: integer sums do not depend on it, so a ring
//! gives the same bytes as a window in order of time.

use super::arch::{Blocks, Constants, Store};
use super::dot::{LANES, packed_index, packed_len, pairs_len, to_pairs};
use super::requantize::Activation;
use super::softmax::{ScoreMultiplier, row_weights};

/// Shape and scale of an attention window.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Number of heads.
    pub heads: usize,
    /// Channels per head.
    pub head_dim: usize,
    /// Keys and values that the window holds. At most 511, so that Q15 weights times int8 stay within 32 bits.
    pub slots: usize,
}

impl Shape {
    /// Bytes of the packed keys of all heads.
    pub const fn keys_len(&self) -> usize {
        self.heads * packed_len(self.slots, self.head_dim)
    }

    /// Bytes of the packed values of all heads.
    pub const fn values_len(&self) -> usize {
        self.heads * packed_len(self.head_dim, self.slots)
    }

    /// int32 scratch of [`attend`]: scores of one row.
    pub const fn scores_len(&self) -> usize {
        pairs_len(self.slots)
    }

    /// int16 scratch of [`attend`]: the query of one head and the weights of one row in pair order.
    pub const fn pairs_len(&self) -> usize {
        pairs_len(self.head_dim) + pairs_len(self.slots)
    }
}

/// Puts a key `[heads * head_dim]` into `slot` of the packed keys.
pub fn push_key(key: &[i8], slot: usize, shape: &Shape, keys: &mut [i8]) {
    let d = shape.head_dim.max(1);
    let heads = keys.chunks_exact_mut(packed_len(shape.slots, d).max(1));
    for (keys, key) in heads.zip(key.chunks_exact(d)) {
        for (i, &k) in key.iter().enumerate() {
            if let Some(place) = keys.get_mut(packed_index(slot, i, d)) {
                *place = k;
            }
        }
    }
}

/// Puts a value `[heads * head_dim]` into `slot` of the packed values.
pub fn push_value(value: &[i8], slot: usize, shape: &Shape, values: &mut [i8]) {
    let d = shape.head_dim.max(1);
    let heads = values.chunks_exact_mut(packed_len(d, shape.slots).max(1));
    for (values, value) in heads.zip(value.chunks_exact(d)) {
        for (i, &v) in value.iter().enumerate() {
            if let Some(place) = values.get_mut(packed_index(i, slot, shape.slots)) {
                *place = v;
            }
        }
    }
}

/// Zero points and score factor of [`attend`].
#[derive(Clone, Copy, Debug)]
pub struct Scaling {
    /// From a score to the exponent: query scale * key scale * attention scale; see [`super::softmax`].
    pub score_multiplier: ScoreMultiplier,
    /// Zero point of the query.
    pub query_zero_point: i32,
    /// Zero point of the values. The keys' needs none: it shifts all scores of a row alike.
    pub value_zero_point: i32,
}

/// Bits that the context has below the values' step: `context = 128 * (weighted mean of values - zero_point)`.
pub const CONTEXT_FRACTION_BITS: u32 = 7;

/// One query row `[heads * head_dim]` over the first `filled` slots; the context is int16 with 1/128 of the values'
/// scale, so that averaging costs no resolution. With nothing filled the context is 0.
#[allow(clippy::too_many_arguments)] // three operands, two scratch buffers, result
pub fn attend<Q: Activation>(
    query: &[Q],
    keys: &[i8],
    values: &[i8],
    filled: usize,
    shape: &Shape,
    scaling: &Scaling,
    scores: &mut [i32],
    pairs: &mut [i16],
    context: &mut [i16],
) {
    let d = shape.head_dim.max(1);
    let (key_len, value_len) = (packed_len(shape.slots, d), packed_len(d, shape.slots));
    let (Some(scores), Some((query_pairs, rest))) = (
        scores.get_mut(..shape.scores_len()),
        pairs.split_at_mut_checked(pairs_len(d)),
    ) else {
        return;
    };
    let Some(weight_pairs) = rest.get_mut(..pairs_len(shape.slots)) else {
        return;
    };
    let heads = keys
        .chunks_exact(key_len.max(1))
        .zip(values.chunks_exact(value_len.max(1)));
    for ((keys, values), (query, context)) in
        heads.zip(query.chunks_exact(d).zip(context.chunks_exact_mut(d)))
    {
        to_pairs(query, scaling.query_zero_point, query_pairs);
        // Only blocks of slots that hold something are scored.
        let used = filled.min(shape.slots);
        let scored = used.next_multiple_of(LANES) * query_pairs.len();
        let raw = Blocks {
            pairs: query_pairs,
            weights: keys.get(..scored).unwrap_or(&[]),
            bias: Constants::Same([0; LANES]),
            multipliers: Constants::Same([0; LANES]),
            left_shift: 0,
            zero_point: 0,
            min: 0,
            max: 0,
        };
        raw.run(Store::Sums(scores.as_chunks_mut().0));
        let used_scores = scores.get(..used).unwrap_or(&[]);
        let total = row_weights(used_scores, scaling.score_multiplier, weight_pairs);
        let reciprocal = if total == 0 { 0 } else { reciprocal(total) };
        // With nothing filled all sums are 0, and so must the offset be.
        let offset = if total == 0 {
            0
        } else {
            scaling.value_zero_point << CONTEXT_FRACTION_BITS
        };
        let mean = Blocks {
            pairs: weight_pairs,
            weights: values,
            multipliers: Constants::Same([reciprocal; LANES]),
            zero_point: offset.wrapping_neg(),
            min: i16::MIN.into(),
            max: i16::MAX.into(),
            ..raw
        };
        mean.run_to(context);
    }
}

/// `2^32 * 128 / total`, rounded; at most 2^24 because the largest weight is 32767.
fn reciprocal(total: u32) -> i32 {
    let total = u64::from(total.max(32767));
    (((1u64 << (32 + CONTEXT_FRACTION_BITS)) + total / 2) / total) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::softmax::score_multiplier;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    const SHAPE: Shape = Shape {
        heads: 2,
        head_dim: 6,
        slots: 13,
    };
    const WIDTH: usize = 12;

    fn run(query: &[i8], rows: &[(usize, Vec<i8>, Vec<i8>)], filled: usize) -> Vec<i16> {
        let mut keys = vec![0; SHAPE.keys_len()];
        let mut values = vec![0; SHAPE.values_len()];
        for (slot, key, value) in rows {
            push_key(key, *slot, &SHAPE, &mut keys);
            push_value(value, *slot, &SHAPE, &mut values);
        }
        let scaling = Scaling {
            score_multiplier: score_multiplier(0.002),
            query_zero_point: 3,
            value_zero_point: -7,
        };
        let mut context = vec![0; WIDTH];
        let (mut scores, mut pairs) = (vec![0; SHAPE.scores_len()], vec![0; SHAPE.pairs_len()]);
        attend(
            query,
            &keys,
            &values,
            filled,
            &SHAPE,
            &scaling,
            &mut scores,
            &mut pairs,
            &mut context,
        );
        context
    }

    fn exact(query: &[i8], rows: &[(usize, Vec<i8>, Vec<i8>)]) -> Vec<f64> {
        (0..WIDTH)
            .map(|c| {
                let head =
                    c / SHAPE.head_dim * SHAPE.head_dim..(c / SHAPE.head_dim + 1) * SHAPE.head_dim;
                let score = |key: &[i8]| {
                    head.clone()
                        .map(|i| (f64::from(query[i]) - 3.0) * f64::from(key[i]))
                        .sum::<f64>()
                        * 0.002
                };
                let weights: Vec<f64> = rows.iter().map(|(_, key, _)| score(key).exp()).collect();
                let mean = rows
                    .iter()
                    .zip(&weights)
                    .map(|((_, _, v), w)| (f64::from(v[c]) + 7.0) * w)
                    .sum::<f64>();
                128.0 * mean / weights.iter().sum::<f64>()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn attention_is_close_to_double_precision_and_blind_to_slot_order(
            query in proptest::collection::vec(any::<i8>(), WIDTH),
            rows in proptest::collection::vec(
                (proptest::collection::vec(any::<i8>(), WIDTH), proptest::collection::vec(any::<i8>(), WIDTH)), 1..13),
            turn in 0usize..13,
        ) {
            let n = rows.len();
            let place = |turn: usize| rows.iter().enumerate()
                .map(|(i, (k, v))| ((i + turn) % n, k.clone(), v.clone())).collect::<Vec<_>>();
            let context = run(&query, &place(0), n);
            prop_assert_eq!(&context, &run(&query, &place(turn), n));
            for (got, exact) in context.iter().zip(exact(&query, &place(0))) {
                // 0.1 % of the largest value, 255 * 128
                prop_assert!((f64::from(*got) - exact).abs() < 33.0, "{} for {}", got, exact);
            }
        }
    }

    #[test]
    fn an_empty_window_gives_zero() {
        assert_eq!(run(&[1; WIDTH], &[], 0), vec![0; WIDTH]);
    }
}

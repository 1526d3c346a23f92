//! Softmax attention over a window of keys and values, in O(window) scratch.
//!
//! Keys and values are both int8 or both int16. They are *packed* like the weights of a linear layer (see
//! [`super::dot`]): per head the keys are a matrix `[slots, d]`, the values a matrix `[d, slots]`. Scores are then one
//! matrix product with the query and the context one with the softmax weights. Slots can be filled in any order: integer
//! sums do not depend on it, so a ring gives the same bytes as a window in order of time.

use super::additive::normalize;
use super::dot::{LANES, PairRow, packed_index, packed_len, pair_index, pairs_len, to_pairs};
use super::requantize::Activation;
use super::softmax::{ScoreMultiplier, masked_row_weights, reciprocal, row_weights};
use crate::kernels::arch::int::{Blocks, Constants, Store, WideBlocks};
use crate::kernels::geometry::Shape;

/// Most keys and values in a window: sums of Q15 weights then have 30 bits.
pub const MAX_SLOTS: usize = 1 << 15;

impl Shape {
    /// int32 scratch of [`attend`]: scores of one row.
    pub const fn scores_len(&self) -> usize {
        pairs_len(self.slots)
    }

    /// int16 scratch of [`attend`]: the query of one head and the weights of one row in pair order.
    pub const fn pairs_len(&self) -> usize {
        pairs_len(self.head_dim) + pairs_len(self.slots)
    }
}

/// Element type of keys and values: their order in a window, and the two products with them.
pub trait KeyValue: Copy {
    /// Index of the element of output `o` for input `i` in a packed matrix of `k` inputs.
    fn index(o: usize, i: usize, k: usize) -> usize;

    /// Dot products of a query in pair order with packed keys, shifted right.
    fn scores(query: &[i16], keys: &[Self], shift: u32, scores: &mut [[i32; LANES]]);

    /// The mean of packed values with these weights (in pair order, Q15, `total` is their sum and at least 32767).
    /// The weights may be changed.
    fn context(
        weights: &mut [i16],
        total: u32,
        values: &[Self],
        zero_point: i32,
        context: &mut [i16],
    );
}

/// Puts a key `[key_heads * head_dim]` into `slot` of the packed keys.
pub fn push_key<K: KeyValue>(key: &[K], slot: usize, shape: &Shape, keys: &mut [K]) {
    let d = shape.head_dim.max(1);
    shape.scatter((key, d), packed_len(shape.slots, d), keys, |i| {
        K::index(slot, i, d)
    });
}

/// Puts a value `[key_heads * value_dim]` into `slot` of the packed values.
pub fn push_value<K: KeyValue>(value: &[K], slot: usize, shape: &Shape, values: &mut [K]) {
    let (d, slots) = (shape.value_dim.max(1), shape.slots);
    shape.scatter((value, d), packed_len(d, slots), values, |i| {
        K::index(i, slot, slots)
    });
}

/// Zero points and score factor of [`attend`].
#[derive(Clone, Copy, Debug)]
pub struct Scaling {
    /// From a score to the exponent: query scale * key scale * 2^score_shift * attention scale; see
    /// [`super::softmax`].
    pub score_multiplier: ScoreMultiplier,
    /// int16 keys: right shift from sums to scores, 0 to 31. Ignored for int8.
    pub score_shift: u32,
    /// Zero point of the query.
    pub query_zero_point: i32,
    /// int8 values: their zero point. The keys' zero point is not needed: it shifts all scores of a row equally.
    pub value_zero_point: i32,
}

/// Which slots a query sees.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'m> {
    /// The first ones.
    pub first: usize,
    /// Only those of them whose bit is set: bit `slot % 32` of word `slot / 32`.
    pub bits: Option<&'m [u32]>,
}

/// Integers of either width.
#[derive(Clone, Copy, Debug)]
pub enum Biases<'b> {
    /// int8.
    I8(&'b [i8]),
    /// int16.
    I16(&'b [i16]),
}

/// Summands of the scores of one query: `[slots]` for all heads alike or `[heads * slots]`.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'b> {
    /// One for each slot.
    pub biases: Biases<'b>,
    /// Integer that represents 0.
    pub zero_point: i32,
    /// From a bias to a score, times `2^shift`.
    pub factor: i32,
    /// At most 31.
    pub shift: u32,
}

impl Bias<'_> {
    /// Adds the biases of a head to its scores.
    fn add(&self, shape: &Shape, head: usize, scores: &mut [i32]) {
        match self.biases {
            Biases::I8(biases) => self.add_all(biases, shape, head, scores),
            Biases::I16(biases) => self.add_all(biases, shape, head, scores),
        }
    }

    fn add_all<B: Activation>(&self, biases: &[B], shape: &Shape, head: usize, scores: &mut [i32]) {
        let biases = shape.bias(biases, head).unwrap_or(&[]);
        for (score, &bias) in scores.iter_mut().zip(biases) {
            let bias: i32 = bias.into();
            let steps = i64::from(bias.wrapping_sub(self.zero_point)) * i64::from(self.factor);
            let sum = i64::from(*score) + (steps >> (self.shift & 31));
            *score = sum.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        }
    }
}

/// Bits that the context has below the step of int8 values:
/// `context = 128 * (weighted mean of values - zero_point)`. int16 values need none.
pub const CONTEXT_FRACTION_BITS: u32 = 7;

/// One query row `[heads * head_dim]` over the slots that it sees. The context `[heads * value_dim]` is int16. Its scale is 1/128 of the
/// scale of int8 values, so that averaging costs no resolution, or the scale of int16 values. Without slots it is 0. `weights` are
/// `[heads * slots]`, 32767 is 1, as far as they reach.
#[allow(clippy::too_many_arguments)] // four operands, two scratch buffers, two results
pub fn attend<Q: Activation, K: KeyValue>(
    query: &[Q],
    keys: &[K],
    values: &[K],
    seen: Seen,
    bias: Option<Bias>,
    shape: &Shape,
    scaling: &Scaling,
    scores: &mut [i32],
    pairs: &mut [i16],
    context: &mut [i16],
    weights: &mut [i16],
) {
    let (d, value_dim) = (shape.head_dim.max(1), shape.value_dim.max(1));
    let key_len = packed_len(shape.slots, d);
    let value_len = packed_len(value_dim, shape.slots);
    let (Some(scores), Some((query_pairs, rest))) = (
        scores.get_mut(..shape.scores_len()),
        pairs.split_at_mut_checked(pairs_len(d)),
    ) else {
        return;
    };
    let Some(weight_pairs) = rest.get_mut(..pairs_len(shape.slots)) else {
        return;
    };
    let shared = shape.heads / shape.key_heads.max(1);
    let heads = keys
        .chunks_exact(key_len.max(1))
        .zip(values.chunks_exact(value_len.max(1)))
        .flat_map(|head| core::iter::repeat_n(head, shared));
    let rows = query
        .chunks_exact(d)
        .zip(context.chunks_exact_mut(value_dim));
    for (head, ((keys, values), (query, context))) in heads.zip(rows).enumerate() {
        to_pairs(query, scaling.query_zero_point, query_pairs);
        // Only blocks of slots that hold something are scored.
        let used = seen.first.min(shape.slots);
        let scored = used.next_multiple_of(LANES) * query_pairs.len();
        let scored = keys.get(..scored).unwrap_or(&[]);
        K::scores(
            query_pairs,
            scored,
            scaling.score_shift,
            scores.as_chunks_mut().0,
        );
        let used = scores.get_mut(..used).unwrap_or_default();
        if let Some(bias) = &bias {
            bias.add(shape, head, used);
        }
        let mut row = PairRow::<false>::alone(weight_pairs);
        let total = weigh(used, seen.bits, scaling, &mut row);
        if total == 0 {
            context.fill(0);
        } else {
            let zero_point = scaling.value_zero_point;
            K::context(weight_pairs, total, values, zero_point, context);
        }
        if !weights.is_empty() {
            let row = PairRow::<false>::alone(weight_pairs);
            write_weights(&row, head * shape.slots, shape.slots, weights);
        }
    }
}

/// Weights of a row of scores, and their sum.
fn weigh(scores: &[i32], bits: Option<&[u32]>, scaling: &Scaling, weights: &mut PairRow) -> u32 {
    match bits {
        None => row_weights(scores, scaling.score_multiplier, weights),
        Some(bits) => masked_row_weights(scores, bits, scaling.score_multiplier, weights),
    }
}

/// Weights in pair order as shares of their sum, in order, as the `slots` from `start` on; without any they are 0.
#[inline(never)] // few models give their weights away
fn write_weights(row: &PairRow, start: usize, slots: usize, weights: &mut [i16]) {
    let end = weights.len().min(start + slots);
    let weights = weights.get_mut(start..end).unwrap_or_default();
    for (slot, weight) in weights.iter_mut().enumerate() {
        *weight = row.get(slot).unwrap_or(0);
    }
    let total = weights.iter().map(|&w| u32::from(w as u16)).sum();
    normalize(weights, total);
}

/// Number of bits of `x`.
const fn bits(x: u32) -> u32 {
    u32::BITS - x.leading_zeros()
}

impl KeyValue for i8 {
    fn index(o: usize, i: usize, k: usize) -> usize {
        packed_index(o, i, k)
    }

    fn scores(query: &[i16], keys: &[Self], _: u32, scores: &mut [[i32; LANES]]) {
        let blocks = Blocks::<false> {
            pairs: query,
            weights: keys,
            bias: Constants::Same([0; LANES]),
            multipliers: Constants::Same([0; LANES]),
            left_shift: 0,
            zero_point: 0,
            min: 0,
            max: 0,
        };
        blocks.run(Store::Sums(scores));
    }

    fn context(
        weights: &mut [i16],
        total: u32,
        values: &[Self],
        zero_point: i32,
        context: &mut [i16],
    ) {
        // Weights that add up to less than 2^24 keep the sums within 32 bits. Those of 511 slots always do.
        let excess = bits(total).saturating_sub(24);
        let total = if excess == 0 {
            total
        } else {
            shortened(&mut PairRow::<false>::alone(weights), excess)
        };
        let blocks = Blocks::<false> {
            pairs: weights,
            weights: values,
            bias: Constants::Same([0; LANES]),
            // At most 2^24 because the largest weight is 32767.
            multipliers: Constants::Same(
                [reciprocal(32 + CONTEXT_FRACTION_BITS, total) as i32; LANES],
            ),
            left_shift: 0,
            zero_point: (zero_point << CONTEXT_FRACTION_BITS).wrapping_neg(),
            min: i16::MIN.into(),
            max: i16::MAX.into(),
        };
        blocks.run_to(context);
    }
}

/// Drops the lowest `excess` bits of all weights; gives their new sum.
fn shortened(weights: &mut PairRow, excess: u32) -> u32 {
    weights.values().fold(0, |sum: u32, w| {
        *w >>= excess & 15;
        sum.wrapping_add(*w as u32)
    })
}

/// Bits below the point of the reciprocal that int16 values are multiplied with, before the sums' shift.
const WIDE_RECIPROCAL_BITS: u32 = 45;

impl KeyValue for i16 {
    fn index(o: usize, i: usize, k: usize) -> usize {
        packed_index(o, pair_index(i), k)
    }

    fn scores(query: &[i16], keys: &[Self], shift: u32, scores: &mut [[i32; LANES]]) {
        let blocks = WideBlocks {
            pairs: query,
            weights: keys,
            shift,
        };
        blocks.run(scores);
    }

    fn context(weights: &mut [i16], total: u32, values: &[Self], _: i32, context: &mut [i16]) {
        // The sums have at most 15 bits more than their total: shifted, the total has 16.
        let shift = bits(total).saturating_sub(16);
        let reciprocal = reciprocal(WIDE_RECIPROCAL_BITS + shift, total) as i32;
        const BLOCKS: usize = 4;
        let mut sums = [[0; LANES]; BLOCKS];
        let some = values.chunks((BLOCKS * LANES * weights.len()).max(1));
        for (context, values) in context.chunks_mut(BLOCKS * LANES).zip(some) {
            WideBlocks {
                pairs: weights,
                weights: values,
                shift,
            }
            .run(&mut sums);
            for (y, &sum) in context.iter_mut().zip(sums.as_flattened()) {
                let product = i64::from(sum) * i64::from(reciprocal);
                let value = (product + (1 << (WIDE_RECIPROCAL_BITS - 1))) >> WIDE_RECIPROCAL_BITS;
                *y = value.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
            }
        }
    }
}

pub mod tile;

#[cfg(test)]
mod tests;

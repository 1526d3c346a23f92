//! Softmax attention over a window of keys and values, in O(window) scratch.
//!
//! Keys and values are packed like the weights of a linear layer (see [`super::packed_len`]): per head the keys are a
//! matrix `[slots, d]`, the values a matrix `[d, slots]`. Sums over slots go from the oldest to the newest, from any place
//! in the ring: a ring gives the same bytes as a window in order of time.

use super::function::exp2;
use super::softmax::greatest;
use super::{Clamp, LANES, narrow, packed_index, packed_len, widen};
use crate::f16;
use crate::kernels::arch::half::dot4;
use crate::kernels::geometry::Shape;
use core::f32::consts::LOG2_E;
use core::ops::Range;

/// Most keys and values in a window.
pub const MAX_SLOTS: usize = 1 << 16;

impl Shape {
    /// f32 scratch of [`attend`]: the query of one head, and scores for whole blocks of slots.
    pub const fn scratch_len(&self) -> usize {
        self.head_dim + self.slots.next_multiple_of(LANES)
    }
}

/// Puts a key `[key_heads * head_dim]` into `slot` of the packed keys.
pub fn push_key(key: &[f16], slot: usize, shape: &Shape, keys: &mut [[f16; LANES]]) {
    let (d, keys) = (shape.head_dim.max(1), keys.as_flattened_mut());
    let len = LANES * packed_len(shape.slots, d);
    shape.scatter((key, d), len, keys, |i| packed_index(slot, i, d));
}

/// Puts a value `[key_heads * value_dim]` into `slot` of the packed values.
pub fn push_value(value: &[f16], slot: usize, shape: &Shape, values: &mut [[f16; LANES]]) {
    let (d, values) = (shape.value_dim.max(1), values.as_flattened_mut());
    let len = LANES * packed_len(d, shape.slots);
    shape.scatter((value, d), len, values, |i| {
        packed_index(i, slot, shape.slots)
    });
}

/// The slots that hold something, in order of time: `oldest`, then `newest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// The first slots in time.
    pub oldest: Range<usize>,
    /// The later slots; empty unless the ring has wrapped around.
    pub newest: Range<usize>,
}

impl Filled {
    /// The first `count` slots.
    pub fn first(count: usize) -> Self {
        Self {
            oldest: 0..count,
            newest: 0..0,
        }
    }

    /// The last `count` slots (at most `slots`) written to a ring whose next slot to overwrite is `next`.
    pub fn ring(next: usize, count: usize, slots: usize) -> Self {
        match next.checked_sub(count) {
            Some(start) => Self {
                oldest: start..next,
                newest: 0..0,
            },
            None => Self {
                oldest: (next + slots).saturating_sub(count)..slots,
                newest: 0..next,
            },
        }
    }
}

/// One query row `[heads * head_dim]` over the slots that are filled and, with `bits`, seen: bit `slot % 32` of word
/// `slot / 32` is set. `score_factor` is the factor on the scores times log2(e). `biases` are added to the scores: none,
/// `[slots]` for all heads alike, or `[heads * slots]`. Where nothing is seen the context is 0. `weights` are
/// `[heads * slots]` over a whole window, or empty.
#[allow(clippy::too_many_arguments)] // four operands, scratch, two results
pub fn attend(
    query: &[f16],
    keys: &[[f16; LANES]],
    values: &[[f16; LANES]],
    filled: &Filled,
    bits: Option<&[u32]>,
    biases: &[f16],
    shape: &Shape,
    score_factor: f32,
    wide: &mut [f32],
    context: &mut [f16],
    weights: &mut [f16],
) {
    let (d, value_dim) = (shape.head_dim.max(1), shape.value_dim.max(1));
    let Some((wide_query, scores)) = wide.split_at_mut_checked(d) else {
        return;
    };
    let shared = shape.heads / shape.key_heads.max(1);
    let heads = keys
        .chunks_exact(packed_len(shape.slots, d).max(1))
        .zip(values.chunks_exact(packed_len(value_dim, shape.slots).max(1)))
        .flat_map(|head| core::iter::repeat_n(head, shared));
    let rows = query
        .chunks_exact(d)
        .zip(context.chunks_exact_mut(value_dim));
    for (head, ((keys, values), (query, context))) in heads.zip(rows).enumerate() {
        widen(query, wide_query);
        wide_query.iter_mut().for_each(|q| *q *= score_factor);
        let end = filled.oldest.end.max(filled.newest.end);
        let blocks = scores.as_chunks_mut().0.iter_mut();
        for (scores, keys) in blocks.take(end.div_ceil(LANES)).zip(keys.chunks_exact(d)) {
            *scores = [0.0; LANES];
            dot4(wide_query, keys, scores);
        }
        let biases = shape.bias(biases, head).unwrap_or(&[]);
        for (score, bias) in scores.iter_mut().zip(biases) {
            *score += bias.to_f32() * LOG2_E;
        }
        let reciprocal = unnormalised(filled, bits, scores);
        for (context, values) in context
            .chunks_mut(LANES)
            .zip(values.chunks_exact(shape.slots.max(1)))
        {
            let mut sums = [0.0; LANES];
            for range in [&filled.oldest, &filled.newest] {
                if let (Some(weights), Some(values)) =
                    (scores.get(range.clone()), values.get(range.clone()))
                {
                    dot4(weights, values, &mut sums);
                }
            }
            narrow(&sums.map(|sum| sum * reciprocal), Clamp::NONE, context);
        }
        let end = weights.len().min((head + 1) * shape.slots);
        let own = weights.get_mut(head * shape.slots..end);
        if let Some(weights) = own {
            write_weights(scores, filled.oldest.end, weights);
        }
    }
}

/// Turns the scores of the slots filled into weights `2^(score - greatest)`, 0 for those that are not seen; gives 1 / their
/// sum, or 0 where there is none.
fn unnormalised(filled: &Filled, bits: Option<&[u32]>, scores: &mut [f32]) -> f32 {
    let ranges = [&filled.oldest, &filled.newest];
    let seen = |slot: usize| bits.is_none_or(|bits| Shape::sees(bits, slot));
    let of = |range: &Range<usize>| match bits {
        None => greatest(scores.get(range.clone()).unwrap_or(&[])),
        Some(_) => {
            let visible = range.clone().filter(|&slot| seen(slot));
            let scores = visible.filter_map(|slot| scores.get(slot));
            scores.fold(
                f32::MIN,
                |top, &score| if score > top { score } else { top },
            )
        }
    };
    let [a, b] = ranges.map(of);
    let top = if b > a { b } else { a };
    let mut sum = 0.0;
    for range in ranges {
        let scores = scores.get_mut(range.clone()).unwrap_or_default();
        for (score, slot) in scores.iter_mut().zip(range.clone()) {
            *score = if seen(slot) { exp2(*score - top) } else { 0.0 };
            sum += *score;
        }
    }
    // The greatest has weight 1.
    if sum > 0.0 { 1.0 / sum } else { 0.0 }
}

/// The weights of the first `filled` slots divided by their sum; 0 for slots that hold nothing.
fn write_weights(shares: &mut [f32], filled: usize, weights: &mut [f16]) {
    let shares = shares.get_mut(..filled).unwrap_or_default();
    let sum = shares.iter().fold(0.0, |sum, share| sum + share);
    let reciprocal = if sum > 0.0 { 1.0 / sum } else { 0.0 };
    shares.iter_mut().for_each(|share| *share *= reciprocal);
    weights.fill(f16::ZERO);
    narrow(shares, Clamp::NONE, weights);
}

#[cfg(test)]
mod tests {
    use super::super::linear::tests::halves;
    use super::*;
    use crate::kernels::testing::attention;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    const SHAPE: Shape = Shape {
        heads: 4,
        key_heads: 2,
        head_dim: 6,
        value_dim: 6,
        slots: 13,
    };
    const WIDTH: usize = 24;
    const KEY_WIDTH: usize = 12;

    fn run(query: &[f16], rows: &[(Vec<f16>, Vec<f16>)], start: usize) -> Vec<f16> {
        masked(query, rows, start, None)
    }

    fn masked(
        query: &[f16],
        rows: &[(Vec<f16>, Vec<f16>)],
        start: usize,
        bits: Option<&[u32]>,
    ) -> Vec<f16> {
        let (mut keys, mut values) = (
            vec![[f16::ZERO; LANES]; SHAPE.keys_len(packed_len)],
            vec![[f16::ZERO; LANES]; SHAPE.values_len(packed_len)],
        );
        for (i, (key, value)) in rows.iter().enumerate() {
            push_key(key, (start + i) % SHAPE.slots, &SHAPE, &mut keys);
            push_value(value, (start + i) % SHAPE.slots, &SHAPE, &mut values);
        }
        let next = (start + rows.len()) % SHAPE.slots;
        let filled = Filled::ring(next, rows.len(), SHAPE.slots);
        let (mut context, mut wide) = (vec![f16::ONE; WIDTH], vec![0.0; SHAPE.scratch_len()]);
        attend(
            query,
            &keys,
            &values,
            &filled,
            bits,
            &[],
            &SHAPE,
            0.8,
            &mut wide,
            &mut context,
            &mut [],
        );
        context
    }

    fn exact(query: &[f16], rows: &[(Vec<f16>, Vec<f16>)]) -> Vec<f64> {
        let rows = rows.iter().map(|(key, value)| (&key[..], &value[..]));
        attention(query, rows, &SHAPE, 0.8 * core::f64::consts::LN_2)
    }

    proptest! {
        #[test]
        fn attention_is_close_to_double_precision_and_blind_to_where_the_ring_starts(
            query in halves(WIDTH),
            rows in proptest::collection::vec((halves(KEY_WIDTH), halves(KEY_WIDTH)), 1..14),
            start in 0usize..13,
        ) {
            let context = run(&query, &rows, 0);
            prop_assert_eq!(&context, &run(&query, &rows, start));
            for (got, exact) in context.iter().zip(exact(&query, &rows)) {
                let error = (f64::from(*got) - exact).abs();
                prop_assert!(error <= exact.abs() * 2f64.powi(-11) + 3e-6, "{} for {}", got, exact);
            }
        }
    }

    #[test]
    fn a_mask_hides_slots_and_one_that_hides_all_gives_zero() {
        let halves = |n: usize, step: f32| -> Vec<f16> {
            (0..n)
                .map(|i| f16::from_f32((i as f32 * step).sin()))
                .collect()
        };
        let query = halves(WIDTH, 0.9);
        let row = |i: usize| {
            (
                halves(KEY_WIDTH, i as f32 + 0.3),
                halves(KEY_WIDTH, i as f32 + 0.7),
            )
        };
        let rows: Vec<_> = (0..SHAPE.slots).map(row).collect();
        for mask in [0b1u32, 0b1010_1010_1010, 0b1_1111_1111_1110] {
            let context = masked(&query, &rows, 0, Some(&[mask]));
            let seen: Vec<_> = (0..SHAPE.slots)
                .filter(|i| mask >> i & 1 == 1)
                .map(row)
                .collect();
            for (got, exact) in context.iter().zip(exact(&query, &seen)) {
                assert!((f64::from(*got) - exact).abs() < 6e-4, "{got} for {exact}");
            }
        }
        assert_eq!(masked(&query, &rows, 0, Some(&[0])), vec![f16::ZERO; WIDTH]);
    }

    #[test]
    fn a_ring_is_read_from_the_oldest_on() {
        let filled = |oldest, newest| Filled { oldest, newest };
        assert_eq!(Filled::ring(3, 3, 8), filled(0..3, 0..0));
        assert_eq!(Filled::ring(0, 8, 8), filled(0..8, 0..0));
        assert_eq!(Filled::ring(3, 8, 8), filled(3..8, 0..3));
        assert_eq!(Filled::ring(1, 3, 8), filled(6..8, 0..1));
        assert_eq!(Filled::ring(0, 0, 8), filled(0..0, 0..0));
    }

    #[test]
    fn biases_are_added_and_the_weights_of_every_head_are_given() {
        let shape = Shape {
            heads: 2,
            key_heads: 1,
            head_dim: 2,
            value_dim: 1,
            slots: 3,
        };
        let half = |x: &f32| f16::from_f32(*x);
        let halves = |all: &[f32]| all.iter().map(half).collect::<Vec<f16>>();
        let keys_of = [[1.0, 0.5], [-0.5, 2.0], [0.25, -1.0]];
        let values_of = [1.0, -2.0, 4.0];
        let mut keys = vec![[f16::ZERO; LANES]; shape.keys_len(packed_len)];
        let mut values = vec![[f16::ZERO; LANES]; shape.values_len(packed_len)];
        for slot in 0..shape.slots {
            push_key(&halves(&keys_of[slot]), slot, &shape, &mut keys);
            push_value(&halves(&values_of[slot..=slot]), slot, &shape, &mut values);
        }
        let (query, biases) = ([0.5, -1.0, 1.5, 0.25], [0.0, 1.0, -0.5, 2.0, 0.25, -1.0]);
        let (mut context, mut weights) = ([f16::ZERO; 2], [f16::ZERO; 6]);
        attend(
            &halves(&query),
            &keys,
            &values,
            &Filled::first(3),
            None,
            &halves(&biases),
            &shape,
            LOG2_E,
            &mut vec![0.0; shape.scratch_len()],
            &mut context,
            &mut weights,
        );
        for head in 0..shape.heads {
            let score = |slot: usize| {
                let dot = (0..2).map(|c| query[head * 2 + c] * keys_of[slot][c]);
                (dot.sum::<f32>() + biases[head * 3 + slot]).exp()
            };
            let all: Vec<f32> = (0..3).map(score).collect();
            let total: f32 = all.iter().sum();
            for slot in 0..shape.slots {
                let got = weights[head * 3 + slot].to_f32();
                assert!((got - all[slot] / total).abs() < 1e-3, "{got}");
            }
            let exact = (0..3).map(|slot| all[slot] * values_of[slot]).sum::<f32>() / total;
            let got = context[head].to_f32();
            assert!((got - exact).abs() < 4e-3, "{got} for {exact}");
        }
    }

    #[test]
    fn an_empty_window_gives_zero() {
        assert_eq!(run(&[f16::ONE; WIDTH], &[], 0), vec![f16::ZERO; WIDTH]);
    }
}

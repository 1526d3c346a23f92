//! Attention of several queries at once over int8 keys and values: both products are tiles.

use super::{Bias, CONTEXT_FRACTION_BITS, Scaling, Seen, bits, shortened, weigh, write_weights};
use crate::kernels::arch::int::{Blocks, Constants, TileStore};
use crate::kernels::geometry::Shape;
use crate::kernels::int::dot::{LANES, PairRow, ROWS, packed_len, pairs_len};
use crate::kernels::int::requantize::Activation;
use crate::kernels::int::softmax::reciprocal;

/// Packed keys and values, and how queries meet them.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'t> {
    /// Keys of all heads.
    pub keys: &'t [i8],
    /// Values of all heads.
    pub values: &'t [i8],
    /// Their shape.
    pub shape: &'t Shape,
    /// Zero points and score factor.
    pub scaling: &'t Scaling,
}

/// Scratch of a tile: `ROWS` times that of [`super::attend`].
#[derive(Debug)]
pub struct Scratch<'t> {
    /// Scores.
    pub scores: &'t mut [i32],
    /// Queries and weights in pair order.
    pub pairs: &'t mut [i16],
}

/// What [`super::attend`] gives for each of `ROWS` queries `[ROWS, heads * head_dim]`: their contexts, and their weights as far
/// as those reach. `each` says what a query sees and adds.
pub fn attend_tile<'b, Q: Activation>(
    query: &[Q],
    packed: &Packed,
    each: &dyn Fn(usize) -> (Seen<'b>, Option<Bias<'b>>),
    scratch: &mut Scratch,
    context: &mut [i16],
    weights: &mut [i16],
) {
    let shape = packed.shape;
    let (d, slots) = (shape.head_dim, shape.scores_len());
    let scores = scratch.scores.get_mut(..ROWS * slots);
    let (queries, rest) = scratch
        .pairs
        .split_at_mut((ROWS * pairs_len(d)).min(scratch.pairs.len()));
    let (Some(scores), Some(tile)) = (scores, rest.get_mut(..ROWS * slots)) else {
        return;
    };
    let width = shape.heads * d;
    for head in 0..shape.heads {
        for row in 0..ROWS {
            let start = row * width + head * d;
            let query = query.get(start..start + d).unwrap_or_default();
            PairRow::<false>::of_tile(queries, row).fill(query, packed.scaling.query_zero_point);
        }
        let used = (0..ROWS).map(|row| each(row).0.first.min(shape.slots));
        packed.scores(head, queries, used.max().unwrap_or(0), scores);
        let mut totals = [0; ROWS];
        let rows = scores.chunks_exact_mut(slots.max(1)).zip(&mut totals);
        for (row, (scores, total)) in rows.enumerate() {
            let (seen, bias) = each(row);
            let used = scores.get_mut(..seen.first.min(shape.slots));
            let used = used.unwrap_or_default();
            if let Some(bias) = &bias {
                bias.add(shape, head, used);
            }
            let mut weights = PairRow::<false>::of_tile(tile, row);
            *total = weigh(used, seen.bits, packed.scaling, &mut weights);
        }
        packed.context(head, tile, totals, context);
        let len = weights.len() / ROWS;
        for (row, weights) in weights.chunks_exact_mut(len.max(1)).enumerate() {
            let own = PairRow::<false>::of_tile(tile, row);
            write_weights(&own, head * shape.slots, shape.slots, weights);
        }
    }
}

impl Packed<'_> {
    /// The part of one head, of `len` elements, which adjacent heads may share.
    fn of_head<'k>(&self, all: &'k [i8], len: usize, head: usize) -> &'k [i8] {
        let shared = (self.shape.heads / self.shape.key_heads.max(1)).max(1);
        let start = head / shared * len;
        all.get(start..start + len).unwrap_or(&[])
    }

    fn blocks<'p>(&self, pairs: &'p [i16], weights: &'p [i8]) -> Blocks<'p> {
        Blocks {
            pairs,
            weights,
            bias: Constants::Same([0; LANES]),
            multipliers: Constants::Same([0; LANES]),
            left_shift: 0,
            zero_point: 0,
            min: i16::MIN.into(),
            max: i16::MAX.into(),
        }
    }

    /// Scores of the first `used` slots: `[ROWS, scores_len]`.
    fn scores(&self, head: usize, queries: &[i16], used: usize, scores: &mut [i32]) {
        let (d, slots) = (self.shape.head_dim, self.shape.slots);
        let keys = self.of_head(self.keys, packed_len(slots, d), head);
        // Only blocks of slots that hold something are scored.
        let scored = used.next_multiple_of(LANES) * pairs_len(d);
        let keys = keys.get(..scored).unwrap_or(keys);
        let store = TileStore::Sums(scores);
        self.blocks(queries, keys).run_tile(store, pairs_len(slots));
    }

    /// Means of the values of one head with these weights, whose sums are `totals`, where the contexts `[ROWS, heads * value_dim]`
    /// have them.
    fn context(&self, head: usize, weights: &mut [i16], totals: [u32; ROWS], context: &mut [i16]) {
        let (dim, width) = (
            self.shape.value_dim,
            self.shape.heads * self.shape.value_dim,
        );
        let values = self.of_head(self.values, packed_len(dim, self.shape.slots), head);
        let mut factors = [0; ROWS];
        for (row, (factor, mut total)) in factors.iter_mut().zip(totals).enumerate() {
            // As in `KeyValue::context`.
            let excess = bits(total).saturating_sub(24);
            if excess > 0 {
                total = shortened(&mut PairRow::<false>::of_tile(weights, row), excess);
            }
            *factor = reciprocal(32 + CONTEXT_FRACTION_BITS, total) as i32;
        }
        let zero_point = self.scaling.value_zero_point << CONTEXT_FRACTION_BITS;
        let whole = dim / LANES * pairs_len(self.shape.slots) * LANES;
        let (values, last_values) = values.split_at(whole.min(values.len()));
        let blocks = Blocks::<false> {
            zero_point: zero_point.wrapping_neg(),
            ..self.blocks(weights, values)
        };
        let start = head * dim;
        let place = context.get_mut(start..).unwrap_or_default();
        blocks.run_tile(TileStore::Scaled(place, factors), width);
        let mut last = [[0; LANES]; ROWS];
        let rest = TileStore::Scaled(last.as_flattened_mut(), factors);
        let weights = last_values;
        Blocks { weights, ..blocks }.run_tile(rest, LANES);
        let rows = context.chunks_exact_mut(width.max(1)).zip(last).zip(totals);
        for ((context, last), total) in rows {
            let own = context.get_mut(start..start + dim).unwrap_or_default();
            if total == 0 {
                own.fill(0);
                continue;
            }
            let behind = own.as_chunks_mut::<LANES>().1;
            behind.iter_mut().zip(last).for_each(|(slot, y)| *slot = y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Biases, attend};
    use super::*;
    use crate::kernels::testing::numbers;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn a_tile_gives_what_its_queries_give_alone(
            (heads, shared, head_dim, value_dim, slots) in (1usize..4, any::<bool>(), 1usize..9, 1usize..9, 1usize..20),
            first in proptest::array::uniform3(0usize..21),
            (masked, biased, own, weighted) in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
            many in any::<bool>(),
            seed in any::<u32>(),
        ) {
            let mut next = numbers(seed);
            let slots = if many { slots + 600 } else { slots };
            let first = first.map(|first| if many { slots.saturating_sub(first) } else { first });
            let key_heads = if shared { 1 } else { heads };
            let shape = Shape { heads, key_heads, head_dim, value_dim, slots };
            let mut bytes = |len: usize| (0..len).map(|_| next() as i8).collect::<Vec<i8>>();
            let keys = bytes(shape.keys_len(packed_len));
            let values = bytes(shape.values_len(packed_len));
            let query = bytes(ROWS * heads * head_dim);
            let biases = bytes(ROWS * heads * slots);
            let masks: Vec<u32> = (0..ROWS * slots.div_ceil(32)).map(|_| (next() * next()) as u32).collect();
            let scaling = Scaling {
                // With many slots, all weights are near 1 and their sum is above 2^24.
                score_multiplier: if many { 1000 } else { 10_000_000 },
                score_shift: 0,
                query_zero_point: 5,
                value_zero_point: -3,
            };
            let each = |row: usize| {
                let words = slots.div_ceil(32);
                let seen = Seen { first: first[row], bits: masked.then(|| &masks[row * words..][..words]) };
                let len = if own { heads * slots } else { slots };
                let bias = Bias { biases: Biases::I8(&biases[row * len..][..len]), zero_point: 2, factor: 3000, shift: 4 };
                (seen, biased.then_some(bias))
            };
            let (len, width) = (heads * slots, heads * value_dim);
            let mut weights = vec![7; if weighted { ROWS * len } else { 0 }];
            let mut context = vec![7; ROWS * width];
            let mut scratch = Scratch {
                scores: &mut vec![7; ROWS * shape.scores_len()],
                pairs: &mut vec![7; ROWS * shape.pairs_len()],
            };
            let packed = Packed { keys: &keys, values: &values, shape: &shape, scaling: &scaling };
            attend_tile(&query, &packed, &each, &mut scratch, &mut context, &mut weights);
            for row in 0..ROWS {
                let (seen, bias) = each(row);
                let mut alone = vec![9; width];
                let mut shares = vec![9; if weighted { len } else { 0 }];
                attend(
                    &query[row * heads * head_dim..][..heads * head_dim], &keys, &values, seen, bias, &shape, &scaling,
                    &mut vec![9; shape.scores_len()], &mut vec![9; shape.pairs_len()], &mut alone, &mut shares,
                );
                prop_assert_eq!(&context[row * width..][..width], &alone[..]);
                if weighted {
                    prop_assert_eq!(&weights[row * len..][..len], &shares[..]);
                }
            }
        }
    }
}

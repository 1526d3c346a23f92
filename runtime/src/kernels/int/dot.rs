//! The one inner loop of attn: four dot products at a time of an int16 row with int8 weights.
//!
//! The row is in *pair order*: four values `x0 x1 x2 x3` are stored as `x0 x2 x1 x3`, so that a word of four
//! weights splits with two `SXTB16` into the halves that two `SMLAD` multiply. Weights are *packed* in the order of
//! reading: blocks of four outputs; in a block, for every four inputs, 4 x 4 bytes, output by output. Inputs and
//! outputs are padded with zeros to multiples of four. Accumulation wraps, so the order of adding never matters.
//! Here are the two orders; the loop is in [`crate::kernels::arch`].
//!
//! Keys and values of an attention window are packed in the same way, so this is also the loop of attention.
//!
//! Several rows that meet the same weights go through the loop as a *tile*, which takes the weights apart once for all of
//! them. Its rows are interleaved: for every four inputs `x0 x2` of each row, then `x1 x3` of each.

use super::joined::prepared;
use super::requantize::Activation;
use super::softmax::exp_weight;
use crate::kernels::arch::exp::Exponent;
use crate::kernels::arch::pairs;
use crate::kernels::arch::taps::Values;

/// Outputs per block, and inputs per group.
pub const LANES: usize = 4;

/// Values in pair order of a row of `k` values.
pub const fn pairs_len(k: usize) -> usize {
    k.next_multiple_of(LANES)
}

/// Bytes of packed weights for `out` outputs of `k` inputs each; the largest number if there is none.
pub const fn packed_len(out: usize, k: usize) -> usize {
    out.next_multiple_of(LANES)
        .saturating_mul(k.next_multiple_of(LANES))
}

/// Index of the weight of output `o` for input `i` among packed weights of `k` inputs.
pub const fn packed_index(o: usize, i: usize, k: usize) -> usize {
    let block = (o / LANES) * LANES * k.next_multiple_of(LANES);
    block + (i / LANES) * LANES * LANES + (o % LANES) * LANES + i % LANES
}

/// Index of value `i` of a row in pair order.
pub const fn pair_index(i: usize) -> usize {
    let swapped = [0, 2, 1, 3];
    i / LANES * LANES + swapped[i % LANES]
}

/// Rows of a tile. Two more registers for sums are all that a Cortex-M has; see [`crate::kernels::arch`].
pub const ROWS: usize = 3;

/// Four inputs of `R` rows: `x0 x2` of each, then `x1 x3` of each. With one row this is pair order.
pub type Tiled<const R: usize = ROWS> = [[[i16; 2]; R]; 2];

/// Interleaved rows, four inputs at a time.
pub fn tiled<const R: usize>(rows: &[i16]) -> &[Tiled<R>] {
    rows.as_chunks().0.as_chunks().0.as_chunks().0
}

/// The same, to be written.
pub fn tiled_mut<const R: usize>(rows: &mut [i16]) -> &mut [Tiled<R>] {
    rows.as_chunks_mut().0.as_chunks_mut().0.as_chunks_mut().0
}

/// Writes `row` minus `offset` in pair order; values after its end are 0.
pub fn to_pairs<X: Activation>(row: &[X], offset: i32, pairs: &mut [i16]) {
    PairRow::<false>::alone(pairs).fill(row, offset);
}

/// Writes `row` as joined or packed weights meet it; values after its end are 0.
pub fn to_order<X: Activation, const JOINED: bool>(row: &[X], pairs: &mut [i16]) {
    PairRow::<JOINED>::alone(pairs).fill(row, 0);
}

/// The place of a row in pair order: a buffer of its own, or its part of a tile. `JOINED`: of one as joined weights meet it.
#[derive(Debug)]
pub struct PairRow<'p, const JOINED: bool = false> {
    pairs: &'p mut [i16],
    /// Number in a tile.
    row: Option<usize>,
}

impl<'p, const JOINED: bool> PairRow<'p, JOINED> {
    /// All of `pairs`.
    pub fn alone(pairs: &'p mut [i16]) -> Self {
        Self { pairs, row: None }
    }

    /// Row `row` of a tile.
    pub fn of_tile(tile: &'p mut [i16], row: usize) -> Self {
        Self {
            pairs: tile,
            row: Some(row),
        }
    }

    /// Row of `rows`.
    fn place(&self) -> [usize; 2] {
        [self.rows(), self.row.unwrap_or(0)]
    }

    fn rows(&self) -> usize {
        if self.row.is_some() { ROWS } else { 1 }
    }

    /// The values from `start` to before `end`, multiples of 4.
    pub fn part(&mut self, start: usize, end: usize) -> PairRow<'_, JOINED> {
        let rows = self.rows();
        let pairs = self.pairs.get_mut(start * rows..end * rows);
        PairRow {
            pairs: pairs.unwrap_or_default(),
            row: self.row,
        }
    }

    /// Writes `values` minus `offset`, with joined weights just `values`; behind them 0.
    pub fn fill<X: Activation>(&mut self, values: &[X], offset: i32) {
        let (groups, place) = (values.as_chunks().0, self.place());
        let fast = match X::values(values) {
            Values::I8(x) if JOINED => {
                pairs::fill_joined(x.as_chunks().0, self.pairs, place);
                true
            }
            _ => {
                pairs::fill(groups, offset, self.pairs, place);
                !JOINED
            }
        };
        let whole = groups.len() * LANES;
        let rest = whole * self.rows() < self.pairs.len();
        if rest {
            self.fill_rest(values, whole, offset);
        }
        if JOINED && (rest || !fast) {
            self.turn(if fast { whole } else { 0 });
        }
    }

    /// The values from `start` on, which are few, and zeros behind them.
    #[inline(never)]
    fn fill_rest<X: Activation>(&mut self, values: &[X], start: usize, offset: i32) {
        for i in start..self.pairs.len() / self.rows() {
            let value = values.get(i).map(|&x| x.into().wrapping_sub(offset) as i16);
            self.set(i, value.unwrap_or(0));
        }
    }

    /// For joined weights: turns the values from `start` on, a multiple of 4, which [`Self::set`] has written. They are within int8.
    pub fn turn(&mut self, start: usize) {
        let (rows, place) = (self.rows(), self.place());
        if let Some(pairs) = self.pairs.get_mut(start * rows..).filter(|_| JOINED) {
            pairs::turn(pairs, place);
        }
    }

    /// Writes the weights of `scores`; behind them 0. Gives their sum.
    pub fn fill_exp(&mut self, scores: &[i32], by: Exponent) -> u32 {
        let place = self.place();
        let (groups, rest) = scores.as_chunks();
        let mut sum = by.in_pairs(groups, self.pairs, place);
        let mut rest = rest.iter();
        for i in groups.len() * LANES..self.pairs.len() / self.rows() {
            let distance = |&score: &i32| by.max.wrapping_sub(score) as u32;
            let weight = rest
                .next()
                .map(|score| exp_weight(distance(score), by.multiplier));
            let weight = weight.unwrap_or(0);
            sum = sum.wrapping_add(weight as u32);
            self.set(i, weight);
        }
        sum
    }

    /// All values, in any order.
    pub fn values(&mut self) -> impl Iterator<Item = &mut i16> {
        let (first, step) = (self.row.unwrap_or(0), self.rows());
        let words = self.pairs.as_chunks_mut::<2>().0.iter_mut();
        words.skip(first).step_by(step).flatten()
    }

    /// Value `i`.
    pub fn get(&self, i: usize) -> Option<i16> {
        self.pairs.get(self.index(i)).copied()
    }

    fn index(&self, i: usize) -> usize {
        match self.row {
            None => pair_index(i),
            Some(row) => tile_index(i, row),
        }
    }

    /// Sets all values.
    #[inline(never)]
    pub fn set_all(&mut self, value: i16) {
        let [even, odd] = match JOINED {
            true => prepared([value; LANES]),
            false => [[value; 2]; 2],
        };
        let [rows, row] = self.place();
        let words = self.pairs.as_chunks_mut::<2>().0;
        let mut own = words.iter_mut().skip(row).step_by(rows);
        while let (Some(first), Some(second)) = (own.next(), own.next()) {
            (*first, *second) = (even, odd);
        }
    }

    /// Sets value `i`, in pair order: for joined weights [`Self::turn`] has to follow.
    #[inline(never)]
    pub fn set(&mut self, i: usize, value: i16) {
        let at = self.index(i);
        if let Some(slot) = self.pairs.get_mut(at) {
            *slot = value;
        }
    }
}

/// Index of value `i` of a row of a tile.
const fn tile_index(i: usize, row: usize) -> usize {
    let group = i / LANES * LANES * ROWS;
    group + i % 2 * 2 * ROWS + 2 * row + i % LANES / 2
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kernels::arch::int::{Blocks, Constants, Store, TileStore};
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    /// Packs rows of weights.
    pub fn pack(weights: &[Vec<i8>], k: usize) -> Vec<i8> {
        let mut packed = vec![0; packed_len(weights.len(), k)];
        for (o, row) in weights.iter().enumerate() {
            for (i, &w) in row.iter().enumerate() {
                packed[packed_index(o, i, k)] = w;
            }
        }
        packed
    }

    proptest! {
        #[test]
        fn a_tile_gives_what_its_rows_give_alone(
            (weights, rows) in (1usize..11, 1usize..23).prop_flat_map(|(out, k)| (
                proptest::collection::vec(proptest::collection::vec(any::<i8>(), k), out),
                proptest::collection::vec(proptest::collection::vec(any::<i8>(), k), ROWS),
            )),
            (offset, left_shift, zero_point) in (-128i32..128, 0u32..9, -9i32..9),
            own in any::<bool>(),
        ) {
            let (k, out) = (rows[0].len(), weights.len());
            let packed = pack(&weights, k);
            let bias: Vec<i32> = (0..out as i32).map(|o| o * 777 - 9).collect();
            let factors: Vec<i32> = (0..out as i32).map(|o| (o + 1) << 25).collect();
            let of_rows = [1 << 27, 1 << 28, 3 << 28];
            let blocks: Blocks = Blocks {
                pairs: &[],
                weights: &packed,
                bias: Constants::Each(&bias),
                multipliers: Constants::Each(&factors),
                left_shift,
                zero_point,
                min: -32768,
                max: 32767,
            };
            let mut tile = vec![7; ROWS * pairs_len(k)];
            for (i, row) in rows.iter().enumerate() {
                PairRow::<false>::of_tile(&mut tile, i).fill(row, offset);
            }
            let stride = if own { out.next_multiple_of(LANES) } else { out };
            let mut y = vec![5i16; ROWS * stride];
            let blocks_of_tile = Blocks { pairs: &tile, ..blocks };
            match own {
                true => blocks_of_tile.run_tile(TileStore::Scaled(&mut y, of_rows), stride),
                false => blocks_of_tile.run_tile_to(&mut y, out),
            }
            for (i, row) in rows.iter().enumerate() {
                let mut pairs = vec![7; pairs_len(k)];
                to_pairs(row, offset, &mut pairs);
                let mut alone = vec![5i16; stride];
                let mut row = Blocks { pairs: &pairs, ..blocks };
                if own {
                    row.multipliers = Constants::Same([of_rows[i]; LANES]);
                }
                row.run_to(&mut alone);
                prop_assert_eq!(&y[i * stride..][..out / LANES * LANES], &alone[..out / LANES * LANES]);
                if !own {
                    prop_assert_eq!(&y[i * stride..][..out], &alone[..out]);
                }
            }
        }

        #[test]
        fn packed_dot_products_equal_plain_ones(
            (weights, row) in (1usize..11, 1usize..23).prop_flat_map(|(out, k)| (
                proptest::collection::vec(proptest::collection::vec(any::<i8>(), k), out),
                proptest::collection::vec(any::<i16>(), k),
            ))
        ) {
            let k = row.len();
            let mut pairs = vec![7; pairs_len(k)];
            to_pairs(&row, 0, &mut pairs);
            let mut sums = vec![0; weights.len().next_multiple_of(LANES)];
            let packed = pack(&weights, k);
            Blocks::<false> {
                pairs: &pairs,
                weights: &packed,
                bias: Constants::Same([5, 0, 0, -5]),
                multipliers: Constants::Same([0; LANES]),
                left_shift: 0,
                zero_point: 0,
                min: 0,
                max: 0,
            }
            .run(Store::Sums(sums.as_chunks_mut().0));
            for (o, weights) in weights.iter().enumerate() {
                let plain = weights.iter().zip(&row).fold([5i32, 0, 0, -5][o % LANES], |sum, (&w, &x)| {
                    sum.wrapping_add(i32::from(w) * i32::from(x))
                });
                prop_assert_eq!(sums[o], plain);
            }
        }
    }
}

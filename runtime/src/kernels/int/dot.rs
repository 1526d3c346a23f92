//! The one inner loop of attn: four dot products at a time of an int16 row with int8 weights.
//!
//! The row is in *pair order*: four values `x0 x1 x2 x3` are stored as `x0 x2 x1 x3`, so that a word of four
//! weights splits with two `SXTB16` into the halves that two `SMLAD` multiply. Weights are *packed* in the order of
//! reading: blocks of four outputs; in a block, for every four inputs, 4 x 4 bytes, output by output. Inputs and
//! outputs are padded with zeros to multiples of four. Accumulation wraps, so the order of adding never matters.
//! Here are the two orders; the loop is in [`crate::kernels::arch`].
//!
//! Keys and values of an attention window are packed in the same way, so this is also the loop of attention.

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

/// Writes `row` minus `offset` in pair order; values after its end are 0.
#[inline(never)]
pub fn to_pairs<T: Copy + Into<i32>>(row: &[T], offset: i32, pairs: &mut [i16]) {
    let value = |x: T| x.into().wrapping_sub(offset) as i16;
    let (groups, rest) = row.as_chunks();
    let (slots, _) = pairs.as_chunks_mut();
    for (slot, &[a, b, c, d]) in slots.iter_mut().zip(groups) {
        *slot = [value(a), value(c), value(b), value(d)];
    }
    if let Some(slot) = slots.get_mut(groups.len()) {
        *slot = [0; LANES];
        for (i, &x) in rest.iter().enumerate() {
            if let Some(s) = slot.get_mut(pair_index(i)) {
                *s = value(x);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kernels::arch::int::{Blocks, Constants, Store};
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
            Blocks {
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

//! The integer inner loops for hosts: every x86-64 has SSE2. `PMADDWD` multiplies eight pairs and adds neighbours; sums
//! wrap as in `portable`.

use super::int::{Blocks, Store, TileStore, WideBlocks};
use super::portable::int::{run_tile_with, run_with};
use crate::kernels::int::dot::{LANES, ROWS, Tiled};
use crate::kernels::int::joined::RECORD;
use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_add_epi64, _mm_andnot_si128, _mm_cmpeq_epi32, _mm_loadl_epi64,
    _mm_loadu_si128, _mm_madd_epi16, _mm_set_epi32, _mm_set1_epi32, _mm_setzero_si128,
    _mm_shuffle_epi32, _mm_shufflelo_epi16, _mm_slli_epi16, _mm_srai_epi16, _mm_srai_epi32,
    _mm_storeu_si128, _mm_unpackhi_epi8, _mm_unpackhi_epi32, _mm_unpacklo_epi8, _mm_unpacklo_epi32,
    _mm_unpacklo_epi64,
};

/// Weights of four outputs for four inputs.
const GROUP: usize = LANES * LANES;

/// See [`Blocks::run`].
pub fn run<const JOINED: bool>(blocks: &Blocks<JOINED>, store: Store) {
    let dot = |row: &[i16], block: &[i8], sums: [i32; LANES]| {
        // SAFETY: every x86-64 has SSE2.
        unsafe {
            match JOINED {
                true => joined4(row, block, sums),
                false => dot4(row, block, sums),
            }
        }
    };
    run_with(blocks, store, dot);
}

/// See [`Blocks::run_tile`].
pub fn run_tile<const JOINED: bool>(blocks: &Blocks<JOINED>, store: TileStore, stride: usize) {
    let dot = |tile: &[Tiled], block: &[i8], sums: [i32; LANES]| {
        // SAFETY: every x86-64 has SSE2.
        unsafe {
            match JOINED {
                true => joined_tile4(tile, block, sums),
                false => tile4(tile, block, sums),
            }
        }
    };
    run_tile_with(blocks, store, stride, dot);
}

/// See [`WideBlocks::run`].
pub fn run_wide(blocks: &WideBlocks, y: &mut [[i32; LANES]]) {
    let packed = blocks
        .weights
        .chunks_exact((blocks.pairs.len() * LANES).max(1));
    for (y, packed) in y.iter_mut().zip(packed) {
        // SAFETY: every x86-64 has SSE2.
        let sums = unsafe { wide4(blocks.pairs, packed) };
        *y = sums.map(|sum| (sum >> (blocks.shift & 31)) as i32);
    }
}

/// As `portable::int::dot4`.
#[inline]
#[target_feature(enable = "sse2")]
fn dot4(pairs: &[i16], block: &[i8], accumulators: [i32; LANES]) -> [i32; LANES] {
    // Two partial sums of each output: outputs 0 and 1, outputs 2 and 3.
    let mut sums = [_mm_setzero_si128(); 2];
    let groups = block.as_chunks::<GROUP>().0;
    for (x, weights) in pairs.as_chunks::<LANES>().0.iter().zip(groups) {
        // SAFETY: four int16 are 8 bytes; the load takes any alignment.
        let x = unsafe { _mm_loadl_epi64(x.as_ptr().cast()) };
        // `x0 x2 x1 x3` as `x0 x1 x2 x3`, twice.
        let x = _mm_shufflelo_epi16::<0b11_01_10_00>(x);
        add_products(
            &mut sums,
            widened(weights),
            _mm_shuffle_epi32::<0b01_00_01_00>(x),
        );
    }
    totals(sums, accumulators)
}

/// [`dot4`] of every row of a tile.
#[inline]
#[target_feature(enable = "sse2")]
fn tile4(tile: &[Tiled], block: &[i8], accumulators: [i32; LANES]) -> [[i32; LANES]; ROWS] {
    let mut sums = [[_mm_setzero_si128(); 2]; ROWS];
    let groups = block.as_chunks::<GROUP>().0;
    for ([even, odd], weights) in tile.iter().zip(groups) {
        let weights = widened(weights);
        for (sums, (&[x0, x2], &[x1, x3])) in sums.iter_mut().zip(even.iter().zip(odd)) {
            let word = |low: i16, high: i16| i32::from(high) << 16 | i32::from(low as u16);
            let (low, high) = (word(x0, x1), word(x2, x3));
            add_products(sums, weights, _mm_set_epi32(high, low, high, low));
        }
    }
    sums.map(|sums| totals(sums, accumulators))
}

/// As `portable::joined::dot4`.
#[inline]
#[target_feature(enable = "sse2")]
fn joined4(row: &[i16], block: &[i8], accumulators: [i32; LANES]) -> [i32; LANES] {
    let mut sums = _mm_setzero_si128();
    let words = row.as_chunks::<2>().0.as_chunks::<2>().0;
    for (&[even, odd], weights) in words.iter().zip(records(block)) {
        sums = _mm_add_epi32(sums, joined_products(joined_weights(weights), even, odd));
    }
    added(sums, accumulators)
}

/// [`joined4`] of every row of a tile.
#[inline]
#[target_feature(enable = "sse2")]
fn joined_tile4(tile: &[Tiled], block: &[i8], accumulators: [i32; LANES]) -> [[i32; LANES]; ROWS] {
    let mut sums = [_mm_setzero_si128(); ROWS];
    for ([even, odd], weights) in tile.iter().zip(records(block)) {
        let weights = joined_weights(weights);
        for (sums, (&even, &odd)) in sums.iter_mut().zip(even.iter().zip(odd)) {
            *sums = _mm_add_epi32(*sums, joined_products(weights, even, odd));
        }
    }
    sums.map(|sums| added(sums, accumulators))
}

/// Bytes of a record of joined weights for four inputs.
const PAIR: usize = RECORD * LANES;

/// Both records of a block, four inputs at a time.
fn records(block: &[i8]) -> impl Iterator<Item = [&[i8; PAIR]; 2]> {
    let (first, second) = block.split_at(block.len() / 2);
    let groups = first.as_chunks().0.iter().zip(second.as_chunks().0);
    groups.map(|(first, second)| [first, second])
}

/// The halfwords of four outputs, and their low bytes.
#[inline]
#[target_feature(enable = "sse2")]
fn joined_weights(records: [&[i8; PAIR]; 2]) -> [__m128i; 2] {
    // SAFETY: eight int8 are 8 bytes; the loads take any alignment.
    let [first, second] = records.map(|w| unsafe { _mm_loadl_epi64(w.as_ptr().cast()) });
    let whole = _mm_unpacklo_epi64(first, second);
    [whole, _mm_srai_epi16::<8>(_mm_slli_epi16::<8>(whole))]
}

/// Products of the weights of four outputs with what four inputs are prepared as. No two of them are -32768 squared.
#[inline]
#[target_feature(enable = "sse2")]
fn joined_products([whole, low]: [__m128i; 2], even: [i16; 2], odd: [i16; 2]) -> __m128i {
    let all = |[low, high]: [i16; 2]| _mm_set1_epi32(i32::from(high) << 16 | i32::from(low as u16));
    _mm_add_epi32(
        _mm_madd_epi16(whole, all(even)),
        _mm_madd_epi16(low, all(odd)),
    )
}

/// Sums of four outputs, added to their accumulators.
fn added(sums: __m128i, accumulators: [i32; LANES]) -> [i32; LANES] {
    let sums = stored(sums);
    core::array::from_fn(|lane| accumulators[lane].wrapping_add(sums[lane]))
}

/// int8 weights as int16: those of outputs 0 and 1, and those of outputs 2 and 3.
#[inline]
#[target_feature(enable = "sse2")]
fn widened(weights: &[i8; GROUP]) -> [__m128i; 2] {
    // SAFETY: 16 int8 are 16 bytes; the load takes any alignment.
    let w = unsafe { _mm_loadu_si128(weights.as_ptr().cast()) };
    [
        _mm_srai_epi16::<8>(_mm_unpacklo_epi8(w, w)),
        _mm_srai_epi16::<8>(_mm_unpackhi_epi8(w, w)),
    ]
}

/// Adds the products of four inputs, which `x` has twice.
#[inline]
#[target_feature(enable = "sse2")]
fn add_products(sums: &mut [__m128i; 2], [low, high]: [__m128i; 2], x: __m128i) {
    sums[0] = _mm_add_epi32(sums[0], _mm_madd_epi16(low, x));
    sums[1] = _mm_add_epi32(sums[1], _mm_madd_epi16(high, x));
}

/// The partial sums of each output, added to its accumulator.
fn totals(sums: [__m128i; 2], accumulators: [i32; LANES]) -> [i32; LANES] {
    let [a, b] = sums.map(stored);
    let totals = [[a[0], a[1]], [a[2], a[3]], [b[0], b[1]], [b[2], b[3]]];
    core::array::from_fn(|lane| {
        let [even, odd] = totals[lane];
        accumulators[lane].wrapping_add(even.wrapping_add(odd))
    })
}

fn stored(register: __m128i) -> [i32; LANES] {
    let mut elements = [0; LANES];
    // SAFETY: four int32 are 16 bytes; the store takes any alignment.
    unsafe { _mm_storeu_si128(elements.as_mut_ptr().cast(), register) };
    elements
}

/// The sums of one block of [`WideBlocks`], before the shift.
#[inline]
#[target_feature(enable = "sse2")]
fn wide4(pairs: &[i16], block: &[i16]) -> [i64; LANES] {
    // Two partial sums of each output.
    let mut sums = [_mm_setzero_si128(); LANES];
    let groups = block.as_chunks::<GROUP>().0;
    for (x, weights) in pairs.as_chunks::<LANES>().0.iter().zip(groups) {
        // SAFETY: four int16 are 8 bytes, the load takes any alignment.
        let x = unsafe { _mm_loadl_epi64(x.as_ptr().cast()) };
        let x = _mm_shuffle_epi32::<0b01_00_01_00>(x);
        for (sums, w) in sums
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .zip(weights.as_chunks::<8>().0)
        {
            // SAFETY: eight int16 are 16 bytes, the load takes any alignment.
            let w = unsafe { _mm_loadu_si128(w.as_ptr().cast()) };
            let products = _mm_madd_epi16(w, x);
            // The smallest int32 stands for 2^31, from four times -32768: no other products add up to it.
            let wrapped = _mm_cmpeq_epi32(products, _mm_set1_epi32(i32::MIN));
            let sign = _mm_andnot_si128(wrapped, _mm_srai_epi32::<31>(products));
            sums[0] = _mm_add_epi64(sums[0], _mm_unpacklo_epi32(products, sign));
            sums[1] = _mm_add_epi64(sums[1], _mm_unpackhi_epi32(products, sign));
        }
    }
    sums.map(|register| {
        let mut halves = [0i64; 2];
        // SAFETY: two int64 are 16 bytes; the store takes any alignment.
        unsafe { _mm_storeu_si128(halves.as_mut_ptr().cast(), register) };
        halves[0].wrapping_add(halves[1])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::arch::portable::{int as portable, joined};
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    /// `int16` with many extremes.
    fn int16() -> impl Strategy<Value = i16> {
        prop_oneof![any::<i16>(), Just(i16::MIN), Just(i16::MAX)]
    }

    fn rows<T: core::fmt::Debug>(
        weight: impl Strategy<Value = T> + Clone,
    ) -> impl Strategy<Value = (Vec<i16>, Vec<T>)> {
        (0usize..9).prop_flat_map(move |groups| {
            let row = proptest::collection::vec(int16(), groups * LANES);
            (
                row,
                proptest::collection::vec(weight.clone(), groups * GROUP),
            )
        })
    }

    proptest! {
        #[test]
        fn int8_weights_give_the_sums_of_the_portable_body(
            (row, weights) in rows(any::<i8>().boxed()), bias in any::<[i32; LANES]>()
        ) {
            // SAFETY: every x86-64 has SSE2.
            let sums = unsafe { dot4(&row, &weights, bias) };
            prop_assert_eq!(sums, portable::dot4(&row, &weights, bias));
        }

        #[test]
        fn joined_weights_give_the_sums_of_the_portable_body(
            (row, weights) in rows(any::<i8>().boxed()), bias in any::<[i32; LANES]>()
        ) {
            let x: Vec<i8> = row.iter().map(|&x| (x >> 8) as i8).collect();
            let mut row = vec![0; x.len()];
            super::super::pairs::fill_joined(x.as_chunks().0, &mut row, [1, 0]);
            // SAFETY: every x86-64 has SSE2.
            let sums = unsafe { joined4(&row, &weights, bias) };
            prop_assert_eq!(sums, joined::dot4(&row, &weights, bias));
        }

        #[test]
        fn wide_weights_give_the_sums_of_the_portable_body(
            (row, weights) in rows(int16().boxed()), shift in 0u32..32
        ) {
            let blocks = WideBlocks { pairs: &row, weights: &weights, shift };
            let (mut sums, mut expected) = (vec![[0; LANES]; 1], vec![[0; LANES]; 1]);
            run_wide(&blocks, &mut sums);
            portable::run_wide(&blocks, &mut expected);
            prop_assert_eq!(sums, expected);
        }
    }
}

//! The integer inner loop.

use crate::kernels::arch::int::{Blocks, Store, WideBlocks};
use crate::kernels::int::dot::LANES;
use crate::kernels::int::requantize::requantize;

/// See [`Blocks::run`].
pub fn run(blocks: &Blocks, store: Store) {
    run_with(blocks, store, dot4);
}

/// [`run`] with another body for [`dot4`].
#[inline(always)]
pub(in crate::kernels::arch) fn run_with(blocks: &Blocks, store: Store, dot4: impl Dot4) {
    match store {
        Store::Sums(y) => each(blocks, y, dot4, |sums, _| sums),
        Store::I8(y) => each(blocks, y, dot4, |sums, m| {
            blocks.scale(sums, m).map(|v| v as i8)
        }),
        Store::I16(y) => each(blocks, y, dot4, |sums, m| {
            blocks.scale(sums, m).map(|v| v as i16)
        }),
        Store::I32(y) => each(blocks, y, dot4, |sums, m| {
            core::array::from_fn(|i| requantize(sums[i], m[i], blocks.left_shift))
        }),
    }
}

/// A function like [`dot4`].
pub(in crate::kernels::arch) trait Dot4:
    Fn(&[i16], &[i8], [i32; LANES]) -> [i32; LANES]
{
}

impl<F: Fn(&[i16], &[i8], [i32; LANES]) -> [i32; LANES]> Dot4 for F {}

fn each<Y>(
    blocks: &Blocks,
    y: &mut [[Y; LANES]],
    dot4: impl Dot4,
    finish: impl Fn([i32; LANES], [i32; LANES]) -> [Y; LANES],
) {
    let packed = blocks.weights.chunks_exact(blocks.block_len().max(1));
    for (at, (y, packed)) in y.iter_mut().zip(packed).enumerate() {
        let (Some(bias), Some(multipliers)) = (blocks.bias.get(at), blocks.multipliers.get(at))
        else {
            return;
        };
        *y = finish(dot4(blocks.pairs, packed, bias), multipliers);
    }
}

/// Adds to four accumulators the dot products of `pairs` with one block of packed weights. Of each group of inputs every
/// one has a sum of its own until the end, which is what compilers turn into vectors.
pub(in crate::kernels::arch) fn dot4(
    pairs: &[i16],
    block: &[i8],
    accumulators: [i32; LANES],
) -> [i32; LANES] {
    let mut sums = [[0i32; LANES]; LANES];
    let groups = block.as_chunks::<{ LANES * LANES }>().0;
    for (&[x0, x2, x1, x3], weights) in pairs.as_chunks::<LANES>().0.iter().zip(groups) {
        let x = [x0, x1, x2, x3];
        for (sums, w) in sums.iter_mut().zip(weights.as_chunks::<LANES>().0) {
            for ((sum, &w), x) in sums.iter_mut().zip(w).zip(x) {
                *sum = sum.wrapping_add(i32::from(i16::from(w)) * i32::from(x));
            }
        }
    }
    let total = |sums: [i32; LANES]| sums.into_iter().fold(0, i32::wrapping_add);
    core::array::from_fn(|lane| accumulators[lane].wrapping_add(total(sums[lane])))
}

/// See [`WideBlocks::run`].
pub fn run_wide(blocks: &WideBlocks, y: &mut [[i32; LANES]]) {
    let packed = blocks
        .weights
        .chunks_exact((blocks.pairs.len() * LANES).max(1));
    for (y, packed) in y.iter_mut().zip(packed) {
        let mut sums = [0i64; LANES];
        for (x, weights) in blocks
            .pairs
            .chunks_exact(LANES)
            .zip(packed.chunks_exact(LANES * LANES))
        {
            for (sum, w) in sums.iter_mut().zip(weights.chunks_exact(LANES)) {
                for (&w, &x) in w.iter().zip(x) {
                    *sum = sum.wrapping_add(i64::from(i32::from(w) * i32::from(x)));
                }
            }
        }
        *y = sums.map(|sum| (sum >> (blocks.shift & 31)) as i32);
    }
}

//! The integer inner loop.

use super::joined;
use crate::kernels::arch::int::{Blocks, Store, TileStore, WideBlocks};
use crate::kernels::int::dot::{LANES, ROWS, Tiled, tiled};

/// See [`Blocks::run`].
pub fn run<const JOINED: bool>(blocks: &Blocks<JOINED>, store: Store) {
    if JOINED {
        run_with(blocks, store, joined::dot4);
    } else {
        run_with(blocks, store, dot4);
    }
}

/// [`run`] with another body for [`dot4`].
#[inline(always)]
pub(in crate::kernels::arch) fn run_with<const JOINED: bool>(
    blocks: &Blocks<JOINED>,
    store: Store,
    dot4: impl Dot4,
) {
    match store {
        Store::Sums(y) => each(blocks, y, dot4, |sums, _| sums),
        Store::I8(y) => each(blocks, y, dot4, |sums, m| {
            blocks.scale(sums, m).map(|v| v as i8)
        }),
        Store::I16(y) => each(blocks, y, dot4, |sums, m| {
            blocks.scale(sums, m).map(|v| v as i16)
        }),
        Store::I32(y) => each(blocks, y, dot4, |sums, m| {
            core::array::from_fn(|i| blocks.rescaled(sums[i], m[i], 0))
        }),
    }
}

/// A function like [`dot4`].
pub(in crate::kernels::arch) trait Dot4:
    Fn(&[i16], &[i8], [i32; LANES]) -> [i32; LANES]
{
}

impl<F: Fn(&[i16], &[i8], [i32; LANES]) -> [i32; LANES]> Dot4 for F {}

fn each<Y, const JOINED: bool>(
    blocks: &Blocks<JOINED>,
    y: &mut [[Y; LANES]],
    dot4: impl Dot4,
    finish: impl Fn([i32; LANES], [i32; LANES]) -> [Y; LANES],
) {
    if blocks.block_len() == 0 {
        return;
    }
    let packed = blocks.weights.chunks_exact(blocks.block_len());
    for (at, (y, packed)) in y.iter_mut().zip(packed).enumerate() {
        let (Some(bias), Some(multipliers)) = (
            blocks.bias.get::<JOINED>(at),
            blocks.multipliers.get::<JOINED>(at),
        ) else {
            return;
        };
        *y = finish(dot4(blocks.pairs, packed, bias), multipliers);
    }
}

/// See [`Blocks::run_tile`].
pub fn run_tile<const JOINED: bool>(blocks: &Blocks<JOINED>, store: TileStore, stride: usize) {
    if JOINED {
        return run_tile_with(blocks, store, stride, joined::tile4);
    }
    run_tile_with(blocks, store, stride, |tile, block, bias| {
        core::array::from_fn(|row| {
            let of_row = tile.iter().map(|group| group.map(|pairs| pairs[row]));
            let in_order = of_row.map(|[[x0, x2], [x1, x3]]| [x0, x2, x1, x3]);
            dot4_of(in_order, block, bias)
        })
    });
}

/// [`run_tile`] with another body for the products of all rows of a tile with a block.
#[inline(always)]
pub(in crate::kernels::arch) fn run_tile_with<const JOINED: bool>(
    blocks: &Blocks<JOINED>,
    store: TileStore,
    stride: usize,
    dot: impl Fn(&[Tiled], &[i8], [i32; LANES]) -> [[i32; LANES]; ROWS],
) {
    let place = (stride, store.room(stride));
    match store {
        TileStore::Sums(y) => each_of_tile(blocks, y, place, dot, |_, sums, _| sums),
        TileStore::I8(y) => each_of_tile(blocks, y, place, dot, |_, sums, m| {
            blocks.scale(sums, m).map(|v| v as i8)
        }),
        TileStore::I16(y) => each_of_tile(blocks, y, place, dot, |_, sums, m| {
            blocks.scale(sums, m).map(|v| v as i16)
        }),
        TileStore::Scaled(..) if JOINED => {}
        TileStore::Scaled(y, factors) => each_of_tile(blocks, y, place, dot, |row, sums, _| {
            let (min, max) = (i16::MIN.into(), i16::MAX.into());
            let whole = Blocks {
                min,
                max,
                ..*blocks
            };
            whole.scale(sums, [factors[row]; LANES]).map(|v| v as i16)
        }),
        TileStore::I32(y) => each_of_tile(blocks, y, place, dot, |_, sums, m| {
            core::array::from_fn(|i| blocks.rescaled(sums[i], m[i], 0))
        }),
    }
}

fn each_of_tile<Y: Copy, const JOINED: bool>(
    blocks: &Blocks<JOINED>,
    y: &mut [Y],
    (stride, room): (usize, usize),
    dot: impl Fn(&[Tiled], &[i8], [i32; LANES]) -> [[i32; LANES]; ROWS],
    finish: impl Fn(usize, [i32; LANES], [i32; LANES]) -> [Y; LANES],
) {
    let tile = tiled(blocks.pairs);
    if tile.is_empty() {
        return;
    }
    let packed = blocks.weights.chunks_exact(blocks.tile_block_len());
    for (at, packed) in packed.enumerate().take(room) {
        let (Some(bias), Some(multipliers)) = (
            blocks.bias.get::<JOINED>(at),
            blocks.multipliers.get::<JOINED>(at),
        ) else {
            return;
        };
        for (row, sums) in dot(tile, packed, bias).into_iter().enumerate() {
            let place = y.get_mut(row * stride + at * LANES..);
            if let Some(place) = place.and_then(|y| y.first_chunk_mut()) {
                *place = finish(row, sums, multipliers);
            }
        }
    }
}

/// Adds to four accumulators the dot products of `pairs` with one block of packed weights. Of each group of inputs every
/// one has a sum of its own until the end, which is what compilers turn into vectors.
pub(in crate::kernels::arch) fn dot4(
    pairs: &[i16],
    block: &[i8],
    accumulators: [i32; LANES],
) -> [i32; LANES] {
    dot4_of(
        pairs.as_chunks::<LANES>().0.iter().copied(),
        block,
        accumulators,
    )
}

#[inline(always)]
fn dot4_of(
    pairs: impl Iterator<Item = [i16; LANES]>,
    block: &[i8],
    accumulators: [i32; LANES],
) -> [i32; LANES] {
    let mut sums = [[0i32; LANES]; LANES];
    let groups = block.as_chunks::<{ LANES * LANES }>().0;
    for ([x0, x2, x1, x3], weights) in pairs.zip(groups) {
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

//! The innermost loop: an int16 row in pair order times blocks of packed int8 weights. Each sum is requantized at once. See
//! [`crate::kernels::int::dot`] for both orders, [`crate::kernels::int::joined`] for weights of which two are in a halfword.
//! A third form takes int16 values, also in pair order, instead of the weights; its sums are shifted.
//!
//! Here are the operands and the choice of the body; `portable::int` and `portable::joined` define the result.

use crate::kernels::int::dot::{LANES, ROWS};
use crate::kernels::int::joined::SHIFT;
use crate::kernels::int::requantize::{Activation, requantize};

#[cfg(attn_dsp)]
use super::dsp as bodies;
#[cfg(not(any(attn_dsp, target_arch = "x86_64")))]
use super::portable::int as bodies;
#[cfg(target_arch = "x86_64")]
use super::sse2 as bodies;

/// Whether to use tiles: where weights are taken apart once for all of their rows.
pub const TILES: bool = cfg!(any(attn_dsp, target_arch = "x86_64"));

/// Constants of the outputs.
#[derive(Clone, Copy, Debug)]
pub enum Constants<'c> {
    /// One for each output.
    Each(&'c [i32]),
    /// The same four for every block; of joined weights for the only one.
    Same([i32; LANES]),
}

impl Constants<'_> {
    /// The constants of block `at`, if it is complete.
    pub(super) fn get<const JOINED: bool>(&self, at: usize) -> Option<[i32; LANES]> {
        match self {
            Self::Each(each) => each.as_chunks().0.get(at).copied(),
            Self::Same(_) if JOINED && at > 0 => None,
            Self::Same(four) => Some(*four),
        }
    }

    /// The constants of the last, incomplete block.
    fn tail(&self) -> Self {
        match self {
            Self::Each(each) => Self::Same(padded(each.as_chunks::<LANES>().1)),
            Self::Same(four) => Self::Same(*four),
        }
    }
}

fn padded(rest: &[i32]) -> [i32; LANES] {
    core::array::from_fn(|i| rest.get(i).copied().unwrap_or(0))
}

/// Operands of the products, and the requantization of sums. `JOINED` says how weights are packed, and with that how rows are
/// prepared; sums of joined weights are 256 times as large, their biases those of [`crate::kernels::int::joined::bias`].
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'w, const JOINED: bool = false> {
    /// The row, in pair order; its length is a multiple of 4. Of a tile: its rows, interleaved.
    pub pairs: &'w [i16],
    /// Packed or joined weights, 4 bytes per block for each value of a row.
    pub weights: &'w [i8],
    /// Initial values of sums.
    pub bias: Constants<'w>,
    /// Factors of the requantization.
    pub multipliers: Constants<'w>,
    /// Left shift of the requantization; its low 5 bits count. With joined weights at most 7.
    pub left_shift: u32,
    /// Added after the requantization.
    pub zero_point: i32,
    /// Smallest result; must fit the type of the results.
    pub min: i32,
    /// Largest result; must fit the type of the results.
    pub max: i32,
}

/// Where results go, one group of four for each block.
#[derive(Debug)]
pub enum Store<'y> {
    /// The sums themselves.
    Sums(&'y mut [[i32; LANES]]),
    /// Requantized to int8.
    I8(&'y mut [[i8; LANES]]),
    /// Requantized to int16.
    I16(&'y mut [[i16; LANES]]),
    /// Requantized, without zero point and limits.
    I32(&'y mut [[i32; LANES]]),
}

/// Where the results of a tile go: elements of all rows.
#[derive(Debug)]
pub enum TileStore<'y> {
    /// The sums themselves.
    Sums(&'y mut [i32]),
    /// Requantized to int8.
    I8(&'y mut [i8]),
    /// Requantized to int16.
    I16(&'y mut [i16]),
    /// Requantized to int16 with a multiplier for each row, in place of those of outputs; the type is the limit. For packed weights
    /// alone: of joined ones nothing is written.
    Scaled(&'y mut [i16], [i32; ROWS]),
    /// Requantized, without zero point and limits.
    I32(&'y mut [i32]),
}

impl TileStore<'_> {
    /// Whole blocks that rows with this distance have room for.
    pub(super) fn room(&self, stride: usize) -> usize {
        let len = match self {
            Self::I8(y) => y.len(),
            Self::I16(y) | Self::Scaled(y, _) => y.len(),
            Self::Sums(y) | Self::I32(y) => y.len(),
        };
        let last = len.saturating_sub(stride.saturating_mul(ROWS - 1));
        last.min(stride) / LANES
    }
}

impl<const JOINED: bool> Blocks<'_, JOINED> {
    /// Bytes of weights per block.
    pub(super) fn block_len(&self) -> usize {
        self.pairs.len() / LANES * (LANES * LANES)
    }

    /// The same, where `pairs` is a tile.
    pub(super) fn tile_block_len(&self) -> usize {
        self.pairs.len() / (ROWS * LANES) * (LANES * LANES)
    }

    /// The shift of a sum to the left, before the multiplication; with joined weights of the product to the right, behind it.
    #[inline(always)]
    pub(super) fn shift(&self) -> u32 {
        let left = self.left_shift & 31;
        if JOINED {
            SHIFT.saturating_sub(left).max(1)
        } else {
            left
        }
    }

    /// What the multiplication adds: this zero point; with joined weights before the shift, with half of a step, to round.
    #[inline(always)]
    pub(super) fn addend(&self, zero_point: i32) -> i32 {
        if JOINED {
            let shift = self.shift();
            zero_point
                .wrapping_shl(shift)
                .wrapping_add(1 << (shift - 1))
        } else {
            zero_point
        }
    }

    /// The sum in steps of the result, with this zero point.
    #[inline(always)]
    pub(super) fn rescaled(&self, sum: i32, multiplier: i32, zero_point: i32) -> i32 {
        if JOINED {
            let high = ((i64::from(sum) * i64::from(multiplier)) >> 32) as i32;
            high.wrapping_add(self.addend(zero_point)) >> self.shift()
        } else {
            requantize(sum, multiplier, self.shift()).wrapping_add(zero_point)
        }
    }

    #[inline(always)]
    pub(super) fn scale(&self, sums: [i32; LANES], multipliers: [i32; LANES]) -> [i32; LANES] {
        core::array::from_fn(|i| {
            self.rescaled(sums[i], multipliers[i], self.zero_point)
                .max(self.min)
                .min(self.max)
        })
    }

    /// Computes the blocks that weights, constants and `store` all have.
    pub fn run(&self, store: Store) {
        bodies::run(self, store);
    }

    /// Computes `y`, whose last block may be incomplete: results of padding outputs are dropped.
    pub fn run_to<Y: Activation>(&self, y: &mut [Y]) {
        let (y, rest) = y.as_chunks_mut();
        self.run(Y::store(y));
        if !rest.is_empty() {
            let mut last = [[0; LANES]];
            self.behind(y.len(), self.block_len())
                .run(Store::I32(&mut last));
            self.finish(last.as_flattened(), rest);
        }
    }

    /// The incomplete block behind `whole` others, of so many bytes each.
    #[inline(never)]
    fn behind(&self, whole: usize, block_len: usize) -> Self {
        Self {
            weights: self.weights.get(whole * block_len..).unwrap_or(&[]),
            bias: self.bias.tail(),
            multipliers: self.multipliers.tail(),
            ..*self
        }
    }

    /// Results from requantized sums.
    fn finish<Y: Activation>(&self, sums: &[i32], y: &mut [Y]) {
        for (y, &sum) in y.iter_mut().zip(sums) {
            let value = sum.wrapping_add(self.zero_point);
            *y = Y::from_i32(value.max(self.min).min(self.max));
        }
    }

    /// Computes the blocks that weights, constants and `store` all have, for the rows of a tile. Results of two rows are
    /// `stride` elements apart.
    pub fn run_tile(&self, store: TileStore, stride: usize) {
        bodies::run_tile(self, store, stride);
    }

    /// Computes `y: [ROWS, out]` from a tile; the last block may be incomplete as in [`Self::run_to`].
    pub fn run_tile_to<Y: Activation>(&self, y: &mut [Y], out: usize) {
        self.run_tile(Y::store_tile(y), out);
        let (blocks, whole) = (out / LANES, out / LANES * LANES);
        if whole == out {
            return;
        }
        let mut last = [[0; LANES]; ROWS];
        let store = TileStore::I32(last.as_flattened_mut());
        self.behind(blocks, self.tile_block_len())
            .run_tile(store, LANES);
        for (y, last) in y.chunks_exact_mut(out).zip(last) {
            self.finish(&last, y.get_mut(whole..).unwrap_or_default());
        }
    }
}

/// An int16 row times int16 matrix, both in pair order.
#[derive(Clone, Copy, Debug)]
pub struct WideBlocks<'w> {
    /// The row; its length is a multiple of 4.
    pub pairs: &'w [i16],
    /// The matrix, `4 * pairs.len()` elements per block of four outputs.
    pub weights: &'w [i16],
    /// Right shift of sums, in bits; its low 5 bits count.
    pub shift: u32,
}

impl WideBlocks<'_> {
    /// Computes the blocks that weights and `y` both have: the low 32 bits of each sum of 64 bits, shifted.
    pub fn run(&self, y: &mut [[i32; LANES]]) {
        bodies::run_wide(self, y);
    }
}

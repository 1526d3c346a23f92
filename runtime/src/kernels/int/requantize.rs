//! From a 32-bit accumulator back to an activation: one multiplication, one rounding.

use super::dot::LANES;
use crate::kernels::arch::int::{Store, TileStore};
use crate::kernels::arch::taps::Values;
use zerocopy::{FromBytes, IntoBytes};

/// `round(accumulator * 2^left_shift * multiplier / 2^32)`, halves up.
///
/// `multiplier` is `real_factor * 2^(32 - left_shift)`. The shift wraps; the converter proves that it does not.
/// On Cortex-M4 this is `LSL` and `SMMULR`.
#[inline(always)]
pub fn requantize(accumulator: i32, multiplier: i32, left_shift: u32) -> i32 {
    let product = i64::from(accumulator.wrapping_shl(left_shift)) * i64::from(multiplier);
    (product.wrapping_add(1 << 31) >> 32) as i32
}

/// The same for an accumulator of any size: one that its shift would push out of 32 bits takes their limit.
#[inline]
pub fn requantize_saturated(accumulator: i32, multiplier: i32, left_shift: u32) -> i32 {
    let most = i32::MAX >> (left_shift & 31);
    requantize(accumulator.clamp(-most, most), multiplier, left_shift)
}

/// How accumulators of one operator become activations.
#[derive(Clone, Copy, Debug)]
pub struct Output<'w> {
    /// Factor of each output channel; see [`requantize`].
    pub multipliers: &'w [i32],
    /// Common left shift, 0 to 31.
    pub left_shift: u32,
    /// Integer that represents 0.0 in the result.
    pub zero_point: i32,
    /// Smallest result: the type's limit or a fused activation's.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

impl Output<'_> {
    /// The activation for `accumulator` of a channel with this `multiplier`.
    #[inline(always)]
    pub fn apply(&self, accumulator: i32, multiplier: i32) -> i32 {
        let value =
            requantize(accumulator, multiplier, self.left_shift).wrapping_add(self.zero_point);
        value.max(self.min).min(self.max)
    }
}

/// An activation's integer type.
pub trait Activation: Copy + Into<i32> {
    /// The low bits of `value`, which is in range.
    fn from_i32(value: i32) -> Self;

    /// Where the inner loop stores results of this type.
    fn store(y: &mut [[Self; LANES]]) -> Store<'_>;

    /// Where a tile stores results of this type.
    fn store_tile(y: &mut [Self]) -> TileStore<'_>;

    /// Values with their type's width.
    fn values(x: &[Self]) -> Values<'_>;

    /// Scratch for as many values as there are words, or more.
    fn scratch(words: &mut [i16]) -> &mut [Self];
}

impl Activation for i8 {
    #[inline(always)]
    fn from_i32(value: i32) -> Self {
        value as i8
    }

    fn store(y: &mut [[Self; LANES]]) -> Store<'_> {
        Store::I8(y)
    }

    fn store_tile(y: &mut [Self]) -> TileStore<'_> {
        TileStore::I8(y)
    }

    fn values(x: &[Self]) -> Values<'_> {
        Values::I8(x)
    }

    fn scratch(words: &mut [i16]) -> &mut [Self] {
        <[Self]>::mut_from_bytes(words.as_mut_bytes()).unwrap_or_default()
    }
}

impl Activation for i16 {
    #[inline(always)]
    fn from_i32(value: i32) -> Self {
        value as i16
    }

    fn store(y: &mut [[Self; LANES]]) -> Store<'_> {
        Store::I16(y)
    }

    fn store_tile(y: &mut [Self]) -> TileStore<'_> {
        TileStore::I16(y)
    }

    fn values(x: &[Self]) -> Values<'_> {
        Values::I16(x)
    }

    fn scratch(words: &mut [i16]) -> &mut [Self] {
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn requantization_rounds_once_half_up(acc in -(1 << 24)..(1 << 24), multiplier in 1..i32::MAX, shift in 0u32..7) {
            let exact = f64::from(acc) * f64::from(1 << shift) * f64::from(multiplier) / 4294967296.0;
            let got = f64::from(requantize(acc, multiplier, shift));
            prop_assert!((got - exact).abs() <= 0.5 + 1e-6);
        }
    }

    #[test]
    fn halves_go_up_and_extremes_do_not_panic() {
        assert_eq!(requantize(1, 1 << 30, 1), 1);
        assert_eq!(requantize(-1, 1 << 30, 1), 0);
        assert_eq!(requantize(i32::MIN, i32::MAX, 0), -1073741824 + 1);
        requantize(i32::MAX, i32::MIN, 31);
    }
}

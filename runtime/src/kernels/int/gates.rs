//! The common part of recurrent layers: the products of input and state with the weights of their gates.
//!
//! Pre-activations are Q16 (one rounding for each side). [`super::gru`] and [`super::lstm`] use the gates.

use super::dot::LANES;
use crate::kernels::arch::int::{Blocks, Constants, Store};

/// Weights of one side, input or recurrent: the gates one after the other, each padded to whole blocks of outputs.
#[derive(Clone, Copy, Debug)]
pub struct Side<'w> {
    /// For each gate a packed matrix `[hidden, k]`.
    pub weights: &'w [i8],
    /// For each gate `hidden` rounded up to a multiple of 4; contains the input's zero point.
    pub bias: &'w [i32],
    /// As many factors from accumulator to Q16.
    pub multipliers: &'w [i32],
    /// Common left shift of the requantization.
    pub left_shift: u32,
}

/// Units computed together: one call of the inner loop for each side and gate.
pub(super) const BATCH: usize = 4 * LANES;

impl Side<'_> {
    /// Pre-activations (Q16) of one gate from unit `first` on.
    pub(super) fn gate(
        &self,
        gate: usize,
        first: usize,
        units: usize,
        pairs: &[i16],
        y: &mut [i32; BATCH],
    ) {
        let at = gate * units + first;
        let blocks = Blocks {
            pairs,
            weights: self.weights.get(at * pairs.len()..).unwrap_or(&[]),
            bias: Constants::Each(self.bias.get(at..).unwrap_or(&[])),
            multipliers: Constants::Each(self.multipliers.get(at..).unwrap_or(&[])),
            left_shift: self.left_shift,
            zero_point: 0,
            min: i32::MIN,
            max: i32::MAX,
        };
        let y = y.get_mut(..units.saturating_sub(first).min(BATCH));
        blocks.run(Store::I32(y.unwrap_or_default().as_chunks_mut().0));
    }
}

/// `a * b` for `a` in Q15, rounded.
#[inline(always)]
pub(super) fn round_q15(a: i32, b: i32) -> i32 {
    ((i64::from(a) * i64::from(b) + (1 << 14)) >> 15) as i32
}

//! The two passes of a normalisation over a row: sums of values and squares, then each value.
//!
//! Here are the operands and the choice of the body; `portable::norm` defines the result.

use crate::kernels::int::requantize::Activation;

/// The sum of some values and that of their squares.
pub fn sums<X: Activation>(x: &[X]) -> (i32, u64) {
    #[cfg(attn_dsp)]
    return super::dsp::norm::sums(x);
    #[cfg(not(attn_dsp))]
    super::portable::norm::sums(x)
}

/// What every value of a row meets.
#[derive(Clone, Copy, Debug)]
pub struct Row<'w> {
    /// A value times this, less `offset`, is `d`.
    pub factor: i32,
    /// See `factor`.
    pub offset: i32,
    /// `d * reciprocal / 2^(32 - shift)` is the normalised value in Q30. Positive.
    pub reciprocal: i32,
    /// At most 31; `d << shift` has 33 bits.
    pub shift: u32,
    /// One for each value.
    pub multipliers: &'w [i32],
    /// Bits below the point of a multiplier, at most 16.
    pub multiplier_bits: u32,
    /// Q16, one for each value.
    pub bias: &'w [i32],
    /// Added to results, of their type.
    pub zero_point: i32,
    /// Smallest result; of its type, as `max`.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

impl Row<'_> {
    /// Normalises as many values as all operands have.
    pub fn run<X: Activation, Y: Activation>(&self, x: &[X], y: &mut [Y]) {
        #[cfg(attn_dsp)]
        super::dsp::norm::run(self, x, y);
        #[cfg(not(attn_dsp))]
        super::portable::norm::run(self, x, y);
    }
}

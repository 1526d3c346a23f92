//! Values in pair order, see [`crate::kernels::int::dot`], from plain rows: what the inner loop reads.
//!
//! Here is the choice of the body; `portable::pairs` defines the result.

use crate::kernels::int::dot::LANES;
use crate::kernels::int::requantize::Activation;

/// Writes as many groups of four values as both sides have, minus `offset`, as row `row` of `rows` interleaved ones: 1, or those
/// of a tile.
pub fn fill<X: Activation>(
    groups: &[[X; LANES]],
    offset: i32,
    pairs: &mut [i16],
    [rows, row]: [usize; 2],
) {
    #[cfg(attn_dsp)]
    super::dsp::pairs::fill(groups, offset, pairs, [rows, row]);
    #[cfg(not(attn_dsp))]
    super::portable::pairs::fill(groups, offset, pairs, [rows, row]);
}

/// Writes as many groups of four values as both sides have as joined weights meet them
/// ([`crate::kernels::int::joined::prepared`]), placed as by [`fill`].
pub fn fill_joined(groups: &[[i8; LANES]], pairs: &mut [i16], place: [usize; 2]) {
    #[cfg(attn_dsp)]
    super::dsp::pairs::fill_joined(groups, pairs, place);
    #[cfg(not(attn_dsp))]
    super::portable::pairs::fill_joined(groups, pairs, place);
}

/// Turns row `row` of `rows` interleaved ones in pair order, of int8 values, into what joined weights meet.
pub fn turn(pairs: &mut [i16], place: [usize; 2]) {
    super::portable::pairs::turn(pairs, place);
}

//! Half precision at the bottom: conversions of rows, and the inner loop that multiplies an f32 row with half-precision
//! weights.
//!
//! `portable` defines the results; `vfp` gives the same bits with the floating-point unit of Cortex-M4F, M7 and M33.
//! Arithmetic is plain IEEE 754 f32, rounded to nearest after every multiplication and every addition: nothing is
//! fused, nothing reordered.

#[cfg(not(attn_vfp))]
use super::portable::half as body;
#[cfg(attn_vfp)]
use super::vfp as body;

use crate::f16;

/// Outputs that the inner loop sums in parallel. Their sums are independent, which keeps a pipeline busy.
pub const LANES: usize = 4;

/// The range of the results of an operator; a fused ReLU is `(0, MAX)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// Smallest result; not NaN.
    pub min: f32,
    /// Largest result; not NaN.
    pub max: f32,
}

/// `wide[i] = row[i]`, exactly, as far as both reach.
#[inline]
pub fn widen(row: &[f16], wide: &mut [f32]) {
    body::widen(row, wide);
}

/// `row[i] = wide[i]`, limited to the range (a NaN becomes the minimum), then rounded to the nearest half, ties to
/// even; as far as both reach.
#[inline]
pub fn narrow(wide: &[f32], clamp: Clamp, row: &mut [f16]) {
    body::narrow(wide, clamp, row);
}

/// Adds to each of four sums the products of `x` with its weights, one input after the other:
/// `sums[o] += x[i] * weights[i][o]` for i = 0, 1, 2, … as far as both reach.
#[inline]
pub fn dot4(x: &[f32], weights: &[[f16; LANES]], sums: &mut [f32; LANES]) {
    body::dot4(x, weights, sums);
}

/// Rows that [`dot4_rows`] takes.
pub const ROWS: usize = 4;

/// Whether [`dot4_rows`] takes these rows of `k` halves: on a chip every row must start at a word.
#[inline]
pub fn takes_rows(x: &[f16], k: usize) -> bool {
    k > 0 && k.is_multiple_of(2) && (x.as_ptr() as usize).is_multiple_of(4)
}

/// [`dot4`] for four rows `x: [4, k]` at once, so that weights are widened once; `k` is the length of `weights`. Every row's sums
/// begin with `start`. Leaves `sums` alone if `x` has another length or [`takes_rows`] does not hold.
#[inline]
pub fn dot4_rows(
    x: &[f16],
    weights: &[[f16; LANES]],
    start: &[f32; LANES],
    sums: &mut [[f32; LANES]; ROWS],
) {
    if x.len() == ROWS * weights.len() && takes_rows(x, weights.len()) {
        body::dot4_rows(x, weights, start, sums);
    }
}

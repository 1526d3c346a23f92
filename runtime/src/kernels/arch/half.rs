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

//! The arithmetic: pure functions on slices. No model, no arena, no allocation.
//!
//! `geometry` has what every encoding shares: shapes, windows, limits. `int` computes int8 and int16 activations, `half`
//! IEEE halves. Their portable bodies define every result. `arch` has faster bodies for the innermost loops, which give
//! the same bits, and is the one place that chooses between them. `shift` moves windows on. Formulas and error bounds are
//! in `docs/reference/numerics.md`.

#[allow(unsafe_code, reason = "instructions that Rust has no safe name for")]
pub mod arch;
pub mod base;
pub mod geometry;
#[cfg(attn_half)]
pub mod half;
pub mod int;
pub mod shift;
#[cfg(test)]
mod testing;

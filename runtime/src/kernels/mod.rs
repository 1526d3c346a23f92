//! The arithmetic: pure functions on slices, no model, no arena, no allocation.
//!
//! The portable bodies are the definition of every result. `arch` holds faster bodies for the innermost loop,
//! which give the same bits, and is the one place that chooses between them. Formulas and error bounds are in
//! `docs/numerics.md`.

pub mod additive;
pub mod arch;
pub mod attention;
pub mod conv;
pub mod conv2d;
pub mod dot;
pub mod elementwise;
pub mod embedding;
pub mod gates;
pub mod gru;
#[cfg(attn_half)]
pub mod half;
pub mod layer_norm;
pub mod linear;
pub mod lstm;
pub mod pool;
pub mod requantize;
pub mod rotary;
pub mod softmax;
pub mod tanh;
pub mod top_k;
pub mod weighted_rows;

mod tables {
    include!(concat!(env!("OUT_DIR"), "/math_tables.rs"));
}

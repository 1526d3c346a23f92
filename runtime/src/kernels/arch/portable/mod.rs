//! The definition of every innermost loop, in plain Rust.

pub mod exp;
#[cfg(attn_half)]
pub mod half;
pub mod int;
pub mod joined;
pub mod norm;
pub mod pairs;
pub mod taps;

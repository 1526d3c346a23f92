//! The arithmetic on int8 and int16 activations with int8 weights: pure functions on slices, a file for each family.

pub mod additive;
pub mod attention;
pub mod cell;
pub mod conv;
pub mod conv2d;
pub mod curve;
pub mod depthwise;
pub mod dot;
pub mod elementwise;
pub mod embedding;
pub mod gates;
pub mod gru;
pub mod joined;
pub mod layer_norm;
pub mod linear;
pub mod lstm;
pub mod matmul;
pub mod pool;
pub mod reduce;
pub mod requantize;
pub mod rotary;
pub mod softmax;
pub mod tanh;
pub mod top_k;
pub mod weighted_rows;

pub(in crate::kernels) mod tables {
    include!(concat!(env!("OUT_DIR"), "/math_tables.rs"));
}

//! Drawing tokens by chance, for `attn_greedy_step_sampled`.

use crate::edge;
use crate::error::{AttnCode, AttnError};
use crate::slot::{holds, put, vacant};
use attn_runtime::seq2seq::Sampling;

/// Size in units of 8 bytes.
pub const ATTN_SAMPLING_WORDS: usize = 2;

/// Random numbers that a seed fixes, and a temperature. It belongs to no decoder: several can draw from it, one after the other.
#[repr(C)]
pub struct AttnSampling {
    opaque: [u64; ATTN_SAMPLING_WORDS],
}
holds!(AttnSampling, Sampling, 0x6472_6177);

/// Begins to draw tokens with probabilities `softmax(score / temperature)`: low temperatures keep to the best tokens, high ones make all alike; held to
/// 0.01 to 100. The same `seed` draws the same tokens on every target.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_sampling_init(
    sampling: *mut AttnSampling,
    temperature: f32,
    seed: u32,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        vacant(sampling)?;
        put(
            sampling,
            Ok::<_, AttnError>(Sampling::new(temperature, seed)),
        )
    })
}

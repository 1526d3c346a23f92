//! The attn runtime: runs `.attn` attention models from flash in a static arena.
//!
//! `no_std`, no allocator. See `docs/architecture.md` for the map of the modules.
#![no_std]
#![deny(missing_docs)]

#[cfg(test)]
extern crate std;

pub mod audio;
pub mod format;
mod include;
pub mod kernels;
pub mod kws;
mod model;
pub mod ops;
pub mod seq2seq;
mod session;

/// Half-precision elements.
#[cfg(attn_half)]
pub use ::half::f16;
pub use include::Aligned;
pub use model::{Limited, Model, ModelError, TensorError};
pub use session::{Arena, Element, Progress, Session, SessionError};

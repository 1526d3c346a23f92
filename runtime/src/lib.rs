//! The attn runtime: runs `.attn` attention models from flash in a static arena.
//!
//! `no_std`, no allocator. Start with [`include_model!`] and [`Session`], or with [`kws`] or [`seq2seq`]. See
//! `docs/architecture.md` for the map of the modules. Feature `internals` also makes `format`, `kernels` and `ops` public, for
//! the converter and tests: they are outside semantic versioning.
#![no_std]
#![deny(missing_docs, unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod audio;
#[cfg(feature = "internals")]
pub mod format;
#[cfg(not(feature = "internals"))]
#[allow(
    dead_code,
    unused_imports,
    reason = "the converter and tests use the rest"
)]
mod format;
mod include;
#[cfg(feature = "internals")]
pub mod kernels;
#[cfg(not(feature = "internals"))]
#[allow(dead_code, reason = "the converter and tests use the rest")]
mod kernels;
pub mod kws;
mod model;
#[cfg(feature = "internals")]
pub mod ops;
#[cfg(not(feature = "internals"))]
#[allow(
    dead_code,
    unused_imports,
    reason = "the converter and tests use the rest"
)]
mod ops;
pub mod seq2seq;
mod session;
pub mod typed;

/// Half-precision elements.
#[cfg(attn_half)]
pub use ::half::f16;
pub use format::Port;
pub use format::{
    AudioMeta, DType, DecodeMeta, EntryRecord, OpKind, OpRecord, SignatureMeta, SpotterMeta,
    Storage, TensorRecord,
};
#[doc(hidden)]
pub use format::{arena_len, beam_len};
pub use include::Aligned;
#[cfg(all(feature = "signed", feature = "internals"))]
#[doc(hidden)]
pub use model::signed_parts;
pub use model::{Limited, Limits, Model, ModelError, TensorError};
#[cfg(feature = "signed")]
pub use model::{SignedError, Trust};
#[doc(hidden)]
pub use ops::Linked;
pub use ops::{OpError, OperatorSet, Operators, Work};
pub use session::{Arena, Element, Progress, Session, SessionError};

/// The snippets of README.md compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

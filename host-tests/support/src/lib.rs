//! What the tests of several crates share: folders and changed files, the systems that have fixtures, and small models written
//! record by record, without the converter. Tests themselves are not here.
//!
//! Without feature `converter`, only the models written record by record are there.
// Not `forbid`: a macro of ndarray allows it for itself.
#![deny(unsafe_code)]
// Tests are its only readers: names say what things are.
#![allow(missing_docs)]

/// ONNX as messages, to change models in tests.
#[cfg(feature = "converter")]
pub use tract_onnx::pb;

pub mod decoder_model;
#[cfg(feature = "converter")]
pub mod folder;
#[cfg(feature = "converter")]
pub mod graphs;
#[cfg(feature = "converter")]
pub mod running;
#[cfg(feature = "converter")]
pub mod sequences;
#[cfg(feature = "converter")]
pub mod systems;
pub mod tiny_model;

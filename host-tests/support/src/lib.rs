//! What the tests of several crates share: folders and changed files, the systems that have fixtures, and small models written
//! record by record, without the converter. Tests themselves are not here.
// Tests are its only readers: names say what things are.
#![allow(missing_docs)]

/// ONNX as messages, to change models in tests.
pub use tract_onnx::pb;

pub mod decoder_model;
pub mod folder;
pub mod graphs;
pub mod running;
pub mod sequences;
pub mod systems;
pub mod tiny_model;

//! The attn converter: ONNX in, one flat `.attn` file out.
//!
//! The modules stand in the order in which a conversion runs through them.
#![deny(missing_docs)]

pub mod error;
pub mod files;

pub mod features;
pub mod reference;

pub mod graph;
pub mod import;

pub use error::ConvertError;

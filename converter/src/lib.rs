//! The attn converter: a float ONNX model becomes one flat `.attn` file.
//!
//! One path, start to end: [`import`](import::import) reads ONNX into a [`graph::Graph`],
//! [`calibrate`] runs the float model, [`quantize`] chooses integers, [`lower`] writes a [`program::Program`],
//! [`plan`] finds places in the arena, [`emit`] makes the bytes. [`convert`] calls them in order. [`runner`] and
//! [`compare`] run files on the host, [`decode`] has them make sequences.
#![deny(missing_docs)]

pub mod bundle;
pub mod calibrate;
pub mod compare;
pub mod convert;
pub mod dataset;
pub mod decode;
pub mod emit;
pub mod error;
pub mod features;
pub mod files;
pub mod function;
pub mod graph;
pub mod guard;
pub mod import;
pub mod lower;
mod narrow;
pub mod npz;
mod opset23;
pub mod output;
pub mod plan;
pub mod program;
pub mod progress;
pub mod quantize;
pub mod reference;
pub mod rows;
pub mod runner;
mod shapes;
pub mod sqnr;
pub mod stream;

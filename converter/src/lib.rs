//! The attn converter: a float ONNX model becomes one flat `.attn` file.
//!
//! [`pipeline::convert`] is the way of a model from start to end: [`bundle`] loads it and runs it in float, [`import`](import::import)
//! makes a [`graph::Graph`] of it, [`fuse`] fuses its operators, [`calibrate`] notes what its values are, [`quantize`] chooses integers, [`lower`] writes a
//! [`program::Program`], [`plan`] finds places in the arena, [`emit`] makes the bytes, [`quality`] says how close they come, [`estimate`] what they cost. [`runner`] and [`compare`] run files on the host,
//! [`outputs`] over many samples; [`decode`] decodes sequences with them, [`spot`] listens for keywords, [`inspect`] says what they hold.
// Not `forbid`: `ndarray::s!` allows what it makes.
#![deny(unsafe_code)]
#![deny(missing_docs)]

pub mod bundle;
pub mod calibrate;
pub mod compare;
pub mod dataset;
pub mod decode;
pub mod emit;
pub mod error;
pub mod estimate;
pub mod features;
pub mod files;
pub mod function;
pub mod fuse;
pub mod graph;
pub mod guard;
mod hiding;
pub mod import;
pub mod inspect;
pub mod lower;
pub mod noise;
pub mod npz;
pub mod output;
pub mod outputs;
pub mod pipeline;
pub mod plan;
pub mod program;
pub mod progress;
pub mod quality;
pub mod quantize;
pub mod reference;
pub mod report;
pub mod runner;
mod schemas;
mod shapes;
pub mod sign;
mod spelling;
pub mod spot;
pub mod sqnr;
pub mod thresholds;
pub mod tune;

/// The snippet of README.md compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! What tests across crates and `cargo xtask` share: building images for emulated cores, running and counting them,
//! the demo and its cost table. The tests themselves are in `tests/`.
#![deny(missing_docs)]

pub mod model;
pub mod workspace;

pub mod elf;
pub mod images;
pub mod plugin;

pub mod emulator;

pub mod checks;
pub mod cost;
pub mod decoding;
pub mod decoding_cost;
pub mod demo;
pub mod digests;
pub mod identity;
pub mod recording;
pub mod systems;
pub mod tools;

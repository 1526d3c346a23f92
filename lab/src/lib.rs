//! The laboratory: builds firmware images, runs them on emulated cores, counts their instructions, compares their results with
//! this computer. Tests, `cargo xtask` and commands use it. It calls the command `attn` to convert models.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod boards;
pub mod workspace;

pub mod elf;
pub mod images;
pub mod model;
pub mod plugin;
pub mod stack;
mod thumb;
pub mod tools;

pub mod emulator;
pub mod error;

pub mod aligned;
mod runner;
mod table;

pub mod bench;
pub mod browser;
pub mod checks;
pub mod cost;
pub mod decoding;
pub mod decoding_cost;
pub mod demo;
pub mod digests;
pub mod identity;
pub mod layout;
pub mod parsing;
pub mod peers;
pub mod systems;

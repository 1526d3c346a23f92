//! The attn runtime: runs `.attn` attention models from flash in a static arena.
//!
//! `no_std`, no allocator. See `docs/architecture.md` for the map of the modules.
#![no_std]
#![deny(missing_docs)]

pub mod audio;
pub mod kernels;

#[cfg(test)]
extern crate std;

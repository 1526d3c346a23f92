//! Shared code of the emulated boards: `host` reads files and prints by semihosting, `bench` marks counted regions, `stack` measures
//! the stack, `led` is the machine's LED, `keyword` and `decode` are the programs around the applications. The crate is empty on the
//! computer that builds it. A board (`firmware/boards/`) adds its memory map and its LED's address.
#![no_std]
#![deny(missing_docs)]

#[cfg(target_os = "none")]
pub mod bench;
#[cfg(all(target_os = "none", feature = "decode"))]
pub mod decode;
#[cfg(target_os = "none")]
pub mod host;
#[cfg(all(target_os = "none", feature = "keyword"))]
pub mod keyword;
#[cfg(target_os = "none")]
pub mod led;
#[cfg(target_os = "none")]
pub mod stack;

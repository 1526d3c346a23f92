//! The firmware: what every board shares.
//!
//! [`app`] is the application: it takes samples, reports keywords and lights a lamp, and knows no chip. A board is a
//! file in `src/bin/` that gives it samples and a lamp; `boards/` has the memory maps. `decoder` (a feature) is the other
//! application: text or sound in, tokens out. The other modules serve the emulated boards: [`wav`] reads a recording's
//! header, [`trace`] writes down what was computed, and (feature `qemu`) `host` talks to the computer on which the
//! emulator runs.
#![no_std]
#![deny(missing_docs)]

#[cfg(test)]
extern crate std;

pub mod app;
#[cfg(feature = "decoder")]
pub mod decoder;
pub mod trace;
pub mod wav;

#[cfg(feature = "qemu")]
pub mod bench;
#[cfg(feature = "qemu")]
pub mod host;
#[cfg(feature = "qemu")]
pub mod stack;

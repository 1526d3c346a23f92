//! Applications that know no board. A board (`firmware/boards/`) gives them samples, an LED or text, and shows what they report.
//!
//! - [`keyword`]: samples in, keywords and an LED out.
//! - `decode` (feature `decode`): text or features in, tokens out.
//! - [`trace`]: what a model computed, as bytes, for comparing a chip with this computer.
//! - [`wav`]: the header of a recording.
#![no_std]
#![deny(missing_docs)]

#[cfg(test)]
extern crate std;

#[cfg(feature = "decode")]
pub mod decode;
pub mod keyword;
pub mod trace;
pub mod wav;

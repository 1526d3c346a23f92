//! Applications, independent of boards. A board (`firmware/boards/`) gives them samples, an LED or text, and shows their reports.
//!
//! - [`keyword`]: samples in, keywords and an LED out.
//! - `decode` (feature `decode`): text or features in, tokens out.
//! - [`profile`]: what each operator takes, by a board's counter.
//! - [`trace`]: a model's results as bytes, to compare a chip with this computer.
//! - [`wav`]: the header of a recording.
#![forbid(unsafe_code)]
#![no_std]
#![deny(missing_docs)]

#[cfg(test)]
extern crate std;

#[cfg(feature = "decode")]
pub mod decode;
pub mod keyword;
pub mod profile;
pub mod trace;
pub mod wav;

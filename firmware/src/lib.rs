//! The keyword-spotting application shared by all boards.
#![no_std]
#![deny(missing_docs)]

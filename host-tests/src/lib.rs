//! The emulator harness and helpers shared by the cross-crate tests.
#![deny(missing_docs)]

//! The operators that attn's C library links: those of the files that the environment variable ATTN_MODELS names, or all.
//!
//! A crate of its own, because the compiler makes their functions here: for speed, while the rest of the library is made for size.
#![no_std]

use attn_runtime::{OperatorSet, Operators};

/// The table of the operators.
pub fn operators() -> &'static Operators {
    attn_runtime::operators!(set include!(concat!(env!("OUT_DIR"), "/operators.rs")))
}

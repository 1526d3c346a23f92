//! The command `attn` as a user meets it: what it prints, and every mistake that can be made.

mod bundle_flags;
mod comparing;
mod decode;
mod mistakes;
mod others;

use std::process::{Command, Output};

/// Runs `attn`.
fn attn(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_attn"))
        .args(arguments)
        .output()
        .unwrap()
}

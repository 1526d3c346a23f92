//! What looks at the runtime while it runs: Miri (`cargo xtask miri`), and the lines that tests reach (`cargo xtask coverage`).

use crate::TaskResult;
use crate::setup::crates::nightly;
use attn_lab::workspace;
use std::process::{Command, Stdio};

/// Tests of the runtime itself that Miri runs: the format, operators' tables and checks, decoding, and everything `unsafe` of a computer.
const UNITS: [&str; 5] = [
    "format::",
    "kernels::arch::",
    "ops::",
    "seq2seq::beam::",
    "typed::",
];

/// Runs tests in Miri, which sees undefined behaviour: those of [`UNITS`], and some mutated files that have every operator.
pub fn miri() -> TaskResult {
    nightly(&["miri", "rust-src"])?;
    let run = |arguments: &[&str]| -> TaskResult {
        let mut miri = Command::new("rustup");
        miri.current_dir(workspace::root())
            .args(["run", "nightly", "cargo", "miri", "test", "--target-dir"])
            .arg(workspace::build_folder()?.join("miri"))
            .args(arguments)
            // Random inputs of a test, each of which takes long.
            .envs([
                ("PROPTEST_CASES", "4"),
                ("MIRIFLAGS", "-Zmiri-disable-isolation"),
            ])
            .env_remove("CARGO")
            .env_remove("RUSTC")
            .env_remove("RUSTUP_TOOLCHAIN")
            .stdin(Stdio::null());
        match miri.status()?.success() {
            true => Ok(()),
            false => Err("Miri found something, or a test failed".into()),
        }
    };
    let runtime = [
        "-p",
        "attn-runtime",
        "--lib",
        "--features",
        "fp16,internals",
        "--",
    ];
    run(&[&runtime[..], &UNITS].concat())?;
    run(&[
        "-p",
        "attn-fuzz",
        "--no-default-features",
        "--test",
        "models",
    ])
}

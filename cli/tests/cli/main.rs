//! The command `attn` as a user meets it: what it prints, and every mistake that can be made.

mod bench;
mod bench_page;
mod bundle_flags;
mod comparing;
mod decode;
mod fit;
mod hostile;
mod input_types;
mod manual;
mod mistakes;
mod mutated;
mod others;
mod outputs;
mod quality;
mod record;
mod sound;
mod states;
mod tune;

use attn_test_support::folder::{CALIBRATION, Folder, ONNX};
use std::process::{Command, Output};

/// Runs `attn`.
fn attn(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_attn"))
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs a command that must succeed; what it prints.
fn done(arguments: &[&str]) -> String {
    let output = attn(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {message}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `attn inspect` says of a file, each line in one piece.
fn inspected(file: &str) -> String {
    done(&["inspect", file]).replace("\n    ", " ")
}

/// Runs a command that must fail with a message that has these parts.
fn refused(arguments: &[&str], parts: &[&str]) {
    let output = attn(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?} succeeded");
    assert!(!message.contains("panicked"), "{message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// The same, and the folder holds what it held before.
fn refused_in(folder: &Folder, arguments: &[&str], parts: &[&str]) {
    let before = folder.names();
    refused(arguments, parts);
    assert_eq!(folder.names(), before, "{arguments:?} left a file behind");
}

/// A conversion that succeeds, and takes little time.
fn converting(output: &str) -> [&str; 7] {
    [
        "convert",
        ONNX,
        "--calibrate",
        CALIBRATION,
        "--no-mixed",
        "-o",
        output,
    ]
}

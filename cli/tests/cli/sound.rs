//! Recordings as people have them: other rates, channels and containers, standard input.

use super::attn;
use attn_test_support::folder::{Folder, spec};
use std::fs::File;
use std::process::Command;

/// Runs `attn` with a file as its standard input; what it prints.
fn piped(arguments: &[&str], input: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_attn"))
        .args(arguments)
        .stdin(File::open(input).unwrap())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {message}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn features_of_any_recording_and_of_standard_input() {
    let folder = Folder::new();
    let output = folder.path("features.npz");
    // One second each, so 1 + (16000 - 512) / 320 frames.
    for (name, spec, samples) in [
        ("front_end.wav", spec(16_000, 1, 16), 16_000),
        ("cd.wav", spec(44_100, 2, 16), 44_100),
        ("studio.wav", spec(96_000, 6, 24), 96_000),
        ("telephone.wav", spec(8_000, 1, 8), 8_000),
    ] {
        let wav = folder.wav(name, spec, samples);
        for printed in [
            super::done(&["features", &wav, "-o", &output]),
            piped(&["features", "-", "-o", &output], &wav),
        ] {
            assert!(printed.contains("1 clip(s) of 49 frames"), "{printed}");
        }
    }
}

#[test]
fn standard_input_is_named_in_messages() {
    let folder = Folder::new();
    let text = folder.write("text.wav", b"RIFF");
    let result = Command::new(env!("CARGO_BIN_EXE_attn"))
        .args(["features", "-", "-o", &folder.path("out.npz")])
        .stdin(File::open(text).unwrap())
        .output()
        .unwrap();
    assert!(!result.status.success());
    let message = String::from_utf8_lossy(&result.stderr).into_owned();
    assert!(
        message.contains("standard input: not a readable"),
        "{message}"
    );
    let missing = attn(&["features", "no.wav", "-o", &folder.path("out.npz")]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no.wav"));
}

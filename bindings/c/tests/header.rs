//! The committed header is what cbindgen makes of the crate, and the crate knows every error of the runtime.

use std::path::{Path, PathBuf};

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_committed_header_is_what_the_source_makes() {
    let mut made = Vec::new();
    cbindgen::generate(folder()).unwrap().write(&mut made);
    let committed = std::fs::read(folder().join("include/attn.h")).unwrap();
    assert!(
        committed == made,
        "include/attn.h is stale: `cargo run -p attn-c --example header` writes it"
    );
}

/// The enums are `non_exhaustive`, so the compiler does not say when one grows.
#[test]
fn every_error_of_the_runtime_has_its_code() {
    let source = std::fs::read_to_string(folder().join("src/error.rs")).unwrap();
    let mut found = 0;
    for (file, name) in [
        ("model/error.rs", "ModelError"),
        ("model/error.rs", "Limited"),
        ("model/error.rs", "TensorError"),
        ("model/signed.rs", "SignedError"),
        ("ops/view.rs", "OpError"),
        ("session.rs", "SessionError"),
        ("kws/mod.rs", "SpotterError"),
        ("audio/mod.rs", "AudioError"),
        ("seq2seq/error.rs", "DecodeError"),
    ] {
        for variant in variants(&folder().join("../../runtime/src").join(file), name) {
            let known = format!("{name}::{variant}");
            let behind = source.match_indices(&known).map(|(at, _)| at + known.len());
            let whole = |at: usize| !source[at..].starts_with(|c: char| c.is_alphanumeric());
            assert!(
                behind.into_iter().any(whole),
                "src/error.rs has no code for {known}"
            );
            found += 1;
        }
    }
    assert!(found > 80, "{found} errors");
}

/// The names of an enum's variants.
fn variants(file: &PathBuf, name: &str) -> Vec<String> {
    let source = std::fs::read_to_string(file).unwrap();
    let start = format!("pub enum {name} {{\n");
    let (_, rest) = source.split_once(&start).unwrap();
    let (body, _) = rest.split_once("\n}\n").unwrap();
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    lines
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| {
            let end = line.find(|c: char| !c.is_alphanumeric());
            line[..end.unwrap_or(line.len())].to_owned()
        })
        .collect()
}

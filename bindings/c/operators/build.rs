//! Makes the table of operators that the library links: those of the files that ATTN_MODELS names, or all.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ATTN_MODELS");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let models = env::var_os("ATTN_MODELS").unwrap_or_default();
    // Relative paths count from the repository's root, where cargo is called.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let mut set = String::new();
    for (number, model) in env::split_paths(&models)
        .filter(|model| !model.as_os_str().is_empty())
        .enumerate()
    {
        let model = root.join(model);
        println!("cargo::rerun-if-changed={}", model.display());
        let copy = out.join(format!("model{number}.attn"));
        if let Err(error) = fs::copy(&model, &copy) {
            println!(
                "cargo::error=ATTN_MODELS names {}: {error}",
                model.display()
            );
            return;
        }
        let _ = write!(
            set,
            ".and(OperatorSet::of_file(include_bytes!(concat!(env!(\"OUT_DIR\"), \"/model{number}.attn\"))))"
        );
    }
    let set = match set.as_str() {
        "" => "OperatorSet::ALL".to_owned(),
        files => format!("OperatorSet::NONE{files}"),
    };
    if let Err(error) = fs::write(out.join("operators.rs"), set) {
        println!("cargo::error={}: {error}", out.display());
    }
}

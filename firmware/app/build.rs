//! Copies the model of the environment variable ATTN_MODEL to the place from which the application includes it.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ATTN_MODEL");
    let feature = |name: &str| env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    if !["KEYWORD", "DECODE", "PROFILE"].into_iter().any(feature) {
        return;
    }
    let Some(model) = env::var_os("ATTN_MODEL") else {
        println!(
            "cargo::error=no model to embed: set the environment variable ATTN_MODEL to an `.attn` file, for example \
             models/kws.attn (`cargo xtask demo` does that)"
        );
        return;
    };
    // Relative paths count from the repository's root, where cargo is called.
    let model = Path::new("../..").join(model);
    println!("cargo::rerun-if-changed={}", model.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    if let Err(error) = fs::copy(&model, out.join("model.attn")) {
        println!("cargo::error={}: {error}", model.display());
    }
}

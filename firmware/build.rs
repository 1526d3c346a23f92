//! Hands the linker the board's memory map, and the application the model that it embeds.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=boards");
    println!("cargo::rerun-if-env-changed=ATTN_MODEL");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    if let Some(memory) = memory_map() {
        copy(&Path::new("boards").join(memory), &out.join("memory.x"));
        println!("cargo::rustc-link-search={}", out.display());
        println!("cargo::rustc-link-arg-bins=--nmagic");
        println!("cargo::rustc-link-arg-bins=-Tlink.x");
    }
    if feature("NRF52840") {
        println!("cargo::rustc-link-arg-bins=-Tdefmt.x");
    }
    if feature("SPOTTER") || feature("DECODER") {
        embed_model(&out.join("model.attn"));
    }
}

fn feature(name: &str) -> bool {
    env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
}

fn memory_map() -> Option<&'static str> {
    let boards = [
        ("NRF52840", "nano33ble.x"),
        ("AN505", "mps2_an505.x"),
        ("QEMU", "mps2_an386.x"),
    ];
    let (_, memory) = boards.into_iter().find(|(name, _)| feature(name))?;
    Some(memory)
}

fn embed_model(to: &Path) {
    let Some(model) = env::var_os("ATTN_MODEL") else {
        println!(
            "cargo::error=no model to embed: `cargo xtask model` makes target/attn/kws.attn; then set the \
             environment variable ATTN_MODEL to that path (`cargo xtask demo` does both)"
        );
        return;
    };
    // Relative paths count from the repository's root, where cargo is called.
    let model = Path::new("..").join(model);
    println!("cargo::rerun-if-changed={}", model.display());
    copy(&model, to);
}

fn copy(from: &Path, to: &Path) {
    if let Err(error) = fs::copy(from, to) {
        println!("cargo::error={}: {error}", from.display());
    }
}

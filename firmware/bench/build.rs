//! Copies the model of ATTN_MODEL to the place from which the images include it, and passes the memory map of ATTN_MEMORY to the linker.
//! Both are absolute paths; `lab` sets them.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_MODEL").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (variable, name) in [("ATTN_MODEL", "model.attn"), ("ATTN_MEMORY", "memory.x")] {
        println!("cargo::rerun-if-env-changed={variable}");
        let Some(from) = env::var_os(variable).map(PathBuf::from) else {
            println!("cargo::error=no {variable}: `attn bench` sets it");
            return;
        };
        println!("cargo::rerun-if-changed={}", from.display());
        if let Err(error) = fs::copy(&from, out.join(name)) {
            println!("cargo::error={}: {error}", from.display());
        }
    }
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg-bins=--nmagic");
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
}

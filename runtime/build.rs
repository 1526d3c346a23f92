//! Generates the fixed-point tables and picks the instruction set of the kernels.
//!
//! Tables come from f64 through the `libm` crate, so that they are the same on every host.

#[path = "build/audio_tables.rs"]
mod audio_tables;
#[path = "build/math_tables.rs"]
mod math_tables;

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    let out_dir = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    write(&out_dir, "audio_tables.rs", &audio_tables::source());
    write(&out_dir, "math_tables.rs", &math_tables::source());
    pick_kernels();
    pick_half();
}

/// Stable Rust never sets `target_feature = "dsp"` for these targets, so the choice is made here: `attn_dsp` for cores
/// with the DSP instructions, `attn_armv8m` where they are an extension that the assembler must be told of.
fn pick_kernels() {
    println!("cargo::rustc-check-cfg=cfg(attn_dsp, attn_armv8m)");
    let target = std::env::var("TARGET").unwrap_or_default();
    let armv8m = target.starts_with("thumbv8m.main");
    let has_dsp = target.starts_with("thumbv7em") || armv8m;
    if has_dsp && std::env::var_os("CARGO_FEATURE_DSP").is_some() {
        println!("cargo::rustc-cfg=attn_dsp");
    }
    if armv8m {
        println!("cargo::rustc-cfg=attn_armv8m");
    }
}

/// Half precision needs a floating-point unit on a chip: `attn_half` says that it is there, `attn_vfp` that its
/// conversions are those of Cortex-M4F, M7 and M33.
fn pick_half() {
    println!("cargo::rustc-check-cfg=cfg(attn_half, attn_vfp)");
    let target = std::env::var("TARGET").unwrap_or_default();
    let chip = target.starts_with("thumb");
    let has_fpu = target.ends_with("eabihf");
    if std::env::var_os("CARGO_FEATURE_FP16").is_some() && (!chip || has_fpu) {
        println!("cargo::rustc-cfg=attn_half");
        if chip {
            println!("cargo::rustc-cfg=attn_vfp");
        }
    }
}

fn write(out_dir: &str, name: &str, source: &str) {
    let path = Path::new(out_dir).join(name);
    std::fs::write(&path, source)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// Source text of a table.
fn table(
    doc: &str,
    name: &str,
    element: &str,
    values: impl ExactSizeIterator<Item = i64>,
) -> String {
    let mut text = format!(
        "/// {doc}\npub(crate) static {name}: [{element}; {}] = [",
        values.len()
    );
    for value in values {
        text.push_str(&format!("{value},"));
    }
    text.push_str("];\n");
    text
}

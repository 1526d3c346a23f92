//! Build script: generates the fixed-point tables and picks the kernels' instruction set.
fn main() {
    println!("cargo::rustc-check-cfg=cfg(attn_dsp)");
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    let has_dsp = target.starts_with("thumbv7em") || target.starts_with("thumbv8m.main");
    if has_dsp && std::env::var_os("CARGO_FEATURE_DSP").is_some() {
        println!("cargo::rustc-cfg=attn_dsp");
    }
}

//! Passes the memory map of the board with the images' core to the linker.

fn main() {
    let boards = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards");
    let target = std::env::var("TARGET").expect("cargo sets TARGET");
    let board = if target.starts_with("thumbv8m") {
        "mps2-an505"
    } else {
        "mps2-an386"
    };
    let folder = boards.join(board);
    println!(
        "cargo::rerun-if-changed={}",
        folder.join("memory.x").display()
    );
    println!("cargo::rustc-link-search={}", folder.display());
    println!("cargo::rustc-link-arg-bins=--nmagic");
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
}

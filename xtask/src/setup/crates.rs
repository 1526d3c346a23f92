//! Programs that are crates: from the search path, or installed by Cargo into the build folder.

use super::{Done, SetupError, say_and_run};
use attn_lab::tools;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A crate and the version that is known to do.
pub struct Program(&'static str, &'static str);

/// Checks licences and advisories of dependencies.
pub const DENY: Program = Program("cargo-deny", "0.20.2");
/// Writes bills of materials.
pub const CYCLONEDX: Program = Program("cargo-cyclonedx", "0.5.9");

/// Where the program is, once it is installed.
pub fn installed(Program(name, version): &Program) -> Result<PathBuf, SetupError> {
    if let Some(path) = found(name) {
        return Ok(path);
    }
    let starter = tools::starter(name);
    let root = starter.parent().and_then(Path::parent);
    let mut install = Command::new(tools::cargo());
    install
        .args(["install", name, "--version", version, "--locked", "--root"])
        .args(root);
    match say_and_run(&mut install) {
        true => Ok(starter),
        false => Err(SetupError(format!(
            "{name} is missing and `cargo install {name}` failed; is there a network?"
        ))),
    }
}

fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).map(|folder| folder.join(name));
    let mut all = folders.chain([tools::starter(name)]);
    all.find(|path| path.is_file())
}

/// Parts of the nightly compiler, for what only it can do.
pub fn nightly(components: &[&str]) -> Done {
    let mut toolchain = Command::new("rustup");
    toolchain
        .args(["toolchain", "install", "nightly", "--profile", "minimal"])
        .args(["--no-self-update", "--component"])
        .arg(components.join(","));
    let known = Command::new("rustup")
        .args(["run", "nightly", "cargo", "miri", "--version"])
        .output();
    if known.is_ok_and(|known| known.status.success()) || say_and_run(&mut toolchain) {
        return Ok(());
    }
    Err(SetupError(
        "a nightly compiler with Miri is missing and `rustup toolchain install nightly` failed; is there a network?".into(),
    ))
}

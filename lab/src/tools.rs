//! Programs that the laboratory starts: from the search path, or from the build folder if set-up could not install one without removing
//! another package.

use crate::workspace;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn tools() -> PathBuf {
    // If the build folder cannot be created, nothing was unpacked into it.
    workspace::build_folder().unwrap_or_default().join("tools")
}

/// The folder that a package is unpacked into.
pub fn folder(package: &str) -> PathBuf {
    tools().join(package)
}

/// The script that starts an unpacked program.
pub fn starter(program: &str) -> PathBuf {
    tools().join("bin").join(program)
}

/// The command that starts `program`; `None` if it is neither installed nor unpacked.
pub fn command(program: &str) -> Option<PathBuf> {
    [program.into(), starter(program)]
        .into_iter()
        .find(|path: &PathBuf| {
            let mut version = Command::new(path);
            version.arg("--version").stdin(Stdio::null());
            version.output().is_ok_and(|output| output.status.success())
        })
}

/// Cargo, as whoever started this program calls it.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or("cargo".into())
}

/// Whether Cargo can be started.
pub fn cargo_runs() -> bool {
    let mut version = Command::new(cargo());
    version.arg("--version").stdin(Stdio::null());
    version.output().is_ok_and(|output| output.status.success())
}

/// Whether the compiler has the library of a target.
pub fn has_target(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "sysroot"]).stdin(Stdio::null());
    let Ok(output) = rustc.output() else {
        return false;
    };
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let libraries = sysroot.join("lib/rustlib").join(target).join("lib");
    let mut files = std::fs::read_dir(libraries).into_iter().flatten().flatten();
    files.any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
}

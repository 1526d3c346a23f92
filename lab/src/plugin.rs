//! The instruction counter: a plugin for QEMU in C (`m4cycles/`), built on first use.

use crate::workspace;
use std::path::{Path, PathBuf};
use std::process::Command;
use thiserror::Error;

const SOURCE: &str = include_str!("../m4cycles/m4cycles.c");

/// Why the plugin cannot be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The C compiler cannot be started.
    #[error("no C compiler (cc): `cargo xtask setup` installs one: {0}")]
    NoCompiler(std::io::Error),
    /// The C compiler refused.
    #[error("cc cannot build m4cycles.c: {0}")]
    Failed(String),
    /// A file cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
}

/// Whether [`build`] would find it built.
pub fn is_built() -> bool {
    workspace::build_folder().is_ok_and(|folder| folder.join(library()).exists())
}

/// Name of the library, which tells this source from others.
fn library() -> String {
    let sum = SOURCE.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("libm4cycles-{sum:016x}.so")
}

/// Builds the plugin, unless this very source was built before.
///
/// # Errors
/// [`PluginError`].
pub fn build() -> Result<PathBuf, PluginError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| PluginError::Io { path, source }
    };
    let folder = workspace::build_folder().map_err(io(Path::new("target/attn")))?;
    let library = folder.join(library());
    if library.exists() {
        return Ok(library);
    }
    let work = tempfile::tempdir_in(&folder).map_err(io(&folder))?;
    let (source, part) = (work.path().join("m4cycles.c"), work.path().join("part.so"));
    std::fs::write(&source, SOURCE).map_err(io(&source))?;
    // The prototypes of QEMU that the plugin calls are resolved when QEMU loads it.
    let undefined: &[&str] = if cfg!(target_os = "macos") {
        &["-undefined", "dynamic_lookup"]
    } else {
        &[]
    };
    let output = Command::new("cc")
        .args(["-O2", "-fPIC", "-shared", "-fvisibility=hidden"])
        .args(undefined)
        .arg("-o")
        .args([&part, &source])
        .output()
        .map_err(PluginError::NoCompiler)?;
    if !output.status.success() {
        return Err(PluginError::Failed(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    std::fs::rename(&part, &library).map_err(io(&library))?;
    Ok(library)
}

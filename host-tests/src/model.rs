//! The shipped models, converted through the `attn` command into `target/attn`: the keyword spotter, and bundles that
//! decode.

use crate::workspace;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use thiserror::Error;

/// How the shipped keyword spotter is converted: arguments of `attn`, relative to the repository.
pub const CONVERT: [&str; 17] = [
    "convert",
    "models/kws.onnx",
    "--calibrate",
    "models/kws_calibration.npz",
    "--stream",
    "--labels",
    "models/kws_labels.txt",
    "--audio-hop",
    "320",
    "--smoothing",
    "6",
    "--threshold",
    "0.60",
    "--refractory",
    "50",
    // The digits had two training speakers: they are in the logits, but not reported.
    "--background",
    "unknown,noise,zero,one,two,three,four,five,six,seven,eight,nine",
];

/// Why there is no converted model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelFileError {
    /// A file or folder cannot be written, or cargo not started.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The converter failed.
    #[error("attn convert failed:\n{0}")]
    Failed(String),
}

/// A converted model and what the converter said.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The `.attn` file.
    pub path: PathBuf,
    /// The converter's report.
    pub report: String,
}

/// Converts the shipped model. An unchanged result leaves the file as it is, so that nothing is built anew.
///
/// # Errors
/// [`ModelFileError`].
pub fn convert() -> Result<Converted, ModelFileError> {
    convert_to("kws.attn", &CONVERT)
}

/// Converts the shipped bundle `models/NAME.bundle.toml`.
///
/// # Errors
/// [`ModelFileError`].
pub fn convert_bundle(name: &str) -> Result<Converted, ModelFileError> {
    let bundle = format!("models/{name}.bundle.toml");
    convert_to(&format!("{name}.attn"), &["convert", &bundle])
}

fn convert_to(name: &str, arguments: &[&str]) -> Result<Converted, ModelFileError> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |source| ModelFileError::Io { what, source }
    };
    let folder = workspace::build_folder().map_err(io("target/attn"))?;
    let path = folder.join(name);
    let work = tempfile::tempdir_in(&folder).map_err(io("target/attn"))?;
    let part = work.path().join(name);
    // Not `-p attn-converter`: with other packages selected, dependencies get other features and are built twice.
    let attn = ["--bin", "attn"];
    let built = cargo(&["build"])
        .args(attn)
        .stdout(Stdio::null())
        .status()
        .map_err(io("cannot start cargo"))?;
    if !built.success() {
        return Err(ModelFileError::Failed("`attn` cannot be built".into()));
    }
    let output = cargo(&["run", "--quiet"])
        .args(attn)
        .arg("--")
        .args(arguments)
        .arg("-o")
        .arg(&part)
        .output()
        .map_err(io("cannot start cargo"))?;
    let report = String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
        .replace(&part.display().to_string(), name);
    if !output.status.success() {
        return Err(ModelFileError::Failed(report));
    }
    let new = std::fs::read(&part).map_err(io(name))?;
    if std::fs::read(&path).ok().as_ref() != Some(&new) {
        std::fs::rename(&part, &path).map_err(io(name))?;
    }
    Ok(Converted { path, report })
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .current_dir(workspace::root())
        .args(arguments)
        .stdin(Stdio::null());
    cargo
}

//! The shipped models, converted through the `attn` command into `target/attn`: the keyword spotter, and bundles that
//! decode.

use crate::{images, workspace};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use thiserror::Error;

/// How the shipped keyword spotter is converted: arguments of `attn`, relative to the repository. The digits had two training
/// speakers: they are in the logits, but not reported.
const CONVERT: &str = "convert models/kws.onnx --calibrate models/kws_calibration.npz --stream \
    --labels models/kws_labels.txt --audio-hop 320 --smoothing 6 --threshold 0.60 --refractory 50 \
    --background athena,amelia,unknown,noise,zero,one,two,three,four,five,six,seven,eight,nine --range min-max";

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
    convert_to("kws.attn", CONVERT)
}

/// Converts the shipped bundle `models/NAME.bundle.toml`.
///
/// # Errors
/// [`ModelFileError`].
pub fn convert_bundle(name: &str) -> Result<Converted, ModelFileError> {
    let arguments = format!("convert models/{name}.bundle.toml");
    convert_to(&format!("{name}.attn"), &arguments)
}

fn convert_to(name: &str, arguments: &str) -> Result<Converted, ModelFileError> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |source| ModelFileError::Io { what, source }
    };
    let folder = workspace::build_folder().map_err(io("target/attn"))?;
    let path = folder.join(name);
    let work = tempfile::tempdir_in(&folder).map_err(io("target/attn"))?;
    let part = work.path().join(name);
    let attn = command()?;
    let output = Command::new(attn)
        .current_dir(workspace::root())
        .args(arguments.split_whitespace())
        .arg("-o")
        .arg(&part)
        .stdin(Stdio::null())
        .output()
        .map_err(io("cannot start attn"))?;
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

/// Builds the command `attn` and says where it is.
///
/// # Errors
/// [`ModelFileError`].
pub fn command() -> Result<PathBuf, ModelFileError> {
    // Not `-p`: with other packages selected, dependencies get other features and are built twice.
    let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .current_dir(workspace::root())
        .args(["build", "--bin", "attn"])
        .args(["--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| ModelFileError::Io {
            what: "cannot start cargo".into(),
            source,
        })?;
    let failed = || ModelFileError::Failed("`attn` cannot be built".into());
    if !output.status.success() {
        return Err(failed());
    }
    images::executable(&output.stdout).ok_or_else(failed)
}

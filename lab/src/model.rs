//! The shipped models as `.attn` files: committed beside their ONNX files, and converted anew through the `attn` command.

use crate::{images, tools, workspace};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use thiserror::Error;

/// Arguments of `attn` after `convert` for the keyword spotter, relative to the repository. The digits had two training speakers: they are
/// in the logits, but not reported.
const KEYWORDS: &str = "models/kws.onnx --calibrate models/kws_calibration.npz --stream \
    --labels models/kws_labels.txt --audio-hop 320 --smoothing 6 --threshold 0.60 --refractory 50 \
    --background athena,amelia,unknown,noise,zero,one,two,three,four,five,six,seven,eight,nine --range min-max";

/// A model whose converted file is committed as `models/NAME.attn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shipped {
    /// The keyword spotter.
    Keywords,
    /// Grapheme to phoneme.
    G2p,
    /// Strings of spoken digits.
    Digits,
    /// A small language model.
    Llama,
}

impl Shipped {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Keywords, Self::G2p, Self::Digits, Self::Llama];

    /// Name of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keywords => "kws",
            Self::G2p => "g2p",
            Self::Digits => "digits",
            Self::Llama => "llama",
        }
    }

    /// The committed file.
    pub fn path(self) -> PathBuf {
        workspace::root()
            .join("models")
            .join(self.name())
            .with_extension("attn")
    }

    fn arguments(self) -> String {
        match self {
            Self::Keywords => KEYWORDS.into(),
            _ => format!("models/{}.bundle.toml", self.name()),
        }
    }
}

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

/// What the converter made of a model.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The bytes of the `.attn` file.
    pub file: Vec<u8>,
    /// The converter's report.
    pub report: String,
}

/// Converts a shipped model anew. The committed file stays as it is.
///
/// # Errors
/// [`ModelFileError`].
pub fn convert(model: Shipped) -> Result<Converted, ModelFileError> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |source| ModelFileError::Io { what, source }
    };
    let name = format!("{}.attn", model.name());
    let work = tempfile::tempdir().map_err(io("a temporary folder"))?;
    let part = work.path().join(&name);
    let output = Command::new(command()?)
        .current_dir(workspace::root())
        .arg("convert")
        .args(model.arguments().split_whitespace())
        .arg("-o")
        .arg(&part)
        .stdin(Stdio::null())
        .output()
        .map_err(io("cannot start attn"))?;
    let report = String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
        .replace(&part.display().to_string(), &name);
    if !output.status.success() {
        return Err(ModelFileError::Failed(report));
    }
    let file = std::fs::read(&part).map_err(io(&name))?;
    Ok(Converted { file, report })
}

/// Builds the command `attn` and says where it is.
///
/// # Errors
/// [`ModelFileError`].
pub fn command() -> Result<PathBuf, ModelFileError> {
    // Not `-p`: with other packages selected, dependencies get other features and are built twice.
    let output = Command::new(tools::cargo())
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

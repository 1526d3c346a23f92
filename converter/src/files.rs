//! Reads and writes files: text, bytes and npz arrays. [`crate::output`] decides where a file may be written; [`crate::npz`] reads the
//! arrays of an npz file.

pub use crate::npz::{NpzError, read_array};
use crate::output::Output;
use ndarray_npy::{NpzWriter, WriteNpzError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use thiserror::Error;

/// An empty list of inputs that an output must not replace.
const NONE: [&Path; 0] = [];

/// Why a file cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The path of the output exists and is not a regular file.
    #[error("{path}: not a regular file: name a file that may be written or replaced")]
    NotRegular {
        /// The output.
        path: PathBuf,
    },
    /// The folder of the output does not exist.
    #[error("{path}: there is no such folder: make it first")]
    NoFolder {
        /// The output.
        path: PathBuf,
    },
    /// The output is one of the inputs.
    #[error("{path}: the output would replace an input: choose another name for it")]
    IsInput {
        /// The output.
        path: PathBuf,
    },
    /// An array of an npz file.
    #[error(transparent)]
    Npz(#[from] NpzError),
    /// A vocabulary with an empty line.
    #[error(
        "{path}: line {line} is empty: each line names one symbol or token, in the order of their numbers"
    )]
    EmptyName {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// An array could not be written.
    #[error("{path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The npz writer's error.
        source: Box<WriteNpzError>,
    },
}

impl FileError {
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.into(),
            source,
        }
    }
}

/// Writes an npz file: `fill` adds its arrays. The file appears complete or not at all.
///
/// # Errors
/// [`FileError::Io`], [`FileError::Write`].
pub fn write_npz(
    path: &Path,
    fill: impl FnOnce(&mut NpzWriter<&mut NamedTempFile>) -> Result<(), WriteNpzError>,
) -> Result<(), FileError> {
    let write = |source| FileError::Write {
        path: path.into(),
        source: Box::new(source),
    };
    Output::new(path, NONE)?.write(".tmp", |file| {
        let mut npz = NpzWriter::new(file);
        fill(&mut npz)
            .and_then(|()| npz.finish().map(drop))
            .map_err(write)
    })
}

/// Writes bytes to a file, which appears complete or not at all.
///
/// # Errors
/// [`FileError::Io`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    Output::new(path, NONE)?.write(".tmp", |file| {
        file.write_all(bytes).map_err(FileError::io(path))
    })
}

/// Writes bytes to a file that only its owner can read, where the system has such files.
///
/// # Errors
/// [`FileError::Io`].
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    Output::new(path, NONE)?.private().write(".tmp", |file| {
        file.write_all(bytes).map_err(FileError::io(path))
    })
}

/// The bytes of a file.
///
/// # Errors
/// [`FileError::Io`].
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(FileError::io(path))
}

/// The lines of a text file, without surrounding space and without empty lines.
///
/// # Errors
/// [`FileError::Io`].
pub fn read_lines(path: &Path) -> Result<Vec<String>, FileError> {
    let text = std::fs::read_to_string(path).map_err(FileError::io(path))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

/// The lines of a text file, untrimmed: one name per line. A single space is a valid name, an empty line is an error.
///
/// # Errors
/// [`FileError::Io`], [`FileError::EmptyName`].
pub fn read_names(path: &Path) -> Result<Vec<String>, FileError> {
    let text = std::fs::read_to_string(path).map_err(FileError::io(path))?;
    let names: Vec<String> = text.lines().map(str::to_owned).collect();
    match names.iter().position(String::is_empty) {
        Some(at) => Err(FileError::EmptyName {
            path: path.into(),
            line: at + 1,
        }),
        None => Ok(names),
    }
}

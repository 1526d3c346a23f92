//! Files in and out: text, bytes and npz arrays. Where a file may be written is decided in [`crate::output`], what an array
//! of an npz file holds in [`crate::npz`].

pub use crate::npz::{NpzError, read_array};
use crate::output::Output;
use ndarray_npy::{NpzWriter, WriteNpzError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use thiserror::Error;

/// No inputs that an output could replace.
const NONE: [&Path; 0] = [];

/// Why a file cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system says no.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Something that is no regular file stands where the output should go.
    #[error("{path}: not a regular file: name a file that may be written or replaced")]
    NotRegular {
        /// The output.
        path: PathBuf,
    },
    /// The folder that the output should go into is not there.
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
        /// What the npz writer says.
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

/// The bytes of a file.
///
/// # Errors
/// [`FileError::Io`].
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(FileError::io(path))
}

/// The lines of a text file, without surrounding space; empty ones are left out.
///
/// # Errors
/// [`FileError::Io`].
pub fn read_lines(path: &Path) -> Result<Vec<String>, FileError> {
    let text = std::fs::read_to_string(path).map_err(FileError::io(path))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

/// The lines of a text file as they are, each a name: a space is one, too. An empty line is none.
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

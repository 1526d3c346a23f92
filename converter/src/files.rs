//! Files in and out: npz arrays, and writing so that nothing is ever left half-written.

use ndarray::{Array, Dimension};
use ndarray_npy::{NpzReader, NpzWriter, ReadNpzError, ReadableElement, WriteNpzError};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use thiserror::Error;

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
    /// Not an npz file.
    #[error("{path}: not an npz file (numpy.savez): {source}")]
    NotNpz {
        /// The file.
        path: PathBuf,
        /// What the npz reader says.
        source: Box<ReadNpzError>,
    },
    /// The npz file has no such array.
    #[error("{path}: no array `{name}`; it holds: {present}")]
    NoArray {
        /// The file.
        path: PathBuf,
        /// Array asked for.
        name: String,
        /// Arrays that are there.
        present: String,
    },
    /// The array has another element type or number of dimensions.
    #[error("{path}: array `{name}` should be {expected}: {source}")]
    WrongArray {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// Type and rank asked for.
        expected: String,
        /// What the npz reader says.
        source: Box<ReadNpzError>,
    },
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
    fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.into(),
            source,
        }
    }
}

/// An npz file and the names of its arrays.
pub fn open_npz(path: &Path) -> Result<(NpzReader<File>, Vec<String>), FileError> {
    let file = File::open(path).map_err(FileError::io(path))?;
    let not_npz = |source| FileError::NotNpz {
        path: path.into(),
        source: Box::new(source),
    };
    let mut npz = NpzReader::new(file).map_err(not_npz)?;
    let names = npz.names().map_err(not_npz)?;
    let names = names
        .into_iter()
        .map(|name| name.trim_end_matches(".npy").to_owned())
        .collect();
    Ok((npz, names))
}

/// The array `name` of an npz file.
///
/// # Errors
/// [`FileError`], which says which arrays there are, or of which type.
pub fn read_array<A, D>(path: &Path, name: &str) -> Result<Array<A, D>, FileError>
where
    A: ReadableElement,
    D: Dimension,
{
    let (mut npz, names) = open_npz(path)?;
    if !names.iter().any(|present| present == name) {
        return Err(FileError::NoArray {
            path: path.into(),
            name: name.into(),
            present: names.join(", "),
        });
    }
    let axes = D::NDIM.map_or("any number of".into(), |n| n.to_string());
    npz.by_name(&format!("{name}.npy"))
        .or_else(|_| npz.by_name(name))
        .map_err(|source| FileError::WrongArray {
            path: path.into(),
            name: name.into(),
            expected: format!("{} with {axes} axes", std::any::type_name::<A>()),
            source: Box::new(source),
        })
}

/// Writes an npz file: `fill` adds its arrays. The file appears complete or not at all.
///
/// # Errors
/// [`FileError::Io`], [`FileError::Write`].
pub fn write_npz(
    path: &Path,
    fill: impl FnOnce(&mut NpzWriter<&mut NamedTempFile>) -> Result<(), WriteNpzError>,
) -> Result<(), FileError> {
    let mut file = temporary(path)?;
    let write = |source| FileError::Write {
        path: path.into(),
        source: Box::new(source),
    };
    let mut npz = NpzWriter::new(&mut file);
    fill(&mut npz)
        .and_then(|()| npz.finish().map(drop))
        .map_err(write)?;
    persist(file, path)
}

/// Writes bytes to a file, which appears complete or not at all.
///
/// # Errors
/// [`FileError::Io`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = temporary(path)?;
    file.write_all(bytes).map_err(FileError::io(path))?;
    persist(file, path)
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

fn temporary(path: &Path) -> Result<NamedTempFile, FileError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .suffix(".tmp")
        .tempfile_in(folder)
        .map_err(FileError::io(path))
}

fn persist(file: NamedTempFile, path: &Path) -> Result<(), FileError> {
    file.persist(path).map(drop).map_err(|error| FileError::Io {
        path: path.into(),
        source: error.error,
    })
}

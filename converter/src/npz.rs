//! Arrays of npz files, of numpy's own element types.
//!
//! The size in an array's header is compared with the bytes in the file before anything is allocated. A file with a false shape gives an
//! ordinary error.

use crate::files::FileError;
use ndarray::{Array, ArrayD, Dimension, IxDyn};
use ndarray_npy::npy::header::Header;
use ndarray_npy::{ReadNpyError, ReadNpyExt, ReadableElement};
use std::fs::File;
use std::path::{Path, PathBuf};
use thiserror::Error;
use zip::ZipArchive;
use zip::result::ZipError;

/// Bytes of an array, at most.
const MOST_BYTES: u64 = 1 << 29;
/// Most bytes that one byte of deflated data can unpack to.
const MOST_INFLATED: u64 = 1032;

/// An error in an npz file or in one of its arrays.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NpzError {
    /// Not an npz file.
    #[error("{path}: not an npz file (numpy.savez): {source}")]
    NotNpz {
        /// The file.
        path: PathBuf,
        /// The reader's error.
        source: ZipError,
    },
    /// The file has no such array.
    #[error("{path}: no array `{name}`; it holds: {present}")]
    NoArray {
        /// The file.
        path: PathBuf,
        /// Array asked for.
        name: String,
        /// Arrays in the file.
        present: String,
    },
    /// The array's header is damaged, or does not match its data.
    #[error("{path}: array `{name}` is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// What does not match.
        reason: String,
    },
    /// The array has another element type or number of axes.
    #[error("{path}: array `{name}` of type {found} with {axes} axes; expected {expected}")]
    WrongArray {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// Its element type, as numpy writes it.
        found: String,
        /// Number of its axes.
        axes: usize,
        /// What is accepted instead.
        expected: String,
    },
}

/// An npz file, open.
pub struct Npz {
    path: PathBuf,
    len: u64,
    archive: ZipArchive<File>,
}

/// Element type and shape of an array.
struct Declared {
    /// As numpy writes it, without the byte order: `f4`, `i8`, `b1`.
    dtype: String,
    shape: Vec<usize>,
}

/// What a reader says, without the picture of the place that a parser adds.
fn first_line(error: &dyn std::error::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().into()
}

impl Npz {
    /// Opens a file.
    ///
    /// # Errors
    /// [`FileError::Io`], [`NpzError::NotNpz`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let file = File::open(path).map_err(FileError::io(path))?;
        let len = file.metadata().map_err(FileError::io(path))?.len();
        let archive = ZipArchive::new(file).map_err(|source| NpzError::NotNpz {
            path: path.into(),
            source,
        })?;
        Ok(Self {
            path: path.into(),
            len,
            archive,
        })
    }

    /// Names of its arrays.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let files = self.archive.file_names();
        files.map(|name| name.strip_suffix(".npy").unwrap_or(name))
    }

    /// True if it holds an array with this name.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|present| present == name)
    }

    /// An array of elements of type `A`.
    ///
    /// # Errors
    /// [`NpzError`].
    pub fn read<A: ReadableElement, D: Dimension>(
        &mut self,
        name: &str,
    ) -> Result<Array<A, D>, NpzError> {
        let declared = self.declared(name)?;
        let wrong = |path: &Path| {
            let axes = D::NDIM.map_or("any number of".into(), |n| n.to_string());
            NpzError::WrongArray {
                path: path.into(),
                name: name.into(),
                found: declared.dtype.clone(),
                axes: declared.shape.len(),
                expected: format!("{} with {axes} axes", std::any::type_name::<A>()),
            }
        };
        let path = self.path.clone();
        Array::read_npy(self.entry(name)?).map_err(|error| match error {
            ReadNpyError::WrongDescriptor(_) | ReadNpyError::WrongNdim(..) => wrong(&path),
            error => NpzError::Damaged {
                path,
                name: name.into(),
                reason: first_line(&error),
            },
        })
    }

    /// An array of quantities: floating-point numbers and integers unchanged, int8 times the scalar array `scale`, as `attn features`
    /// writes them.
    ///
    /// # Errors
    /// [`NpzError`].
    pub fn read_real(&mut self, name: &str) -> Result<ArrayD<f32>, NpzError> {
        let dtype = self.declared(name)?.dtype;
        Ok(match dtype.as_str() {
            "f4" => self.read::<f32, IxDyn>(name)?,
            "f8" => self.read::<f64, IxDyn>(name)?.mapv(|x| x as f32),
            "i1" => {
                let scale = self.read::<f32, ndarray::Ix0>("scale")?[()];
                self.read::<i8, IxDyn>(name)?.mapv(|q| f32::from(q) * scale)
            }
            _ => self
                .integers(name, &dtype, "float32, float64, an integer type or bool")?
                .mapv(|n| n as f32),
        })
    }

    /// An array of numbers of tokens: integers of any type, or whole floating-point numbers.
    ///
    /// # Errors
    /// [`NpzError`].
    pub fn read_tokens(&mut self, name: &str) -> Result<ArrayD<i64>, NpzError> {
        let dtype = self.declared(name)?.dtype;
        let whole = match dtype.as_str() {
            "f4" => self.read::<f32, IxDyn>(name)?.mapv(f64::from),
            "f8" => self.read::<f64, IxDyn>(name)?,
            _ => return self.integers(name, &dtype, "an integer type"),
        };
        match whole.iter().find(|x| x.fract() != 0.0) {
            None => Ok(whole.mapv(|x| x as i64)),
            Some(x) => Err(self.damaged(name, format!("{x} is no number of a token"))),
        }
    }

    fn integers(
        &mut self,
        name: &str,
        dtype: &str,
        expected: &str,
    ) -> Result<ArrayD<i64>, NpzError> {
        Ok(match dtype {
            "i8" => self.read::<i64, IxDyn>(name)?,
            "i4" => self.read::<i32, IxDyn>(name)?.mapv(i64::from),
            "i2" => self.read::<i16, IxDyn>(name)?.mapv(i64::from),
            "i1" => self.read::<i8, IxDyn>(name)?.mapv(i64::from),
            "u4" => self.read::<u32, IxDyn>(name)?.mapv(i64::from),
            "u2" => self.read::<u16, IxDyn>(name)?.mapv(i64::from),
            "u1" => self.read::<u8, IxDyn>(name)?.mapv(i64::from),
            "b1" => self.read::<bool, IxDyn>(name)?.mapv(i64::from),
            _ => {
                let axes = self.declared(name)?.shape.len();
                return Err(NpzError::WrongArray {
                    path: self.path.clone(),
                    name: name.into(),
                    found: dtype.into(),
                    axes,
                    expected: expected.into(),
                });
            }
        })
    }

    fn damaged(&self, name: &str, reason: String) -> NpzError {
        NpzError::Damaged {
            path: self.path.clone(),
            name: name.into(),
            reason,
        }
    }

    fn entry(&mut self, name: &str) -> Result<zip::read::ZipFile<'_, File>, NpzError> {
        let file = match self.archive.index_for_name(&format!("{name}.npy")) {
            Some(file) => Some(file),
            None => self.archive.index_for_name(name),
        };
        let path = &self.path;
        let Some(file) = file else {
            let mut present: Vec<&str> = self.names().collect();
            present.sort_unstable();
            return Err(NpzError::NoArray {
                path: path.clone(),
                name: name.into(),
                present: present.join(", "),
            });
        };
        let source = |source| NpzError::NotNpz {
            path: path.clone(),
            source,
        };
        self.archive.by_index(file).map_err(source)
    }

    /// The contents of an array's header, if the file can hold that number of bytes.
    fn declared(&mut self, name: &str) -> Result<Declared, NpzError> {
        let len = self.len;
        let mut entry = self.entry(name)?;
        let packed = entry.compressed_size().min(len);
        let most = entry.size().min(packed.saturating_mul(MOST_INFLATED));
        let header = Header::from_reader(&mut entry);
        drop(entry);
        let header = header.map_err(|error| self.damaged(name, first_line(&error)))?;
        let descriptor = header.type_descriptor.to_string();
        // In quotes, with the byte order first.
        let dtype = descriptor
            .trim_matches('\'')
            .trim_start_matches(['<', '>', '|', '=']);
        let size = dtype.get(1..).and_then(|digits| digits.parse::<u64>().ok());
        let bytes = header
            .shape
            .iter()
            .try_fold(size.unwrap_or(1), |bytes, &axis| {
                bytes.checked_mul(axis as u64)
            });
        if let Some(bytes) = bytes.filter(|&bytes| bytes > MOST_BYTES && bytes <= most) {
            let reason = format!("{bytes} bytes; at most {MOST_BYTES}: fewer samples do as well");
            return Err(self.damaged(name, reason));
        }
        if bytes.is_none_or(|bytes| bytes > most) {
            let reason = format!(
                "its header says {dtype} of shape {:?}, but its data have {most} bytes at most",
                header.shape
            );
            return Err(self.damaged(name, reason));
        }
        Ok(Declared {
            dtype: dtype.into(),
            shape: header.shape,
        })
    }
}

/// The array `name` of an npz file, of elements of type `A`.
///
/// # Errors
/// [`FileError`], which lists the arrays in the file, or gives the array's type.
pub fn read_array<A, D>(path: &Path, name: &str) -> Result<Array<A, D>, FileError>
where
    A: ReadableElement,
    D: Dimension,
{
    Ok(Npz::open(path)?.read(name)?)
}

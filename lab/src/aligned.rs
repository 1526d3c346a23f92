//! Bytes at a multiple of 16, as models, arenas and beams need them on this computer.

use crate::error::{LabError, io};
use std::path::Path;
use zerocopy::IntoBytes;

/// Bytes whose first one is aligned to 16.
#[derive(Clone, Debug)]
pub struct AlignedBytes {
    blocks: Vec<u128>,
    len: usize,
}

impl AlignedBytes {
    /// Zeros.
    pub fn zeroed(len: usize) -> Self {
        Self {
            blocks: vec![0; len.div_ceil(size_of::<u128>())],
            len,
        }
    }

    /// A copy of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut aligned = Self::zeroed(bytes.len());
        aligned.as_mut_slice().copy_from_slice(bytes);
        aligned
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`LabError::Io`].
    pub fn read(path: &Path) -> Result<Self, LabError> {
        std::fs::read(path)
            .map(|bytes| Self::new(&bytes))
            .map_err(io(path))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.blocks.as_bytes()[..self.len]
    }

    /// The bytes, writable.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.blocks.as_mut_bytes()[..self.len]
    }
}

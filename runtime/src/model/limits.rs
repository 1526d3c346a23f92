//! What a caller lets a file ask for.

use super::{Limited, ModelError};
use crate::ops::{Work, require};

/// The most that a file may ask of the machine that it runs on. Anything above is refused by
/// [`Model::parse_with`](super::Model::parse_with).
///
/// Change one by `let mut limits = Limits::default(); limits.macs = 1 << 20;`. A Cortex-M4 at 64 MHz does 15 to 30 million
/// multiply-accumulates in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Limits {
    /// Multiply-accumulates of all operators together, each at the greatest length of a sequence.
    pub macs: u64,
    /// Bytes that they read and write, likewise.
    pub bytes: u64,
    /// Bytes of arena; the format allows 2^28.
    pub arena: usize,
}

impl Default for Limits {
    /// 2^32 multiply-accumulates, 2^32 bytes moved, any arena: minutes on a small chip, seconds on a desktop.
    fn default() -> Self {
        Self {
            macs: 1 << 32,
            bytes: 1 << 32,
            arena: usize::MAX,
        }
    }
}

impl Limits {
    pub(super) fn check(&self, work: Work) -> Result<(), ModelError> {
        let parts = [
            (Limited::Macs, work.macs, self.macs),
            (Limited::BytesMoved, work.bytes, self.bytes),
        ];
        parts.into_iter().try_for_each(|(what, found, limit)| {
            require(
                found <= limit,
                ModelError::TooMuchWork { what, found, limit },
            )
        })
    }

    pub(super) fn check_arena(&self, found: usize) -> Result<(), ModelError> {
        let (what, limit) = (Limited::ArenaBytes, self.arena);
        require(found <= limit, ModelError::TooMany { what, found, limit })
    }
}

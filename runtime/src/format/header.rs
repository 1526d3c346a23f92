//! The header: the first 80 bytes of a file, and the sections that it points to.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[cfg(target_endian = "big")]
compile_error!(
    "attn files are little-endian and read in place: big-endian targets are not supported"
);

/// First four bytes of every file.
pub const MAGIC: [u8; 4] = *b"ATTN";
/// Version of the layout in this module.
pub const VERSION: u16 = 2;
/// Length of [`Header`] in bytes.
pub const HEADER_LEN: usize = size_of::<Header>();
/// Alignment in bytes of a file in memory, of its sections and of its arena.
pub const FILE_ALIGN: usize = 16;
/// Where the checksum is.
pub const CHECKSUM_AT: usize = 12;
/// The checksum covers the bytes from here on.
pub(super) const CHECKSUM_END: usize = 16;
const ARENA_LEN_AT: usize = 16;

/// A run of records or bytes in the file.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Section {
    /// Byte offset from the start of the file; a multiple of 16.
    pub offset: u32,
    /// Number of records, or of bytes for a section without records.
    pub count: u32,
}

/// The file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// [`VERSION`].
    pub version: u16,
    /// Incompatible-feature flags; a runtime refuses bits that it does not know. None so far.
    pub flags: u16,
    /// Length of the whole file in bytes.
    pub file_len: u32,
    /// [`super::checksum`] of the file.
    pub checksum: u32,
    /// Bytes of arena that a session needs, state included; at most [`super::MAX_ARENA_LEN`].
    pub arena_len: u32,
    /// Bytes at the start of the arena which hold state between runs.
    pub state_len: u32,
    /// [`super::TensorRecord`]s.
    pub tensors: Section,
    /// [`super::OpRecord`]s, entry by entry, in execution order; at most [`super::MAX_OPS`].
    pub ops: Section,
    /// [`super::EntryRecord`]s.
    pub entries: Section,
    /// [`super::MetaRecord`]s.
    pub meta: Section,
    /// Bytes: operator parameters and metadata payloads.
    pub params: Section,
    /// Bytes: packed weights, biases, multipliers, tables.
    pub weights: Section,
    /// Bytes: names, each a `u16` length up to [`super::MAX_NAME_LEN`] and UTF-8. Offset 0 holds the empty name.
    pub strings: Section,
}

pub(super) const fn read_arena_len(file: &[u8]) -> u32 {
    if file.len() < HEADER_LEN {
        return 0;
    }
    u32::from_le_bytes([
        file[ARENA_LEN_AT],
        file[ARENA_LEN_AT + 1],
        file[ARENA_LEN_AT + 2],
        file[ARENA_LEN_AT + 3],
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_header_has_the_documented_layout() {
        assert_eq!(HEADER_LEN, 80);
        assert_eq!(offset_of!(Header, checksum), CHECKSUM_AT);
        assert_eq!(CHECKSUM_AT + 4, CHECKSUM_END);
        assert_eq!(offset_of!(Header, arena_len), ARENA_LEN_AT);
    }
}

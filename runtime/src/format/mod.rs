//! The `.attn` file, version 2: every record, byte for byte (see `docs/reference/format.md`).
//!
//! The records are plain little-endian structs read in place from flash; the converter writes these same
//! types. Here are layouts and bounds-checked access to single records. [`crate::Model::parse`] checks whole files, and
//! [`crate::ops`] defines the operators and their parameters.

mod decode;
mod header;
mod included;
mod meta;
mod op;
mod tensor;

pub use crate::ops::OpKind;
pub(crate) use decode::beam_memory;
pub use decode::{DecodeMeta, MAX_CANDIDATES, MAX_TOKENS, NONE, beam_len};
pub use header::{CHECKSUM_AT, FILE_ALIGN, HEADER_LEN, Header, MAGIC, Section, VERSION};
pub use included::{OpFacts, Port, entry_named, has_lengths, op_at, port_at, port_named};
pub use meta::{AudioMeta, LengthMeta, MetaKey, MetaRecord, RowRule, SignatureMeta, SpotterMeta};
pub use op::{Encoding, EntryRecord, MAX_ENTRY_IO, MAX_OP_INPUTS, MAX_OP_OUTPUTS, OpRecord};
pub use tensor::{DType, MAX_RANK, Storage, TensorRecord};

/// Most operators in a file.
pub const MAX_OPS: usize = 2048;
/// Most metadata records in a file.
pub const MAX_META: usize = 64;
/// Most bytes of a name.
pub const MAX_NAME_LEN: usize = 1024;
/// Most bytes of arena, so that sizes and offsets fit 32 bits with room to spare.
pub const MAX_ARENA_LEN: usize = 1 << 28;

/// "No tensor", for the unused places of a record's lists of tensors.
pub const NO_TENSOR: u16 = u16::MAX;

/// The checksum of a file: CRC-32 (ISO-HDLC, as in zlib) of everything after the header's own checksum field.
pub fn checksum(file: &[u8]) -> u32 {
    const CRC: crc::Crc<u32, crc::Table<1>> =
        crc::Crc::<u32, crc::Table<1>>::new(&crc::CRC_32_ISO_HDLC);
    CRC.checksum(file.get(header::CHECKSUM_END..).unwrap_or(&[]))
}

/// Arena length in bytes that a file asks for, readable at compile time.
///
/// Used by [`include_model!`](crate::include_model) to size a static arena. Returns 0 when `file` is too
/// short to have a header; [`crate::Model::parse`] then gives the error.
pub const fn arena_len(file: &[u8]) -> usize {
    header::read_arena_len(file) as usize
}

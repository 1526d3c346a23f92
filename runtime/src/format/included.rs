//! What [`crate::include_model!`] reads from a file at compile time. Compilation fails for what is no file of this version;
//! [`crate::Model::parse`] checks everything else.

use super::{
    DType, HEADER_LEN, Header, MAGIC, MetaKey, MetaRecord, NO_TENSOR, OpRecord, Section,
    TensorRecord, VERSION,
};
use core::mem::offset_of;

const fn u16_at(file: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([file[at], file[at + 1]])
}

const fn u32_at(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]])
}

/// The section whose place the header has at byte `at`.
const fn section(file: &[u8], at: usize) -> Section {
    assert!(
        file.len() >= HEADER_LEN && u32_at(file, 0) == u32::from_le_bytes(MAGIC),
        "not an .attn file: convert the model with `attn convert`"
    );
    assert!(
        u16_at(file, offset_of!(Header, version)) == VERSION,
        "the .attn file has another version of the format: convert the model again"
    );
    Section {
        offset: u32_at(file, at),
        count: u32_at(file, at + offset_of!(Section, count)),
    }
}

/// Where record number `index` of that section starts, if it is in the section.
const fn record(file: &[u8], section: Section, index: usize, len: usize) -> Option<usize> {
    let start = section.offset as usize + index * len;
    if index < section.count as usize && start + len <= file.len() {
        Some(start)
    } else {
        None
    }
}

/// What decides which functions an operator needs.
pub struct OpFacts<'f> {
    /// Code of the [`super::OpKind`].
    pub code: u16,
    /// Code of the encoding.
    pub encoding: u16,
    /// Types of the first two inputs.
    pub inputs: [Option<DType>; 2],
    /// Types of the first two outputs.
    pub outputs: [Option<DType>; 2],
    /// Rows of the first output: all axes but the last.
    pub rows: usize,
    /// The parameters' bytes.
    pub params: &'f [u8],
}

impl OpFacts<'_> {
    /// The `u32` at byte `at` of the parameters; 0 in a file that is too old to have it.
    pub const fn param(&self, at: usize) -> u32 {
        if at + 4 <= self.params.len() {
            u32_at(self.params, at)
        } else {
            0
        }
    }
}

/// Operator number `index` of a file.
pub const fn op_at(file: &[u8], index: usize) -> Option<OpFacts<'_>> {
    let ops = section(file, offset_of!(Header, ops));
    let Some(at) = record(file, ops, index, size_of::<OpRecord>()) else {
        return None;
    };
    let inputs = at + offset_of!(OpRecord, inputs);
    let outputs = at + offset_of!(OpRecord, outputs);
    let params = section(file, offset_of!(Header, params)).offset
        + u32_at(file, at + offset_of!(OpRecord, params));
    let (_, params) = file.split_at(params as usize);
    let len = u32_at(file, at + offset_of!(OpRecord, params_len));
    Some(OpFacts {
        code: u16_at(file, at + offset_of!(OpRecord, kind)),
        encoding: u16_at(file, at + offset_of!(OpRecord, encoding)),
        inputs: [dtype_at(file, inputs), dtype_at(file, inputs + 2)],
        outputs: [dtype_at(file, outputs), dtype_at(file, outputs + 2)],
        rows: rows_at(file, outputs),
        params: params.split_at(len as usize).0,
    })
}

/// Type of the tensor whose number is at byte `at`.
const fn dtype_at(file: &[u8], at: usize) -> Option<DType> {
    let number = u16_at(file, at);
    let tensors = section(file, offset_of!(Header, tensors));
    match record(file, tensors, number as usize, size_of::<TensorRecord>()) {
        Some(at) if number != NO_TENSOR => {
            DType::from_code(file[at + offset_of!(TensorRecord, dtype)])
        }
        _ => None,
    }
}

/// Rows of the tensor whose number is at byte `at`: all axes but the last.
const fn rows_at(file: &[u8], at: usize) -> usize {
    let number = u16_at(file, at);
    let tensors = section(file, offset_of!(Header, tensors));
    let Some(at) = record(file, tensors, number as usize, size_of::<TensorRecord>()) else {
        return 0;
    };
    let rank = file[at + offset_of!(TensorRecord, rank)] as usize;
    let (mut rows, mut axis) = (1usize, 0);
    while axis + 1 < rank {
        let dims = at + offset_of!(TensorRecord, dims);
        rows = rows.saturating_mul(u32_at(file, dims + 4 * axis) as usize);
        axis += 1;
    }
    rows
}

/// Whether rows of a file's tensors vary with the length of a sequence.
pub const fn has_lengths(file: &[u8]) -> bool {
    let meta = section(file, offset_of!(Header, meta));
    let mut index = 0;
    while let Some(at) = record(file, meta, index, size_of::<MetaRecord>()) {
        if u16_at(file, at + offset_of!(MetaRecord, key)) == MetaKey::Length as u16 {
            return true;
        }
        index += 1;
    }
    false
}

//! What [`crate::include_model!`] reads from a file at compile time. Compilation fails for what is no file of this version;
//! [`crate::Model::parse`] checks everything else.

use super::{
    DType, EntryRecord, HEADER_LEN, Header, MAGIC, MAX_ENTRY_IO, MAX_RANK, MetaKey, MetaRecord,
    NO_TENSOR, OpRecord, Section, TensorRecord, VERSION,
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
        match self.params.split_at_checked(at) {
            Some((_, rest)) => match rest.first_chunk() {
                Some(word) => u32::from_le_bytes(*word),
                None => 0,
            },
            None => 0,
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

/// Where the record of the tensor starts whose number is at byte `at`.
const fn tensor_at(file: &[u8], at: usize) -> Option<usize> {
    let number = u16_at(file, at);
    if number == NO_TENSOR {
        return None;
    }
    let tensors = section(file, offset_of!(Header, tensors));
    record(file, tensors, number as usize, size_of::<TensorRecord>())
}

/// Type of that tensor.
const fn dtype_at(file: &[u8], at: usize) -> Option<DType> {
    match tensor_at(file, at) {
        Some(at) => DType::from_code(file[at + offset_of!(TensorRecord, dtype)]),
        None => None,
    }
}

/// Rows of that tensor: all axes but the last.
const fn rows_at(file: &[u8], at: usize) -> usize {
    let Some(at) = tensor_at(file, at) else {
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

/// An input or output of an entry point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Port {
    /// Code of the [`DType`].
    pub dtype: u8,
    /// Dimensions; those from `rank` on are 1. Where rows vary, the first is the greatest.
    pub dims: [usize; MAX_RANK],
    /// Number of dimensions.
    pub rank: usize,
    /// Real value of one step.
    pub scale: f32,
    /// The integer that stands for 0.0.
    pub zero_point: i32,
    /// Name in the original model.
    pub name: &'static str,
}

/// Input number `index` of entry point number `entry` of a file, or with `output` that output; `None` if there is none.
pub const fn port_at(
    file: &'static [u8],
    entry: usize,
    index: usize,
    output: bool,
) -> Option<Port> {
    let entries = section(file, offset_of!(Header, entries));
    let Some(entry) = record(file, entries, entry, size_of::<EntryRecord>()) else {
        return None;
    };
    if index >= MAX_ENTRY_IO {
        return None;
    }
    let (ids, names) = if output {
        (
            offset_of!(EntryRecord, outputs),
            offset_of!(EntryRecord, output_names),
        )
    } else {
        (
            offset_of!(EntryRecord, inputs),
            offset_of!(EntryRecord, input_names),
        )
    };
    let Some(at) = tensor_at(file, entry + ids + 2 * index) else {
        return None;
    };
    let named = u32_at(file, entry + names + 4 * index);
    let own = u32_at(file, at + offset_of!(TensorRecord, name));
    let mut dims = [1; MAX_RANK];
    let mut axis = 0;
    while axis < MAX_RANK {
        dims[axis] = u32_at(file, at + offset_of!(TensorRecord, dims) + 4 * axis) as usize;
        axis += 1;
    }
    Some(Port {
        dtype: file[at + offset_of!(TensorRecord, dtype)],
        dims,
        rank: file[at + offset_of!(TensorRecord, rank)] as usize,
        scale: f32::from_bits(u32_at(file, at + offset_of!(TensorRecord, scale))),
        zero_point: u32_at(file, at + offset_of!(TensorRecord, zero_point)) as i32,
        name: string_at(file, if named == 0 { own } else { named }),
    })
}

/// Number of the entry point of this name; one that no entry point has, where there is none.
pub const fn entry_named(file: &'static [u8], name: &str) -> usize {
    let entries = section(file, offset_of!(Header, entries));
    let mut index = 0;
    while let Some(at) = record(file, entries, index, size_of::<EntryRecord>()) {
        let found = string_at(file, u32_at(file, at + offset_of!(EntryRecord, name)));
        if same(found.as_bytes(), name.as_bytes()) {
            return index;
        }
        index += 1;
    }
    usize::MAX
}

/// Number of the input, or with `output` of the output, of this name; one that none has, where there is none.
pub const fn port_named(file: &'static [u8], entry: usize, name: &str, output: bool) -> usize {
    let mut index = 0;
    while let Some(port) = port_at(file, entry, index, output) {
        if same(port.name.as_bytes(), name.as_bytes()) {
            return index;
        }
        index += 1;
    }
    usize::MAX
}

const fn string_at(file: &'static [u8], offset: u32) -> &'static str {
    let (_, strings) = file.split_at(section(file, offset_of!(Header, strings)).offset as usize);
    let (_, text) = strings.split_at(offset as usize + 2);
    let len = u16_at(strings, offset as usize) as usize;
    match core::str::from_utf8(text.split_at(len).0) {
        Ok(text) => text,
        Err(_) => panic!("a name in the file is not UTF-8"),
    }
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

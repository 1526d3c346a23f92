//! Files written record by record. Parameters are words in the order of docs/reference/format.md, so that no definition of the runtime's takes part.

use attn_runtime::format::{
    DType, Encoding, EntryRecord, FILE_ALIGN, HEADER_LEN, Header, LengthMeta, MAGIC, MetaKey,
    MetaRecord, NO_TENSOR, OpKind, OpRecord, RowRule, Section, Storage, TensorRecord, VERSION,
    checksum,
};
use zerocopy::IntoBytes;

/// A parameter: a word, or data among the weights whose offset is the word.
#[derive(Clone, Copy, Debug)]
pub enum Param {
    Int(i32),
    Real(f32),
    /// Pseudo-random bytes.
    Bytes(usize),
    /// Words of one value.
    Words(usize, i32),
}

#[derive(Default)]
pub struct Builder {
    /// The tiny models: in half precision.
    pub(super) half: bool,
    /// The tiny models: with joined weights where operators take them.
    pub(super) joined: bool,
    pub tensors: Vec<TensorRecord>,
    pub ops: Vec<OpRecord>,
    pub entries: Vec<EntryRecord>,
    meta: Vec<MetaRecord>,
    params: Vec<u8>,
    pub weights: Vec<u8>,
    strings: Vec<u8>,
    state_len: u32,
    arena_len: u32,
}

impl Builder {
    pub fn new() -> Self {
        Self {
            strings: vec![0, 0],
            ..Self::default()
        }
    }

    pub fn name(&mut self, name: &str) -> u32 {
        let at = self.strings.len() as u32;
        self.strings
            .extend_from_slice(&(name.len() as u16).to_le_bytes());
        self.strings.extend_from_slice(name.as_bytes());
        at
    }

    /// A tensor behind the last one. State comes before all others.
    pub fn tensor(&mut self, storage: Storage, dtype: DType, rows: usize, channels: usize) -> u16 {
        let bytes = ((rows * channels * dtype.size()) as u32).next_multiple_of(4);
        let offset = self.arena_len;
        self.arena_len += bytes;
        if storage == Storage::State {
            self.state_len = self.arena_len;
        }
        let name = self.name("t");
        self.tensors.push(TensorRecord {
            dtype: dtype as u8,
            storage: storage as u8,
            rank: 2,
            rows_rule: 0,
            dims: [rows as u32, channels as u32, 1, 1, 1, 1],
            offset,
            scale: if dtype == DType::F16 { 1.0 } else { 0.125 },
            zero_point: if dtype == DType::I8 { -3 } else { 0 },
            name,
        });
        self.tensors.len() as u16 - 1
    }

    /// Rows of these tensors vary with the length of the sequence.
    pub fn vary(&mut self, tensors: &[u16]) {
        for &id in tensors {
            self.tensors[usize::from(id)].rows_rule = 1;
        }
    }

    /// An operator with a scratch tensor of so many elements, if any.
    pub fn op(
        &mut self,
        kind: OpKind,
        inputs: &[u16],
        outputs: &[u16],
        scratch: usize,
        params: &[Param],
    ) {
        use OpKind::{AdditiveAttention, Attention, Lstm, Recurrent, WeightedRows};
        let touched = inputs.iter().chain(outputs);
        let half = touched
            .filter_map(|&id| self.tensors.get(usize::from(id)))
            .any(|t| t.dtype() == DType::F16);
        let in_words = matches!(
            kind,
            AdditiveAttention | Attention | Lstm | Recurrent | WeightedRows
        );
        let narrow = inputs.first().is_some_and(|&id| {
            let x = self.tensors.get(usize::from(id));
            x.is_some_and(|x| x.dtype() == DType::I8)
        });
        let encoding = match half {
            true => Encoding::Half,
            false if self.joined && kind.joins() && narrow => Encoding::Joined,
            false => Encoding::Int8,
        };
        let dtype = if half || in_words {
            DType::I32
        } else {
            DType::I16
        };
        let scratch = match scratch {
            0 => NO_TENSOR,
            elements => self.tensor(Storage::Arena, dtype, 1, elements),
        };
        let words: Vec<u32> = params.iter().map(|&param| self.word(param)).collect();
        let (params, params_len) = self.params(words.as_bytes());
        let name = self.name(kind.name());
        self.ops.push(OpRecord {
            kind: kind as u16,
            inputs: padded(inputs),
            outputs: padded(outputs),
            scratch,
            encoding: encoding as u16,
            name,
            params,
            params_len,
        });
    }

    fn word(&mut self, param: Param) -> u32 {
        match param {
            Param::Int(word) => word as u32,
            Param::Real(real) => real.to_bits(),
            Param::Bytes(count) => self.weights((0..count).map(|i| (i * 89 % 251) as u8)),
            Param::Words(count, value) => {
                self.weights((0..count).flat_map(|_| value.to_le_bytes()))
            }
        }
    }

    pub fn entry(&mut self, name: &str, first_op: usize, inputs: &[u16], outputs: &[u16]) {
        let name = self.name(name);
        self.entries.push(EntryRecord {
            name,
            first_op: first_op as u32,
            op_count: (self.ops.len() - first_op) as u32,
            inputs: padded(inputs),
            outputs: padded(outputs),
            input_names: [0; 8],
            output_names: [0; 8],
        });
    }

    fn params(&mut self, bytes: &[u8]) -> (u32, u32) {
        let at = self.params.len() as u32;
        self.params.extend_from_slice(bytes);
        self.params.resize(self.params.len().next_multiple_of(4), 0);
        (at, bytes.len() as u32)
    }

    pub fn meta(&mut self, key: MetaKey, count: usize, payload: &[u8]) {
        let (offset, len) = self.params(payload);
        self.meta.push(MetaRecord {
            key: key as u16,
            count: count as u16,
            offset,
            len,
        });
    }

    /// Labels, symbols or tokens.
    pub fn names(&mut self, key: MetaKey, names: &[&str]) {
        let names: Vec<u32> = names.iter().map(|name| self.name(name)).collect();
        self.meta(key, names.len(), names.as_bytes());
    }

    /// The greatest length, with the one rule that tensors with varying rows follow.
    pub fn length(&mut self, max: usize) {
        let (length, rule) = (
            LengthMeta { max: max as u32 },
            RowRule { add: 0, divisor: 1 },
        );
        let payload = [length.as_bytes(), rule.as_bytes()].concat();
        self.meta(MetaKey::Length, 1, &payload);
    }

    /// Data behind the other weights; its offset.
    pub fn weights(&mut self, bytes: impl IntoIterator<Item = u8>) -> u32 {
        let at = self.weights.len();
        self.weights.extend(bytes);
        let len = self.weights.len().next_multiple_of(4);
        self.weights.resize(len, 0);
        at as u32
    }

    /// The file.
    pub fn file(self) -> Vec<u8> {
        let mut file = vec![0; HEADER_LEN];
        let mut append = |bytes: &[u8], count: usize| {
            file.resize(file.len().next_multiple_of(FILE_ALIGN), 0);
            let offset = file.len() as u32;
            file.extend_from_slice(bytes);
            Section {
                offset,
                count: count as u32,
            }
        };
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            flags: 0,
            file_len: 0,
            checksum: 0,
            arena_len: self.arena_len,
            state_len: self.state_len,
            tensors: append(self.tensors.as_bytes(), self.tensors.len()),
            ops: append(self.ops.as_bytes(), self.ops.len()),
            entries: append(self.entries.as_bytes(), self.entries.len()),
            meta: append(self.meta.as_bytes(), self.meta.len()),
            params: append(&self.params, self.params.len()),
            weights: append(&self.weights, self.weights.len()),
            strings: append(&self.strings, self.strings.len()),
        };
        file[..HEADER_LEN].copy_from_slice(header.as_bytes());
        sealed(file)
    }
}

fn padded<const N: usize>(ids: &[u16]) -> [u16; N] {
    core::array::from_fn(|i| ids.get(i).copied().unwrap_or(NO_TENSOR))
}

/// `file` with length and checksum as they should be.
pub fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let len = file.len() as u32;
    file[8..12].copy_from_slice(&len.to_le_bytes());
    let sum = checksum(&file);
    file[12..16].copy_from_slice(&sum.to_le_bytes());
    file
}

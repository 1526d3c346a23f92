//! A program: the contents of an `.attn` file, with tensors and operators by number, before memory planning.
//!
//! [`crate::lower`] writes it, [`crate::plan`] finds places in the arena, [`crate::emit`] makes the bytes.

use crate::quantize::Quant;
use attn_runtime::format::{DType, Encoding, OpKind, RowRule};
use zerocopy::{Immutable, IntoBytes};

/// Number of a tensor in [`Program::tensors`].
pub type TensorId = usize;

/// Where a tensor's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere in the arena while it is in use.
    Arena,
    /// Kept between runs; starts from the tensor's zero point.
    State,
    /// Kept between runs like state, but written by one entry point for another, which does not change it.
    Shared,
    /// Inside another tensor.
    Within {
        /// The other tensor.
        tensor: TensorId,
        /// Bytes from its start.
        offset: usize,
    },
}

/// One tensor.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Name in reports: the graph value's, if there is one.
    pub name: String,
    /// Dimensions, channels last.
    pub dims: Vec<usize>,
    /// Type, scale and zero point.
    pub quant: Quant,
    /// Its place in memory.
    pub place: Place,
    /// Number, from 1, of the rule in [`Program::row_rules`] for the valid rows; 0: all of them.
    pub rows_rule: u8,
}

impl Tensor {
    /// Size in bytes.
    pub fn byte_len(&self) -> usize {
        self.dims.iter().product::<usize>() * self.quant.dtype.size()
    }
}

/// One operator.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Name in reports: the graph node's.
    pub name: String,
    /// What it computes.
    pub kind: OpKind,
    /// How its weights and activations are encoded.
    pub encoding: Encoding,
    /// Tensors read.
    pub inputs: Vec<TensorId>,
    /// Tensors written.
    pub outputs: Vec<TensorId>,
    /// Scratch, if it needs any.
    pub scratch: Option<TensorId>,
    /// Parameter record.
    pub params: Vec<u8>,
}

/// One entry point: a run of operators.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Operators of [`Program::ops`].
    pub ops: core::ops::Range<usize>,
    /// Tensors that the caller fills.
    pub inputs: Vec<TensorId>,
    /// Tensors that the caller reads.
    pub outputs: Vec<TensorId>,
    /// Names of the inputs in the original model.
    pub input_names: Vec<String>,
    /// Names of the outputs in the original model; the tensor's name where there is none.
    pub output_names: Vec<String>,
}

/// The whole program.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// All tensors.
    pub tensors: Vec<Tensor>,
    /// All operators, entry by entry, in order of execution.
    pub ops: Vec<Operator>,
    /// The entry points.
    pub entries: Vec<Entry>,
    /// The weights section.
    pub weights: Vec<u8>,
    /// Whether weights are joined, two in a halfword, where they can be.
    pub joins: bool,
    /// Length of the longest sequence; 0 where none varies.
    pub max_length: usize,
    /// Row rules: the number of rows of tensors for the length of a sequence.
    pub row_rules: Vec<RowRule>,
    /// Words of the weights section.
    words: Words,
}

/// Bytes at whose multiples weights start.
const ALIGN: usize = 4;

/// Words that may be in the weights section, by bits of their hashes: for a new one, the section need not be searched.
#[derive(Clone, Debug, Default)]
struct Words(Vec<u64>);

impl Words {
    const BITS: u32 = 23;

    fn place(word: [u8; ALIGN]) -> (usize, u64) {
        let hash = u32::from_le_bytes(word).wrapping_mul(0x9e37_79b1) >> (32 - Self::BITS);
        (hash as usize / 64, 1 << (hash % 64))
    }

    fn insert(&mut self, word: [u8; ALIGN]) {
        self.0.resize((1 << Self::BITS) / 64, 0);
        let (at, bit) = Self::place(word);
        self.0[at] |= bit;
    }

    fn may_have(&self, word: [u8; ALIGN]) -> bool {
        let (at, bit) = Self::place(word);
        self.0.get(at).is_some_and(|bits| bits & bit != 0)
    }
}

impl Program {
    /// An empty program for sequences of at most this length.
    pub fn new(max_length: usize) -> Self {
        Self {
            max_length,
            ..Self::default()
        }
    }

    /// Adds a tensor.
    pub fn tensor(
        &mut self,
        name: impl Into<String>,
        dims: &[usize],
        quant: Quant,
        place: Place,
    ) -> TensorId {
        self.tensors.push(Tensor {
            name: name.into(),
            dims: dims.to_vec(),
            quant,
            place,
            rows_rule: 0,
        });
        self.tensors.len() - 1
    }

    /// The number of a row rule; equal rules have one number.
    pub fn rows_rule(&mut self, rule: RowRule) -> u8 {
        let found = self.row_rules.iter().position(|&known| known == rule);
        let at = found.unwrap_or_else(|| {
            self.row_rules.push(rule);
            self.row_rules.len() - 1
        });
        at as u8 + 1
    }

    /// Adds scratch of `len` elements.
    pub fn scratch(&mut self, node: &str, dtype: DType, len: usize) -> TensorId {
        let quant = Quant {
            dtype,
            ..Quant::COUNTER
        };
        self.tensor(format!("{node}.scratch"), &[len], quant, Place::Arena)
    }

    /// Adds data to the weights section and returns its offset; equal data are stored once.
    pub fn weights<T: IntoBytes + Immutable>(&mut self, data: &[T]) -> u32 {
        let bytes = data.as_bytes();
        if let Some(at) = self.found(bytes) {
            return at as u32;
        }
        let at = self.weights.len();
        self.weights.extend_from_slice(bytes);
        self.weights
            .resize(self.weights.len().next_multiple_of(ALIGN), 0);
        let added = self.weights[at..].as_chunks().0;
        added.iter().for_each(|&word| self.words.insert(word));
        at as u32
    }

    /// Where the weights section has `bytes` already, at a multiple of [`ALIGN`].
    fn found(&self, bytes: &[u8]) -> Option<usize> {
        let equal = |at: &usize| self.weights.get(*at..at + bytes.len()) == Some(bytes);
        let words = self.weights.as_chunks::<ALIGN>().0.iter().enumerate();
        match bytes.first_chunk::<ALIGN>() {
            Some(first) if !self.words.may_have(*first) => None,
            // Few places begin alike, so few are compared in full.
            Some(first) => (words.filter(|(_, word)| *word == first))
                .map(|(at, _)| at * ALIGN)
                .find(equal),
            None if bytes.is_empty() => None,
            None => words.map(|(at, _)| at * ALIGN).find(equal),
        }
    }

    /// Bytes that all tensors would take without sharing.
    pub fn unshared_len(&self) -> usize {
        let tensors = 0..self.tensors.len();
        let own = tensors.filter(|&id| self.base(id).0 == id);
        own.map(|id| self.tensors[id].byte_len()).sum()
    }

    /// The tensor whose bytes hold `id`, and the offset in it.
    pub fn base(&self, id: TensorId) -> (TensorId, usize) {
        match self.tensors[id].place {
            Place::Within { tensor, offset } => {
                let (base, rest) = self.base(tensor);
                (base, rest + offset)
            }
            Place::Arena | Place::State | Place::Shared => (id, 0),
        }
    }
}

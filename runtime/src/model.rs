//! `Model`: a parsed file. Parsing validates everything once, so that running needs no checks of its own.
//!
//! Here are the checks of the file as a whole: header, sections, names, tensors, entry points, and the flow
//! of data through the arena. What each operator demands of its tensors and parameters stands in [`crate::ops`].

use crate::format::{
    self, AudioMeta, DType, EntryRecord, FILE_ALIGN, HEADER_LEN, Header, MAGIC, MAX_RANK, MetaKey,
    MetaRecord, NO_TENSOR, OpRecord, Section, SpotterMeta, Storage, TensorRecord, VERSION,
};
use crate::ops::{OpError, OpView};
use core::fmt;
use core::ops::Range;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// A validated `.attn` file. Copying it copies a few references.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    header: &'a Header,
    tensors: &'a [TensorRecord],
    ops: &'a [OpRecord],
    entries: &'a [EntryRecord],
    meta: &'a [MetaRecord],
    params: &'a [u8],
    weights: &'a [u8],
    strings: &'a [u8],
}

/// Why a byte string is not a model that can run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ModelError {
    /// Shorter than a header.
    TooShort {
        /// Bytes given.
        len: usize,
    },
    /// The bytes do not start at a multiple of 16 in memory.
    Misaligned,
    /// The first four bytes are not `ATTN`.
    BadMagic,
    /// Written for another version of the format.
    UnsupportedVersion {
        /// Version in the file.
        found: u16,
    },
    /// The header states another length than the file has.
    WrongLength {
        /// Length in the header.
        stated: u32,
        /// Length given.
        actual: usize,
    },
    /// The bytes were changed after they were written.
    BadChecksum {
        /// Checksum in the header.
        stated: u32,
        /// Checksum of the bytes.
        actual: u32,
    },
    /// A section is misplaced.
    BadSection {
        /// Byte offset in the file that the header gives.
        offset: u32,
    },
    /// A name is out of bounds or not UTF-8.
    BadString {
        /// Offset in the strings section.
        offset: u32,
    },
    /// A tensor record breaks the rules of the format.
    BadTensor {
        /// Number of the tensor.
        tensor: u16,
        /// Rule broken.
        reason: TensorError,
    },
    /// An operator breaks its contract.
    BadOp {
        /// Number of the operator.
        op: u16,
        /// Rule broken.
        reason: OpError,
    },
    /// An operator or an entry point reads bytes of the arena that no one has written, or that were overwritten.
    StaleRead {
        /// Number of the operator; `u16::MAX` for the outputs of the entry point.
        op: u16,
        /// Number of the tensor.
        tensor: u16,
    },
    /// An entry point names operators or tensors that do not exist.
    BadEntry {
        /// Number of the entry point.
        entry: u16,
    },
    /// A metadata record is out of bounds or of the wrong length.
    BadMeta {
        /// Number of the record.
        record: u16,
    },
}

/// Why a tensor record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TensorError {
    /// Unknown element type or storage.
    UnknownCode,
    /// Rank outside 1 to 4, a zero dimension, or a size that overflows.
    BadShape,
    /// Not inside its part of the arena, or not at a multiple of 4.
    OutOfArena,
    /// Scale not finite and positive, or zero point outside the element type.
    BadQuantization,
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort { len } => {
                write!(
                    f,
                    "{len} bytes are no .attn file: the header alone has {HEADER_LEN}; is the file truncated?"
                )
            }
            Self::Misaligned => write!(
                f,
                "the model does not start at a multiple of 16: use include_model!"
            ),
            Self::BadMagic => write!(
                f,
                "not an .attn file: it does not start with ATTN; convert the model with `attn convert`"
            ),
            Self::UnsupportedVersion { found } => {
                write!(
                    f,
                    "format version {found}, this runtime reads version {VERSION}: convert the model again"
                )
            }
            Self::WrongLength { stated, actual } => {
                write!(
                    f,
                    "the header states {stated} bytes, the file has {actual}: it is truncated or has bytes appended"
                )
            }
            Self::BadChecksum { stated, actual } => write!(
                f,
                "checksum {actual:#010x}, the header states {stated:#010x}: the file is damaged, convert or copy it again"
            ),
            Self::BadSection { offset } => write!(
                f,
                "the section at byte {offset} lies outside the file or is misaligned"
            ),
            Self::BadString { offset } => write!(
                f,
                "the name at byte {offset} of the strings is out of bounds or not UTF-8"
            ),
            Self::BadTensor { tensor, reason } => write!(f, "tensor {tensor}: {reason}"),
            Self::BadOp { op, reason } => write!(f, "operator {op}: {reason}"),
            Self::StaleRead {
                op: u16::MAX,
                tensor,
            } => {
                write!(
                    f,
                    "output tensor {tensor} is never written or overwritten before the end"
                )
            }
            Self::StaleRead { op, tensor } => {
                write!(
                    f,
                    "operator {op} reads tensor {tensor}, which is not written before it or was overwritten"
                )
            }
            Self::BadEntry { entry } => write!(
                f,
                "entry point {entry} names operators or tensors that do not exist"
            ),
            Self::BadMeta { record } => write!(
                f,
                "metadata record {record} is out of bounds or of the wrong length"
            ),
        }
    }
}

impl fmt::Display for TensorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownCode => "unknown element type or storage",
            Self::BadShape => "rank outside 1 to 4, a zero dimension or a size that overflows",
            Self::OutOfArena => "outside its part of the arena or not at a multiple of 4",
            Self::BadQuantization => {
                "scale not finite and positive, or zero point outside the element type"
            }
        })
    }
}

impl core::error::Error for ModelError {}

impl<'a> Model<'a> {
    /// Checks `file` from the first byte to the last and returns it as a model.
    ///
    /// `file` must start at a multiple of 16 ([`include_model!`](crate::include_model) sees to that). Any byte
    /// string at all gives a model or an error; a model that was accepted cannot fail while it runs.
    ///
    /// # Errors
    /// [`ModelError`], which names the rule that the file breaks.
    pub fn parse(file: &'a [u8]) -> Result<Self, ModelError> {
        let header = parse_header(file)?;
        let model = Self {
            header,
            tensors: records(file, header.tensors)?,
            ops: records(file, header.ops)?,
            entries: records(file, header.entries)?,
            meta: records(file, header.meta)?,
            params: records(file, header.params)?,
            weights: records(file, header.weights)?,
            strings: records(file, header.strings)?,
        };
        model.check_tensors()?;
        model.check_ops()?;
        model.check_entries()?;
        model.check_meta()?;
        Ok(model)
    }

    /// Bytes of arena that a session of this model needs.
    pub fn arena_len(&self) -> usize {
        self.header.arena_len as usize
    }

    /// Bytes at the start of the arena that hold state between runs.
    pub fn state_len(&self) -> usize {
        self.header.state_len as usize
    }

    /// Length in bytes of weights, biases, multipliers and tables.
    pub fn weights_len(&self) -> usize {
        self.weights.len()
    }

    /// All tensors.
    pub fn tensors(&self) -> &'a [TensorRecord] {
        self.tensors
    }

    /// All operators, entry by entry, in execution order.
    pub fn ops(&self) -> &'a [OpRecord] {
        self.ops
    }

    /// All entry points.
    pub fn entries(&self) -> &'a [EntryRecord] {
        self.entries
    }

    /// Number of the entry point called `name`.
    pub fn entry(&self, name: &str) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| self.name(entry.name) == name)
    }

    /// The name at `offset` in the strings section, as tensor, operator and entry records give it.
    pub fn name(&self, offset: u32) -> &'a str {
        string_at(self.strings, offset).unwrap_or("")
    }

    /// Class names, in the order of the logits.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        let offsets = self
            .payload(MetaKey::Labels)
            .and_then(|(_, bytes)| <[u32]>::ref_from_bytes(bytes).ok());
        let model = *self;
        offsets
            .unwrap_or(&[])
            .iter()
            .map(move |&offset| model.name(offset))
    }

    /// The audio front end that the model expects, if its input is audio.
    pub fn audio(&self) -> Option<&'a AudioMeta> {
        AudioMeta::ref_from_bytes(self.payload(MetaKey::Audio)?.1).ok()
    }

    /// How posteriors become keyword events: parameters and one Q15 threshold per label.
    pub fn spotter(&self) -> Option<(&'a SpotterMeta, &'a [u16])> {
        let (count, bytes) = self.payload(MetaKey::Spotter)?;
        let (spotter, thresholds) = SpotterMeta::ref_from_prefix(bytes).ok()?;
        Some((
            spotter,
            <[u16]>::ref_from_prefix_with_elems(thresholds, count)
                .ok()?
                .0,
        ))
    }

    /// Tensor number `id`, as ids in operator and entry records give it.
    pub fn tensor(&self, id: usize) -> Option<&'a TensorRecord> {
        self.tensors.get(id)
    }

    pub(crate) fn op(&self, id: usize) -> Option<OpView<'a>> {
        self.ops.get(id).map(|record| OpView::new(*self, record))
    }

    pub(crate) fn params(&self, offset: u32, len: u32) -> Option<&'a [u8]> {
        slice(self.params, offset, len as usize)
    }

    /// `len` records of type `T` at byte `offset` of the weights section.
    pub(crate) fn weights<T>(&self, offset: u32, len: usize) -> Option<&'a [T]>
    where
        T: FromBytes + Immutable + KnownLayout,
    {
        let bytes = slice(self.weights, offset, len.checked_mul(size_of::<T>())?)?;
        <[T]>::ref_from_bytes(bytes).ok()
    }

    fn payload(&self, key: MetaKey) -> Option<(usize, &'a [u8])> {
        let record = self.meta.iter().find(|record| record.key == key as u16)?;
        Some((
            record.count as usize,
            self.params(record.offset, record.len)?,
        ))
    }

    fn check_name(&self, offset: u32) -> Result<(), ModelError> {
        string_at(self.strings, offset)
            .map(drop)
            .ok_or(ModelError::BadString { offset })
    }

    fn check_tensors(&self) -> Result<(), ModelError> {
        for (id, tensor) in self.tensors.iter().enumerate() {
            self.check_tensor(tensor)
                .map_err(|reason| ModelError::BadTensor {
                    tensor: id as u16,
                    reason,
                })?;
            self.check_name(tensor.name)?;
        }
        Ok(())
    }

    fn check_tensor(&self, tensor: &TensorRecord) -> Result<(), TensorError> {
        let dtype = DType::from_code(tensor.dtype).ok_or(TensorError::UnknownCode)?;
        let storage = Storage::from_code(tensor.storage).ok_or(TensorError::UnknownCode)?;
        let rank = tensor.rank as usize;
        let unused = tensor.dims.get(rank..).ok_or(TensorError::BadShape)?;
        if !(1..=MAX_RANK).contains(&rank)
            || tensor.dims.contains(&0)
            || unused.iter().any(|&d| d != 1)
        {
            return Err(TensorError::BadShape);
        }
        let bytes = tensor
            .checked_len()
            .and_then(|len| len.checked_mul(dtype.size()))
            .ok_or(TensorError::BadShape)?;
        let end = (tensor.offset as usize)
            .checked_add(bytes)
            .ok_or(TensorError::OutOfArena)?;
        let (first, last) = match storage {
            Storage::State => (0, self.state_len()),
            Storage::Arena => (self.state_len(), self.arena_len()),
        };
        if !tensor.offset.is_multiple_of(4) || (tensor.offset as usize) < first || end > last {
            return Err(TensorError::OutOfArena);
        }
        let zero_points = match dtype {
            DType::I8 => -128..=127,
            DType::I16 => 0..=0,
            // A counter's zero point is the value that it starts from.
            DType::I32 => i32::MIN..=i32::MAX,
        };
        let scaled = tensor.scale.is_finite() && tensor.scale > 0.0;
        if !scaled || !zero_points.contains(&tensor.zero_point) {
            return Err(TensorError::BadQuantization);
        }
        Ok(())
    }

    fn check_ops(&self) -> Result<(), ModelError> {
        if self.ops.len() >= NO_TENSOR as usize || self.tensors.len() >= NO_TENSOR as usize {
            return Err(ModelError::BadSection {
                offset: self.header.ops.offset,
            });
        }
        for (id, record) in self.ops.iter().enumerate() {
            let view = OpView::new(*self, record);
            view.check().map_err(|reason| ModelError::BadOp {
                op: id as u16,
                reason,
            })?;
            self.check_name(record.name)?;
        }
        Ok(())
    }

    fn check_entries(&self) -> Result<(), ModelError> {
        for (id, entry) in self.entries.iter().enumerate() {
            let bad = ModelError::BadEntry { entry: id as u16 };
            let ops = self.ops.get(entry.ops()).ok_or(bad)?;
            let mut io = entry.inputs().chain(entry.outputs());
            if !io.all(|tensor| self.tensor(tensor).is_some()) {
                return Err(bad);
            }
            self.check_name(entry.name)?;
            self.check_flow(entry, ops)?;
        }
        Ok(())
    }

    /// Every read in the arena must see exactly what the last writer of those bytes put there as a tensor.
    fn check_flow(&self, entry: &EntryRecord, ops: &[OpRecord]) -> Result<(), ModelError> {
        for (at, op) in ops.iter().enumerate() {
            let before = ops.get(..at).unwrap_or(&[]);
            for tensor in op.inputs() {
                self.check_read(entry, before, tensor)
                    .ok_or(ModelError::StaleRead {
                        op: (entry.ops().start + at) as u16,
                        tensor: tensor as u16,
                    })?;
            }
        }
        for tensor in entry.outputs() {
            self.check_read(entry, ops, tensor)
                .ok_or(ModelError::StaleRead {
                    op: u16::MAX,
                    tensor: tensor as u16,
                })?;
        }
        Ok(())
    }

    fn check_read(&self, entry: &EntryRecord, before: &[OpRecord], tensor: usize) -> Option<()> {
        let tensor = self.tensor(tensor)?;
        if tensor.storage() == Storage::State {
            return Some(());
        }
        let read = tensor.range();
        let holds = |id: usize| {
            self.tensor(id)
                .is_some_and(|t| contains(&t.range(), &read) && t.dtype == tensor.dtype)
        };
        let touches = |id: usize| self.tensor(id).is_some_and(|t| overlap(&t.range(), &read));
        for op in before.iter().rev() {
            if op.scratch().is_some_and(touches) {
                return None;
            }
            if op.outputs().any(touches) {
                return op.outputs().any(holds).then_some(());
            }
        }
        entry.inputs().any(holds).then_some(())
    }

    fn check_meta(&self) -> Result<(), ModelError> {
        for (id, record) in self.meta.iter().enumerate() {
            let bad = ModelError::BadMeta { record: id as u16 };
            let bytes = self.params(record.offset, record.len).ok_or(bad)?;
            let count = record.count as usize;
            let fits = match record.key {
                key if key == MetaKey::Labels as u16 => bytes.len() == count * size_of::<u32>(),
                key if key == MetaKey::Audio as u16 => bytes.len() == size_of::<AudioMeta>(),
                key if key == MetaKey::Spotter as u16 => {
                    bytes.len()
                        == size_of::<SpotterMeta>() + (count * size_of::<u16>()).next_multiple_of(4)
                }
                _ => true,
            };
            if !fits || !record.offset.is_multiple_of(4) {
                return Err(bad);
            }
        }
        let offsets = self
            .payload(MetaKey::Labels)
            .and_then(|(_, bytes)| <[u32]>::ref_from_bytes(bytes).ok());
        offsets
            .unwrap_or(&[])
            .iter()
            .try_for_each(|&offset| self.check_name(offset))
    }
}

fn parse_header(file: &[u8]) -> Result<&Header, ModelError> {
    if file.len() < HEADER_LEN {
        return Err(ModelError::TooShort { len: file.len() });
    }
    if !(file.as_ptr() as usize).is_multiple_of(FILE_ALIGN) {
        return Err(ModelError::Misaligned);
    }
    let (header, _) = Header::ref_from_prefix(file).map_err(|_| ModelError::Misaligned)?;
    if header.magic != MAGIC {
        return Err(ModelError::BadMagic);
    }
    if header.version != VERSION {
        return Err(ModelError::UnsupportedVersion {
            found: header.version,
        });
    }
    if header.file_len as usize != file.len() {
        return Err(ModelError::WrongLength {
            stated: header.file_len,
            actual: file.len(),
        });
    }
    let actual = format::checksum(file);
    if header.checksum != actual {
        return Err(ModelError::BadChecksum {
            stated: header.checksum,
            actual,
        });
    }
    Ok(header)
}

fn records<T>(file: &[u8], section: Section) -> Result<&[T], ModelError>
where
    T: FromBytes + Immutable + KnownLayout,
{
    let bad = ModelError::BadSection {
        offset: section.offset,
    };
    if !(section.offset as usize).is_multiple_of(FILE_ALIGN) {
        return Err(bad);
    }
    let len = (section.count as usize)
        .checked_mul(size_of::<T>())
        .ok_or(bad)?;
    let bytes = slice(file, section.offset, len).ok_or(bad)?;
    <[T]>::ref_from_bytes(bytes).map_err(|_| bad)
}

fn slice(bytes: &[u8], offset: u32, len: usize) -> Option<&[u8]> {
    let start = offset as usize;
    bytes.get(start..start.checked_add(len)?)
}

fn string_at(strings: &[u8], offset: u32) -> Option<&str> {
    let (len, _) = u16::read_from_prefix(strings.get(offset as usize..)?).ok()?;
    core::str::from_utf8(slice(strings, offset.checked_add(2)?, len as usize)?).ok()
}

fn contains(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

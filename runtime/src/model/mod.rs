//! `Model`: a parsed file. Parsing validates everything once, so that running needs no checks of its own.
//!
//! Here are the header, the sections and access to records. [`check`] has the rules for their contents, [`error`] the
//! errors for a file that breaks one.

mod check;
mod decode;
mod error;
mod flow;
mod limits;
#[cfg(feature = "signed")]
mod signed;

pub use error::{Limited, ModelError, TensorError};
pub use limits::Limits;
#[cfg(all(feature = "signed", feature = "internals"))]
pub use signed::signed_parts;
#[cfg(feature = "signed")]
pub use signed::{SignedError, Trust};

use crate::format::{
    self, AudioMeta, EntryRecord, FILE_ALIGN, HEADER_LEN, Header, LengthMeta, MAGIC, MAX_ENTRY_IO,
    MAX_NAME_LEN, MetaKey, MetaRecord, OpRecord, RowRule, Section, SignatureMeta, SpotterMeta,
    TensorRecord, VERSION,
};
use crate::ops::{OpView, Operators, Work, require};
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
    /// Longest sequence; 0 without metadata Length.
    max_length: u32,
    /// Rules of metadata Length, numbered from 1.
    row_rules: &'a [RowRule],
    /// The operators that the program links for this model.
    operators: &'static Operators,
}

impl<'a> Model<'a> {
    /// Checks `file` from the first byte to the last and returns it as a model. The program then has every operator; the `model` of
    /// [`include_model!`](crate::include_model) and [`Model::parse_linked`] leave out those that are not used.
    ///
    /// `file` must start at a multiple of 16 ([`include_model!`](crate::include_model) sees to that). Any byte
    /// string at all gives a model or an error; a model that was accepted cannot fail while it runs.
    ///
    /// # Errors
    /// [`ModelError`], which names the rule that the file breaks.
    pub fn parse(file: &'a [u8]) -> Result<Self, ModelError> {
        Self::parse_linked(file, Operators::all())
    }

    /// [`Model::parse`] in a program that has these operators.
    ///
    /// # Errors
    /// [`ModelError`]; [`ModelError::NotLinked`] names an operator of the file that is not in the set.
    pub fn parse_linked(file: &'a [u8], operators: &'static Operators) -> Result<Self, ModelError> {
        Self::parse_with(file, operators, &Limits::default())
    }

    /// The same within other limits. Time is linear in the length of the file.
    ///
    /// # Errors
    /// [`ModelError`]; [`ModelError::TooMuchWork`] for a model whose run asks for more than `limits`.
    pub fn parse_with(
        file: &'a [u8],
        operators: &'static Operators,
        limits: &Limits,
    ) -> Result<Self, ModelError> {
        let header = parse_header(file)?;
        let mut model = Self {
            header,
            tensors: records(file, header.tensors)?,
            ops: records(file, header.ops)?,
            entries: records(file, header.entries)?,
            meta: records(file, header.meta)?,
            params: records(file, header.params)?,
            weights: records(file, header.weights)?,
            strings: records(file, header.strings)?,
            max_length: 0,
            row_rules: &[],
            operators,
        };
        if let Some((length, rules)) = model.length() {
            (model.max_length, model.row_rules) = (length.max, rules);
        }
        let lengths = model.max_length == 0 || operators.rows_vary();
        require(lengths, ModelError::LengthsNotLinked)?;
        model.check(file.len(), limits)?;
        Ok(model)
    }

    /// The length in bytes of a file that begins with `start`: so that one who receives it in pieces knows early whether it fits. Its first 80
    /// bytes are enough; nothing behind them is looked at.
    ///
    /// # Errors
    /// [`ModelError::TooShort`] for fewer bytes, [`ModelError::BadMagic`], [`ModelError::UnsupportedVersion`],
    /// [`ModelError::UnknownFlags`].
    pub fn file_len(start: &[u8]) -> Result<usize, ModelError> {
        let short = |_| ModelError::TooShort { len: start.len() };
        let (header, _) = Header::read_from_prefix(start).map_err(short)?;
        check_header(&header)?;
        Ok(header.file_len as usize)
    }

    /// The work of one run of an entry point, at the greatest length of a sequence; none for one that does not exist.
    pub fn work(&self, entry: usize) -> Option<Work> {
        self.work_of(self.entries.get(entry)?.ops()).ok()
    }

    /// The same of operator number `op` of [`Model::ops`].
    #[cfg(feature = "internals")]
    pub fn op_work(&self, op: usize) -> Option<Work> {
        self.ops.get(op)?;
        self.work_of(op..op + 1).ok()
    }

    pub(crate) fn operators(&self) -> &'static Operators {
        self.operators
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

    /// Names of an entry point's inputs, as the original model has them.
    pub fn input_names(&self, entry: &EntryRecord) -> impl Iterator<Item = &'a str> + use<'a> {
        self.io_names(entry.inputs, entry.input_names)
    }

    /// Names of an entry point's outputs, as the original model has them.
    pub fn output_names(&self, entry: &EntryRecord) -> impl Iterator<Item = &'a str> + use<'a> {
        self.io_names(entry.outputs, entry.output_names)
    }

    fn io_names(
        &self,
        tensors: [u16; MAX_ENTRY_IO],
        names: [u32; MAX_ENTRY_IO],
    ) -> impl Iterator<Item = &'a str> + use<'a> {
        let model = *self;
        let pairs = tensors.into_iter().zip(names);
        pairs.map_while(move |(id, name)| {
            let tensor = model.tensor(id.into())?;
            Some(model.name(if name == 0 { tensor.name } else { name }))
        })
    }

    /// Class names, in the order of the logits.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        self.names(MetaKey::Labels)
    }

    /// The audio front end that the model expects, if its input is audio.
    pub fn audio(&self) -> Option<&'a AudioMeta> {
        AudioMeta::ref_from_bytes(self.payload(MetaKey::Audio)?.1).ok()
    }

    /// Which model it is and who made it, if the file says so. Nothing is checked here: see `Model::parse_signed`.
    pub fn signature(&self) -> Option<&'a SignatureMeta> {
        SignatureMeta::ref_from_bytes(self.payload(MetaKey::Signature)?.1).ok()
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

    /// Longest sequence that the model takes; 0 for a model without an axis of variable length.
    pub fn max_length(&self) -> usize {
        self.max_length as usize
    }

    fn length(&self) -> Option<(&'a LengthMeta, &'a [RowRule])> {
        let (count, bytes) = self.payload(MetaKey::Length)?;
        let (length, rules) = LengthMeta::ref_from_prefix(bytes).ok()?;
        let rules = <[RowRule]>::ref_from_bytes(rules).ok()?;
        Some((length, rules.get(..count)?))
    }

    /// The rule that gives the rows of tensors with this number in their record; `None` for 0.
    pub(crate) fn row_rule(&self, number: usize) -> Option<&'a RowRule> {
        self.row_rules.get(number.checked_sub(1)?)
    }

    /// Rows of `tensor` that are in use for a sequence of `length`.
    pub(crate) fn active_rows(&self, tensor: &TensorRecord, length: usize) -> usize {
        self.operators.rows(self, tensor, length)
    }

    /// The same by the rule of the tensor.
    pub(crate) fn varying_rows(&self, tensor: &TensorRecord, length: usize) -> usize {
        let Some(rule) = self.row_rule(tensor.rows_rule.into()) else {
            return tensor.rows();
        };
        let first = tensor.dims[0] as usize;
        let per_row = tensor.rows().checked_div(first).unwrap_or(0);
        per_row * rule.rows(length).min(first)
    }

    /// Bytes of the arena that `tensor` covers for a sequence of `length`.
    pub(crate) fn active_range(
        &self,
        tensor: &TensorRecord,
        length: usize,
    ) -> core::ops::Range<usize> {
        if tensor.rows_rule == 0 || !self.operators.rows_vary() {
            return tensor.range();
        }
        let row = tensor.channels() * tensor.dtype().size();
        let start = tensor.offset as usize;
        start..start + self.active_rows(tensor, length) * row
    }

    pub(crate) fn op(&self, id: usize, length: usize) -> Option<OpView<'a>> {
        self.ops
            .get(id)
            .map(|record| OpView::new(*self, record, length))
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

    /// The names under `key`, each by its offset in the strings section.
    fn name_offsets(&self, key: MetaKey) -> &'a [u32] {
        self.payload(key)
            .and_then(|(_, bytes)| <[u32]>::ref_from_bytes(bytes).ok())
            .unwrap_or(&[])
    }

    fn names(&self, key: MetaKey) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        let model = *self;
        let offsets = self.name_offsets(key).iter();
        offsets.map(move |&offset| model.name(offset))
    }

    fn payload(&self, key: MetaKey) -> Option<(usize, &'a [u8])> {
        let record = self.meta.iter().find(|record| record.key == key as u16)?;
        Some((
            record.count as usize,
            self.params(record.offset, record.len)?,
        ))
    }
}

fn parse_header(file: &[u8]) -> Result<&Header, ModelError> {
    let len = file.len();
    require(len >= HEADER_LEN, ModelError::TooShort { len })?;
    let aligned = (file.as_ptr() as usize).is_multiple_of(FILE_ALIGN);
    require(aligned, ModelError::Misaligned)?;
    let (header, _) = Header::ref_from_prefix(file).map_err(|_| ModelError::Misaligned)?;
    check_header(header)?;
    let (stated, actual) = (header.file_len, len);
    let complete = stated as usize == actual;
    require(complete, ModelError::WrongLength { stated, actual })?;
    let (stated, actual) = (header.checksum, format::checksum(file));
    require(stated == actual, ModelError::BadChecksum { stated, actual })?;
    Ok(header)
}

/// Whether the file is of this format, of this version, without features that this runtime does not know.
fn check_header(header: &Header) -> Result<(), ModelError> {
    require(header.magic == MAGIC, ModelError::BadMagic)?;
    let found = header.version;
    require(found == VERSION, ModelError::UnsupportedVersion { found })?;
    let found = header.flags;
    require(found == 0, ModelError::UnknownFlags { found })
}

fn records<T>(file: &[u8], section: Section) -> Result<&[T], ModelError>
where
    T: FromBytes + Immutable + KnownLayout,
{
    let bad = ModelError::BadSection {
        offset: section.offset,
    };
    require((section.offset as usize).is_multiple_of(FILE_ALIGN), bad)?;
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
    if usize::from(len) > MAX_NAME_LEN {
        return None;
    }
    core::str::from_utf8(slice(strings, offset.checked_add(2)?, len as usize)?).ok()
}

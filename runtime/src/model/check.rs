//! The checks of a file as a whole: limits, tensors, operators, entry points, the flow of data through the arena,
//! metadata. [`crate::ops`] has the rules of each operator for its tensors and parameters.

use super::flow::Flow;
use super::{Limited, Limits, Model, ModelError, TensorError, string_at};
use crate::format::{
    AudioMeta, DType, DecodeMeta, EntryRecord, LengthMeta, MAX_ARENA_LEN, MAX_ENTRY_IO, MAX_META,
    MAX_OPS, MAX_RANK, MetaKey, NO_TENSOR, OpRecord, RowRule, SignatureMeta, SpotterMeta, Storage,
    TensorRecord,
};
use crate::ops::{Audit, OpError, OpView, Work, require};
use core::ops::Range;
use zerocopy::FromBytes;

/// Metadata that are lists of names.
const NAMES: [u16; 3] = [
    MetaKey::Labels as u16,
    MetaKey::Symbols as u16,
    MetaKey::Tokens as u16,
];

/// Limit on the total size of state tensors, as a multiple of the state.
const STATE_VIEWS: usize = 16;

impl Model<'_> {
    /// Checks everything after the header and the places of the sections.
    pub(super) fn check(&self, file_len: usize, limits: &Limits) -> Result<(), ModelError> {
        // Names, tables and weights are gone through once for each record that points to them.
        let audit = Audit::new(file_len.saturating_mul(2));
        self.check_limits()?;
        limits.check_arena(self.arena_len())?;
        self.check_meta(&audit)?;
        self.check_tensors(&audit)?;
        self.check_ops(&audit)?;
        limits.check(audit.work())?;
        self.check_entries(&audit)?;
        self.check_decode(&audit)
    }

    pub(super) fn check_name(&self, offset: u32, audit: &Audit) -> Result<(), ModelError> {
        let name = string_at(self.strings, offset).ok_or(ModelError::BadString { offset })?;
        require(audit.examine(name.len()), ModelError::NamesTooLong)
    }

    /// Bounds on everything that takes parsing or running more than linear time, or more than 32 bits.
    fn check_limits(&self) -> Result<(), ModelError> {
        let state = self
            .tensors
            .iter()
            .filter(|t| t.storage() == Storage::State);
        let state_bytes = state.fold(0usize, |sum, t| {
            sum.saturating_add(
                t.checked_len()
                    .unwrap_or(usize::MAX)
                    .saturating_mul(t.dtype().size()),
            )
        });
        let limits = [
            (Limited::Ops, self.ops.len(), MAX_OPS),
            (Limited::Metadata, self.meta.len(), MAX_META),
            (Limited::Tensors, self.tensors.len(), NO_TENSOR as usize - 1),
            (Limited::ArenaBytes, self.arena_len(), MAX_ARENA_LEN),
            // Views of one state have the same bytes more than once.
            (
                Limited::StateBytes,
                state_bytes,
                STATE_VIEWS.saturating_mul(self.state_len()),
            ),
        ];
        limits.into_iter().try_for_each(|(what, found, limit)| {
            require(found <= limit, ModelError::TooMany { what, found, limit })
        })
    }

    fn check_tensors(&self, audit: &Audit) -> Result<(), ModelError> {
        for (id, tensor) in self.tensors.iter().enumerate() {
            self.check_tensor(tensor)
                .map_err(|reason| ModelError::BadTensor {
                    tensor: id as u16,
                    reason,
                })?;
            self.check_name(tensor.name, audit)?;
        }
        Ok(())
    }

    fn check_tensor(&self, tensor: &TensorRecord) -> Result<(), TensorError> {
        let dtype = DType::from_code(tensor.dtype).ok_or(TensorError::UnknownCode)?;
        let storage = Storage::from_code(tensor.storage).ok_or(TensorError::UnknownCode)?;
        let rank = tensor.rank as usize;
        let unused = tensor.dims.get(rank..).ok_or(TensorError::BadShape)?;
        let ranked = (1..=MAX_RANK).contains(&rank) && unused.iter().all(|&d| d == 1);
        require(ranked && !tensor.dims.contains(&0), TensorError::BadShape)?;
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
        let inside = first <= tensor.offset as usize && end <= last;
        require(
            inside && tensor.offset.is_multiple_of(4),
            TensorError::OutOfArena,
        )?;
        require(dtype != DType::F16 || cfg!(attn_half), TensorError::NoHalf)?;
        let zero_points = match dtype {
            DType::I8 => -128..=127,
            DType::I16 | DType::F16 => 0..=0,
            // A counter's zero point is the value that it starts from.
            DType::I32 => i32::MIN..=i32::MAX,
        };
        if tensor.rows_rule != 0 {
            // At the greatest length the rows in use are all there are.
            let rule = self.row_rule(tensor.rows_rule.into());
            let rows = rule.map(|rule| rule.rows(self.max_length()));
            let fits = rows == Some(tensor.dims[0] as usize) && rank >= 2;
            require(fits, TensorError::BadRowRule)?;
        }
        let scaled = tensor.scale.is_finite() && tensor.scale > 0.0;
        let scaled = scaled && (dtype != DType::F16 || tensor.scale == 1.0);
        let centred = zero_points.contains(&tensor.zero_point);
        require(scaled && centred, TensorError::BadQuantization)
    }

    fn check_ops(&self, audit: &Audit) -> Result<(), ModelError> {
        for (id, record) in self.ops.iter().enumerate() {
            let view = OpView::audited(*self, record, audit);
            view.check()
                .map_err(|reason| self.bad_op(id, record, reason))?;
            self.check_name(record.name, audit)?;
        }
        Ok(())
    }

    /// The work of one run of the operators `ops`, as their checks count it.
    pub(super) fn work_of(&self, ops: Range<usize>) -> Result<Work, OpError> {
        let audit = Audit::new(usize::MAX);
        for record in self.ops.get(ops).unwrap_or(&[]) {
            OpView::audited(*self, record, &audit).check()?;
        }
        Ok(audit.work())
    }

    fn bad_op(&self, id: usize, record: &OpRecord, reason: OpError) -> ModelError {
        let op = id as u16;
        match (reason, record.kind()) {
            (OpError::NotLinked, Some(kind)) => ModelError::NotLinked {
                op,
                kind: self.operators().name(kind),
            },
            _ => ModelError::BadOp { op, reason },
        }
    }

    fn check_entries(&self, audit: &Audit) -> Result<(), ModelError> {
        let mut free = 0;
        let mut flow = Flow::new(self);
        for (id, entry) in self.entries.iter().enumerate() {
            let bad = ModelError::BadEntry { entry: id as u16 };
            let ops = self.ops.get(entry.ops()).ok_or(bad)?;
            let mut io = entry.inputs().chain(entry.outputs());
            let known = io.all(|tensor| self.tensor(tensor).is_some());
            // No operator twice, so that following the data stays bounded.
            let fresh = !ops.is_empty() && entry.ops().start >= free;
            require(known && fresh && !self.inputs_overlap(entry), bad)?;
            free = entry.ops().end;
            let names = entry.input_names.iter().chain(&entry.output_names);
            for &name in names.chain([&entry.name]) {
                self.check_name(name, audit)?;
            }
            flow.check(entry, ops)?;
        }
        Ok(())
    }

    fn inputs_overlap(&self, entry: &EntryRecord) -> bool {
        let mut ids = entry.inputs();
        let ranges: [Range<usize>; MAX_ENTRY_IO] = core::array::from_fn(|_| {
            let tensor = ids.next().and_then(|id| self.tensor(id));
            tensor.map(TensorRecord::range).unwrap_or_default()
        });
        let mut rest = &ranges[..];
        while let Some((range, later)) = rest.split_first() {
            if later.iter().any(|other| overlap(range, other)) {
                return true;
            }
            rest = later;
        }
        false
    }

    fn check_meta(&self, audit: &Audit) -> Result<(), ModelError> {
        for (id, record) in self.meta.iter().enumerate() {
            let bad = ModelError::BadMeta { record: id as u16 };
            let bytes = self.params(record.offset, record.len).ok_or(bad)?;
            let count = record.count as usize;
            let fits = match record.key {
                key if NAMES.contains(&key) => bytes.len() == count * size_of::<u32>(),
                key if key == MetaKey::Decode as u16 => bytes.len() == size_of::<DecodeMeta>(),
                key if key == MetaKey::Audio as u16 => bytes.len() == size_of::<AudioMeta>(),
                key if key == MetaKey::Spotter as u16 => {
                    bytes.len()
                        == size_of::<SpotterMeta>() + (count * size_of::<u16>()).next_multiple_of(4)
                }
                key if key == MetaKey::Signature as u16 => {
                    bytes.len() == size_of::<SignatureMeta>()
                }
                key if key == MetaKey::Length as u16 => length_fits(bytes, count),
                _ => true,
            };
            let first = self.meta.get(..id).unwrap_or(&[]);
            let known = MetaKey::from_code(record.key).is_some();
            // Readers take the first of a key.
            let once = !known || first.iter().all(|earlier| earlier.key != record.key);
            require(fits && once && record.offset.is_multiple_of(4), bad)?;
        }
        [MetaKey::Labels, MetaKey::Symbols, MetaKey::Tokens]
            .into_iter()
            .flat_map(|key| self.name_offsets(key))
            .try_for_each(|&offset| self.check_name(offset, audit))
    }
}

fn length_fits(bytes: &[u8], count: usize) -> bool {
    let Ok((length, rules)) = LengthMeta::ref_from_prefix(bytes) else {
        return false;
    };
    let max = length.max as usize;
    (1..=MAX_ARENA_LEN).contains(&max)
        && <[RowRule]>::ref_from_bytes(rules)
            .is_ok_and(|rules| rules.len() == count && rules.iter().all(|rule| rule.divisor > 0))
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

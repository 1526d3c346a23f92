//! The checks of a file as a whole: limits, tensors, operators, entry points, the flow of data through the arena,
//! metadata. [`crate::ops`] has the rules of each operator for its tensors and parameters.

use super::{Limited, Model, ModelError, TensorError, string_at};
use crate::format::{
    AudioMeta, DType, DecodeMeta, EntryRecord, LengthMeta, MAX_ARENA_LEN, MAX_OPS, MAX_RANK,
    MetaKey, NO_TENSOR, OpRecord, RowRule, SpotterMeta, Storage, TensorRecord,
};
use crate::ops::{OpError, OpView, require};
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
    pub(super) fn check(&self) -> Result<(), ModelError> {
        self.check_limits()?;
        self.check_meta()?;
        self.check_tensors()?;
        self.check_ops()?;
        self.check_entries()?;
        self.check_decode()
    }

    pub(super) fn check_name(&self, offset: u32) -> Result<(), ModelError> {
        string_at(self.strings, offset)
            .map(drop)
            .ok_or(ModelError::BadString { offset })
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

    fn check_ops(&self) -> Result<(), ModelError> {
        for (id, record) in self.ops.iter().enumerate() {
            let view = OpView::new(*self, record, usize::MAX);
            view.check()
                .map_err(|reason| self.bad_op(id, record, reason))?;
            self.check_name(record.name)?;
        }
        Ok(())
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

    fn check_entries(&self) -> Result<(), ModelError> {
        let mut free = 0;
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
                self.check_name(name)?;
            }
            self.check_flow(entry, ops)?;
        }
        Ok(())
    }

    fn inputs_overlap(&self, entry: &EntryRecord) -> bool {
        let range = |id: usize| self.tensor(id).map(TensorRecord::range).unwrap_or_default();
        entry.inputs().enumerate().any(|(at, id)| {
            let mut later = entry.inputs().skip(at + 1);
            later.any(|other| overlap(&range(id), &range(other)))
        })
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
                key if NAMES.contains(&key) => bytes.len() == count * size_of::<u32>(),
                key if key == MetaKey::Decode as u16 => bytes.len() == size_of::<DecodeMeta>(),
                key if key == MetaKey::Audio as u16 => bytes.len() == size_of::<AudioMeta>(),
                key if key == MetaKey::Spotter as u16 => {
                    bytes.len()
                        == size_of::<SpotterMeta>() + (count * size_of::<u16>()).next_multiple_of(4)
                }
                key if key == MetaKey::Length as u16 => length_fits(bytes, count),
                _ => true,
            };
            require(fits && record.offset.is_multiple_of(4), bad)?;
        }
        [MetaKey::Labels, MetaKey::Symbols, MetaKey::Tokens]
            .into_iter()
            .flat_map(|key| self.name_offsets(key))
            .try_for_each(|&offset| self.check_name(offset))
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

fn contains(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

//! The flow of data through the arena: nothing is read before it is written.

use super::{Limited, Model, ModelError};
use crate::format::{EntryRecord, OpRecord, Storage, TensorRecord};
use crate::ops::require;
use core::ops::Range;

/// Most operators that parsing looks back at, over all tensors that are read. A tensor in use for a thousand operators
/// takes a thousand.
pub const MAX_STEPS: usize = 1 << 16;
/// Tensors whose last reader is remembered: looking back then ends there.
const REMEMBERED: usize = 32;

/// Follows the operators of the entry points.
pub(super) struct Flow<'m, 'a> {
    model: &'m Model<'a>,
    /// Of some tensors, by number modulo their count: the number, and the operator behind the last that may have changed it.
    known: [(u16, u16); REMEMBERED],
    steps: usize,
}

impl<'m, 'a> Flow<'m, 'a> {
    pub(super) fn new(model: &'m Model<'a>) -> Self {
        Self {
            model,
            known: [(u16::MAX, 0); REMEMBERED],
            steps: 0,
        }
    }

    /// Every read in the arena must see exactly what the last writer of those bytes put there as a tensor.
    pub(super) fn check(
        &mut self,
        entry: &EntryRecord,
        ops: &[OpRecord],
    ) -> Result<(), ModelError> {
        self.known = [(u16::MAX, 0); REMEMBERED];
        let first = entry.ops().start;
        for (at, op) in ops.iter().enumerate() {
            for tensor in op.inputs() {
                self.read(entry, ops, at, tensor, (first + at) as u16)?;
            }
        }
        for tensor in entry.outputs() {
            self.read(entry, ops, ops.len(), tensor, u16::MAX)?;
        }
        let (found, limit) = (self.steps, MAX_STEPS);
        let what = Limited::Flow;
        require(found <= limit, ModelError::TooMany { what, found, limit })
    }

    /// `reader` reads tensor `id` behind the first `before` of `ops`.
    fn read(
        &mut self,
        entry: &EntryRecord,
        ops: &[OpRecord],
        before: usize,
        id: usize,
        reader: u16,
    ) -> Result<(), ModelError> {
        let tensor = id as u16;
        let stale = ModelError::StaleRead { op: reader, tensor };
        let record = self.model.tensor(id).ok_or(stale)?;
        if record.storage() == Storage::State {
            return Ok(());
        }
        let slot = id % REMEMBERED;
        let known = match self.known.get(slot) {
            Some(&(known, behind)) if known == tensor => Some(behind as usize),
            _ => None,
        };
        let since = ops.get(known.unwrap_or(0)..before).unwrap_or(&[]);
        let holds = match self.last_writer(since, record) {
            Some(holds) => holds,
            None if known.is_some() => true,
            None => entry.inputs().any(|input| self.holds(input, record)),
        };
        require(holds, stale)?;
        if let Some(slot) = self.known.get_mut(slot) {
            *slot = (tensor, before as u16);
        }
        Ok(())
    }

    /// Whether the last of `ops` that touches the bytes of `read` leaves exactly that tensor in them; `None` if none touches them.
    fn last_writer(&mut self, ops: &[OpRecord], read: &TensorRecord) -> Option<bool> {
        let range = read.range();
        for op in ops.iter().rev() {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                // The error is that of the whole.
                return Some(true);
            }
            let touches = |id: usize| self.touches(id, &range);
            if op.scratch().is_some_and(touches) {
                return Some(false);
            }
            if op.outputs().any(touches) {
                return Some(op.outputs().any(|id| self.holds(id, read)));
            }
        }
        None
    }

    fn touches(&self, id: usize, read: &Range<usize>) -> bool {
        // Most tensors that lie behind need no length.
        let tensor = self.model.tensor(id);
        let before = tensor.filter(|tensor| (tensor.offset as usize) < read.end);
        before.is_some_and(|tensor| read.start < tensor.range().end)
    }

    /// Whether all of `read` is part of tensor `id`, at every length of the sequence.
    fn holds(&self, id: usize, read: &TensorRecord) -> bool {
        let Some(written) = self.model.tensor(id) else {
            return false;
        };
        let inner = read.range();
        let within = |outer: Range<usize>| outer.start <= inner.start && inner.end <= outer.end;
        // The shortest sequence has the fewest rows.
        let always = within(self.model.active_range(written, 1));
        let alike = read.rows_rule == written.rows_rule
            && read.offset == written.offset
            && row_len(read) <= row_len(written);
        written.dtype == read.dtype && (always || alike && within(written.range()))
    }
}

/// Bytes of a tensor for one step of its first axis.
fn row_len(tensor: &TensorRecord) -> usize {
    let rows = tensor.dims[0] as usize;
    tensor.byte_len().checked_div(rows).unwrap_or(0)
}

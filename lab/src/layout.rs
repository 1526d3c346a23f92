//! What a file says of a run before anything runs: the work of each operator, and which bytes of the arena are in use meanwhile. What is
//! measured is in `bench`.

use attn_runtime::format::{DType, OpRecord, Storage};
use attn_runtime::{EntryRecord, Model};
use std::ops::Range;

/// An operator of an entry point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Its kind, as in the file.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Multiply-accumulates, at the greatest length of a sequence.
    pub macs: u64,
    /// Bytes of tensors that it reads and writes.
    pub bytes: u64,
    /// Bytes of the arena in use while it runs.
    pub live: u64,
}

/// Bytes of the arena that hold something from one operator to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Name of the tensor; empty for the state.
    pub tensor: String,
    /// Its bytes in the arena.
    pub bytes: Range<u64>,
    /// First and last operator, counted from 0 within the entry point.
    pub operators: [usize; 2],
}

/// An entry point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its operators, in the order in which they run.
    pub operators: Vec<Operator>,
    /// What the arena holds.
    pub spans: Vec<Span>,
}

impl Entry {
    /// Most bytes of the arena in use at once.
    pub fn peak(&self) -> u64 {
        let live = self.operators.iter().map(|operator| operator.live);
        live.max().unwrap_or(0)
    }
}

/// Every entry point of a model.
pub fn entries(model: &Model) -> Vec<Entry> {
    let entries = model.entries().iter();
    entries.map(|entry| of_entry(model, entry)).collect()
}

/// Whether any tensor is in half precision, which needs a floating-point unit.
pub fn is_half(model: &Model) -> bool {
    let mut tensors = model.tensors().iter();
    tensors.any(|tensor| tensor.dtype() == DType::F16)
}

fn of_entry(model: &Model, entry: &EntryRecord) -> Entry {
    let records = model.ops().get(entry.ops()).unwrap_or_default();
    let spans = spans(model, entry, records);
    let operators = records.iter().enumerate().map(|(at, record)| {
        let work = model
            .op_work(entry.first_op as usize + at)
            .unwrap_or_default();
        Operator {
            kind: record.kind().map_or("?", |kind| kind.name()),
            name: model.name(record.name).to_owned(),
            macs: work.macs,
            bytes: work.bytes,
            live: live(&spans, at),
        }
    });
    Entry {
        name: model.name(entry.name).to_owned(),
        operators: operators.collect(),
        spans,
    }
}

/// Bytes that are in use at an operator; those of tensors that share them count once.
fn live(spans: &[Span], at: usize) -> u64 {
    let there = spans
        .iter()
        .filter(|span| (span.operators[0]..=span.operators[1]).contains(&at));
    let mut ranges: Vec<_> = there.map(|span| span.bytes.clone()).collect();
    ranges.sort_by_key(|range| range.start);
    let mut end = 0;
    let each = ranges.into_iter().map(|range| {
        let new = range.end.saturating_sub(range.start.max(end));
        end = end.max(range.end);
        new
    });
    each.sum()
}

/// A tensor is in use from what wrote its bytes to the last operator that reads them. What reads need not have the number of what was
/// written: tensors may be views of others.
fn spans(model: &Model, entry: &EntryRecord, records: &[OpRecord]) -> Vec<Span> {
    let last = records.len().saturating_sub(1);
    let mut spans = vec![Span {
        tensor: String::new(),
        bytes: 0..model.state_len() as u64,
        operators: [0, last],
    }];
    let place = |id: usize| {
        let tensor = model.tensor(id)?;
        let range = tensor.range();
        let bytes = range.start as u64..range.end as u64;
        (tensor.storage() == Storage::Arena).then(|| (model.name(tensor.name).to_owned(), bytes))
    };
    // Bytes that were written, and by which operator; later ones behind.
    let mut written: Vec<(Range<u64>, usize)> = Vec::new();
    written.extend(entry.inputs().filter_map(|id| Some((place(id)?.1, 0))));
    let mut read = |written: &[(Range<u64>, usize)], id: usize, at: usize| {
        let Some((tensor, bytes)) = place(id) else {
            return;
        };
        let overlaps = |range: &Range<u64>| range.start < bytes.end && bytes.start < range.end;
        let writer = written.iter().rev().find(|(range, _)| overlaps(range));
        let from = writer.map_or(0, |(_, from)| *from);
        let same = |span: &&mut Span| span.bytes == bytes && span.operators[0] == from;
        match spans.iter_mut().rev().find(same) {
            Some(span) => span.operators[1] = span.operators[1].max(at),
            None => spans.push(Span {
                tensor,
                bytes,
                operators: [from, at],
            }),
        }
    };
    for (at, record) in records.iter().enumerate() {
        record.inputs().for_each(|id| read(&written, id, at));
        let own = record.outputs().chain(record.scratch());
        written.extend(own.filter_map(|id| Some((place(id)?.1, at))));
        let own = record.outputs().chain(record.scratch());
        own.for_each(|id| read(&written, id, at));
    }
    entry.outputs().for_each(|id| read(&written, id, last));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_shared_count_once() {
        let span = |bytes, operators| Span {
            tensor: String::new(),
            bytes,
            operators,
        };
        let spans = [
            span(0..16, [0, 2]),
            span(8..24, [1, 1]),
            span(32..40, [1, 2]),
        ];
        assert_eq!([0, 1, 2].map(|at| live(&spans, at)), [16, 32, 24]);
    }

    #[test]
    fn a_tensor_is_in_use_until_it_is_read_last() {
        let file = crate::aligned::AlignedBytes::read(&crate::model::Shipped::Keywords.path());
        let file = file.unwrap();
        let model = Model::parse(file.as_slice()).unwrap();
        let [entry] = &entries(&model)[..] else {
            panic!("one entry point");
        };
        assert_eq!(entry.operators.len(), model.ops().len());
        let state = model.state_len() as u64;
        assert!(entry.operators.iter().all(|op| op.live > state));
        // The planner wastes little.
        let (peak, arena) = (entry.peak(), model.arena_len() as u64);
        assert!(
            peak <= arena && peak * 10 > arena * 9,
            "{peak} of {arena} bytes"
        );
        let macs = model.work(0).unwrap().macs;
        assert_eq!(entry.operators.iter().map(|op| op.macs).sum::<u64>(), macs);
    }
}

//! Runs of programs that differ in a few values: each starts at the first operator that differs from a program that has run already.
//!
//! A change shows only behind the value that is changed. So the tensors of one program are kept, and another program takes from them what
//! its own operators in front of the change would write.

use crate::bundle::float::Bundle;
use crate::bundle::run::Run;
use crate::calibrate::Elements;
use crate::emit::{Metadata, emit};
use crate::error::{ConvertError, Result};
use crate::graph::{Graph, ValueId};
use crate::plan::plan;
use crate::program::{Place, Program, TensorId};
use crate::runner::{self, AlignedBytes, ModelFile};
use attn_runtime::Session;
use std::collections::BTreeSet;

/// Bytes of tensors that are kept, at most; runs beyond start from the first operator.
const KEPT_LEN: usize = 1 << 28;

/// One sample, as the models run over it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Length of the sequence.
    pub length: usize,
    /// The runs, in order.
    pub runs: Vec<Run>,
    /// All outputs that the caller sees, in float.
    pub exact: Vec<f32>,
}

impl Recorded {
    /// A sample without runs.
    pub fn of(length: usize) -> Self {
        Self {
            length,
            runs: Vec::new(),
            exact: Vec::new(),
        }
    }

    /// Adds a run in float over a graph with these outputs.
    pub fn add(&mut self, run: &Run, graph: &Graph, elements: &[Elements]) {
        self.runs.push(run.clone());
        let outputs = graph.outputs.iter();
        outputs.for_each(|id| self.exact.extend(&elements[id.0].values));
    }
}

/// What the operators have written in one run, in order.
type Trace = Vec<(TensorId, Vec<u8>)>;

/// A program that has run over samples, with the results of all its operators.
pub struct Base {
    program: Program,
    /// By sample, then by run; none where it would take too much memory.
    traces: Vec<Vec<Option<Trace>>>,
}

/// Runs programs over samples.
pub struct Runner<'r, 'b> {
    /// The models.
    pub bundle: &'r Bundle<'b>,
    /// Their graphs, with the outputs that are read.
    pub graphs: &'r [Graph],
}

impl Runner<'_, '_> {
    /// Runs a program over all samples and keeps what its operators write; also gives the outputs of each sample.
    ///
    /// # Errors
    /// [`ConvertError::Model`] and [`ConvertError::Session`].
    pub fn record(&self, program: Program, samples: &[&Recorded]) -> Result<(Base, Vec<Vec<f32>>)> {
        // What outlives a run is not followed.
        let keeps = |place: Place| matches!(place, Place::State | Place::Shared);
        let mut room = match program.tensors.iter().any(|tensor| keeps(tensor.place)) {
            true => 0,
            false => KEPT_LEN,
        };
        let mut traces = Vec::new();
        let outputs = self.each(&program, samples, |session, _, runs, run| {
            if run == 0 {
                traces.push(vec![None; runs.len()]);
            }
            let part = runs[run].part;
            let len = unshared_len(&program, part);
            if len > room {
                return Ok(session.run(part)?);
            }
            room -= len;
            let mut trace = Trace::new();
            runner::run_traced(session, part, |id, bytes| trace.push((id, bytes.to_vec())))?;
            if let Some(sample) = traces.last_mut() {
                sample[run] = Some(trace);
            }
            Ok(())
        })?;
        Ok((Base { program, traces }, outputs))
    }

    /// The outputs of each sample from a program, which need not start from the first operator where `base` has run over the same samples.
    ///
    /// # Errors
    /// [`ConvertError::Model`] and [`ConvertError::Session`].
    pub fn outputs(
        &self,
        program: &Program,
        samples: &[&Recorded],
        base: Option<&Base>,
    ) -> Result<Vec<Vec<f32>>> {
        let starts: Vec<Start> = match base {
            Some(base) => (0..program.entries.len())
                .map(|part| Start::new(&base.program, program, part))
                .collect(),
            None => Vec::new(),
        };
        self.each(program, samples, |session, sample, runs, run| {
            let part = runs[run].part;
            let trace = base.and_then(|base| base.traces[sample][run].as_ref());
            match trace.zip(starts.get(part)) {
                Some((trace, start)) => start.run(session, program, part, trace),
                None => Ok(session.run(part)?),
            }
        })
    }

    /// Makes a session, and has `run` do each run of each sample after its inputs are there; gives the outputs of each sample.
    fn each(
        &self,
        program: &Program,
        samples: &[&Recorded],
        mut run: impl FnMut(&mut Session, usize, &[Run], usize) -> Result<()>,
    ) -> Result<Vec<Vec<f32>>> {
        let bytes = emit(program, &plan(program), &Metadata::default())?;
        let file = ModelFile::new(&bytes).map_err(|source| ConvertError::Model {
            path: self.bundle.manifest.path().into(),
            source,
        })?;
        let mut arena = AlignedBytes::zeroed(file.model().arena_len());
        let mut session = Session::new(file.model(), arena.as_mut_slice())?;
        let mut all = Vec::with_capacity(samples.len());
        for (number, sample) in samples.iter().enumerate() {
            session.reset();
            if self.bundle.max_length > 0 {
                session.set_length(sample.length)?;
            }
            let mut outputs = Vec::new();
            for (at, what) in sample.runs.iter().enumerate() {
                runner::give(&mut session, what.part, &what.given)?;
                run(&mut session, number, &sample.runs, at)?;
                for (index, id) in self.graphs[what.part].outputs.iter().enumerate() {
                    outputs.extend(self.output(&session, what, index, *id)?);
                }
            }
            all.push(outputs);
        }
        Ok(all)
    }

    fn output(&self, session: &Session, run: &Run, index: usize, id: ValueId) -> Result<Vec<f32>> {
        let mut values = runner::output(session, run.part, index)?;
        values.truncate(self.bundle.elements_of(run, id, values.len()));
        Ok(values)
    }
}

/// Bytes that the operators of an entry point write.
fn unshared_len(program: &Program, part: usize) -> usize {
    let ops = program
        .entries
        .get(part)
        .map_or(0..0, |entry| entry.ops.clone());
    let written = program.ops[ops].iter().flat_map(|op| &op.outputs);
    written.map(|&id| program.tensors[id].byte_len()).sum()
}

/// Where a program differs from another in an entry point, and what it needs from there on.
struct Start {
    /// Number of the first operator that differs.
    first: usize,
    /// Tensors that the operators in front of it write, counted as in a trace.
    written: usize,
    /// Tensors that the others touch.
    needed: BTreeSet<TensorId>,
}

impl Start {
    fn new(base: &Program, program: &Program, part: usize) -> Self {
        let [old, new] = [base, program].map(|program| program.entries[part].ops.clone());
        let mut pairs = old.clone().zip(new.clone());
        let differs = pairs.position(|(a, b)| !same(base, a, program, b));
        let known = differs.unwrap_or(old.len().min(new.len()));
        let first = new.start + known;
        let behind = program.ops[first..new.end].iter();
        let touched = behind.flat_map(|op| op.inputs.iter().chain(&op.outputs));
        let touched = touched.chain(&program.entries[part].outputs);
        let before = base.ops[old.start..old.start + known].iter();
        Self {
            first,
            written: before.map(|op| op.outputs.len()).sum(),
            needed: touched.map(|&id| program.base(id).0).collect(),
        }
    }

    /// Runs an entry point of the program from the first operator that differs on.
    fn run(
        &self,
        session: &mut Session,
        program: &Program,
        part: usize,
        trace: &Trace,
    ) -> Result<()> {
        let known = trace.iter().take(self.written);
        for (id, bytes) in known.filter(|(id, _)| self.needed.contains(&program.base(*id).0)) {
            if let Some(tensor) = session.tensor_bytes_mut(*id) {
                tensor.copy_from_slice(bytes);
            }
        }
        session.start_at(part, self.first)?;
        if self.first < program.entries[part].ops.end {
            session.run_ops(usize::MAX)?;
        }
        Ok(())
    }
}

/// Whether operators of two programs compute the same, from tensors of the same numbers.
fn same(a: &Program, at: usize, b: &Program, to: usize) -> bool {
    let (x, y) = (&a.ops[at], &b.ops[to]);
    let touched = x.inputs.iter().chain(&x.outputs).chain(&x.scratch);
    let held = |program: &Program, id: TensorId| {
        let tensor = &program.tensors[id];
        (
            tensor.dims.clone(),
            tensor.quant,
            tensor.place,
            tensor.rows_rule,
        )
    };
    let alike = |&id: &TensorId| id < b.tensors.len() && held(a, id) == held(b, id);
    (x.kind, x.encoding, x.scratch) == (y.kind, y.encoding, y.scratch)
        && x.inputs == y.inputs
        && x.outputs == y.outputs
        && x.params == y.params
        && touched.clone().all(alike)
}

//! A file beside its models: every entry point over the same samples in float and on the runtime.

use super::entry::Entry;
use super::{Comparison, Judged, TopOne};
use crate::bundle::float::Bundle;
use crate::bundle::samples::Sample;
use crate::error::Result;
use crate::graph::stream::Rows;
use crate::graph::{Graph, ValueId};
use crate::runner;
use crate::sqnr::Sqnr;
use attn_runtime::{Model, Session};

/// A file and its models, and how they have compared so far.
pub(crate) struct Judge<'g> {
    entries: Vec<Entry<'g>>,
    /// The outputs that are judged: all of a single model, the logits of a bundle that decodes.
    results: Vec<Output>,
    samples: usize,
}

/// One output that is judged.
struct Output {
    part: usize,
    slot: usize,
    value: ValueId,
    logits: bool,
    judged: Judged,
}

/// Where an output loses most: a value far worse than what it is computed from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Name of the value: the name of the ONNX tensor.
    pub value: String,
    /// Name of the ONNX node that computes it.
    pub node: String,
    /// Its operator.
    pub op: &'static str,
    /// SQNR in dB of the worst value that the node reads; infinite for an input.
    pub before_db: f64,
    /// SQNR in dB of the value.
    pub after_db: f64,
}

impl<'g> Judge<'g> {
    /// `graphs` are those of the bundle, with the outputs that the caller sees; `rows` says how the values of each relate to its rows,
    /// where the file takes one row at a time. `None` where the file has other entry points, inputs or outputs.
    pub fn new(
        bundle: &Bundle,
        graphs: &'g [Graph],
        model: Model,
        rows: Vec<Option<Vec<Rows>>>,
    ) -> Option<Self> {
        let logits = bundle.logits();
        let (mut entries, mut results) = (Vec::new(), Vec::new());
        for ((part, graph), rows) in graphs.iter().enumerate().zip(rows) {
            let number = match bundle.decoding {
                Some(_) => model.entry(&bundle.names[part])?,
                None => 0,
            };
            entries.push(Entry::new(graph, model, number, rows)?);
            let outputs = graph.outputs.iter().zip(&graph.output_names).enumerate();
            let outputs = outputs.map(|(slot, (&value, name))| Output {
                part,
                slot,
                value,
                logits: logits == Some((part, value)),
                judged: Judged::of(name),
            });
            results.extend(outputs.filter(|output| output.logits || bundle.decoding.is_none()));
        }
        Some(Self {
            entries,
            results,
            samples: 0,
        })
    }

    /// Runs both over a sample, which has this number.
    pub fn add(
        &mut self,
        bundle: &mut Bundle,
        session: &mut Session,
        sample: &Sample,
        number: usize,
    ) -> Result<()> {
        start(session, sample)?;
        self.samples += 1;
        let (entries, results) = (&mut self.entries, &mut self.results);
        bundle.run(sample, |run, all| {
            let entry = &mut entries[run.part];
            for row in 0..entry.rows_of(run) {
                entry.run(session, run, row)?;
                entry.add(run, all, row, number);
                for output in results.iter_mut().filter(|output| output.part == run.part) {
                    let got = runner::output(session, entry.number, output.slot)?;
                    let exact = entry.exact(run, all, output.value, row);
                    if let Some(exact) = exact.filter(|exact| exact.len() == got.len()) {
                        output.add(exact, &got, sample.label);
                    }
                }
            }
            Ok(())
        })
    }

    /// Where each output that is judged loses most.
    pub fn losses(&self) -> Vec<Option<Loss>> {
        self.results
            .iter()
            .map(|output| self.loss(output))
            .collect()
    }

    fn loss(&self, output: &Output) -> Option<Loss> {
        let entry = &self.entries[output.part];
        let goes_in = entry.before(output.value);
        let noise = |at: usize| entry.layers[at].sqnr.share();
        let added = |at: usize| noise(at) - before(entry, at);
        let known = (0..entry.layers.len()).filter(|&at| goes_in[at] && added(at) > 0.0);
        let at = known.max_by(|&a, &b| added(a).total_cmp(&added(b)))?;
        let layer = &entry.layers[at];
        Some(Loss {
            value: layer.name.clone(),
            node: layer.node.clone(),
            op: layer.op,
            before_db: -10.0 * before(entry, at).log10(),
            after_db: layer.sqnr.db(),
        })
    }

    /// The result over all samples that were added.
    pub fn comparison(self, labelled: bool) -> Comparison {
        let (mut outputs, mut top_one) = (Sqnr::default(), TopOne::default());
        for output in &self.results {
            outputs += output.judged.sqnr;
            if let Some(top) = output.judged.top_one {
                top_one = top;
            }
        }
        Comparison {
            layers: (self.entries.into_iter())
                .flat_map(|entry| entry.layers)
                .collect(),
            judged: (self.results.into_iter())
                .map(|output| output.judged)
                .collect(),
            samples: self.samples,
            outputs,
            top_one,
            labelled,
        }
    }
}

/// The largest share of errors among the values that a layer reads.
fn before(entry: &Entry, at: usize) -> f64 {
    let shares = entry.read_by(at).into_iter();
    let shares = shares.map(|read| entry.layers[read].sqnr.share());
    shares.filter(|share| share.is_finite()).fold(0.0, f64::max)
}

impl Output {
    fn add(&mut self, exact: &[f32], got: &[f32], label: Option<usize>) {
        self.judged.sqnr.add(exact, got);
        if self.logits {
            let top = self.judged.top_one.get_or_insert_default();
            top.add(highest(exact), highest(got), label);
        }
    }
}

fn highest(logits: &[f32]) -> usize {
    let highest = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    highest.map_or(0, |(index, _)| index)
}

/// Resets the session and sets the length of the sequence.
fn start(session: &mut Session, sample: &Sample) -> Result<()> {
    session.reset();
    if session.model().max_length() > 0 {
        session.set_length(sample.length)?;
    }
    Ok(())
}

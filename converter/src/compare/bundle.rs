//! Comparison of a bundle's file with its float models: encoder and step over the sequences and tokens of the calibration data.

use super::{Comparison, Layer, TopOne, highest};
use crate::bundle::Manifest;
use crate::bundle::float::Bundle;
use crate::bundle::samples::{Sample, Samples};
use crate::calibrate::{Elements, elements};
use crate::error::ConvertError;
use crate::graph::stream::Rows;
use crate::graph::{Graph, ValueId};
use crate::progress::{Phase, Progress, Step};
use crate::runner::{self, AlignedBytes, ModelFile};
use crate::sqnr::Sqnr;
use attn_runtime::format::DecodeMeta;
use attn_runtime::{Model, Session};
use std::collections::HashMap;
use std::path::Path;

/// Compares the file made from a manifest with its models. Values of each entry point are compared at every token. Values that an entry point
/// computes for another are skipped.
///
/// # Errors
/// [`ConvertError`] for files that cannot be read or do not belong together.
pub fn compare_bundle(
    manifest: &Manifest,
    attn: &Path,
    progress: Progress,
) -> Result<Comparison, ConvertError> {
    let mut bundle = Bundle::load(manifest)?;
    let samples = Samples::load(&manifest.resolve(&manifest.calibrate), &bundle)?.samples;
    let file = ModelFile::load(attn)?;
    let other = || ConvertError::OtherModel { path: attn.into() };
    let decode = *file.model().decode().ok_or_else(other)?;
    let mut entries = Vec::new();
    for (name, graph) in bundle.names.iter().zip(&bundle.graphs) {
        let number = file.model().entry(name).ok_or_else(other)?;
        entries.push(Entry::new(graph, file.model(), number));
    }
    let logits = bundle.output(bundle.step, &manifest.decode.logits);
    let mut arena = AlignedBytes::zeroed(file.model().arena_len());
    let mut session = Session::new(file.model(), arena.as_mut_slice())?;
    let (graphs, rows, step) = (bundle.graphs.clone(), bundle.stream.clone(), bundle.step);
    let (mut outputs, mut top_one) = (Sqnr::default(), TopOne::default());
    for (number, sample) in samples.iter().enumerate() {
        start(&mut session, sample)?;
        let (mut at, mut failed) = (0, None);
        bundle.run(sample, |part, values, tokens| {
            let all = elements(&graphs[part], values);
            let entry = &mut entries[part];
            let mut compared = || -> Result<(), ConvertError> {
                if part != step {
                    let input = sample.input.iter().flatten();
                    entry.fill(&mut session, &decode, input)?;
                    entry.run(&mut session)?;
                    entry.add(&all, None);
                    return Ok(());
                }
                for row in 0..tokens {
                    let token = sample.tokens.get(at).copied().unwrap_or(0);
                    at += 1;
                    let slots = session.input::<i32>(entry.number, decode.token as usize)?;
                    slots.fill(token as i32);
                    entry.run(&mut session)?;
                    entry.add(&all, rows.as_deref().map(|rows| (rows, row)));
                    if let Some((exact, got)) = logits.and_then(|id| entry.latest(id)) {
                        outputs.add(exact, got);
                        top_one.add(highest(exact), highest(got), None);
                    }
                }
                Ok(())
            };
            failed = failed.take().or(compared().err());
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        progress(Step {
            phase: Phase::Compare,
            done: number + 1,
            total: samples.len(),
        });
    }
    Ok(Comparison {
        layers: entries.into_iter().flat_map(|entry| entry.layers).collect(),
        outputs,
        top_one,
        labelled: false,
    })
}

/// Resets the session and sets the length of the sequence.
fn start(session: &mut Session, sample: &Sample) -> Result<(), ConvertError> {
    session.reset();
    if session.model().max_length() > 0 {
        session.set_length(sample.length)?;
    }
    Ok(())
}

/// One entry point, compared.
struct Entry {
    number: usize,
    /// Tensor number to layer.
    tensors: HashMap<usize, usize>,
    values: Vec<ValueId>,
    channels: Vec<usize>,
    layers: Vec<Layer>,
    /// Results of the last run, layer by layer, and the exact ones.
    got: Vec<Vec<f32>>,
    exact: Vec<Vec<f32>>,
}

impl Entry {
    fn new(graph: &Graph, model: Model, number: usize) -> Self {
        let ops = model
            .entries()
            .get(number)
            .map_or(0..0, |entry| entry.ops());
        let ops = model.ops().get(ops).unwrap_or_default();
        let written = ops.iter().flat_map(|op| op.outputs());
        let named = written.filter_map(|id| Some((model.name(model.tensor(id)?.name), id)));
        let numbers: HashMap<&str, usize> = named.collect();
        let mut entry = Self {
            number,
            tensors: HashMap::new(),
            values: Vec::new(),
            channels: Vec::new(),
            layers: Vec::new(),
            got: Vec::new(),
            exact: Vec::new(),
        };
        for node in &graph.nodes {
            let value = &graph.values[node.output.0];
            let id = numbers.get(value.name.as_str());
            let tensor = id.and_then(|&id| Some((id, model.tensor(id)?)));
            let Some((id, tensor)) = tensor.filter(|(_, t)| t.channels() == value.channels())
            else {
                continue;
            };
            entry.tensors.insert(id, entry.layers.len());
            entry.values.push(node.output);
            entry.channels.push(value.channels());
            entry.layers.push(Layer {
                name: value.name.clone(),
                op: node.op.name(),
                dtype: tensor.dtype(),
                sqnr: Sqnr::default(),
            });
        }
        entry.got = vec![Vec::new(); entry.layers.len()];
        entry.exact = entry.got.clone();
        entry
    }

    /// Writes a sequence and its padding into the input of an encoder.
    fn fill<'x>(
        &self,
        session: &mut Session,
        decode: &DecodeMeta,
        sequence: impl Iterator<Item = &'x f32>,
    ) -> Result<(), ConvertError> {
        let pad = DecodeMeta::optional(decode.pad).unwrap_or(0) as f32;
        let input = decode.input as usize;
        let len = session.input_record(self.number, input)?.len();
        let padded = sequence.copied().chain(std::iter::repeat(pad)).take(len);
        let padded: Vec<f32> = padded.collect();
        runner::fill(session, self.number, input, padded.iter())
    }

    fn run(&mut self, session: &mut Session) -> Result<(), ConvertError> {
        let model = session.model();
        let (tensors, got) = (&self.tensors, &mut self.got);
        runner::run_traced(session, self.number, |id, bytes| {
            if let (Some(&layer), Some(tensor)) = (tensors.get(&id), model.tensor(id)) {
                got[layer] = runner::dequantize(tensor, bytes);
            }
        })
    }

    /// Adds the last run to the comparison. If the float run was over all tokens, `row` is the token of the last run.
    fn add(&mut self, all: &[Elements], row: Option<(&[Rows], usize)>) {
        for (layer, id) in self.values.iter().enumerate() {
            let (all, got) = (&all[id.0], &self.got[layer]);
            let exact = match row {
                Some((rows, row)) if rows[id.0] == Rows::Frames => {
                    let channels = self.channels[layer];
                    all.values.get(row * channels..(row + 1) * channels)
                }
                _ => Some(&all.values[..]),
            };
            let same = exact.filter(|exact| all.in_order && exact.len() == got.len());
            self.exact[layer] = same.unwrap_or_default().to_vec();
            if let Some(exact) = same {
                self.layers[layer].sqnr.add(exact, got);
            }
        }
    }

    /// Exact and found elements of a value in the last run.
    fn latest(&self, value: ValueId) -> Option<(&[f32], &[f32])> {
        let layer = self.values.iter().position(|&id| id == value)?;
        let (exact, got) = (&self.exact[layer], &self.got[layer]);
        (!exact.is_empty()).then_some((&exact[..], &got[..]))
    }
}

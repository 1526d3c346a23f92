//! From a manifest to a file: every model calibrated by running all of them together, lowered into one program.

use super::float::Bundle;
use super::samples::Samples;
use super::{Manifest, candidates};
use crate::calibrate::{Distribution, RangeMethod, elements};
use crate::emit::{Metadata, emit};
use crate::error::ConvertError;
use crate::graph::{Graph, Op, ValueId};
use crate::lower::{Form, Link, Part, lower_bundle};
use crate::plan::plan;
use crate::progress::{Phase, Progress, Step};
use crate::quantize::inputs::Inputs;
use crate::quantize::{self, Choices, Precision, Quant, Scheme};
use crate::runner::ModelFile;
use crate::stream::Rows;
use attn_runtime::audio::{FRAME_LEN, MEL_BANDS, SAMPLE_RATE};
use attn_runtime::format::{AudioMeta, DecodeMeta, NONE};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

/// How to convert a bundle.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Weights and activations.
    pub precision: Precision,
    /// How int8 ranges are chosen.
    pub range: RangeMethod,
}

/// Converts a bundle.
///
/// # Errors
/// [`ConvertError`], which names the file, node, tensor or option at fault.
pub fn convert(
    path: &Path,
    options: &Options,
    progress: Progress,
) -> Result<ModelFile, ConvertError> {
    convert_manifest(&Manifest::load(path)?, options, progress)
}

/// Converts what a manifest describes.
///
/// # Errors
/// Those of [`convert`].
pub fn convert_manifest(
    manifest: &Manifest,
    options: &Options,
    progress: Progress,
) -> Result<ModelFile, ConvertError> {
    build(manifest, options, progress, true)
}

/// Converts a bundle so that its step runs over all tokens at once if it was exported so. Nothing can be decoded with that: it is
/// what a step that keeps its past must agree with, bit for bit.
///
/// # Errors
/// Those of [`convert`].
pub fn convert_recomputing(
    path: &Path,
    options: &Options,
    progress: Progress,
) -> Result<ModelFile, ConvertError> {
    build(&Manifest::load(path)?, options, progress, false)
}

fn build(
    manifest: &Manifest,
    options: &Options,
    progress: Progress,
    keep_past: bool,
) -> Result<ModelFile, ConvertError> {
    let mut bundle = Bundle::load(manifest)?;
    let samples = Samples::load(&manifest.resolve(&manifest.calibrate), &bundle)?;
    let (distributions, inputs) = calibrate(&mut bundle, &samples, progress)?;
    let mut graphs = bundle.graphs.clone();
    let links = links(&bundle)?;
    let schemes = schemes(&bundle, &graphs, &links, (&distributions, inputs), options);
    // What passes from one model to another is no result for the caller.
    for link in &links {
        for &(part, value) in &link.from {
            graphs[part].outputs.retain(|&output| output != value);
        }
    }
    let parts: Vec<Part> = (0..graphs.len())
        .map(|part| Part {
            name: &bundle.names[part],
            graph: &graphs[part],
            scheme: &schemes[part],
            form: match bundle.stream {
                Some(_) if keep_past && part == bundle.step => Form::Stream,
                _ => Form::Window,
            },
        })
        .collect();
    let mut program = lower_bundle(&parts, &links, bundle.max_length)?;
    let mut metadata = metadata(&bundle, &graphs, &links)?;
    metadata.decode = metadata.decode.filter(|_| keep_past);
    if let (Some(count), Some(decode)) = (manifest.decode.candidates, &mut metadata.decode) {
        let (step, logits) = (decode.step as usize, decode.logits as usize);
        let scores = candidates::fuse(&mut program, step, logits, count);
        decode.scores = scores.map_err(|reason| manifest.wrong(reason))? as u32;
    }
    let plan = plan(&program);
    if let Some(decode) = &mut metadata.decode {
        decode.hypothesis_len = plan.own_state_len as u32;
    }
    let bytes = emit(&program, &plan, &metadata)?;
    ModelFile::new(&bytes).map_err(|source| ConvertError::Model {
        path: manifest.path().into(),
        source,
    })
}

/// Distributions of the values of every model and the inputs of its layers, over all samples and tokens.
fn calibrate(
    bundle: &mut Bundle,
    samples: &Samples,
    progress: Progress,
) -> Result<(Vec<Vec<Distribution>>, Vec<Inputs>), ConvertError> {
    let (graphs, step) = (bundle.graphs.clone(), bundle.step);
    let none = |graph: &Graph| vec![Distribution::default(); graph.values.len()];
    let mut distributions: Vec<Vec<Distribution>> = graphs.iter().map(none).collect();
    let mut inputs: Vec<Inputs> = graphs.iter().map(Inputs::new).collect();
    let most_tokens = samples
        .samples
        .iter()
        .map(|sample| sample.tokens.len())
        .max();
    for (number, sample) in samples.samples.iter().enumerate() {
        let rows = bundle.stream.clone();
        bundle.run(sample, |part, values, tokens| {
            let mut all = elements(&graphs[part], values);
            if let Some(rows) = rows.as_ref().filter(|_| part == step) {
                // Rows behind the last token are of no sequence.
                for ((elements, value), rows) in all.iter_mut().zip(&graphs[part].values).zip(rows)
                {
                    if *rows == Rows::Frames {
                        elements.values.truncate(tokens * value.channels());
                    }
                }
            }
            for (elements, distribution) in all.iter().zip(&mut distributions[part]) {
                distribution.extend(&elements.values, samples.samples.len());
            }
            let runs = match part == step && rows.is_none() {
                true => samples.samples.len() * most_tokens.unwrap_or(1),
                false => samples.samples.len(),
            };
            inputs[part].add(&graphs[part], &all, number, runs);
        })?;
        progress(Step {
            phase: Phase::Calibrate,
            done: number + 1,
            total: samples.samples.len(),
        });
    }
    Ok((distributions, inputs))
}

fn links(bundle: &Bundle) -> Result<Vec<Link>, ConvertError> {
    let mut links = Vec::new();
    for state in &bundle.states {
        let from = state.from.iter().map(|from| {
            let value = bundle.output(from.part, &from.value);
            let value = value.ok_or_else(|| bundle.missing("output", from.part, &from.value))?;
            Ok((from.part, value))
        });
        let to = bundle.input(state.to.part, &state.to.value);
        let to = to.ok_or_else(|| bundle.missing("input", state.to.part, &state.to.value))?;
        links.push(Link {
            name: state.name.clone(),
            from: from.collect::<Result<_, ConvertError>>()?,
            to: (state.to.part, to),
        });
    }
    Ok(links)
}

/// How the values of each model are held. Vectors are short here, and weights what takes the time: activations are int16,
/// but for keys and values in int8 files, which make up the memory of attention.
fn schemes(
    bundle: &Bundle,
    graphs: &[Graph],
    links: &[Link],
    (distributions, inputs): (&[Vec<Distribution>], Vec<Inputs>),
    options: &Options,
) -> Vec<Scheme> {
    let mut schemes: Vec<Scheme> = Vec::new();
    for ((part, graph), inputs) in graphs.iter().enumerate().zip(inputs) {
        let audio = bundle.manifest.audio.is_some() && bundle.encode == Some(part);
        let mut choices = Choices {
            range: options.range,
            audio,
            wide: quantize::all(graph, audio),
            given: BTreeMap::new(),
        };
        if options.precision == Precision::Int8 {
            choices.wide = choices.wide.difference(&windows(graph)).copied().collect();
        }
        for link in links.iter().filter(|link| link.to.0 == part) {
            let (writer, value) = link.from[0];
            let quant = if link.is_shared() {
                Some(schemes[writer].of(value))
            } else {
                state(graph, link.to.1, distributions[part].as_slice())
            };
            choices.given.extend(quant.map(|quant| (link.to.1, quant)));
        }
        schemes.push(match options.precision {
            Precision::Fp16 => Scheme::half(graph, &distributions[part]),
            _ => Scheme::new(graph, &distributions[part], &choices).compensated(Rc::new(inputs)),
        });
    }
    schemes
}

/// Keys and values of attention, and what they are a part of.
fn windows(graph: &Graph) -> BTreeSet<ValueId> {
    let attention = |op: &Op| matches!(op, Op::Attention { .. });
    let nodes = graph.nodes.iter().filter(|node| attention(&node.op));
    let read = nodes.flat_map(|node| node.inputs[1..].iter().copied());
    let whole = |id| match graph.producer(id) {
        Some(producer) if matches!(producer.op, Op::Sequence) => producer.inputs[0],
        _ => id,
    };
    read.flat_map(|id| [id, whole(id)]).collect()
}

/// How a state that a model changes itself is held: as the recurrent layer that starts from it holds it, else in int16.
fn state(graph: &Graph, input: ValueId, distributions: &[Distribution]) -> Option<Quant> {
    let rows = graph
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::SelectRows { .. }));
    let mut stand_for: Vec<ValueId> = rows
        .filter(|node| node.inputs[0] == input)
        .map(|node| node.output)
        .collect();
    stand_for.push(input);
    let starts = |slot: usize| {
        graph.nodes.iter().any(|node| {
            matches!(node.op, Op::Gru { .. } | Op::Lstm { .. })
                && node
                    .inputs
                    .get(slot)
                    .is_some_and(|id| stand_for.contains(id))
        })
    };
    match (starts(1), starts(2)) {
        (true, _) => Some(quantize::STATE),
        (_, true) => Some(quantize::cell_of(&distributions[input.0])),
        _ => None,
    }
}

fn metadata(bundle: &Bundle, graphs: &[Graph], links: &[Link]) -> Result<Metadata, ConvertError> {
    let (manifest, decode) = (bundle.manifest, &bundle.manifest.decode);
    let (tokens, symbols) = (manifest.tokens()?, manifest.symbols()?);
    let wired = |name: &str| manifest.wrong(format!("[decode] `{name}` is wired in [state]"));
    let input_of = |part: usize, name: &str| {
        let id = bundle
            .input(part, name)
            .ok_or_else(|| bundle.missing("input", part, name))?;
        let given = |input: &&ValueId| !links.iter().any(|link| link.to == (part, **input));
        let mut given = graphs[part].inputs.iter().filter(given);
        let place = given.position(|&input| input == id);
        place.map(|at| at as u32).ok_or_else(|| wired(name))
    };
    let output_of = |part: usize, name: &str| {
        let id = bundle
            .output(part, name)
            .ok_or_else(|| bundle.missing("output", part, name))?;
        let place = graphs[part].outputs.iter().position(|&output| output == id);
        place.map(|at| at as u32).ok_or_else(|| wired(name))
    };
    let logits = bundle.output(bundle.step, &decode.logits);
    let logits = logits.ok_or_else(|| bundle.missing("output", bundle.step, &decode.logits))?;
    let count = graphs[bundle.step].values[logits.0].channels();
    if !tokens.is_empty() && tokens.len() != count {
        return Err(manifest.wrong(format!(
            "{} tokens in the vocabulary, {count} logits",
            tokens.len()
        )));
    }
    let input = match (bundle.encode, &decode.input) {
        (Some(encode), Some(input)) => input_of(encode, input)?,
        (None, None) => NONE,
        _ => {
            return Err(
                manifest.wrong("[decode] must name both `encode` and its `input`, or neither")
            );
        }
    };
    let optional = |token: &Option<_>| match token {
        Some(token) => manifest.number(token, &symbols),
        None => Ok(NONE),
    };
    let weights = match &decode.weights {
        Some(weights) => output_of(bundle.step, weights)?,
        None => NONE,
    };
    Ok(Metadata {
        decode: Some(DecodeMeta {
            encode: bundle.encode.map_or(NONE, |encode| encode as u32),
            step: bundle.step as u32,
            input,
            token: input_of(bundle.step, &decode.token)?,
            logits: output_of(bundle.step, &decode.logits)?,
            scores: NONE,
            weights,
            tokens: count as u32,
            start: manifest.number(&decode.start, &tokens)?,
            end: manifest.number(&decode.end, &tokens)?,
            max_tokens: decode.max_tokens,
            hypothesis_len: 0,
            end_symbol: optional(&decode.end_symbol)?,
            separator: 0,
            pad: bundle.pad()?,
        }),
        separator: manifest
            .vocabulary
            .as_ref()
            .map(|v| v.separator.clone())
            .unwrap_or_default(),
        symbols,
        tokens,
        audio: manifest.audio.as_ref().map(|audio| AudioMeta {
            sample_rate: SAMPLE_RATE,
            frame_len: FRAME_LEN as u32,
            hop: audio.hop,
            mel_bands: MEL_BANDS as u32,
        }),
        ..Metadata::default()
    })
}

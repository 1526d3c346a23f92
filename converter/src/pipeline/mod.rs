//! The conversion from start to end, the same for a single model and for several that become one file.
//!
//! [`convert`] is the picture: each line of it is a phase.

mod choose;

use crate::bundle::float::Bundle;
use crate::bundle::samples::Samples;
use crate::bundle::{Manifest, candidates};
use crate::calibrate::{Distribution, RangeMethod};
use crate::emit::{Metadata, emit};
use crate::error::{ConvertError, Result, Setting, StateFault};
use crate::graph::{Graph, stream};
use crate::lower::{Form, Link, Part, joined, lower};
use crate::plan::plan;
use crate::program::Program;
use crate::progress::{Phase, Progress, Step};
use crate::quality::{self, Quality};
use crate::quantize::choices::{self, Choices};
use crate::quantize::inputs::Inputs;
use crate::quantize::pinned::{self, InputType, Pinned};
use crate::quantize::rerun::Recorded;
use crate::quantize::sensitivity::Widened;
use crate::quantize::steps::Memory;
use crate::quantize::{Precision, Scheme};
use crate::runner::ModelFile;
use attn_runtime::audio::{FrontEnd, MEL_BANDS};
pub(crate) use choose::goal_of_weights;
use choose::{Chosen, choose};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

/// What is converted.
#[derive(Clone, Copy, Debug)]
pub enum Source<'s> {
    /// An ONNX file, with its calibration data in an npz file.
    Model {
        /// The ONNX file.
        onnx: &'s Path,
        /// The npz file.
        calibration: &'s Path,
    },
    /// What a manifest describes.
    Bundle(&'s Manifest),
}

/// Samples that the search for widths may measure on.
const MEASURED: usize = 64;

/// Which activations of an int8 file have 16 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mixed {
    /// For a single model those that are worth it; for one that decodes, whose vectors are short and whose weights take the time, all
    /// but keys and values, which make up the memory of attention: of those the ones that are worth it.
    #[default]
    Usual,
    /// Those that are worth it, by measurement.
    Searched,
    /// None that can have 8.
    None,
}

/// How to convert.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A single model: the whole window, or one frame of a stream.
    pub form: Form,
    /// Weights and activations.
    pub precision: Precision,
    /// How int8 ranges are chosen.
    pub range: RangeMethod,
    /// In int8: which activations have 16 bits.
    pub mixed: Mixed,
    /// Types that inputs shall have; the others get what suits them.
    pub inputs: Vec<InputType>,
    /// A step that was exported over all tokens runs over all of them at once, and nothing can be decoded: that is what a step that keeps
    /// its past must agree with, bit for bit.
    pub forget_past: bool,
    /// What goes into the file beside the network. With an audio front end, the input takes its scale. A manifest says what decoding
    /// needs.
    pub metadata: Metadata,
}

/// A finished conversion.
#[derive(Debug)]
pub struct Conversion {
    /// The `.attn` file.
    pub file: ModelFile,
    /// What was imported: the graph of each entry point.
    pub graphs: Vec<Graph>,
    /// Values of each graph that measurement has given 16 bits, and why.
    pub widened: Vec<Vec<Widened>>,
    /// Results of the layers of each graph whose weights have two parts of 8 bits, and why.
    pub two_parts: Vec<Vec<Widened>>,
    /// Names of symbolic batch axes, which were taken as 1.
    pub batch: Vec<String>,
    /// Inputs and outputs of which one looks like the other in the run before: states that could be kept.
    pub possible_states: Vec<(String, String)>,
    /// How close the file comes to its models.
    pub quality: Quality,
    /// Bytes of arena that the tensors would take without sharing.
    pub unshared_len: usize,
}

/// Converts a model or a bundle.
///
/// # Errors
/// [`ConvertError`], which names the file, node, tensor or setting at fault.
pub fn convert(source: Source, options: &Options, progress: Progress) -> Result<Conversion> {
    convert_manifest(&source.manifest(options.form), options, progress)
}

fn convert_manifest(
    manifest: &Manifest,
    options: &Options,
    progress: Progress,
) -> Result<Conversion> {
    let mut loaded = load(manifest, options)?;
    let seen = calibrate(&mut loaded, options.precision, progress)?;
    let chosen = choose(&loaded, &seen, options, progress)?;
    let quality = quality::measure(&mut loaded, &seen, &chosen.choices, options, progress)?;
    let schemes = schemes(&loaded, &seen.all, &chosen.choices, options.precision);
    let (mut program, mut metadata) = write(&loaded, &schemes, options)?;
    let file = finish(manifest, &program, &mut metadata)?;
    let file = match fuse_candidates(manifest, &mut program, &mut metadata)? {
        true => finish(manifest, &program, &mut metadata)?,
        false => file,
    };
    pinned::check(file.model(), &loaded.pinned)?;
    let Chosen {
        widened, two_parts, ..
    } = chosen;
    Ok(Conversion {
        two_parts,
        file,
        quality,
        batch: loaded.bundle.batch(),
        possible_states: loaded.bundle.possible_states(),
        unshared_len: program.unshared_len(),
        graphs: loaded.bundle.graphs,
        widened,
    })
}

impl<'s> Source<'s> {
    /// The bundle that it is; the entry point of a model that is alone is called after its form.
    pub fn manifest(self, form: Form) -> Cow<'s, Manifest> {
        match self {
            Self::Model { onnx, calibration } => {
                Cow::Owned(Manifest::single(onnx, calibration, form.entry_name()))
            }
            Self::Bundle(manifest) => Cow::Borrowed(manifest),
        }
    }
}

/// The models with their samples and the values that pass between them.
pub(crate) struct Loaded<'m> {
    pub bundle: Bundle<'m>,
    pub samples: Samples,
    links: Vec<Link>,
    pinned: Vec<Pinned>,
}

impl Loaded<'_> {
    /// The graphs with the outputs that the caller sees.
    pub fn graphs(&self) -> Vec<Graph> {
        self.bundle.graphs_for_caller()
    }

    /// How an entry point runs: over its whole window, or row by row.
    pub fn form(&self, part: usize, options: &Options) -> Form {
        match self.bundle.as_step(part) {
            Some(decoding) if decoding.stream.is_some() && !options.forget_past => Form::Stream,
            Some(_) => Form::Window,
            None => options.form,
        }
    }
}

/// Loads and imports the models, and sees that the options fit them.
fn load<'m>(manifest: &'m Manifest, options: &Options) -> Result<Loaded<'m>> {
    let mut bundle = Bundle::load(manifest)?;
    if options.precision != Precision::Fp16 {
        bundle.equalize();
    }
    let setting = |setting, reason: String| Err(ConvertError::Setting { setting, reason });
    let metadata = &options.metadata;
    let audio = manifest.audio.as_ref().map(|audio| audio.hop);
    if let Some(hop) = audio.or(metadata.audio.map(|audio| audio.hop)) {
        let front_end = FrontEnd::new(hop as usize);
        if let Err(error) = front_end {
            return setting(Setting::AudioHop, error.to_string());
        }
        let graph = &bundle.graphs[bundle.first().unwrap_or(0)];
        let input = graph.inputs.first();
        let bands = input.map_or(0, |id| graph.values[id.0].channels());
        if bundle.decoding.is_none() && (bands != MEL_BANDS || graph.inputs.len() != 1) {
            let reason =
                format!("the input has {bands} channels, the audio front end gives {MEL_BANDS}");
            return setting(Setting::AudioHop, reason);
        }
    }
    if options.form == Form::Stream {
        if let Some(state) = bundle.states.first().filter(|_| bundle.keeps_states()) {
            return Err(ConvertError::State {
                state: state.name.clone(),
                fault: Box::new(StateFault::Streamed),
            });
        }
        if bundle.decoding.is_some() {
            let reason = "a model that decodes runs token by token and is not streamed";
            return setting(Setting::Stream, reason.into());
        }
        if bundle.max_length > 0 {
            let reason = "a stream of frames has no greatest length".into();
            return setting(Setting::Stream, reason);
        }
        stream::check(&bundle.graphs[0])?;
    }
    let (labels, classes) = (metadata.labels.len(), bundle.classes());
    if labels != 0 && labels != classes {
        let reason = format!(
            "{labels} labels for {classes} classes: one line for each, in the order of the logits"
        );
        return setting(Setting::Labels, reason);
    }
    let links = bundle.links()?;
    let pinned = pinned::find(&bundle, &links, &options.inputs, options.precision)?;
    let samples = Samples::load(&manifest.resolve(&manifest.calibrate), &bundle)?;
    Ok(Loaded {
        bundle,
        samples,
        links,
        pinned,
    })
}

/// What has been seen of some samples, by part.
pub(crate) struct Seen {
    distributions: Vec<Vec<Distribution>>,
    inputs: Vec<Rc<Inputs>>,
    /// Weights that were rounded for these inputs.
    memory: Rc<Memory>,
}

/// What calibration has seen.
pub(crate) struct Calibrated {
    /// Of all samples.
    all: Seen,
    /// Of those that are not held back; none if none are.
    part: Option<Seen>,
    /// Some of those that are not held back, to choose by.
    recorded: Vec<Recorded>,
}

impl Seen {
    /// The schemes without the search for good roundings that finished files have.
    pub fn quick(&self, schemes: Vec<Scheme>) -> Vec<Scheme> {
        let schemes = schemes.into_iter();
        schemes
            .map(|scheme| scheme.quick(self.memory.clone()))
            .collect()
    }
}

impl Calibrated {
    /// What choices and their measurement may know.
    pub fn known(&self) -> &Seen {
        self.part.as_ref().unwrap_or(&self.all)
    }

    /// What the finished file is made by.
    pub fn whole(&self) -> &Seen {
        &self.all
    }
}

/// Runs the float models over all samples.
fn calibrate(loaded: &mut Loaded, precision: Precision, progress: Progress) -> Result<Calibrated> {
    let Loaded {
        bundle,
        samples,
        links,
        ..
    } = loaded;
    let (graphs, outputs) = (bundle.graphs.clone(), bundle.graphs_for_caller());
    let empty = || -> Vec<Inputs> {
        let inputs = |graph: &Graph| match precision {
            Precision::Fp16 => Inputs::default(),
            Precision::Int8 | Precision::Int16x8 => Inputs::new(graph),
        };
        graphs.iter().map(inputs).collect()
    };
    let none = |graph: &Graph| vec![Distribution::default(); graph.values.len()];
    let mut all: Vec<_> = graphs.iter().map(none).collect();
    let mut known: Vec<_> = graphs.iter().map(none).collect();
    let (mut inputs, mut held_inputs) = (empty(), empty());
    let parts = 0..graphs.len();
    let runs: Vec<usize> = parts.map(|part| samples.runs(bundle, part)).collect();
    let (total, split) = (samples.samples.len(), samples.split());
    let measured: BTreeSet<usize> = split.known(MEASURED).collect();
    let mut recorded = Vec::new();
    for (number, sample) in samples.samples.iter().enumerate() {
        let held = split.is_held_back(number);
        let mut record = Recorded::of(sample.length);
        bundle.run(sample, |run, elements| {
            let part = run.part;
            for (at, elements) in elements.iter().enumerate() {
                all[part][at].extend(&elements.values, total);
                if !held && split.any() {
                    known[part][at].extend(&elements.values, total);
                }
            }
            inputs[part].add(&graphs[part], elements, number, runs[part]);
            if held {
                held_inputs[part].add(&graphs[part], elements, number, runs[part]);
            }
            if measured.contains(&number) {
                record.add(run, &outputs[part], elements);
            }
            Ok(())
        })?;
        if measured.contains(&number) {
            recorded.push(record);
        }
        progress(Step::of(Phase::Calibrate, number + 1, total));
    }
    if bundle.keeps_states() {
        share_ranges(&mut all[0], links);
        share_ranges(&mut known[0], links);
    }
    let part = split.any().then(|| Seen {
        distributions: known,
        inputs: (held_inputs.into_iter().zip(&inputs))
            .map(|(held, all)| Rc::new(held.others(all)))
            .collect(),
        memory: Rc::default(),
    });
    let all = Seen {
        distributions: all,
        inputs: inputs.into_iter().map(Rc::new).collect(),
        memory: Rc::default(),
    };
    Ok(Calibrated {
        all,
        part,
        recorded,
    })
}

/// Gives the two ends of each state one range, so that its elements are not rounded again when they only move.
fn share_ranges(seen: &mut [Distribution], links: &[Link]) {
    for link in links {
        for (_, from) in &link.from {
            let (to, from) = (link.to.1.0, from.0);
            let written = seen[from].clone();
            seen[to].merge(&written);
            seen[from] = seen[to].clone();
        }
    }
}

/// How every value is held.
pub(crate) fn schemes(
    loaded: &Loaded,
    seen: &Seen,
    chosen: &[Choices],
    precision: Precision,
) -> Vec<Scheme> {
    let graphs = &loaded.bundle.graphs;
    if precision == Precision::Fp16 {
        let parts = graphs.iter().zip(&seen.distributions);
        return parts
            .map(|(graph, seen)| Scheme::half(graph, seen))
            .collect();
    }
    let schemes = choices::schemes(graphs, &loaded.links, &seen.distributions, chosen);
    let schemes = schemes.into_iter().zip(&seen.inputs);
    let compensated = schemes.map(|(scheme, inputs)| scheme.compensated(inputs.clone()));
    compensated.collect()
}

/// Operators of the runtime, and what an application has to know.
pub(crate) fn write(
    loaded: &Loaded,
    schemes: &[Scheme],
    options: &Options,
) -> Result<(Program, Metadata)> {
    let (bundle, links) = (&loaded.bundle, &loaded.links);
    let graphs = loaded.graphs();
    let part = |part: usize| Part {
        name: &bundle.names[part],
        graph: &graphs[part],
        scheme: &schemes[part],
        form: loaded.form(part, options),
    };
    let parts: Vec<Part> = (0..graphs.len()).map(part).collect();
    let lowered = |joins| lower(&parts, links, bundle.max_length, joins);
    let mut program = lowered(false)?;
    // The layer that gives candidates in place of logits reads packed weights.
    let decode = bundle.manifest.decode.as_ref();
    let candidates = decode.is_some_and(|keys| keys.candidates.is_some());
    if joined::pays(&program) && !candidates {
        program = lowered(true)?;
    }
    let mut metadata = bundle.metadata(&graphs, links, &options.metadata)?;
    metadata.decode = metadata.decode.filter(|_| !options.forget_past);
    Ok((program, metadata))
}

/// Places tensors and makes the bytes.
pub(crate) fn finish(
    manifest: &Manifest,
    program: &Program,
    metadata: &mut Metadata,
) -> Result<ModelFile> {
    let plan = plan(program);
    if let Some(decode) = &mut metadata.decode {
        decode.hypothesis_len = plan.own_state_len as u32;
    }
    let bytes = emit(program, &plan, metadata)?;
    ModelFile::new(&bytes).map_err(|source| ConvertError::Model {
        path: manifest.path().into(),
        source,
    })
}

/// Has the step of a bundle give the best tokens in place of logits, where its manifest asks for that; true if so.
fn fuse_candidates(
    manifest: &Manifest,
    program: &mut Program,
    metadata: &mut Metadata,
) -> Result<bool> {
    let count = manifest.decode.as_ref().and_then(|keys| keys.candidates);
    if let (Some(count), Some(decode)) = (count, &mut metadata.decode) {
        let (step, logits) = (decode.step as usize, decode.logits as usize);
        let scores = candidates::fuse(program, step, logits, count);
        decode.scores = scores.map_err(|reason| manifest.wrong(reason))? as u32;
        return Ok(true);
    }
    Ok(false)
}

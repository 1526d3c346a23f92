//! The conversion from start to end, the same for a single model and for several that become one file.
//!
//! [`convert`] is the picture: each line of it is a phase.

use crate::bundle::float::Bundle;
use crate::bundle::samples::Samples;
use crate::bundle::{Manifest, candidates};
use crate::calibrate::{Distribution, RangeMethod};
use crate::emit::{Metadata, emit};
use crate::error::{ConvertError, Result, Setting};
use crate::graph::{Graph, stream};
use crate::lower::{Form, Link, Part, lower};
use crate::plan::plan;
use crate::program::Program;
use crate::progress::{Phase, Progress, Step};
use crate::quantize::choices::{self, Choices};
use crate::quantize::inputs::Inputs;
use crate::quantize::sensitivity::{Measure, Widened, widen};
use crate::quantize::{Precision, Scheme};
use crate::runner::ModelFile;
use attn_runtime::audio::{FrontEnd, MEL_BANDS};
use std::borrow::Cow;
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

/// Which activations of an int8 file have 16 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mixed {
    /// For a single model those that are worth it; for one that decodes, whose vectors are short and whose weights take the time, all
    /// but keys and values, which make up the memory of attention.
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
    /// Names of symbolic batch axes, which were taken as 1.
    pub batch: Vec<String>,
    /// Bytes of arena that the tensors would take without sharing.
    pub unshared_len: usize,
}

/// Converts a model or a bundle.
///
/// # Errors
/// [`ConvertError`], which names the file, node, tensor or setting at fault.
pub fn convert(source: Source, options: &Options, progress: Progress) -> Result<Conversion> {
    let manifest = source.manifest(options.form);
    let mut loaded = load(&manifest, options)?;
    let seen = calibrate(&mut loaded, options.precision, progress)?;
    let (schemes, widened) = quantize(&mut loaded, seen, options, progress)?;
    let (mut program, mut metadata) = write(&loaded, &schemes, options)?;
    fuse_candidates(&manifest, &mut program, &mut metadata)?;
    let plan = plan(&program);
    if let Some(decode) = &mut metadata.decode {
        decode.hypothesis_len = plan.own_state_len as u32;
    }
    let bytes = emit(&program, &plan, &metadata)?;
    let file = ModelFile::new(&bytes).map_err(|error| ConvertError::Model {
        path: manifest.path().into(),
        source: error,
    })?;
    Ok(Conversion {
        file,
        batch: loaded.bundle.batch(),
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
struct Loaded<'m> {
    bundle: Bundle<'m>,
    samples: Samples,
    links: Vec<Link>,
}

/// Loads and imports the models, and sees that the options fit them.
fn load<'m>(manifest: &'m Manifest, options: &Options) -> Result<Loaded<'m>> {
    let bundle = Bundle::load(manifest)?;
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
    let samples = Samples::load(&manifest.resolve(&manifest.calibrate), &bundle)?;
    let links = bundle.links()?;
    Ok(Loaded {
        bundle,
        samples,
        links,
    })
}

/// What calibration has seen of one part.
struct Seen {
    distributions: Vec<Distribution>,
    inputs: Inputs,
}

/// Runs the float models over all samples.
fn calibrate(loaded: &mut Loaded, precision: Precision, progress: Progress) -> Result<Vec<Seen>> {
    let Loaded {
        bundle, samples, ..
    } = loaded;
    let graphs = bundle.graphs.clone();
    let of = |graph: &Graph| Seen {
        distributions: vec![Distribution::default(); graph.values.len()],
        inputs: match precision {
            Precision::Fp16 => Inputs::default(),
            Precision::Int8 | Precision::Int16x8 => Inputs::new(graph),
        },
    };
    let mut seen: Vec<Seen> = graphs.iter().map(of).collect();
    let parts = 0..graphs.len();
    let runs: Vec<usize> = parts.map(|part| samples.runs(bundle, part)).collect();
    let total = samples.samples.len();
    for (number, sample) in samples.samples.iter().enumerate() {
        bundle.run(sample, |run, elements| {
            let (part, seen) = (run.part, &mut seen[run.part]);
            for (elements, distribution) in elements.iter().zip(&mut seen.distributions) {
                distribution.extend(&elements.values, total);
            }
            let inputs = &mut seen.inputs;
            inputs.add(&graphs[part], elements, number, runs[part]);
            Ok(())
        })?;
        progress(Step::of(Phase::Calibrate, number + 1, total));
    }
    Ok(seen)
}

/// Decides how every value is held.
fn quantize(
    loaded: &mut Loaded,
    seen: Vec<Seen>,
    options: &Options,
    progress: Progress,
) -> Result<(Vec<Scheme>, Vec<Vec<Widened>>)> {
    let Loaded {
        bundle,
        samples,
        links,
    } = loaded;
    let (inputs, distributions): (Vec<Inputs>, Vec<_>) = (seen
        .into_iter()
        .map(|seen| (seen.inputs, seen.distributions)))
    .unzip();
    if options.precision == Precision::Fp16 {
        let parts = bundle.graphs.iter().zip(&distributions);
        let schemes = parts.map(|(graph, seen)| Scheme::half(graph, seen));
        return Ok((schemes.collect(), Vec::new()));
    }
    let searched = match options.mixed {
        Mixed::Usual => bundle.decoding.is_none(),
        Mixed::Searched => true,
        Mixed::None => false,
    };
    let mut chosen = Vec::new();
    for (part, graph) in bundle.graphs.iter().enumerate() {
        let mut choice = Choices {
            range: options.range,
            audio: bundle.hears(part, &options.metadata),
            ..Choices::default()
        };
        let all = choices::all(graph, choice.audio);
        choice.wide = match (options.precision, options.mixed) {
            (Precision::Int16x8 | Precision::Fp16, _) => all,
            (Precision::Int8, Mixed::Usual) if !searched => {
                let windows = choices::windows(graph);
                all.difference(&windows).copied().collect()
            }
            (Precision::Int8, _) => choice.wide,
        };
        chosen.push(choice);
    }
    let mut widened = Vec::new();
    if searched && options.precision == Precision::Int8 {
        let measure = Measure {
            bundle,
            links,
            distributions: &distributions,
            tables: Rc::default(),
        };
        widened = widen(measure, samples, &mut chosen, progress)?;
    }
    Inputs::compare_roundings(&inputs, progress);
    let schemes = choices::schemes(&bundle.graphs, links, &distributions, &chosen);
    let schemes = schemes.into_iter().zip(inputs);
    let schemes = schemes.map(|(scheme, inputs)| scheme.compensated(Rc::new(inputs)));
    Ok((schemes.collect(), widened))
}

/// Operators of the runtime, and what an application has to know.
fn write(loaded: &Loaded, schemes: &[Scheme], options: &Options) -> Result<(Program, Metadata)> {
    let (bundle, links) = (&loaded.bundle, &loaded.links);
    let graphs = bundle.graphs_for_caller(links);
    let form = |part: usize| match bundle.as_step(part) {
        Some(decoding) if decoding.stream.is_some() && !options.forget_past => Form::Stream,
        Some(_) => Form::Window,
        None => options.form,
    };
    let part = |part: usize| Part {
        name: &bundle.names[part],
        graph: &graphs[part],
        scheme: &schemes[part],
        form: form(part),
    };
    let parts: Vec<Part> = (0..graphs.len()).map(part).collect();
    let program = lower(&parts, links, bundle.max_length)?;
    let mut metadata = bundle.metadata(&graphs, links, &options.metadata)?;
    metadata.decode = metadata.decode.filter(|_| !options.forget_past);
    Ok((program, metadata))
}

/// Has the step of a bundle give the best tokens in place of logits, where its manifest asks for that.
fn fuse_candidates(
    manifest: &Manifest,
    program: &mut Program,
    metadata: &mut Metadata,
) -> Result<()> {
    let count = manifest.decode.as_ref().and_then(|keys| keys.candidates);
    if let (Some(count), Some(decode)) = (count, &mut metadata.decode) {
        let (step, logits) = (decode.step as usize, decode.logits as usize);
        let scores = candidates::fuse(program, step, logits, count);
        decode.scores = scores.map_err(|reason| manifest.wrong(reason))? as u32;
    }
    Ok(())
}

//! The conversion from start to end, the same for a single model and for several that become one file.
//!
//! [`convert`] is the picture: each line of it is a phase.

use crate::bundle::{Manifest, candidates};
use crate::calibrate::{Distribution, RangeMethod};
use crate::emit::{Metadata, emit};
use crate::error::{ConvertError, Setting};
use crate::graph::{Graph, stream};
use crate::lower::{Form, Part, lower_bundle};
use crate::models::{Models, Several, Single};
use crate::plan::plan;
use crate::program::Program;
use crate::progress::{Phase, Progress, Step};
use crate::quantize::inputs::Inputs;
use crate::quantize::sensitivity::{Widened, widen};
use crate::quantize::{self, Choices, Precision, Scheme};
use crate::runner::ModelFile;
use attn_runtime::audio::MEL_BANDS;
use std::collections::{BTreeMap, BTreeSet};
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

/// How to convert.
#[derive(Clone, Debug)]
pub struct Options {
    /// A single model: the whole window, or one frame of a stream.
    pub form: Form,
    /// Weights and activations.
    pub precision: Precision,
    /// How int8 ranges are chosen.
    pub range: RangeMethod,
    /// A single model in int8: hold values in int16 where that is worth it.
    pub mixed: bool,
    /// A bundle's step keeps its past, if it was exported over all tokens. Without, it runs over all of them at once, and nothing can be
    /// decoded: that is what a step that keeps its past must agree with, bit for bit.
    pub keep_past: bool,
    /// What goes into the file beside the network. With an audio front end, the input takes its scale. A bundle's manifest says what
    /// decoding needs.
    pub metadata: Metadata,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            form: Form::Window,
            precision: Precision::default(),
            range: RangeMethod::default(),
            mixed: true,
            keep_past: true,
            metadata: Metadata::default(),
        }
    }
}

/// A finished conversion.
#[derive(Debug)]
pub struct Conversion {
    /// The `.attn` file.
    pub file: ModelFile,
    /// What was imported: the graph of each entry point.
    pub graphs: Vec<Graph>,
    /// Values of the first graph that were given 16 bits, and why.
    pub widened: Vec<Widened>,
    /// Names of symbolic batch axes, which were taken as 1.
    pub batch: Vec<String>,
    /// Bytes of arena that the tensors would take without sharing.
    pub unshared_len: usize,
}

/// Converts a model or a bundle.
///
/// # Errors
/// [`ConvertError`], which names the file, node, tensor or setting at fault.
pub fn convert(
    source: Source,
    options: &Options,
    progress: Progress,
) -> Result<Conversion, ConvertError> {
    let mut models = load(source, options)?;
    let seen = calibrate(models.as_models(), options.precision, progress)?;
    let (schemes, widened) = quantize(&mut models, seen, options, progress)?;
    let (mut program, mut metadata) = lower(&models, &schemes, options)?;
    fuse_candidates(source, &mut program, &mut metadata)?;
    let plan = plan(&program);
    if let Some(decode) = &mut metadata.decode {
        decode.hypothesis_len = plan.own_state_len as u32;
    }
    let bytes = emit(&program, &plan, &metadata)?;
    let file = ModelFile::new(&bytes).map_err(|error| ConvertError::Model {
        path: source.path().into(),
        source: error,
    })?;
    Ok(Conversion {
        file,
        batch: models.batch(),
        unshared_len: program.unshared_len(),
        graphs: models.as_models().graphs().to_vec(),
        widened,
    })
}

impl Source<'_> {
    /// The file that names it.
    fn path(&self) -> &Path {
        match self {
            Self::Model { onnx, .. } => onnx,
            Self::Bundle(manifest) => manifest.path(),
        }
    }
}

/// One model, or several.
enum Loaded<'m> {
    Single(Box<Single>),
    Several(Box<Several<'m>>),
}

impl Loaded<'_> {
    fn as_models(&mut self) -> &mut dyn Models {
        match self {
            Self::Single(models) => &mut **models,
            Self::Several(models) => &mut **models,
        }
    }

    fn batch(&self) -> Vec<String> {
        match self {
            Self::Single(single) => single.reference.batch().to_vec(),
            Self::Several(several) => several.bundle.batch(),
        }
    }
}

/// Loads and imports the models, and sees that the options fit them.
fn load<'m>(source: Source<'m>, options: &Options) -> Result<Loaded<'m>, ConvertError> {
    let models = match source {
        Source::Model { onnx, calibration } => {
            let single = Single::load(onnx, calibration)?;
            let graph = &single.graphs()[0];
            check_audio(graph, &options.metadata)?;
            if options.form == Form::Stream {
                stream::check(graph)?;
            }
            Loaded::Single(Box::new(single))
        }
        Source::Bundle(manifest) => Loaded::Several(Box::new(Several::load(manifest)?)),
    };
    let classes = match &models {
        Loaded::Single(single) => {
            let graph = &single.graphs()[0];
            graph
                .outputs
                .first()
                .map(|id| graph.values[id.0].channels())
        }
        Loaded::Several(several) => several.bundle.logits(),
    };
    check_labels(classes.unwrap_or(0), &options.metadata)?;
    Ok(models)
}

/// There must be a label for each class.
fn check_labels(classes: usize, metadata: &Metadata) -> Result<(), ConvertError> {
    let labels = metadata.labels.len();
    if labels == 0 || labels == classes {
        return Ok(());
    }
    let reason = format!(
        "{labels} labels for {classes} classes: one line for each, in the order of the logits"
    );
    Err(ConvertError::Setting {
        setting: Setting::Labels,
        reason,
    })
}

/// A model of audio must take the front end's features.
fn check_audio(graph: &Graph, metadata: &Metadata) -> Result<(), ConvertError> {
    let input = graph.inputs.first();
    let bands = input.map_or(0, |id| graph.values[id.0].channels());
    if metadata.audio.is_none() || (bands == MEL_BANDS && graph.inputs.len() == 1) {
        return Ok(());
    }
    let reason = format!("the input has {bands} channels, the audio front end gives {MEL_BANDS}");
    Err(ConvertError::Setting {
        setting: Setting::AudioHop,
        reason,
    })
}

/// What calibration has seen of one part.
struct Seen {
    distributions: Vec<Distribution>,
    inputs: Inputs,
}

/// Runs the float models over all samples.
fn calibrate(
    models: &mut dyn Models,
    precision: Precision,
    progress: Progress,
) -> Result<Vec<Seen>, ConvertError> {
    let graphs = models.graphs().to_vec();
    let mut seen: Vec<Seen> = graphs
        .iter()
        .map(|graph| Seen {
            distributions: vec![Distribution::default(); graph.values.len()],
            inputs: match precision {
                Precision::Fp16 => Inputs::default(),
                Precision::Int8 | Precision::Int16x8 => Inputs::new(graph),
            },
        })
        .collect();
    let (samples, runs) = (
        models.samples(),
        (0..graphs.len())
            .map(|part| models.runs(part))
            .collect::<Vec<_>>(),
    );
    for sample in 0..samples {
        models.run(sample, &mut |part, elements| {
            let seen = &mut seen[part];
            for (elements, distribution) in elements.iter().zip(&mut seen.distributions) {
                distribution.extend(&elements.values, samples);
            }
            seen.inputs.add(&graphs[part], elements, sample, runs[part]);
        })?;
        progress(Step {
            phase: Phase::Calibrate,
            done: sample + 1,
            total: samples,
        });
    }
    Ok(seen)
}

/// Decides how every value is held.
fn quantize(
    models: &mut Loaded,
    seen: Vec<Seen>,
    options: &Options,
    progress: Progress,
) -> Result<(Vec<Scheme>, Vec<Widened>), ConvertError> {
    let (graphs, links) = {
        let models = models.as_models();
        (models.graphs().to_vec(), models.links().to_vec())
    };
    let (mut schemes, mut widened): (Vec<Scheme>, _) = (Vec::new(), Vec::new());
    for (part, (graph, seen)) in graphs.iter().zip(seen).enumerate() {
        let distributions = &seen.distributions;
        if options.precision == Precision::Fp16 {
            schemes.push(Scheme::half(graph, distributions));
            continue;
        }
        let audio = match models {
            Loaded::Single(_) => options.metadata.audio.is_some(),
            Loaded::Several(several) => several.bundle.hears(part),
        };
        let mut choices = Choices {
            range: options.range,
            audio,
            wide: BTreeSet::new(),
            given: BTreeMap::new(),
        };
        for link in links.iter().filter(|link| link.to.0 == part) {
            let (writer, value) = link.from[0];
            let quant = match link.is_shared() {
                true => Some(schemes[writer].of(value)),
                false => quantize::state(graph, link.to.1, distributions),
            };
            choices.given.extend(quant.map(|quant| (link.to.1, quant)));
        }
        match (options.precision, &models) {
            (Precision::Int8, Loaded::Single(single)) => {
                if options.mixed {
                    let (reference, data) = (&single.reference, &single.data);
                    widened = widen(
                        graph,
                        distributions,
                        reference,
                        data,
                        &mut choices,
                        progress,
                    )?;
                }
            }
            // Vectors are short here, and weights take the time: activations are int16, but for keys and values, which make up the
            // memory of attention.
            (Precision::Int8, Loaded::Several(_)) => {
                let all = quantize::all(graph, audio);
                let windows = quantize::windows(graph);
                choices.wide = all.difference(&windows).copied().collect();
            }
            (Precision::Int16x8 | Precision::Fp16, _) => {
                choices.wide = quantize::all(graph, audio);
            }
        }
        let scheme = Scheme::new(graph, distributions, &choices);
        schemes.push(scheme.compensated(Rc::new(seen.inputs)));
    }
    Ok((schemes, widened))
}

/// Operators of the runtime, and what an application has to know.
fn lower(
    models: &Loaded,
    schemes: &[Scheme],
    options: &Options,
) -> Result<(Program, Metadata), ConvertError> {
    match models {
        Loaded::Single(single) => {
            let part = Part {
                name: options.form.entry_name(),
                graph: &single.graphs()[0],
                scheme: &schemes[0],
                form: options.form,
            };
            let program = lower_bundle(&[part], single.links(), 0)?;
            Ok((program, options.metadata.clone()))
        }
        Loaded::Several(several) => {
            let (bundle, links) = (&several.bundle, several.links());
            let mut graphs = bundle.graphs.clone();
            // What passes from one model to another is no result for the caller.
            for &(part, value) in links.iter().flat_map(|link| &link.from) {
                graphs[part].drop_output(value);
            }
            let keeps_past = options.keep_past && bundle.stream.is_some();
            let part = |part: usize| Part {
                name: &bundle.names[part],
                graph: &graphs[part],
                scheme: &schemes[part],
                form: match keeps_past && part == bundle.step {
                    true => Form::Stream,
                    false => Form::Window,
                },
            };
            let parts: Vec<Part> = (0..graphs.len()).map(part).collect();
            let program = lower_bundle(&parts, links, bundle.max_length)?;
            let mut metadata = bundle.metadata(&graphs, links, &options.metadata)?;
            metadata.decode = metadata.decode.filter(|_| options.keep_past);
            Ok((program, metadata))
        }
    }
}

/// Has the step of a bundle give the best tokens in place of logits, where its manifest asks for that.
fn fuse_candidates(
    source: Source,
    program: &mut Program,
    metadata: &mut Metadata,
) -> Result<(), ConvertError> {
    let Source::Bundle(manifest) = source else {
        return Ok(());
    };
    if let (Some(count), Some(decode)) = (manifest.decode.candidates, &mut metadata.decode) {
        let (step, logits) = (decode.step as usize, decode.logits as usize);
        let scores = candidates::fuse(program, step, logits, count);
        decode.scores = scores.map_err(|reason| manifest.wrong(reason))? as u32;
    }
    Ok(())
}

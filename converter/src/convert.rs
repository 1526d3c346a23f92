//! The conversion from start to end: import, calibrate, quantize, plan, emit.

use crate::calibrate::{RangeMethod, calibrate};
use crate::dataset::Dataset;
use crate::emit::{Metadata, emit};
use crate::error::{ConvertError, Setting};
use crate::graph::Graph;
use crate::import::import;
use crate::lower::{Form, lower};
use crate::plan::plan;
use crate::progress::Progress;
use crate::quantize::inputs::Inputs;
use crate::quantize::sensitivity::{Widened, widen};
use crate::quantize::{self, Choices, Precision, Scheme};
use crate::reference::Reference;
use crate::runner::ModelFile;
use attn_runtime::audio::MEL_BANDS;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

/// How to convert.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whole window, or one frame of a stream.
    pub form: Form,
    /// Weights and activations.
    pub precision: Precision,
    /// How int8 ranges are chosen.
    pub range: RangeMethod,
    /// With int8: hold values in int16 where that is worth it.
    pub mixed: bool,
    /// What goes into the file beside the network. With an audio front end, the input takes its scale.
    pub metadata: Metadata,
}

/// A finished conversion.
#[derive(Debug)]
pub struct Conversion {
    /// The `.attn` file.
    pub file: ModelFile,
    /// The graph that was imported.
    pub graph: Graph,
    /// Values that were given 16 bits, and why.
    pub widened: Vec<Widened>,
    /// Names of symbolic batch axes, which were taken as 1.
    pub batch: Vec<String>,
    /// Bytes of arena that the tensors would take without sharing.
    pub unshared_len: usize,
}

/// Converts an ONNX file with calibration data from an npz file.
///
/// # Errors
/// [`ConvertError`], which names the file, node, tensor or option at fault.
pub fn convert(
    onnx: &Path,
    calibration: &Path,
    options: &Options,
    progress: Progress,
) -> Result<Conversion, ConvertError> {
    let reference = Reference::load(onnx)?;
    let graph = import(&reference)?;
    check_metadata(&graph, &options.metadata)?;
    if options.form == Form::Stream {
        crate::stream::check(&graph)?;
    }
    let data = Dataset::load(calibration, reference.inputs())?;
    let mut inputs = Inputs::default();
    if options.precision != Precision::Fp16 {
        inputs = Inputs::new(&graph);
    }
    let distributions = calibrate(&graph, &reference, &data, progress, |sample, elements| {
        inputs.add(&graph, elements, sample, data.len());
    })?;
    let audio = options.metadata.audio.is_some();
    let mut choices = Choices {
        range: options.range,
        audio,
        wide: BTreeSet::new(),
        given: BTreeMap::new(),
    };
    let mut widened = Vec::new();
    match options.precision {
        Precision::Int8 if options.mixed => {
            widened = widen(
                &graph,
                &distributions,
                &reference,
                &data,
                &mut choices,
                progress,
            )?;
        }
        Precision::Int8 => {}
        Precision::Int16x8 => choices.wide = quantize::all(&graph, audio),
        Precision::Fp16 => {}
    }
    let scheme = match options.precision {
        Precision::Fp16 => Scheme::half(&graph, &distributions),
        _ => Scheme::new(&graph, &distributions, &choices).compensated(Rc::new(inputs)),
    };
    let program = lower(&graph, &scheme, options.form)?;
    let bytes = emit(&program, &plan(&program), &options.metadata)?;
    let file = ModelFile::new(&bytes).map_err(|source| ConvertError::Model {
        path: onnx.into(),
        source,
    })?;
    let unshared_len = (0..program.tensors.len())
        .filter(|&id| program.base(id).0 == id)
        .map(|id| program.tensors[id].byte_len())
        .sum();
    Ok(Conversion {
        file,
        graph,
        widened,
        batch: reference.batch().to_vec(),
        unshared_len,
    })
}

/// Labels must be as many as the outputs, and an audio model must take the front end's features.
fn check_metadata(graph: &Graph, metadata: &Metadata) -> Result<(), ConvertError> {
    let classes = graph
        .outputs
        .first()
        .map_or(0, |id| graph.values[id.0].channels());
    let labels = metadata.labels.len();
    if labels != 0 && labels != classes {
        let reason = format!(
            "{labels} labels for {classes} classes: one line for each, in the order of the logits"
        );
        return Err(ConvertError::Setting {
            setting: Setting::Labels,
            reason,
        });
    }
    let bands = graph
        .inputs
        .first()
        .map_or(0, |id| graph.values[id.0].channels());
    if metadata.audio.is_some() && (bands != MEL_BANDS || graph.inputs.len() != 1) {
        let reason =
            format!("the input has {bands} channels, the audio front end gives {MEL_BANDS}");
        return Err(ConvertError::Setting {
            setting: Setting::AudioHop,
            reason,
        });
    }
    Ok(())
}

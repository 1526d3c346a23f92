//! Comparison of an `.attn` file with the float models it came from: SQNR of every value, top-1 of both.
//!
//! The float side is run by tract on the original ONNX files, the integer side by the runtime on the `.attn` file.

mod clipped;
mod entry;
mod judge;

pub use clipped::Clipped;
pub(crate) use judge::Judge;
pub use judge::Loss;

use crate::bundle::float::Bundle;
use crate::bundle::samples::Samples;
use crate::error::{ConvertError, Result};
use crate::graph::stream::{self, Rows};
use crate::lower::Form;
use crate::pipeline::Source;
use crate::progress::{Phase, Progress, Step};
use crate::runner::{AlignedBytes, ModelFile};
use crate::sqnr::Sqnr;
use attn_runtime::Session;
use attn_runtime::format::DType;
use clipped::Range;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

/// One value, float against integer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Name of the value: the name of the ONNX tensor.
    pub name: String,
    /// Name of the ONNX node that computes it.
    pub node: String,
    /// The operator that computes it, or `input`.
    pub op: &'static str,
    /// Its type and scale in the file.
    pub dtype: DType,
    /// Over all samples.
    pub sqnr: Sqnr,
    range: Range,
}

/// One output, float against integer.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Its name in the ONNX model.
    pub name: String,
    /// Over all samples.
    pub sqnr: Sqnr,
    /// Agreement of the highest element, for the output that rates classes or tokens.
    pub top_one: Option<TopOne>,
}

impl Judged {
    fn of(name: &str) -> Self {
        Self {
            name: name.into(),
            sqnr: Sqnr::default(),
            top_one: None,
        }
    }
}

/// How often the highest logit is the label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopOne {
    /// Samples with a label.
    pub samples: usize,
    /// Right in float.
    pub float: usize,
    /// Right in integers.
    pub int8: usize,
    /// Float and integers agree.
    pub agree: usize,
}

/// The result.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The caller's inputs, and values in order of computation, entry point by entry point.
    pub layers: Vec<Layer>,
    /// Every output of a model, or the logits of a bundle that decodes.
    pub judged: Vec<Judged>,
    /// Samples that were compared.
    pub samples: usize,
    /// SQNR over the outputs of a model, or over the logits of a bundle that decodes.
    pub outputs: Sqnr,
    /// Agreement of the highest logit, and with labels its correctness.
    pub top_one: TopOne,
    /// Whether the data had labels.
    pub labelled: bool,
}

/// Compares a file with its models on the samples of their npz file. Entry points that take one row at a time, as streams and steps
/// do, are compared at every row. What an entry point has computed for another is not compared.
///
/// # Errors
/// [`ConvertError`] for files that cannot be read or do not belong together.
pub fn compare(source: Source, attn: &Path, progress: Progress) -> Result<Comparison> {
    compare_file(source, &ModelFile::load(attn)?, attn, progress)
}

/// [`compare`] for a file in memory, which errors call `name`.
///
/// # Errors
/// [`ConvertError`].
pub fn compare_file(
    source: Source,
    file: &ModelFile,
    name: &Path,
    progress: Progress,
) -> Result<Comparison> {
    let (model, other) = (file.model(), || ConvertError::OtherModel {
        path: name.into(),
    });
    let form = match model.entry(Form::Stream.entry_name()) {
        Some(_) => Form::Stream,
        None => Form::Window,
    };
    let manifest = source.manifest(form);
    let mut bundle = Bundle::load(&manifest)?;
    let form = match bundle.keeps_states() {
        true => Form::Window,
        false => form,
    };
    if model
        .tensors()
        .iter()
        .all(|tensor| tensor.dtype() != DType::F16)
    {
        bundle.equalize();
    }
    let samples = Samples::load(&manifest.resolve(&manifest.calibrate), &bundle)?;
    let graphs = bundle.graphs_for_caller();
    let forms = |part: usize| rows(&bundle, part, form);
    let rows = (0..graphs.len()).map(forms).collect::<Result<Vec<_>>>()?;
    let mut judge = Judge::new(&bundle, &graphs, model, rows).ok_or_else(other)?;
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice())?;
    let total = samples.samples.len();
    for (number, sample) in samples.samples.iter().enumerate() {
        judge.add(&mut bundle, &mut session, sample, number)?;
        progress(Step::of(Phase::Compare, number + 1, total));
    }
    Ok(judge.comparison(samples.labelled))
}

impl Judged {
    /// The output as JSON.
    pub fn json(&self) -> serde_json::Value {
        let mut result = json!({"name": self.name, "sqnr_db": self.sqnr.db()});
        if let Some(top) = self.top_one {
            result["compared"] = json!(top.samples);
            result["agree"] = json!(top.agree);
        }
        result
    }
}

impl TopOne {
    fn add(&mut self, float: usize, int8: usize, label: Option<usize>) {
        self.samples += 1;
        self.float += usize::from(Some(float) == label);
        self.int8 += usize::from(Some(int8) == label);
        self.agree += usize::from(float == int8);
    }
}

/// How the values of a part relate to its rows, where the file takes one row at a time.
pub(crate) fn rows(bundle: &Bundle, part: usize, form: Form) -> Result<Option<Vec<Rows>>> {
    Ok(match (bundle.as_step(part), &bundle.decoding, form) {
        (Some(decoding), _, _) => decoding.stream.clone(),
        (None, None, Form::Stream) => Some(stream::follow(&bundle.graphs[part], &BTreeSet::new())?),
        (None, _, _) => None,
    })
}

impl Comparison {
    /// Values that leave the range in which the file holds them.
    pub fn clipped(&self) -> Vec<Clipped> {
        let layers = self.layers.iter();
        layers
            .filter_map(|layer| layer.range.clipped(&layer.name))
            .collect()
    }

    /// The result as JSON.
    pub fn json(&self) -> serde_json::Value {
        let layers: Vec<_> = self
            .layers
            .iter()
            .map(|layer| json!({"name": layer.name, "op": layer.op, "dtype": layer.dtype.name(), "sqnr_db": layer.sqnr.db()}))
            .collect();
        let top = self.top_one;
        let share = |count: usize| count as f64 / top.samples.max(1) as f64;
        let mut result = json!({
            "layers": layers,
            "outputs_sqnr_db": self.outputs.db(),
            "outputs": self.judged.iter().map(Judged::json).collect::<Vec<_>>(),
            "samples": top.samples,
            "top1_agreement": share(top.agree),
            "clipped": self.clipped().iter().map(Clipped::json).collect::<Vec<_>>(),
        });
        if self.labelled {
            result["top1_float"] = json!(share(top.float));
            result["top1_int8"] = json!(share(top.int8));
        }
        result
    }
}

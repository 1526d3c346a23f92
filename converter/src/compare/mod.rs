//! Comparison of an `.attn` file with the float model it came from: SQNR of every value, top-1 of both.
//!
//! The float side is run by tract on the original ONNX file, the integer side by the runtime on the `.attn` file.

mod bundle;

pub use bundle::compare_bundle;

use crate::calibrate::physical;
use crate::dataset::Dataset;
use crate::error::ConvertError;
use crate::graph::{Graph, Op, ValueId, op};
use crate::import::import;
use crate::progress::{Phase, Progress, Step};
use crate::reference::{Reference, Values};
use crate::runner::{self, AlignedBytes, ModelFile};
use crate::sqnr::Sqnr;
use attn_runtime::format::DType;
use attn_runtime::{Model, Session};
use ndarray::{ArrayView, IxDyn};
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;

/// One value, float against integer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Name of the value: the name of the ONNX tensor.
    pub name: String,
    /// The operator that computes it.
    pub op: &'static str,
    /// Its type and scale in the file.
    pub dtype: DType,
    /// Over all samples.
    pub sqnr: Sqnr,
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
    /// Values in order of computation; the model's outputs are among them.
    pub layers: Vec<Layer>,
    /// SQNR over the model's outputs.
    pub outputs: Sqnr,
    /// Agreement of the highest logit, and with labels its correctness.
    pub top_one: TopOne,
    /// Whether the data had labels.
    pub labelled: bool,
}

/// Compares a file with its model on the samples of an npz file. A streamed file is fed row by row and compared at
/// the newest row.
///
/// # Errors
/// [`ConvertError`] for files that cannot be read or do not belong together.
pub fn compare(
    onnx: &Path,
    attn: &Path,
    data: &Path,
    progress: Progress,
) -> Result<Comparison, ConvertError> {
    let reference = Reference::load(onnx)?;
    let graph = import(&reference)?;
    let file = ModelFile::load(attn)?;
    let data = Dataset::load(data, reference.inputs())?;
    let mut comparer = Comparer::new(&graph, file.model(), attn)?;
    let mut arena = AlignedBytes::zeroed(file.model().arena_len());
    let mut session = Session::new(file.model(), arena.as_mut_slice())?;
    for index in 0..data.len() {
        let sample = data.sample(index);
        let inputs: Vec<_> = sample.iter().map(|x| x.to_owned()).collect();
        comparer.integers(&mut session, &sample)?;
        comparer.add(
            &reference.run(&inputs)?,
            data.labels().map(|labels| labels[index]),
        );
        progress(Step {
            phase: Phase::Compare,
            done: index + 1,
            total: data.len(),
        });
    }
    comparer.result.labelled = data.labels().is_some();
    Ok(comparer.result)
}

struct Comparer<'g> {
    graph: &'g Graph,
    /// Tensor number in the file to (layer, value).
    tensors: HashMap<usize, (usize, ValueId)>,
    /// Results of the last integer run, layer by layer.
    latest: Vec<Vec<f32>>,
    values: Vec<ValueId>,
    result: Comparison,
}

impl<'g> Comparer<'g> {
    fn new(graph: &'g Graph, model: Model, path: &Path) -> Result<Self, ConvertError> {
        let numbers: HashMap<&str, usize> = model
            .tensors()
            .iter()
            .enumerate()
            .map(|(id, tensor)| (model.name(tensor.name), id))
            .collect();
        let (mut layers, mut tensors, mut values) = (Vec::new(), HashMap::new(), Vec::new());
        // Selected rows and other shapes compute nothing: their values are part of another tensor.
        for node in graph.nodes.iter().filter(|node| {
            !matches!(
                node.op,
                Op::SelectRows(_) | Op::Reshape(op::Reshape) | Op::Sequence(op::Sequence)
            )
        }) {
            let value = &graph.values[node.output.0];
            let Some(&id) = numbers.get(value.name.as_str()) else {
                continue;
            };
            let Some(tensor) = model
                .tensor(id)
                .filter(|tensor| tensor.channels() == value.channels())
            else {
                continue;
            };
            tensors.insert(id, (layers.len(), node.output));
            values.push(node.output);
            let (name, op, dtype) = (value.name.clone(), node.op.name(), tensor.dtype());
            layers.push(Layer {
                name,
                op,
                dtype,
                sqnr: Sqnr::default(),
            });
        }
        let computed = |id: &ValueId| values.contains(id);
        if !graph.outputs.iter().all(computed) {
            return Err(ConvertError::OtherModel { path: path.into() });
        }
        let result = Comparison {
            layers,
            outputs: Sqnr::default(),
            top_one: TopOne::default(),
            labelled: false,
        };
        Ok(Self {
            graph,
            tensors,
            latest: vec![Vec::new(); values.len()],
            values,
            result,
        })
    }

    /// Runs the integer model over one sample, whole or row by row, and keeps every value of the last run.
    fn integers(
        &mut self,
        session: &mut Session,
        sample: &[ArrayView<f32, IxDyn>],
    ) -> Result<(), ConvertError> {
        session.reset();
        let model = session.model();
        let elements: Vec<Vec<f32>> = sample.iter().map(|x| x.iter().copied().collect()).collect();
        let per_run = session.input_record(0, 0)?.len().max(1);
        let runs = elements.first().map_or(0, |x| x.len() / per_run);
        for run in 0..runs {
            for (index, elements) in elements.iter().enumerate() {
                let len = elements.len() / runs;
                runner::fill(
                    session,
                    0,
                    index,
                    elements[run * len..(run + 1) * len].iter(),
                )?;
            }
            let (tensors, latest) = (&self.tensors, &mut self.latest);
            runner::run_traced(session, 0, |id, bytes| {
                if let (Some(&(layer, _)), Some(tensor)) = (tensors.get(&id), model.tensor(id)) {
                    latest[layer] = runner::dequantize(tensor, bytes);
                }
            })?;
        }
        Ok(())
    }

    fn add(&mut self, values: &Values, label: Option<usize>) {
        for (layer, id) in self.values.iter().enumerate() {
            let got = &self.latest[layer];
            let Some(exact) = physical(&self.graph.values[id.0], values) else {
                continue;
            };
            // A step of a stream holds the newest rows only.
            let exact = &exact[exact.len().saturating_sub(got.len())..];
            self.result.layers[layer].sqnr.add(exact, got);
            if self.graph.outputs.contains(id) {
                self.result.outputs.add(exact, got);
            }
            if self.graph.outputs.first() == Some(id) {
                self.result.top_one.add(highest(exact), highest(got), label);
            }
        }
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

fn highest(logits: &[f32]) -> usize {
    let highest = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    highest.map_or(0, |(index, _)| index)
}

impl Comparison {
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
            "samples": top.samples,
            "top1_agreement": share(top.agree),
        });
        if self.labelled {
            result["top1_float"] = json!(share(top.float));
            result["top1_int8"] = json!(share(top.int8));
        }
        result
    }
}

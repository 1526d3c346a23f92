//! Comparison of an `.attn` file with the float models it came from: SQNR of every value, top-1 of both.
//!
//! The float side is run by tract on the original ONNX files, the integer side by the runtime on the `.attn` file.

use crate::bundle::float::Bundle;
use crate::bundle::run::Run;
use crate::bundle::samples::{Sample, Samples};
use crate::calibrate::Elements;
use crate::error::{ConvertError, Result};
use crate::graph::stream::{self, Rows};
use crate::graph::{Graph, ValueId};
use crate::lower::Form;
use crate::pipeline::Source;
use crate::progress::{Phase, Progress, Step};
use crate::runner::{self, AlignedBytes, ModelFile};
use crate::sqnr::Sqnr;
use attn_runtime::format::DType;
use attn_runtime::{Model, Session};
use ndarray::ArrayD;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
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
    /// Values in order of computation, entry point by entry point.
    pub layers: Vec<Layer>,
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
    let file = ModelFile::load(attn)?;
    let (model, other) = (file.model(), || ConvertError::OtherModel {
        path: attn.into(),
    });
    let form = match model.entry(Form::Stream.entry_name()) {
        Some(_) => Form::Stream,
        None => Form::Window,
    };
    let manifest = source.manifest(form);
    let mut bundle = Bundle::load(&manifest)?;
    let samples = Samples::load(&manifest.resolve(&manifest.calibrate), &bundle)?;
    let graphs = bundle.graphs_for_caller(&bundle.links()?);
    let mut entries = Vec::new();
    for (part, graph) in graphs.iter().enumerate() {
        let number = match bundle.decoding {
            Some(_) => model.entry(&bundle.names[part]).ok_or_else(other)?,
            None => 0,
        };
        let entry = Entry::new(graph, model, number, rows(&bundle, part, form)?);
        entries.push(entry.ok_or_else(other)?);
    }
    let logits = bundle.logits();
    let judged = |part: usize, id: ValueId| match bundle.decoding {
        Some(_) => Some((part, id)) == logits,
        None => true,
    };
    let judged: Vec<Vec<bool>> = graphs
        .iter()
        .enumerate()
        .map(|(part, graph)| graph.outputs.iter().map(|&id| judged(part, id)).collect())
        .collect();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice())?;
    let (mut outputs, mut top_one) = (Sqnr::default(), TopOne::default());
    for (number, sample) in samples.samples.iter().enumerate() {
        start(&mut session, sample)?;
        bundle.run(sample, |run, all| {
            let entry = &mut entries[run.part];
            for row in 0..entry.rows_of(run) {
                entry.run(&mut session, run, row)?;
                entry.add(run, all, row);
                for (slot, _) in judged[run.part]
                    .iter()
                    .enumerate()
                    .filter(|(_, judged)| **judged)
                {
                    let id = graphs[run.part].outputs[slot];
                    let got = runner::output(&session, entry.number, slot)?;
                    let exact = entry.exact(run, all, id, row);
                    let Some(exact) = exact.filter(|exact| exact.len() == got.len()) else {
                        continue;
                    };
                    outputs.add(exact, &got);
                    if logits == Some((run.part, id)) {
                        top_one.add(highest(exact), highest(&got), sample.label);
                    }
                }
            }
            Ok(())
        })?;
        let total = samples.samples.len();
        progress(Step::of(Phase::Compare, number + 1, total));
    }
    Ok(Comparison {
        layers: entries.into_iter().flat_map(|entry| entry.layers).collect(),
        outputs,
        top_one,
        labelled: samples.labelled,
    })
}

/// How the values of a part relate to its rows, where the file takes one row at a time.
fn rows(bundle: &Bundle, part: usize, form: Form) -> Result<Option<Vec<Rows>>> {
    Ok(match (bundle.as_step(part), &bundle.decoding, form) {
        (Some(decoding), _, _) => decoding.stream.clone(),
        (None, None, Form::Stream) => Some(stream::follow(&bundle.graphs[part], &BTreeSet::new())?),
        (None, _, _) => None,
    })
}

/// Resets the session and sets the length of the sequence.
fn start(session: &mut Session, sample: &Sample) -> Result<()> {
    session.reset();
    if session.model().max_length() > 0 {
        session.set_length(sample.length)?;
    }
    Ok(())
}

/// One entry point, compared.
struct Entry<'g> {
    graph: &'g Graph,
    number: usize,
    /// How values relate to the rows of a run, where it takes one at a time.
    rows: Option<Vec<Rows>>,
    /// Tensor number to layer.
    tensors: HashMap<usize, usize>,
    values: Vec<ValueId>,
    layers: Vec<Layer>,
    /// What the last run gave, layer by layer.
    got: Vec<Vec<f32>>,
}

impl<'g> Entry<'g> {
    /// None where the file's entry point has other inputs or outputs than the graph.
    fn new(graph: &'g Graph, model: Model, number: usize, rows: Option<Vec<Rows>>) -> Option<Self> {
        let record = model.entries().get(number)?;
        let mut outputs = model.output_names(record);
        if graph
            .output_names
            .iter()
            .any(|name| outputs.next() != Some(name))
        {
            return None;
        }
        let ops = model.ops().get(record.ops()).unwrap_or_default();
        let written = ops.iter().flat_map(|op| op.outputs());
        let named = written.filter_map(|id| Some((model.name(model.tensor(id)?.name), id)));
        let numbers: HashMap<&str, usize> = named.collect();
        let (mut tensors, mut values, mut layers) = (HashMap::new(), Vec::new(), Vec::new());
        for node in &graph.nodes {
            let value = &graph.values[node.output.0];
            let id = numbers.get(value.name.as_str()).copied();
            let tensor = id.and_then(|id| Some((id, model.tensor(id)?)));
            let same = tensor.filter(|(_, tensor)| tensor.channels() == value.channels());
            let Some((id, tensor)) = same else {
                continue;
            };
            tensors.insert(id, layers.len());
            values.push(node.output);
            layers.push(Layer {
                name: value.name.clone(),
                op: node.op.name(),
                dtype: tensor.dtype(),
                sqnr: Sqnr::default(),
            });
        }
        Some(Self {
            graph,
            number,
            rows,
            tensors,
            values,
            got: vec![Vec::new(); layers.len()],
            layers,
        })
    }

    /// How often the entry point runs where the float model runs once.
    fn rows_of(&self, run: &Run) -> usize {
        match (&self.rows, run.tokens) {
            (None, _) => 1,
            (Some(_), 0) => self
                .graph
                .inputs
                .first()
                .map_or(1, |id| self.graph.values[id.0].rows()),
            (Some(_), tokens) => tokens,
        }
    }

    /// Runs over one row of what is given, or over all of it.
    fn run(&mut self, session: &mut Session, run: &Run, row: usize) -> Result<()> {
        let model = session.model();
        let one_row = |array: &ArrayD<f32>| {
            let rows = array.shape().first().copied().unwrap_or(1).max(1);
            let len = array.len() / rows;
            let row = array.iter().skip(row * len).take(len);
            ArrayD::from_shape_vec(vec![len], row.copied().collect()).expect("one row")
        };
        let given = run.given.iter().map(|(name, array)| match &self.rows {
            Some(_) => (name.clone(), one_row(array)),
            None => (name.clone(), array.clone()),
        });
        runner::give(session, self.number, &given.collect::<Vec<_>>())?;
        let (tensors, got) = (&self.tensors, &mut self.got);
        runner::run_traced(session, self.number, |id, bytes| {
            if let (Some(&layer), Some(tensor)) = (tensors.get(&id), model.tensor(id)) {
                got[layer] = runner::dequantize(tensor, bytes);
            }
        })
    }

    /// Adds the last run, which was over `row`, to the comparison.
    fn add(&mut self, run: &Run, all: &[Elements], row: usize) {
        for (layer, &id) in self.values.iter().enumerate() {
            let exact = self.exact(run, all, id, row);
            let exact = exact.filter(|exact| exact.len() == self.got[layer].len());
            if let Some(exact) = exact {
                self.layers[layer].sqnr.add(exact, &self.got[layer]);
            }
        }
    }

    /// What a value should be after a run over `row`.
    fn exact<'e>(
        &self,
        run: &Run,
        all: &'e [Elements],
        id: ValueId,
        row: usize,
    ) -> Option<&'e [f32]> {
        let (all, channels) = (&all[id.0], self.graph.values[id.0].channels());
        let kind = self.rows.as_ref().map(|rows| rows[id.0]);
        let exact = match kind {
            Some(Rows::Frames) => all.values.get(row * channels..(row + 1) * channels),
            // In float it is that of the last row alone.
            Some(Rows::Newest) if row + 1 < self.rows_of(run) => None,
            Some(Rows::Newest | Rows::Shared) | None => Some(&all.values[..]),
        };
        exact.filter(|_| all.in_order)
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

//! One entry point of a file beside its float model: runs both over the same rows and adds up the differences.

use super::Layer;
use super::clipped::Range;
use crate::bundle::run::Run;
use crate::calibrate::Elements;
use crate::error::Result;
use crate::graph::stream::Rows;
use crate::graph::{Graph, ValueId};
use crate::runner;
use crate::sqnr::Sqnr;
use attn_runtime::{Model, Session};
use ndarray::ArrayD;
use std::collections::{HashMap, HashSet};

/// What the caller gives, where operators are named.
pub const INPUT: &str = "input";

/// One entry point, compared.
pub(super) struct Entry<'g> {
    graph: &'g Graph,
    /// Its number in the file.
    pub number: usize,
    /// How values relate to the rows of a run, where it takes one at a time.
    rows: Option<Vec<Rows>>,
    /// Tensor numbers of the caller's inputs.
    given: Vec<usize>,
    /// Tensor number to layer.
    tensors: HashMap<usize, usize>,
    values: Vec<ValueId>,
    /// Its values, in order of computation; inputs first.
    pub layers: Vec<Layer>,
    /// What the last run gave, layer by layer.
    got: Vec<Vec<f32>>,
}

impl<'g> Entry<'g> {
    /// None where the file's entry point has other inputs or outputs than the graph.
    pub fn new(
        graph: &'g Graph,
        model: Model,
        number: usize,
        rows: Option<Vec<Rows>>,
    ) -> Option<Self> {
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
        let mut entry = Self {
            graph,
            number,
            rows,
            given: Vec::new(),
            tensors: HashMap::new(),
            values: Vec::new(),
            layers: Vec::new(),
            got: Vec::new(),
        };
        let given = record.inputs().zip(model.input_names(record));
        for (id, name) in given {
            let mut inputs = graph.inputs.iter();
            let value = inputs.find(|id| graph.values[id.0].name == name);
            if let Some(&value) = value.filter(|value| !graph.tokens.contains(value)) {
                entry.watch(model, id, value, name, INPUT);
                entry.given.push(id);
            }
        }
        for node in &graph.nodes {
            let name = graph.values[node.output.0].name.as_str();
            if let Some(&id) = numbers.get(name) {
                entry.watch(model, id, node.output, &node.name, node.op.name());
            }
        }
        Some(entry)
    }

    /// Compares a value, which node and operator compute, with tensor number `id`.
    fn watch(&mut self, model: Model, id: usize, value: ValueId, node: &str, op: &'static str) {
        let name = &self.graph.values[value.0].name;
        let channels = self.graph.values[value.0].channels();
        let tensor = model.tensor(id);
        let Some(tensor) = tensor.filter(|tensor| tensor.channels() == channels) else {
            return;
        };
        self.tensors.insert(id, self.layers.len());
        self.values.push(value);
        self.got.push(Vec::new());
        self.layers.push(Layer {
            name: name.clone(),
            node: node.into(),
            op,
            dtype: tensor.dtype(),
            sqnr: Sqnr::default(),
            range: Range::of(runner::quant(tensor)),
        });
    }

    /// How often the entry point runs where the float model runs once.
    pub fn rows_of(&self, run: &Run) -> usize {
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
    pub fn run(&mut self, session: &mut Session, run: &Run, row: usize) -> Result<()> {
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
        let mut note = |id: usize, bytes: &[u8]| {
            if let (Some(&layer), Some(tensor)) = (tensors.get(&id), model.tensor(id)) {
                got[layer] = runner::dequantize(tensor, bytes);
            }
        };
        for &id in &self.given {
            note(id, session.tensor_bytes(id).unwrap_or_default());
        }
        runner::run_traced(session, self.number, note)
    }

    /// Adds the last run, which was over `row`, to the comparison.
    pub fn add(&mut self, run: &Run, all: &[Elements], row: usize, sample: usize) {
        for (at, &id) in self.values.iter().enumerate() {
            let exact = self.exact(run, all, id, row);
            let exact = exact.filter(|exact| exact.len() == self.got[at].len());
            if let Some(exact) = exact {
                let layer = &mut self.layers[at];
                layer.sqnr.add(exact, &self.got[at]);
                layer.range.add(exact, sample);
            }
        }
    }

    /// Layers whose results go into value `id`, which is one of them.
    pub fn before(&self, id: ValueId) -> Vec<bool> {
        let mut needed = HashSet::from([id]);
        for node in self.graph.nodes.iter().rev() {
            if node.outputs().any(|output| needed.contains(&output)) {
                needed.extend(&node.inputs);
            }
        }
        self.values.iter().map(|id| needed.contains(id)).collect()
    }

    /// Layers that the node of layer number `at` reads, directly or through values that are not compared.
    pub fn read_by(&self, at: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut open: Vec<ValueId> = self.inputs_of(self.values[at]).to_vec();
        while let Some(id) = open.pop() {
            match self.values.iter().position(|value| *value == id) {
                Some(layer) => found.push(layer),
                None => open.extend(self.inputs_of(id)),
            }
        }
        found
    }

    fn inputs_of(&self, id: ValueId) -> &[ValueId] {
        let producer = self.graph.producer(id);
        producer.map_or(&[], |node| &node.inputs)
    }

    /// What a value should be after a run over `row`.
    pub fn exact<'e>(
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

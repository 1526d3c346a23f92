//! Tiny graphs for the tests of passes.

use crate::graph::float::evaluate;
use crate::graph::{Clamp, Graph, Node, Op, Value, ValueId, op};

/// A graph under construction.
#[derive(Default)]
pub struct Build(Graph);

impl Build {
    pub fn new() -> Self {
        Self::default()
    }

    fn value(&mut self, dims: &[usize]) -> ValueId {
        let id = ValueId(self.0.values.len());
        self.0.values.push(Value {
            name: format!("v{}", id.0),
            dims: dims.to_vec(),
            source: None,
        });
        id
    }

    pub fn input(&mut self, dims: &[usize]) -> ValueId {
        let id = self.value(dims);
        self.0.inputs.push(id);
        id
    }

    pub fn op(&mut self, op: impl Into<Op>, inputs: &[ValueId], dims: &[usize]) -> ValueId {
        let output = self.value(dims);
        self.0.nodes.push(Node {
            name: format!("n{}", output.0),
            op: op.into(),
            inputs: inputs.to_vec(),
            output,
            second: None,
        });
        output
    }

    pub fn copy(&mut self, x: ValueId, dims: &[usize], place: impl Fn(usize) -> u32) -> ValueId {
        let index = (0..dims.iter().product()).map(place).collect();
        self.op(op::Copy { index }, &[x], dims)
    }

    pub fn add_to(&mut self, a: ValueId, b: ValueId) -> ValueId {
        let dims = self.0.values[a.0].dims.clone();
        self.op(op::Add { clamp: Clamp::NONE }, &[a, b], &dims)
    }

    pub fn graph(mut self, outputs: &[ValueId]) -> Graph {
        self.0.outputs = outputs.to_vec();
        self.0
    }
}

/// Numbers that differ.
pub fn numbers(len: usize, seed: usize) -> Vec<f32> {
    let number = |at: usize| ((at * 37 + seed * 101) % 64) as f32 / 32.0 - 1.0;
    (0..len).map(number).collect()
}

/// The first output of a graph over numbers that differ.
pub fn output(graph: &Graph) -> Vec<f32> {
    let mut values: Vec<Vec<f32>> = vec![Vec::new(); graph.values.len()];
    for (seed, &input) in graph.inputs.iter().enumerate() {
        values[input.0] = numbers(graph.values[input.0].len(), seed);
    }
    for node in &graph.nodes {
        let inputs: Vec<&[f32]> = node.inputs.iter().map(|id| &values[id.0][..]).collect();
        let result = evaluate(graph, node, &inputs);
        values[node.output.0] = result.unwrap_or_else(|| panic!("{} is not evaluated", node.name));
    }
    values[graph.outputs[0].0].clone()
}

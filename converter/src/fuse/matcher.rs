//! What passes ask of a graph: who computes a value, who reads it, and where its elements come from.

use crate::graph::{Graph, Node, Op, ValueId, op};
use std::collections::{HashMap, HashSet};

/// Where the elements of a value come from: element `i` is `factor * base[position[i]]`, or 0 at [`Origin::ZERO`].
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The value that an operator has computed, or an input.
    pub base: ValueId,
    /// For each element its place in the base.
    pub position: Vec<u32>,
    /// Factor on all of them.
    pub factor: f32,
}

impl Origin {
    /// An element that is 0.
    pub const ZERO: u32 = op::Copy::ZERO;
}

/// Answers about one state of a graph.
pub struct Matcher<'g> {
    /// The graph.
    pub graph: &'g Graph,
    producers: HashMap<ValueId, usize>,
    readers: HashMap<ValueId, Vec<usize>>,
}

impl<'g> Matcher<'g> {
    /// Looks at a graph.
    pub fn new(graph: &'g Graph) -> Self {
        let mut producers = HashMap::new();
        let mut readers: HashMap<ValueId, Vec<usize>> = HashMap::new();
        for (at, node) in graph.nodes.iter().enumerate() {
            node.outputs().for_each(|output| {
                producers.insert(output, at);
            });
            for &input in &node.inputs {
                readers.entry(input).or_default().push(at);
            }
        }
        Self {
            graph,
            producers,
            readers,
        }
    }

    /// The node that computes a value as its first result.
    pub fn producer(&self, value: ValueId) -> Option<&'g Node> {
        let node = &self.graph.nodes[*self.producers.get(&value)?];
        (node.output == value).then_some(node)
    }

    /// The nodes that read a value.
    pub fn readers(&self, value: ValueId) -> impl Iterator<Item = &'g Node> {
        let readers = self.readers.get(&value).into_iter().flatten();
        let graph = self.graph;
        readers.map(move |&at| &graph.nodes[at])
    }

    /// True if a model returns the value.
    pub fn is_output(&self, value: ValueId) -> bool {
        self.graph.outputs.contains(&value)
    }

    /// Where elements come from, through everything that moves them and nothing else.
    pub fn moved(&self, value: ValueId) -> Origin {
        let mut origin = self.whole(value);
        while let Some(node) = self.producer(origin.base)
            && let Some(places) = places(self.graph, node)
        {
            origin.through(node.inputs[0], &places);
        }
        origin
    }

    /// The value whose elements, all and in order, a value has.
    pub fn same(&self, value: ValueId) -> Option<ValueId> {
        let origin = self.moved(value);
        let whole = origin.position.len() == self.graph.values[origin.base.0].len();
        let mut places = origin.position.iter().enumerate();
        let in_order = places.all(|(at, &p)| p as usize == at);
        (whole && in_order).then_some(origin.base)
    }

    /// As [`Self::moved`], also through constant factors.
    pub fn scaled(&self, value: ValueId) -> Origin {
        let mut origin = self.moved(value);
        while let Some(node) = self.producer(origin.base)
            && let Op::Activation(op::Activation(function)) = &node.op
            && let Some((slope, 0.0)) = function.line()
        {
            let inner = self.moved(node.inputs[0]);
            origin.factor *= slope as f32;
            origin.through(inner.base, &inner.position);
        }
        origin
    }

    /// All of a value, from itself.
    fn whole(&self, value: ValueId) -> Origin {
        Origin {
            base: value,
            position: (0..self.graph.values[value.0].len() as u32).collect(),
            factor: 1.0,
        }
    }

    /// Everything that reads a value, directly or through what only moves elements: the nodes that compute.
    pub fn consumers(&self, value: ValueId) -> Vec<&'g Node> {
        let (mut found, mut open) = (Vec::new(), vec![value]);
        while let Some(value) = open.pop() {
            for node in self.readers(value) {
                match places(self.graph, node) {
                    Some(_) => open.push(node.output),
                    None => found.push(node),
                }
            }
        }
        found
    }

    /// True if a value is computed from another one.
    pub fn depends(&self, value: ValueId, on: ValueId) -> bool {
        let (mut seen, mut open) = (HashSet::new(), vec![value]);
        while let Some(value) = open.pop() {
            if value == on {
                return true;
            }
            if let Some(&at) = self.producers.get(&value)
                && seen.insert(at)
            {
                open.extend(&self.graph.nodes[at].inputs);
            }
        }
        false
    }

    /// True if a model returns the value, or a rearrangement of it.
    pub fn is_returned(&self, value: ValueId) -> bool {
        let moves = |node: &&Node| places(self.graph, node).is_some();
        self.is_output(value)
            || self
                .readers(value)
                .filter(moves)
                .any(|node| self.is_returned(node.output))
    }

    /// The name of the ONNX node that a node is part of.
    pub fn onnx_name(&self, node: &Node) -> String {
        let fallback = self.graph.fallback_values.get(&node.output);
        match fallback.and_then(|&at| self.graph.fallbacks.get(at)) {
            Some((name, _)) => name.clone(),
            None => node.name.clone(),
        }
    }
}

impl Origin {
    fn through(&mut self, base: ValueId, places: &[u32]) {
        for position in &mut self.position {
            *position = match *position {
                Self::ZERO => Self::ZERO,
                at => places[at as usize],
            };
        }
        self.base = base;
    }
}

/// For an operator that only moves elements of its input: for each element of the result its place in the input.
pub fn places(graph: &Graph, node: &Node) -> Option<Vec<u32>> {
    let len = graph.values[node.output.0].len();
    match &node.op {
        Op::Copy(op::Copy { index }) => Some(index.clone()),
        Op::Reshape(_) => Some((0..len as u32).collect()),
        Op::SelectRows(op::SelectRows { start, .. }) => {
            let first = start * graph.values[node.output.0].channels();
            Some((first..first + len).map(|at| at as u32).collect())
        }
        _ => None,
    }
}

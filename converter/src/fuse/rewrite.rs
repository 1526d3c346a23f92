//! Edits of a graph: new nodes in front of the one that they replace, and values rearranged in the cheapest way there is.

use super::matcher::{Matcher, Origin, places};
use crate::function::Function;
use crate::graph::op::Affine;
use crate::graph::{Clamp, Graph, Node, Op, Source, Value, ValueId, op};
use ndarray::Axis;
use std::collections::HashSet;

/// Puts new nodes into a graph, each behind the one before, all in front of what was node number `at`.
pub struct Rewrite<'g> {
    /// The graph.
    pub graph: &'g mut Graph,
    /// Where the next node goes.
    pub at: usize,
}

/// Elements `[rows, channels]` of a value in another order.
pub struct Arranged<'p> {
    /// The value.
    pub base: ValueId,
    /// For each element its place in it, or [`Origin::ZERO`].
    pub position: &'p [u32],
    /// Elements in a row.
    pub channels: usize,
}

impl Arranged<'_> {
    /// Dimensions of the value.
    pub fn dims(&self) -> Vec<usize> {
        match self.position.len() / self.channels.max(1) {
            1 => vec![self.channels],
            rows => vec![rows, self.channels],
        }
    }
}

/// Goes over all nodes. `step` may put others in place of node number `at`, and then gives the number behind them.
pub fn each(graph: &mut Graph, step: impl Fn(&mut Graph, usize) -> Option<usize>) {
    let mut at = 0;
    while at < graph.nodes.len() {
        at = step(graph, at).unwrap_or(at + 1);
    }
}

impl Rewrite<'_> {
    /// Adds a node whose result has no ONNX tensor, under a name that begins with `name`.
    pub fn add_inner(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: Vec<ValueId>,
        dims: &[usize],
    ) -> ValueId {
        let value = Value {
            name: format!("{name}{}", self.graph.values.len()),
            dims: dims.to_vec(),
            source: None,
        };
        let label = value.name.clone();
        self.add(&label, op, inputs, value)
    }

    /// The sum of values and of a constant, all of these dimensions.
    pub fn sum(
        &mut self,
        name: &str,
        values: Vec<ValueId>,
        constant: Vec<f32>,
        dims: &[usize],
    ) -> ValueId {
        let clamp = Clamp::NONE;
        let mut sum: Option<ValueId> = None;
        for value in values {
            sum = Some(match sum {
                None => value,
                // An operator reads two different values.
                Some(sum) if sum == value => {
                    let twice = op::Activation(Function::scaled(2.0));
                    self.add_inner(name, twice, vec![sum], dims)
                }
                Some(sum) => self.add_inner(name, op::Add { clamp }, vec![sum, value], dims),
            });
        }
        match sum {
            None => self.add_inner(name, op::Constant { values: constant }, vec![], dims),
            Some(sum) if constant.iter().all(|&c| c == 0.0) => sum,
            Some(sum) => {
                let op = op::AddConstant { constant, clamp };
                self.add_inner(name, op, vec![sum], dims)
            }
        }
    }

    /// Adds a node and the value that it computes.
    pub fn add(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: Vec<ValueId>,
        value: Value,
    ) -> ValueId {
        let output = ValueId(self.graph.values.len());
        self.graph.values.push(value);
        let node = Node {
            name: name.into(),
            op: op.into(),
            inputs,
            output,
            second: None,
        };
        self.graph.nodes.insert(self.at, node);
        self.at += 1;
        output
    }

    /// The arranged elements as a value: the base itself, some of its rows, columns of the layer that computes it, or a copy.
    pub fn arranged(&mut self, name: &str, arranged: &Arranged) -> ValueId {
        let base = &self.graph.values[arranged.base.0];
        let dims = arranged.dims();
        let (op, inputs): (Op, _) = match arrangement(self.graph, arranged) {
            Arrangement::Same if base.dims == dims => return arranged.base,
            Arrangement::Same => (op::Reshape.into(), vec![arranged.base]),
            Arrangement::Rows(start) => {
                let rows = arranged.position.len() / arranged.channels.max(1);
                (op::SelectRows { start, rows }.into(), vec![arranged.base])
            }
            Arrangement::Other => {
                if let Some(part) = self.columns(arranged) {
                    return part;
                }
                match self.graph.constant(arranged.base) {
                    Some(values) => {
                        let at = |&at: &u32| values.get(at as usize).copied().unwrap_or(0.0);
                        let values = arranged.position.iter().map(at).collect();
                        (op::Constant { values }.into(), vec![])
                    }
                    None => {
                        let index = arranged.position.to_vec();
                        (op::Copy { index }.into(), vec![arranged.base])
                    }
                }
            }
        };
        // An equal one may be there already.
        let mut before = self.graph.nodes[..self.at].iter();
        let equal = before.find(|node| {
            let same = match (&node.op, &op) {
                (Op::Reshape(_), Op::Reshape(_)) => true,
                (Op::SelectRows(a), Op::SelectRows(b)) => (a.start, a.rows) == (b.start, b.rows),
                (Op::Copy(a), Op::Copy(b)) => a.index == b.index,
                (Op::Constant(a), Op::Constant(b)) => a.values == b.values,
                _ => false,
            };
            same && node.inputs == inputs && self.graph.values[node.output.0].dims == dims
        });
        if let Some(node) = equal {
            return node.output;
        }
        let value = Value {
            name: name.into(),
            dims,
            source: None,
        };
        self.add(name, op, inputs, value)
    }

    /// Columns of the layer that computes the base, as a layer of their own, if nothing reads the whole then.
    fn columns(&mut self, arranged: &Arranged) -> Option<ValueId> {
        let matcher = Matcher::new(self.graph);
        let node = matcher.producer(arranged.base)?;
        let (layer, window) = match &node.op {
            Op::Linear(op::Linear(layer)) => (layer, None),
            Op::Conv1d(op::Conv1d { affine, window }) => (affine, Some(*window)),
            _ => return None,
        };
        let moved = |reader| places(self.graph, reader).is_some();
        if !matcher.readers(arranged.base).all(moved) || matcher.is_output(arranged.base) {
            return None;
        }
        let base = &self.graph.values[arranged.base.0];
        let all = base.channels();
        let rows = arranged.position.len() / arranged.channels.max(1);
        let columns: Vec<usize> = arranged
            .position
            .get(..arranged.channels)?
            .iter()
            .map(|&p| p as usize)
            .collect();
        let distinct: HashSet<_> = columns.iter().filter(|&&c| c < all).collect();
        let by_row = |(at, &p): (usize, &u32)| {
            p as usize == at / arranged.channels * all + columns[at % arranged.channels]
        };
        let fits = rows == base.rows()
            && distinct.len() == arranged.channels
            && arranged.position.iter().enumerate().all(by_row);
        if !fits {
            return None;
        }
        let affine = Affine {
            weight: layer.weight.select(Axis(0), &columns),
            bias: columns.iter().map(|&c| layer.bias[c]).collect(),
            clamp: layer.clamp,
        };
        let op: Op = match window {
            Some(window) => op::Conv1d { affine, window }.into(),
            None => op::Linear(affine).into(),
        };
        let range = match (columns.first(), columns.last()) {
            (Some(first), Some(last)) if last + 1 - first.min(last) == columns.len() => {
                format!("[:, {first}..{}]", last + 1)
            }
            _ => format!("[:, {columns:?}]"),
        };
        let place = |p: u32| {
            let (row, column) = (p as usize / all, p as usize % all);
            let at = columns.iter().position(|&c| c == column);
            at.map_or(Origin::ZERO, |at| (row * columns.len() + at) as u32)
        };
        let source = base.source.as_ref().map(|source| Source {
            onnx: source.onnx.clone(),
            position: source.position.iter().map(|&p| place(p)).collect(),
        });
        let value = Value {
            name: format!("{}{range}", base.name),
            dims: arranged.dims(),
            source,
        };
        let (name, inputs) = (format!("{}{range}", node.name), node.inputs.clone());
        Some(self.add(&name, op, inputs, value))
    }

    /// No base operator computes this value any more.
    pub fn fused(&mut self, value: ValueId) {
        self.graph.fallback_values.remove(&value);
    }

    /// Makes `value` the elements of `base` at these places: all that read it read them from there.
    pub fn replace(&mut self, value: ValueId, base: ValueId, index: Vec<u32>) {
        let node = |node: &Node| node.outputs().any(|output| output == value);
        let Some(at) = self.graph.nodes.iter().position(node) else {
            return;
        };
        self.fused(value);
        self.graph.nodes[at].op = op::Copy { index }.into();
        self.graph.nodes[at].inputs = vec![base];
    }
}

/// How elements are arranged in comparison with a value.
#[derive(Debug, PartialEq)]
pub enum Arrangement {
    /// All, in order.
    Same,
    /// Whole rows in order, from this one on.
    Rows(usize),
    /// Any other way.
    Other,
}

/// Compares elements with the value that they come from.
pub fn arrangement(graph: &Graph, arranged: &Arranged) -> Arrangement {
    let base = &graph.values[arranged.base.0];
    let channels = base.channels();
    let first = arranged.position.first().map_or(0, |&p| p as usize);
    let run = |(i, &p): (usize, &u32)| p as usize == first + i;
    if !arranged.position.iter().enumerate().all(run) {
        return Arrangement::Other;
    }
    let whole = first == 0 && arranged.position.len() == base.len();
    let rows = base.dims.len() == 2 && arranged.channels == channels;
    match whole {
        true => Arrangement::Same,
        false if rows && first.is_multiple_of(channels) => Arrangement::Rows(first / channels),
        false => Arrangement::Other,
    }
}

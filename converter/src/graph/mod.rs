//! The typed graph that a conversion works on: what the model computes, in float, at attention level.
//!
//! Import builds it; quantization and lowering read it. Values have the runtime's physical layout: the batch axis (always 1) is gone,
//! channels are last, rows are time steps or tokens. [`Source`] maps each value back to the ONNX tensor that it came from, so that the
//! float reference can be compared value by value. Integers live in `quantize`, not here.
//!
//! Operators are in [`op`], each with its [`Facts`](facts::Facts). [`stream`] (frame by frame), [`variable_length`] and
//! [`padding`] work on facts; none of them names an operator.

pub mod equalize;
pub mod facts;
pub mod float;
pub mod op;
pub mod padding;
pub mod stream;
pub mod variable_length;

pub use op::{Clamp, Op, Window, Window1d};

use attn_runtime::format::RowRule;
use facts::Rows;
use std::collections::{BTreeMap, BTreeSet};

/// Index of a [`Value`] in [`Graph::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// A float model with static shapes, in topological order.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Every tensor that flows between nodes (weights are inside the nodes).
    pub values: Vec<Value>,
    /// The operators, each after the producers of its inputs.
    pub nodes: Vec<Node>,
    /// The inputs from the caller.
    pub inputs: Vec<ValueId>,
    /// The outputs to the caller.
    pub outputs: Vec<ValueId>,
    /// Names of the outputs in the ONNX model, in the same order.
    pub output_names: Vec<String>,
    /// Inputs that are numbers of tokens, `[n, 1]`, not quantities, and selected rows of them.
    pub tokens: BTreeSet<ValueId>,
    /// ONNX nodes that no pattern took and base operators compute, as name and operator.
    pub fallbacks: Vec<(String, String)>,
    /// For each fallback the values that it computes, or that its result is a view of. Empty after fusion.
    pub fallback_values: Vec<BTreeSet<ValueId>>,
    /// Values whose first axis varies with the length of the sequence, with their row rules. The others have all their rows.
    pub varying: BTreeMap<ValueId, RowRule>,
    /// By what each channel of a value is divided, in comparison with its ONNX tensor; see [`equalize`].
    pub divided: BTreeMap<ValueId, Vec<f32>>,
}

impl Graph {
    /// Removes nodes whose results are not used.
    pub fn drop_unused(&mut self) {
        let mut needed: std::collections::HashSet<ValueId> = self.outputs.iter().copied().collect();
        for node in self.nodes.iter().rev() {
            if node.outputs().any(|output| needed.contains(&output)) {
                needed.extend(&node.inputs);
            }
        }
        self.nodes
            .retain(|node| node.outputs().any(|output| needed.contains(&output)));
    }

    /// Removes a value from the outputs.
    pub fn drop_output(&mut self, value: ValueId) {
        let kept = |(id, _): &(ValueId, String)| *id != value;
        let names = std::mem::take(&mut self.output_names);
        let outputs = std::mem::take(&mut self.outputs).into_iter().zip(names);
        (self.outputs, self.output_names) = outputs.filter(kept).unzip();
    }

    /// Adds the node for the sequence's rows of `value`, and returns its result.
    pub fn add_sequence(&mut self, value: ValueId) -> ValueId {
        let whole = &self.values[value.0];
        let rows = Value {
            name: format!("{}[..length]", whole.name),
            ..whole.clone()
        };
        let output = ValueId(self.values.len());
        if self.tokens.contains(&value) {
            self.tokens.insert(output);
        }
        self.nodes.push(Node {
            name: rows.name.clone(),
            op: op::Sequence.into(),
            inputs: vec![value],
            output,
            second: None,
        });
        self.values.push(rows);
        output
    }

    /// The elements of a constant value.
    pub fn constant(&self, value: ValueId) -> Option<&[f32]> {
        let Op::Constant(constant) = &self.producer(value)?.op else {
            return None;
        };
        Some(&constant.values)
    }

    /// The value whose sequence rows `value` holds, if it does.
    pub fn whole_sequence(&self, value: ValueId) -> Option<ValueId> {
        let producer = self.producer(value)?;
        let whole = producer.inputs.first().copied();
        whole.filter(|_| self.facts(producer).rows == Rows::Valid)
    }

    /// The facts of a node.
    pub fn facts(&self, node: &Node) -> facts::Facts {
        node.op.facts(self.values[node.output.0].channels())
    }

    /// The node that computes a value; `None` for an input.
    pub fn producer(&self, value: ValueId) -> Option<&Node> {
        self.nodes
            .iter()
            .find(|node| node.outputs().any(|output| output == value))
    }
}

/// One tensor between nodes.
#[derive(Clone, Debug)]
pub struct Value {
    /// Name in reports: the name of the ONNX value.
    pub name: String,
    /// Physical dimensions, channels last: `[channels]`, `[rows, channels]` or `[height, width, channels]`.
    pub dims: Vec<usize>,
    /// Where the float reference finds it; `None` for a value without an ONNX tensor.
    pub source: Option<Source>,
}

impl Value {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// True when the value holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the last axis.
    pub fn channels(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// Number of rows: all axes but the last.
    pub fn rows(&self) -> usize {
        self.len() / self.channels().max(1)
    }
}

/// The ONNX tensor behind a [`Value`].
#[derive(Clone, Debug)]
pub struct Source {
    /// Name of the value in the ONNX graph.
    pub onnx: String,
    /// For each element of the ONNX tensor, in its order, the position in the physical layout.
    pub position: Vec<u32>,
}

/// One operator.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name in reports: the name of the ONNX node that it comes from.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Its inputs, in the order that [`Op`] documents.
    pub inputs: Vec<ValueId>,
    /// Its result.
    pub output: ValueId,
    /// A second result, if [`Op`] has one and it is read.
    pub second: Option<ValueId>,
}

impl Node {
    /// All results.
    pub fn outputs(&self) -> impl Iterator<Item = ValueId> {
        [Some(self.output), self.second].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sources of the algorithms over facts, without their tests.
    const ALGORITHMS: [(&str, &str); 11] = [
        ("graph/stream.rs", include_str!("stream.rs")),
        (
            "graph/variable_length.rs",
            include_str!("variable_length.rs"),
        ),
        ("graph/padding.rs", include_str!("padding.rs")),
        ("graph/equalize.rs", include_str!("equalize.rs")),
        ("quantize/mod.rs", include_str!("../quantize/mod.rs")),
        ("quantize/inputs.rs", include_str!("../quantize/inputs.rs")),
        (
            "quantize/moments.rs",
            include_str!("../quantize/moments.rs"),
        ),
        (
            "quantize/rounding.rs",
            include_str!("../quantize/rounding.rs"),
        ),
        (
            "quantize/sensitivity.rs",
            include_str!("../quantize/sensitivity.rs"),
        ),
        ("quantize/steps.rs", include_str!("../quantize/steps.rs")),
        (
            "quantize/weights.rs",
            include_str!("../quantize/weights.rs"),
        ),
    ];

    /// The operators that a source names, bare or behind `Op::`, `op::` or `OpKind::`. A fact may be called as an operator is:
    /// behind another path a name does not count, nor does it in comments and tests.
    fn named(source: &str) -> Vec<&'static str> {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        // A trait that is derived may be called as an operator is.
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("#["));
        let lines = lines.map(|line| line.split("//").next().unwrap_or_default());
        let code: String = lines.flat_map(|line| [line, "\n"]).collect();
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let is_named = |name: &&&str| {
            code.match_indices(**name).any(|(at, _)| {
                let (before, behind) = (&code[..at], &code[at + name.len()..]);
                let path = before.strip_suffix("::").map(|path| {
                    let start = path.rfind(|c| !word(c)).map_or(0, |at| at + 1);
                    &path[start..]
                });
                !before.ends_with(word)
                    && !behind.starts_with(word)
                    && path.is_none_or(|path| ["Op", "op", "OpKind"].contains(&path))
            })
        };
        Op::NAMES.iter().filter(is_named).copied().collect()
    }

    #[test]
    fn algorithms_over_facts_name_no_operator() {
        for (file, source) in ALGORITHMS {
            assert_eq!(
                named(source),
                [""; 0],
                "{file} names operators: ask their facts"
            );
        }
        let sample = "use super::op::{Gru, Lstm}; // Add\nmatch op { Op::Conv1d(_) => 1, Rows::Concat => 2 }";
        assert_eq!(named(sample), ["Conv1d", "Gru", "Lstm"]);
        assert_eq!(named("kind == OpKind::Linear"), ["Linear"]);
    }
}

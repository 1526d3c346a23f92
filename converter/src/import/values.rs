//! Adds values and nodes to the graph, and fuses operations into existing nodes.

use super::node::OnnxNode;
use super::view::View;
use super::{Importer, Item};
use crate::graph::{Node, Op, Source, Value, ValueId, op};

impl Importer<'_> {
    /// True for a tensor of integers or truth values.
    pub(super) fn is_integer(&self, name: &str) -> bool {
        let tensor = self.values.get(name);
        tensor.is_some_and(|tensor| !tensor.datum_type().is_float())
    }

    /// A value whose physical order is the ONNX order, unit axes dropped.
    pub(super) fn add_value(
        &mut self,
        name: &str,
        onnx_shape: &[usize],
        dims: &[usize],
    ) -> ValueId {
        let position = (0..onnx_shape.iter().product::<usize>() as u32).collect();
        self.add_value_at(name, &without_unit_axes(dims), position)
    }

    /// A value with these physical dimensions.
    pub(super) fn add_value_at(
        &mut self,
        name: &str,
        dims: &[usize],
        position: Vec<u32>,
    ) -> ValueId {
        let source = Source {
            onnx: name.into(),
            position,
        };
        self.push_value(name, dims.to_vec(), Some(source))
    }

    /// A value that is all or part of the ONNX tensor `onnx`, unit axes dropped.
    pub(super) fn add_part(
        &mut self,
        name: &str,
        onnx: &str,
        dims: &[usize],
        position: Vec<u32>,
    ) -> ValueId {
        let source = Source {
            onnx: onnx.into(),
            position,
        };
        self.push_value(name, without_unit_axes(dims), Some(source))
    }

    fn push_value(&mut self, name: &str, dims: Vec<usize>, source: Option<Source>) -> ValueId {
        self.graph.values.push(Value {
            name: name.into(),
            dims,
            source,
        });
        ValueId(self.graph.values.len() - 1)
    }

    /// Adds a node whose result is a new value, and the ONNX name for it. Unit axes of `dims` are dropped.
    pub(super) fn add_node(
        &mut self,
        node: &OnnxNode,
        op: Op,
        inputs: Vec<ValueId>,
        dims: &[usize],
        result: View,
    ) -> ValueId {
        self.add_node_as(node, op, inputs, &without_unit_axes(dims), result)
    }

    /// Adds a node whose result is a new value with these physical dimensions.
    pub(super) fn add_node_as(
        &mut self,
        node: &OnnxNode,
        op: Op,
        inputs: Vec<ValueId>,
        dims: &[usize],
        result: View,
    ) -> ValueId {
        let altered = self.stays_altered(&op, &inputs);
        let output = self.add_value_at(&node.output, dims, result.positions());
        if altered {
            self.graph.values[output.0].source = None;
            self.altered.insert(output);
        }
        self.graph.nodes.push(Node {
            name: node.name.clone(),
            op,
            inputs,
            output,
            second: None,
        });
        self.items.insert(
            node.output.clone(),
            Item::View(View {
                base: output,
                ..result
            }),
        );
        output
    }

    /// A constant value.
    pub(super) fn add_constant_value(
        &mut self,
        name: &str,
        values: Vec<f32>,
        shape: &[usize],
    ) -> ValueId {
        let output = self.add_value(name, shape, shape);
        self.graph.nodes.push(Node {
            name: name.into(),
            op: Op::Constant(op::Constant { values }),
            inputs: vec![],
            output,
            second: None,
        });
        output
    }

    /// Adds a node whose result has no ONNX tensor. Unit axes of `dims` are dropped.
    pub(super) fn add_inner(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<ValueId>,
        dims: &[usize],
    ) -> ValueId {
        self.add_inner_as(name, op, inputs, &without_unit_axes(dims))
    }

    /// As [`Self::add_inner`], with these physical dimensions.
    pub(super) fn add_inner_as(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<ValueId>,
        dims: &[usize],
    ) -> ValueId {
        self.graph.add_inner(name, op, inputs, dims)
    }

    pub(super) fn next_value(&self) -> ValueId {
        ValueId(self.graph.values.len())
    }

    /// The node that computes `value`, if only one ONNX node reads `onnx_name`, so that the reader can be fused into it.
    pub(super) fn sole_producer(&mut self, value: ValueId, onnx_name: &str) -> Option<&mut Node> {
        let read_in_part = self.rows.keys().chain(self.columns.keys());
        let mut read = read_in_part
            .map(|(base, ..)| base)
            .chain(self.shapes.keys().map(|(base, _)| base));
        // No other node may read it under another name (transposed, reshaped) either.
        let shared = |(name, item): (&String, &Item)| match item {
            Item::View(view) | Item::Curve(view, _) => {
                view.base == value && self.uses.get(name).is_some_and(|&uses| uses > 1)
            }
            _ => false,
        };
        if self.uses.get(onnx_name) != Some(&1)
            || read.any(|base| *base == value)
            || self.items.iter().any(shared)
        {
            return None;
        }
        self.graph
            .nodes
            .iter_mut()
            .find(|node| node.output == value)
    }

    /// After a fusion, the value is the ONNX tensor after the fused node.
    pub(super) fn renamed(&mut self, view: View, node: &OnnxNode) {
        let value = &mut self.graph.values[view.base.0];
        value.name = node.output.clone();
        value.source = Some(Source {
            onnx: node.output.clone(),
            position: view.positions(),
        });
        self.items.insert(node.output.clone(), Item::View(view));
    }
}

/// Dimensions without those of 1, except the last, the channels.
fn without_unit_axes(dims: &[usize]) -> Vec<usize> {
    let (&channels, rows) = dims.split_last().unwrap_or((&1, &[]));
    let mut dims: Vec<usize> = rows.iter().copied().filter(|&d| d != 1).collect();
    dims.push(channels);
    dims
}

//! Parts of values as separate values: rows, columns of a layer, other shapes.

use super::Importer;
use super::view::{self, View};
use crate::graph::op::Affine;
use crate::graph::{Node, Op, Source, Value, ValueId, op};
use ndarray::{Axis, Slice};

impl Importer<'_> {
    /// The rows `[rows, channels]` that `position` reads, as a value: the whole base or adjacent rows of it.
    pub(super) fn rows_of(
        &mut self,
        base: ValueId,
        position: &[u32],
        channels: usize,
    ) -> Option<ValueId> {
        let value = &self.graph.values[base.0];
        let first = *position.first()? as usize;
        let whole_rows = position.len().is_multiple_of(channels) && first.is_multiple_of(channels);
        let all = first == 0 && position.len() == value.len() && whole_rows;
        if value.channels() != channels && all && view::is_run(position, 0) {
            return Some(self.reshaped(base, channels));
        }
        if value.channels() > channels {
            let (columns, position) = self.columns_of(base, position, channels)?;
            return self.rows_of(columns, &position, channels);
        }
        if value.channels() != channels || !whole_rows || !view::is_run(position, first) {
            return None;
        }
        let (start, rows) = (first / channels, position.len() / channels);
        if rows == value.rows() {
            return Some(base);
        }
        if let Some(&selected) = self.rows.get(&(base, start, rows)) {
            return Some(selected);
        }
        let output = self.next_value();
        let node = self.select_rows(base, start, rows, output);
        self.graph.nodes.push(node);
        self.rows.insert((base, start, rows), output);
        Some(output)
    }

    /// The same elements as rows of another length.
    pub(super) fn reshaped(&mut self, base: ValueId, channels: usize) -> ValueId {
        match self.graph.values[base.0].len() / channels {
            1 => self.shaped(base, &[channels]),
            rows => self.shaped(base, &[rows, channels]),
        }
    }

    /// A block of columns of a linear layer's result, computed by a separate linear layer with those rows of the weights: its value, and
    /// `position` relative to it.
    pub(super) fn columns_of(
        &mut self,
        base: ValueId,
        position: &[u32],
        channels: usize,
    ) -> Option<(ValueId, Vec<u32>)> {
        let all = self.graph.values[base.0].channels();
        let first = *position.first()? as usize % all;
        let inside = |p: u32| (first..first + channels).contains(&(p as usize % all));
        if !position.iter().all(|&p| p != view::PADDING && inside(p)) {
            return None;
        }
        let moved = |p: u32| (p as usize / all * channels + p as usize % all - first) as u32;
        let remapped = position.iter().map(|&p| moved(p)).collect();
        if let Some(&columns) = self.columns.get(&(base, first, channels)) {
            return Some((columns, remapped));
        }
        if let Some(part) = self.joined_part(base, first, channels) {
            return Some((part, remapped));
        }
        let Node {
            name,
            op: Op::Linear(op::Linear(all)),
            inputs,
            ..
        } = self.graph.producer(base)?.clone()
        else {
            return None;
        };
        let part = first..first + channels;
        let weight = all.weight.slice_axis(Axis(0), Slice::from(part.clone()));
        let op = Op::Linear(op::Linear(Affine {
            weight: weight.to_owned(),
            bias: all.bias[part.clone()].to_vec(),
            clamp: all.clamp,
        }));
        let value = &self.graph.values[base.0];
        let kept = |&p: &u32| {
            if p != view::PADDING && inside(p) {
                moved(p)
            } else {
                view::PADDING
            }
        };
        let source = value.source.as_ref().map(|source| Source {
            onnx: source.onnx.clone(),
            position: source.position.iter().map(kept).collect(),
        });
        let mut dims = value.dims.clone();
        *dims.last_mut()? = channels;
        let label = |name: &str| format!("{name}[:, {}..{}]", part.start, part.end);
        let (value_name, node_name) = (label(&value.name), label(&name));
        let output = self.next_value();
        self.graph.values.push(Value {
            name: value_name,
            dims,
            source,
        });
        self.graph.nodes.push(Node {
            name: node_name,
            op,
            inputs,
            output,
            second: None,
        });
        self.columns.insert((base, first, channels), output);
        Some((output, remapped))
    }

    /// The input of a Concat that fills these columns of its result.
    pub(super) fn joined_part(
        &self,
        base: ValueId,
        first: usize,
        channels: usize,
    ) -> Option<ValueId> {
        let node = self.graph.producer(base)?;
        if !matches!(node.op, Op::Concat(op::Concat)) {
            return None;
        }
        let mut at = 0;
        for &input in &node.inputs {
            let width = self.graph.values[input.0].channels();
            if at == first && width == channels {
                return Some(input);
            }
            at += width;
        }
        None
    }

    /// Adds the value for adjacent rows of `base` and returns the node that makes it.
    pub(super) fn select_rows(
        &mut self,
        base: ValueId,
        start: usize,
        rows: usize,
        output: ValueId,
    ) -> Node {
        let value = &self.graph.values[base.0];
        let channels = value.channels();
        let name = match rows {
            1 => format!("{}[{start}]", value.name),
            _ => format!("{}[{start}..{}]", value.name, start + rows),
        };
        let inside = |p: u32| match (p as usize).checked_sub(start * channels) {
            Some(at) if at < rows * channels => at as u32,
            // Elements of other rows have no place in this value.
            _ => view::PADDING,
        };
        let source = value.source.as_ref().map(|source| Source {
            onnx: source.onnx.clone(),
            position: source.position.iter().map(|&p| inside(p)).collect(),
        });
        let dims = if rows == 1 {
            vec![channels]
        } else {
            vec![rows, channels]
        };
        self.graph.values.push(Value {
            name: name.clone(),
            dims,
            source,
        });
        Node {
            name,
            op: Op::SelectRows(op::SelectRows { start, rows }),
            inputs: vec![base],
            output,
            second: None,
        }
    }

    /// The value for an output: an image, channels last, or rows.
    pub(super) fn output(&mut self, view: &View) -> Option<ValueId> {
        if let Some(image) = self.image_output(view) {
            return Some(image);
        }
        let channels = self.graph.values[view.base.0].channels();
        let rows = self.rows_of(view.base, &view.positions(), channels)?;
        let value = &self.graph.values[rows.0];
        match value.dims.len() {
            ..=2 => Some(rows),
            _ => Some(self.shaped(rows, &[value.rows(), channels])),
        }
    }
}

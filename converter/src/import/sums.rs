//! Sums over an axis: weighted sums of rows, dot products, and products that a sum follows.
//!
//! `sum(w * x)` over time and `w^T x` are the same operator, for constant weights, a softmax and attention weights.

use super::attention::Scores;
use super::node::OnnxNode;
use super::nodes::normalize;
use super::view::{PADDING, View};
use super::{Importer, Item};
use crate::error::Result;
use crate::graph::op::Affine;
use crate::graph::{Op, ValueId, op};
use ndarray::{ArrayD, Axis, IxDyn};

/// A product of two tensors that broadcast to one shape, before its sum.
#[derive(Clone, Debug)]
pub struct Product {
    weights: Weights,
    /// Position of each element's weight.
    weight: ArrayD<u32>,
    values: View,
}

/// The weights of a product.
#[derive(Clone, Debug)]
enum Weights {
    /// The softmax of scores.
    Attention(Box<Scores>),
    /// Any tensor.
    Value(ValueId),
}

/// The terms of one output of a linear map: positions and factors.
type Entries = Vec<(u32, f32)>;

impl Importer<'_> {
    /// A product of tensors of different shape, kept until its sum. False for other products.
    pub(super) fn product(&mut self, node: &OnnxNode) -> Result<bool> {
        let shape = self.shape_of(&node.output);
        let items = [self.item(node, 0)?, self.item(node, 1)?];
        let attention = items
            .iter()
            .position(|item| matches!(item, Item::Weights(_)));
        let fits = |view: &View| view.factor == 1.0;
        let stretched = |position: &ArrayD<u32>| {
            position
                .broadcast(IxDyn(&shape))
                .map(|stretched| stretched.as_standard_layout().into_owned())
        };
        let (weights, weight, values) = match attention {
            Some(at) => {
                let Item::Weights(scores) = &items[at] else {
                    return Ok(false);
                };
                let index = stretched(&scores.index);
                let values = self.view(node, 1 - at)?;
                (Weights::Attention(Box::new(scores.clone())), index, values)
            }
            None => {
                let (a, b) = (self.view(node, 0)?, self.view(node, 1)?);
                if a.shape() == b.shape() || !fits(&a) || !fits(&b) {
                    return Ok(false);
                }
                // The narrower one holds the weights.
                let (a, b) = if a.position.len() < b.position.len() {
                    (a, b)
                } else {
                    (b, a)
                };
                (Weights::Value(a.base), stretched(&a.position), b)
            }
        };
        let (Some(weight), Some(position)) = (weight, stretched(&values.position)) else {
            return Ok(false);
        };
        let values = View { position, ..values };
        let product = Product {
            weights,
            weight,
            values,
        };
        self.items
            .insert(node.output.clone(), Item::Product(Box::new(product)));
        Ok(true)
    }

    /// True if only sums read a node's result.
    pub(super) fn is_summed(&self, node: &OnnxNode) -> bool {
        let nodes = &self.reference.graph().node;
        let mut readers = nodes
            .iter()
            .filter(|reader| reader.input.contains(&node.output))
            .peekable();
        readers.peek().is_some() && readers.all(|reader| reader.op_type == "ReduceSum")
    }

    /// ReduceSum.
    pub(super) fn sum(&mut self, node: &OnnxNode) -> Result<()> {
        let axes = self
            .integers(node, 1)
            .or_else(|| node.ints("axes").map(<[i64]>::to_vec));
        let input = self.shape_of(&node.inputs[0]);
        let axis = match axes.as_deref() {
            Some(&[axis]) => normalize(axis, input.len()),
            _ => None,
        };
        let axis = axis.ok_or_else(|| node.form("a sum must run over one axis"))?;
        if let (Item::RowSum(sum), true) = (self.item(node, 0)?, axis + 1 == input.len()) {
            return self.energies(node, sum, None);
        }
        if let Item::Product(product) = self.item(node, 0)? {
            return self.weighted_sum(node, &product, axis);
        }
        let entries = match self.item(node, 0)? {
            Item::Terms(terms) => {
                let entry = |lane: ndarray::ArrayView1<[(u32, f32); 2]>| -> Entries {
                    lane.iter().flatten().copied().collect()
                };
                (
                    terms.base,
                    terms
                        .elements
                        .lanes(Axis(axis))
                        .into_iter()
                        .map(entry)
                        .collect(),
                )
            }
            _ => {
                let view = self.view(node, 0)?;
                let entry = |lane: ndarray::ArrayView1<u32>| -> Entries {
                    lane.iter().map(|&p| (p, view.factor)).collect()
                };
                (
                    view.base,
                    view.position
                        .lanes(Axis(axis))
                        .into_iter()
                        .map(entry)
                        .collect(),
                )
            }
        };
        self.linear_map(node, entries.0, entries.1)
    }

    /// `weights * values` for constant weights `[.., q, t]`.
    pub(super) fn constant_times(
        &mut self,
        node: &OnnxNode,
        weights: &ArrayD<f32>,
        values: &View,
    ) -> Result<()> {
        let form = || node.form("a constant matrix [.., q, t] times rows [.., t, channels]");
        let matrix = |shape: &[usize]| match *shape {
            [.., a, b] if shape.iter().product::<usize>() == a * b => Some((a, b)),
            _ => None,
        };
        let (queries, steps) = matrix(weights.shape()).ok_or_else(form)?;
        let (rows, channels) = matrix(values.shape()).ok_or_else(form)?;
        if rows != steps {
            return Err(form());
        }
        let (weights, positions): (Vec<f32>, Vec<u32>) =
            (weights.iter().copied().collect(), values.positions());
        let entries = (0..queries * channels).map(|at| {
            let (q, c) = (at / channels, at % channels);
            let entry = |t: usize| {
                let factor = weights[q * steps + t] * values.factor;
                (positions[t * channels + c], factor)
            };
            (0..steps).map(entry).collect()
        });
        self.linear_map(node, values.base, entries.collect())
    }

    /// Outputs that are sums of elements with constant factors: a Linear if each output sums one row, a weighted sum of rows if each sums
    /// one channel.
    fn linear_map(&mut self, node: &OnnxNode, base: ValueId, entries: Vec<Entries>) -> Result<()> {
        let value = &self.graph.values[base.0];
        let (rows, channels) = (value.rows(), value.channels());
        let shape = self.shape_of(&node.output);
        let add = |len: usize, entries: &Entries, place: &dyn Fn(usize) -> Option<usize>| {
            let mut sums = vec![0.0; len];
            for &(p, factor) in entries.iter().filter(|(p, _)| *p != PADDING) {
                *sums.get_mut(place(p as usize)?)? += factor;
            }
            Some(sums)
        };
        let in_row = |row: usize| move |p: usize| (p / channels == row).then_some(p % channels);
        let in_channel =
            |channel: usize| move |p: usize| (p % channels == channel).then_some(p / channels);
        if entries.len().is_multiple_of(rows) {
            let outs = entries.len() / rows;
            let sums: Option<Vec<Vec<f32>>> = entries
                .iter()
                .enumerate()
                .map(|(at, entries)| add(channels, entries, &in_row(at / outs)))
                .collect();
            if let Some(sums) = sums
                && (outs..entries.len()).all(|at| sums[at] == sums[at - outs])
            {
                let weight = sums.concat();
                let weight = ArrayD::from_shape_vec(
                    IxDyn(&[outs, channels]),
                    weight[..outs * channels].to_vec(),
                )
                .expect("one weight for each channel of each output");
                let op = Op::Linear(op::Linear(Affine::new(weight, vec![0.0; outs])));
                let view = View::whole(self.next_value(), &shape);
                self.add_node(node, op, vec![base], &[rows, outs], view);
                return Ok(());
            }
        }
        let sums: Option<Vec<Vec<f32>>> = entries
            .iter()
            .enumerate()
            .map(|(at, entries)| add(rows, entries, &in_channel(at % channels)))
            .collect();
        let form = || {
            node.form("a sum must run over all channels of each row, or over the rows with one weight for all channels")
        };
        let sums = sums
            .filter(|_| entries.len().is_multiple_of(channels))
            .ok_or_else(form)?;
        let queries = sums.len() / channels;
        let alike = (0..sums.len()).all(|at| sums[at] == sums[at / channels * channels]);
        if !alike {
            return Err(form());
        }
        let weights: Vec<f32> = sums.into_iter().step_by(channels).flatten().collect();
        let weights =
            self.add_constant_value(&format!("{}.weights", node.name), weights, &[queries, rows]);
        self.weighted_rows(node, weights, base, &[queries, channels]);
        Ok(())
    }

    /// `weights: [q, t]` times rows `[t, c]`; `dims` is `[q, c]`.
    fn weighted_rows(&mut self, node: &OnnxNode, weights: ValueId, rows: ValueId, dims: &[usize]) {
        let shape = self.shape_of(&node.output);
        let view = View::whole(self.next_value(), &shape);
        self.add_node(
            node,
            Op::WeightedRows(op::WeightedRows),
            vec![weights, rows],
            dims,
            view,
        );
    }

    /// A product of two tensors whose left side is weights `[.., q, t]` and whose right side rows `[.., t, c]`.
    pub(super) fn weigh(&mut self, node: &OnnxNode, a: &View, b: &View) -> Result<()> {
        let form = || {
            node.form("weights must be [.., q, t] and what they weigh rows [.., t, channels], both unscaled")
        };
        let (&[.., queries, steps], &[.., _, channels]) = (a.shape(), b.shape()) else {
            return Err(form());
        };
        let weights = self
            .rows_of(a.base, &a.positions(), steps)
            .ok_or_else(form)?;
        let rows = self
            .rows_of(b.base, &b.positions(), channels)
            .ok_or_else(form)?;
        if a.factor != 1.0 || b.factor != 1.0 || a.position.len() != queries * steps {
            return Err(form());
        }
        self.weighted_rows(node, weights, rows, &[queries, channels]);
        Ok(())
    }

    /// The sum over time of `weights * values`.
    fn weighted_sum(&mut self, node: &OnnxNode, product: &Product, axis: usize) -> Result<()> {
        let form = || {
            node.form("a sum of weighted rows must have one weight for each row, [.., t, 1] times [.., t, channels], and run over t")
        };
        let (weight, position) = (&product.weight, &product.values.position);
        let steps = weight.shape()[axis];
        // To [t, channels].
        let flat = |array: &ArrayD<u32>| -> Option<(Vec<u32>, usize)> {
            let order: Vec<usize> = std::iter::once(axis)
                .chain((0..array.ndim()).filter(|&a| a != axis))
                .collect();
            let moved = array.clone().permuted_axes(IxDyn(&order));
            Some((
                moved.iter().copied().collect(),
                array.len().checked_div(steps)?,
            ))
        };
        let (weight, channels) = flat(weight).ok_or_else(form)?;
        let (position, _) = flat(position).ok_or_else(form)?;
        let one_each = weight
            .chunks_exact(channels.max(1))
            .all(|row| row.iter().all(|&w| w == row[0]));
        if !one_each || product.values.factor != 1.0 {
            return Err(form());
        }
        let weight: Vec<u32> = weight.into_iter().step_by(channels.max(1)).collect();
        let rows = self
            .rows_of(product.values.base, &position, channels)
            .ok_or_else(form)?;
        match &product.weights {
            Weights::Attention(scores) => {
                let in_order = super::view::is_run(&weight, 0) && scores.index.len() == steps;
                if !in_order {
                    return Err(form());
                }
                let rows = View::whole(rows, &[1, steps, channels]);
                self.attention(node, (**scores).clone(), rows)
            }
            Weights::Value(base) => {
                let weights = self.rows_of(*base, &weight, steps).ok_or_else(form)?;
                self.weighted_rows(node, weights, rows, &[1, channels]);
                Ok(())
            }
        }
    }
}

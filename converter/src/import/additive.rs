//! Additive attention: energies `v . tanh(W [state; memory])` or `v . tanh(Wq state + Wk memory)`, in any spelling of
//! the broadcast of the state over the memory.
//!
//! Import keeps the sum of a row and rows as an item of its own. The product with `v` turns it into the scores of an attention.

use super::attention::Scores;
use super::node::OnnxNode;
use super::view::View;
use super::{Importer, Item};
use crate::error::Result;
use crate::graph::op::Affine;
use crate::graph::{Op, ValueId, op};
use ndarray::{ArrayD, Axis, Slice};

/// `f(row + rows)`, the row added to each of the rows; `f` is tanh or the identity. `v` may already be a factor.
#[derive(Clone, Debug)]
pub struct RowSum {
    /// `[channels]`
    row: ValueId,
    /// `[t, channels]`
    rows: ValueId,
    tanh: bool,
    v: Option<Vec<f32>>,
}

/// The weights that turn a [`RowSum`] into scores.
#[derive(Clone, Debug)]
pub struct Additive {
    /// `[channels]`
    pub v: Vec<f32>,
    /// `f` is tanh.
    pub tanh: bool,
}

/// The row that a view repeats along its second-to-last axis.
fn repeated(view: &View) -> Option<View> {
    let shape = view.shape();
    let axis = shape.len().checked_sub(2)?;
    let rows = shape[axis];
    let lanes = view.position.lanes(Axis(axis));
    let same = lanes
        .into_iter()
        .all(|lane| lane.iter().all(|p| Some(p) == lane.first()));
    let single = shape[..axis].iter().all(|&n| n == 1);
    (rows > 1 && same && single).then(|| view.sliced(axis, Slice::from(0..1)))
}

impl Importer<'_> {
    /// Tensors joined along channels, one of them a single row repeated. They are kept until a matrix multiplication splits them
    /// again. False if no row is repeated.
    pub(super) fn join_repeated(&mut self, node: &OnnxNode, views: &[View]) -> bool {
        let [a, b] = views else { return false };
        if repeated(a).is_some() == repeated(b).is_some() {
            return false;
        }
        self.items
            .insert(node.output.clone(), Item::Joined(views.to_vec()));
        true
    }

    /// A matrix `[out, in]` times joined tensors, split by its columns.
    pub(super) fn joined_times(
        &mut self,
        node: &OnnxNode,
        views: &[View],
        weight: &ArrayD<f32>,
    ) -> Result<()> {
        let (mut row, mut rows, mut at) = (None, None, 0);
        for view in views {
            let width = view.shape().last().copied().unwrap_or(1);
            let columns = weight.slice_axis(Axis(1), Slice::from(at..at + width));
            at += width;
            let (slot, view, name) = match repeated(view) {
                Some(single) => (&mut row, single, "query"),
                None => (&mut rows, view.clone(), "keys"),
            };
            *slot = Some(self.projection(node, name, &view, columns.to_owned().into_dyn())?);
        }
        let (Some(row), Some(rows)) = (row, rows) else {
            return Err(node.unsupported());
        };
        let sum = RowSum {
            row,
            rows,
            tanh: false,
            v: None,
        };
        self.items.insert(node.output.clone(), Item::RowSum(sum));
        Ok(())
    }

    /// A linear layer that is part of a node of the model.
    fn projection(
        &mut self,
        node: &OnnxNode,
        name: &str,
        x: &View,
        weight: ArrayD<f32>,
    ) -> Result<ValueId> {
        let input = self.row_operand(node, x)?;
        let (out, rows) = (weight.shape()[0], self.graph.values[input.0].rows());
        let affine = Affine::new(weight * x.factor, vec![0.0; out]);
        let op = Op::Linear(op::Linear(affine));
        Ok(self.add_inner(
            &format!("{}.{name}", node.name),
            op,
            vec![input],
            &[rows, out],
        ))
    }

    /// The sum of a row and rows; false for other sums.
    pub(super) fn add_row(&mut self, node: &OnnxNode, a: &View, b: &View) -> Result<bool> {
        let channels = |view: &View| view.shape().last().copied().unwrap_or(1);
        let rows = |view: &View| view.position.len() / channels(view).max(1);
        let (row, many) = if rows(a) < rows(b) { (a, b) } else { (b, a) };
        if channels(a) != channels(b) || rows(row) != 1 || rows(many) < 2 {
            return Ok(false);
        }
        let sum = RowSum {
            row: self.row_operand(node, row)?,
            rows: self.row_operand(node, many)?,
            tanh: false,
            v: None,
        };
        self.items.insert(node.output.clone(), Item::RowSum(sum));
        Ok(true)
    }

    /// Adds a bias on a sum to the layer that computes the row.
    pub(super) fn add_bias(
        &mut self,
        node: &OnnxNode,
        sum: RowSum,
        bias: &ArrayD<f32>,
    ) -> Result<()> {
        let form = || {
            node.form(
                "a bias of energies must stand before the function, one number for each channel",
            )
        };
        if sum.tanh || sum.v.is_some() {
            return Err(form());
        }
        let producer = self
            .graph
            .nodes
            .iter_mut()
            .find(|other| other.output == sum.row);
        match producer.map(|producer| &mut producer.op) {
            Some(Op::Linear(op::Linear(Affine { bias: own, .. }))) if own.len() == bias.len() => {
                own.iter_mut().zip(bias).for_each(|(own, b)| *own += b);
            }
            _ => return Err(form()),
        }
        self.items.insert(node.output.clone(), Item::RowSum(sum));
        Ok(())
    }

    /// The function of the energies.
    pub(super) fn squash(&mut self, node: &OnnxNode, sum: RowSum) -> Result<()> {
        if sum.tanh || sum.v.is_some() {
            return Err(node.form("energies go through tanh once, before v"));
        }
        let sum = RowSum { tanh: true, ..sum };
        self.items.insert(node.output.clone(), Item::RowSum(sum));
        Ok(())
    }

    /// `v` times every row, before the sum over channels.
    pub(super) fn times_v(&mut self, node: &OnnxNode, sum: RowSum, v: &ArrayD<f32>) -> Result<()> {
        let channels = self.graph.values[sum.rows.0].channels();
        if v.len() != channels || sum.v.is_some() {
            return Err(node.form("v must have one number for each channel of the energies"));
        }
        let v = Some(v.iter().copied().collect());
        self.items
            .insert(node.output.clone(), Item::RowSum(RowSum { v, ..sum }));
        Ok(())
    }

    /// The scores, one for each row; `v` is given, or already a factor.
    pub(super) fn energies(
        &mut self,
        node: &OnnxNode,
        sum: RowSum,
        v: Option<Vec<f32>>,
    ) -> Result<()> {
        let form = || node.form("energies must be summed up over channels with one vector v");
        let v = v.or(sum.v).ok_or_else(form)?;
        let count = self.graph.values[sum.rows.0].rows();
        let shape = self.shape_of(&node.output);
        if v.len() != self.graph.values[sum.rows.0].channels()
            || shape.iter().product::<usize>() != count
        {
            return Err(form());
        }
        let additive = Additive { v, tanh: sum.tanh };
        let scores = Scores::additive(sum.row, sum.rows, count, &shape, additive);
        self.items.insert(node.output.clone(), Item::Scores(scores));
        Ok(())
    }
}

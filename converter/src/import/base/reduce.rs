//! Reductions over any axes, and softmax along any.

use super::super::Importer;
use super::super::node::OnnxNode;
use super::super::view::View;
use super::Operand;
use crate::error::Result;
use crate::function::{Binary, Function, Unary};
use crate::graph::op;
use crate::graph::op::Reduction;
use ndarray::{ArrayD, IxDyn};

impl Importer<'_> {
    pub(super) fn base_reduce(&mut self, node: &OnnxNode) -> Result<()> {
        let unary = |unary| Function::Input.then(unary);
        let square = Function::Input.with(Binary::Mul, Function::Input);
        let (before, by, after) = match node.op {
            "ReduceSum" => (None, Reduction::Sum, None),
            "ReduceMean" => (None, Reduction::Mean, None),
            "ReduceMax" => (None, Reduction::Max, None),
            "ReduceMin" => (None, Reduction::Min, None),
            "ReduceL1" => (Some(unary(Unary::Abs)), Reduction::Sum, None),
            "ReduceL2" => (Some(square), Reduction::Sum, Some(unary(Unary::Sqrt))),
            "ReduceSumSquare" => (Some(square), Reduction::Sum, None),
            "ReduceLogSum" => (None, Reduction::Sum, Some(unary(Unary::Log))),
            "ReduceLogSumExp" => (
                Some(unary(Unary::Exp)),
                Reduction::Sum,
                Some(unary(Unary::Log)),
            ),
            _ => return Err(node.unsupported()),
        };
        let x = self.live(node, 0)?;
        let rank = x.shape().len();
        let given = node.ints("axes").map(<[i64]>::to_vec);
        let given = given.or_else(|| self.integers(node, 1)).unwrap_or_default();
        let mut axes = Vec::new();
        for at in given {
            axes.push(self.axis(node, at, rank)?);
        }
        if axes.is_empty() {
            if node.int("noop_with_empty_axes", 0) != 0 {
                return self.give(node, x);
            }
            axes = (0..rank).collect();
        }
        let mut order: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).collect();
        let kept: Vec<usize> = order.iter().map(|&axis| x.shape()[axis]).collect();
        order.extend(&axes);
        let n = axes.iter().map(|&axis| x.shape()[axis]).product();
        let mut x = x.transposed(&order);
        if let Some(function) = before {
            x = self.mapped(node, &x, function);
        }
        let mut y = self.reduced(node, &x, n, by, &kept);
        if let Some(function) = after {
            y = self.mapped(node, &y, function);
        }
        self.give(node, y)
    }

    pub(super) fn base_arg_max(&mut self, node: &OnnxNode) -> Result<()> {
        let x = self.live(node, 0)?;
        let rank = x.shape().len();
        let axis = self.axis(node, node.int("axis", 0), rank)?;
        let mut order: Vec<usize> = (0..rank).filter(|&at| at != axis).collect();
        let kept: Vec<usize> = order.iter().map(|&axis| x.shape()[axis]).collect();
        order.push(axis);
        let n = x.shape()[axis];
        let rows = x
            .transposed(&order)
            .reshaped(&[x.position.len() / n.max(1), n]);
        let input = self.plain(&rows);
        let last = node.int("select_last_index", 0) != 0;
        let one = [kept.iter().product(), 1];
        let y = self.part(node, "place", op::ArgMax { n, last }, vec![input], &one);
        // What computes with places reads them as numbers: a table of the numbers themselves.
        let table = ArrayD::from_shape_fn(IxDyn(&[n, 1]), |at| at[0] as f32);
        let op = op::Embedding { table };
        let numbers = self.part(node, "number", op, vec![y.base], &one);
        self.graph.tokens.insert(y.base);
        self.places.insert(numbers.base, (y.base, n));
        self.give(node, numbers.reshaped(&kept))
    }

    /// Softmax and its logarithm along one axis; before opset 13 over all axes from there on.
    pub(super) fn base_softmax(&mut self, node: &OnnxNode) -> Result<()> {
        let x = self.live(node, 0)?;
        let shape = x.shape().to_vec();
        let old = self.reference.opset() < 13;
        let axis = self.axis(
            node,
            node.int("axis", if old { 1 } else { -1 }),
            shape.len(),
        )?;
        let mut order: Vec<usize> = (0..shape.len()).collect();
        let n = if old {
            shape[axis..].iter().product()
        } else {
            order.swap(axis, shape.len() - 1);
            shape[axis]
        };
        let along = x.transposed(&order);
        let rows = [x.position.len() / n.max(1), n];
        let flat = along.reshaped(&rows);
        let y = match node.op {
            "Softmax" => {
                let input = self.plain(&flat);
                self.part(node, "softmax", op::Softmax, vec![input], &rows)
            }
            _ => self.log_softmax(node, flat, rows)?,
        };
        let turned: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
        self.give(node, y.reshaped(&turned).transposed(&order))
    }

    /// `x - max - log(sum(exp(x - max)))`, row by row.
    fn log_softmax(&mut self, node: &OnnxNode, x: View, rows: [usize; 2]) -> Result<View> {
        let one = [rows[0], 1];
        let negative =
            |this: &mut Self, x: &View| Operand::Live(this.mapped(node, x, Function::scaled(-1.0)));
        let live = |operand| match operand {
            Operand::Live(view) => Ok(view),
            Operand::Constant(_) => Err(node.unsupported()),
        };
        let largest = self.reduced(node, &x, rows[1], Reduction::Max, &one);
        let largest = negative(self, &largest);
        let below = live(self.sum_of(node, Operand::Live(x), largest)?)?;
        let powers = self.mapped(node, &below, Function::Input.then(Unary::Exp));
        let sum = self.reduced(node, &powers, rows[1], Reduction::Sum, &one);
        let log = self.mapped(node, &sum, Function::Input.then(Unary::Log));
        let log = negative(self, &log);
        live(self.sum_of(node, Operand::Live(below), log)?)
    }
}

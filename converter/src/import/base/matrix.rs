//! Products of matrices, and convolutions as products with what is under the kernel.

use super::super::Importer;
use super::super::node::OnnxNode;
use super::super::view::View;
use super::window::Sliding;
use super::{Operand, broadcast};
use crate::error::Result;
use crate::function::Function;
use crate::graph::op;
use crate::graph::op::Affine;
use ndarray::{Array2, ArrayD, Axis, Slice};

impl Importer<'_> {
    pub(super) fn base_product(&mut self, node: &OnnxNode) -> Result<()> {
        let (mut a, mut b) = (self.live(node, 0)?, self.live(node, 1)?);
        if node.op == "Gemm" {
            if node.int("transA", 0) != 0 {
                a = a.transposed(&[1, 0]);
            }
            if node.int("transB", 0) != 0 {
                b = b.transposed(&[1, 0]);
            }
        }
        let mut product = self.matrix_product(node, a, b)?;
        if node.op == "MatMul" {
            return self.give(node, product);
        }
        let alpha = node.float("alpha", 1.0);
        if alpha != 1.0 {
            product = self.mapped(node, &product, Function::scaled(alpha.into()));
        }
        if node.inputs.get(2).is_none_or(|name| name.is_empty()) {
            return self.give(node, product);
        }
        let beta = node.float("beta", 1.0);
        let summand = match self.operand(node, 2)? {
            Operand::Constant(c) => Operand::Constant(c * beta),
            Operand::Live(c) => Operand::Live(self.mapped(node, &c, Function::scaled(beta.into()))),
        };
        match self.sum_of(node, Operand::Live(product), summand)? {
            Operand::Live(sum) => self.give(node, sum),
            Operand::Constant(_) => Err(node.unsupported()),
        }
    }

    /// The product of two tensors, matrix by matrix, as numpy's `matmul` has it.
    pub(super) fn matrix_product(&mut self, node: &OnnxNode, a: View, b: View) -> Result<View> {
        let (a_row, b_column) = (a.shape().len() == 1, b.shape().len() == 1);
        let a = match a_row {
            true => a.reshaped(&[1, a.shape()[0]]),
            false => a,
        };
        let b = match b_column {
            true => b.reshaped(&[b.shape()[0], 1]),
            false => b,
        };
        let (a_rank, b_rank) = (a.shape().len(), b.shape().len());
        let (m, k) = (a.shape()[a_rank - 2], a.shape()[a_rank - 1]);
        let (rows, n) = (b.shape()[b_rank - 2], b.shape()[b_rank - 1]);
        if rows != k || k == 0 {
            return Err(node.form(format!("{k} columns times {rows} rows")));
        }
        let batch = broadcast(&a.shape()[..a_rank - 2], &b.shape()[..b_rank - 2]);
        let all = |m: usize, n: usize| [&batch[..], &[m, n]].concat();
        let (a, b) = (a.repeated(&all(m, k)), b.repeated(&all(k, n)));
        let mut inputs = [self.plain(&a), self.plain(&b)];
        if inputs[0] == inputs[1] {
            let index = (0..b.position.len() as u32).collect();
            let name = format!("{}.twice", node.name);
            inputs[1] = self.inner(&name, op::Copy { index }, vec![inputs[1]], b.shape());
        }
        let op = op::MatMul {
            batch: batch.iter().product(),
            m,
            k,
            n,
        };
        let shape = all(m, n);
        let y = self.part(node, "product", op, inputs.to_vec(), &shape);
        let kept = [
            &batch[..],
            if a_row { &[] } else { &[m][..] },
            if b_column { &[] } else { &[n][..] },
        ];
        Ok(y.reshaped(&kept.concat()))
    }

    /// Sums of the elements up to each along an axis: a layer with weights of 0 and 1.
    pub(super) fn base_cumulative_sum(&mut self, node: &OnnxNode) -> Result<()> {
        let x = self.live(node, 0)?;
        let shape = x.shape().to_vec();
        let axis = self.scalar(node, 1)? as i64;
        let axis = self.axis(node, axis, shape.len())?;
        let (exclusive, reverse) = (node.int("exclusive", 0) != 0, node.int("reverse", 0) != 0);
        let n = shape[axis];
        let counts = |(out, at): (usize, usize)| {
            let (first, last) = if reverse { (out, at) } else { (at, out) };
            f32::from(u8::from(if exclusive {
                first < last
            } else {
                first <= last
            }))
        };
        let weight = Array2::from_shape_fn((n, n), counts).into_dyn();
        let mut order: Vec<usize> = (0..shape.len()).collect();
        order.swap(axis, shape.len() - 1);
        let along = x.transposed(&order);
        let rows = [x.position.len() / n.max(1), n];
        let input = self.plain(&along.reshaped(&rows));
        let op = op::Linear(op::Affine::new(weight, vec![0.0; n]));
        let sums = self.part(node, "sums", op, vec![input], &rows);
        self.give(node, sums.reshaped(along.shape()).transposed(&order))
    }

    /// A sum of products of two tensors: what both have and the result too is a batch, what both have alone is summed over.
    pub(super) fn base_einsum(&mut self, node: &OnnxNode) -> Result<()> {
        let equation = node.string("equation").unwrap_or_default().replace(' ', "");
        let form = || {
            node.form(format!(
                "{equation}; products of two tensors like bij,bjk->bik can be had"
            ))
        };
        let (inputs, out) = equation.split_once("->").ok_or_else(form)?;
        let (a, b) = inputs.split_once(',').ok_or_else(form)?;
        let letters = |text: &str| text.chars().collect::<Vec<char>>();
        let (a, b, out) = (letters(a), letters(b), letters(out));
        let plain = |list: &[char]| {
            let mut seen = list.to_vec();
            seen.sort_unstable();
            seen.dedup();
            seen.len() == list.len() && list.iter().all(char::is_ascii_alphabetic)
        };
        let lost = |own: &[char], other: &[char]| {
            own.iter().any(|l| !other.contains(l) && !out.contains(l))
        };
        if ![&a, &b, &out].into_iter().all(|list| plain(list)) || lost(&a, &b) || lost(&b, &a) {
            return Err(form());
        }
        let (x, y) = (self.live(node, 0)?, self.live(node, 1)?);
        if x.shape().len() != a.len() || y.shape().len() != b.len() {
            return Err(form());
        }
        let of = |list: &[char], keep: &dyn Fn(&char) -> bool| -> Vec<char> {
            list.iter().copied().filter(|l| keep(l)).collect()
        };
        let batch = of(&a, &|l| b.contains(l) && out.contains(l));
        let summed = of(&a, &|l| b.contains(l) && !out.contains(l));
        let (rows, columns) = (of(&a, &|l| !b.contains(l)), of(&b, &|l| !a.contains(l)));
        let size = |letter: &char| {
            let at = |list: &[char], view: &View| {
                list.iter()
                    .position(|l| l == letter)
                    .map(|axis| view.shape()[axis])
            };
            at(&a, &x).or(at(&b, &y)).unwrap_or(1)
        };
        let sizes = |list: &[char]| -> Vec<usize> { list.iter().map(size).collect() };
        let product = |list: &[char]| sizes(list).iter().product::<usize>();
        let turned = |view: &View, own: &[char], order: [&[char]; 3]| {
            let order = order.concat();
            let axes: Option<Vec<usize>> = order
                .iter()
                .map(|l| own.iter().position(|o| o == l))
                .collect();
            axes.map(|axes| view.transposed(&axes))
        };
        let left = turned(&x, &a, [&batch, &rows, &summed]).ok_or_else(form)?;
        let right = turned(&y, &b, [&batch, &summed, &columns]).ok_or_else(form)?;
        let left = left.reshaped(&[product(&batch), product(&rows), product(&summed)]);
        let right = right.reshaped(&[product(&batch), product(&summed), product(&columns)]);
        let all = self.matrix_product(node, left, right)?;
        let order = [&batch[..], &rows, &columns].concat();
        let result = all.reshaped(&sizes(&order));
        let result = turned(&result, &order, [&out, &[], &[]]).ok_or_else(form)?;
        self.give(node, result)
    }

    /// Convolution of any number of axes and groups: for each group a linear layer over what is under the kernel. A transposed one is
    /// that over the input with zeros between its elements.
    pub(super) fn base_convolution(&mut self, node: &OnnxNode) -> Result<()> {
        let x = self.live(node, 0)?;
        let weight = self.operand(node, 1)?;
        let groups = node.int("group", 1).max(1) as usize;
        let out_shape = self.shape_of(&node.output);
        let out = out_shape[1];
        let shape = self.shape_of(&node.inputs[1]);
        let (x, weight, sliding) = if node.op == "Conv" {
            let sliding = Sliding::new(node, &shape[2..], &x.shape()[2..], &out_shape[2..])?;
            (x, weight, sliding)
        } else {
            let sliding = Sliding::transposed(node, &shape[2..], &x.shape()[2..], &out_shape[2..])?;
            let weight = match weight {
                Operand::Constant(c) => Operand::Constant(turned(&c, groups)),
                Operand::Live(w) => Operand::Live(View {
                    position: turned(&w.position, groups),
                    ..w
                }),
            };
            (spaced(&x, node), weight, sliding)
        };
        let (per_group, out_group) = (x.shape()[1] / groups, out / groups);
        let positions: usize = out_shape[2..].iter().product();
        let batch = x.shape()[0];
        let mut results = Vec::new();
        for group in 0..groups {
            let channels = Slice::from(group * per_group..(group + 1) * per_group);
            let under = sliding.under(&x.sliced(1, channels));
            let span = under.shape().iter().skip(2).product::<usize>();
            let rows = under.reshaped(&[batch * positions, span]);
            let part = Slice::from(group * out_group..(group + 1) * out_group);
            let y = match &weight {
                Operand::Constant(c) => {
                    let matrix = c.slice_axis(Axis(0), part).iter().copied().collect();
                    let matrix = ArrayD::from_shape_vec(vec![out_group, span], matrix);
                    let matrix =
                        matrix.map_err(|_| node.form("weights that do not fit the input"))?;
                    let layer = op::Linear(Affine::new(matrix, vec![0.0; out_group]));
                    let input = self.plain(&rows);
                    self.part(
                        node,
                        "group",
                        layer,
                        vec![input],
                        &[batch * positions, out_group],
                    )
                }
                Operand::Live(w) => {
                    let matrix = w.sliced(0, part).reshaped(&[out_group, span]);
                    self.matrix_product(node, rows, matrix.transposed(&[1, 0]))?
                }
            };
            results.push(y);
        }
        let mut y = self.joined(node, results, 1)?;
        if node.inputs.get(2).is_some_and(|name| !name.is_empty()) {
            let bias = self.operand(node, 2)?;
            let Operand::Live(sum) = self.sum_of(node, Operand::Live(y), bias)? else {
                return Err(node.unsupported());
            };
            y = sum;
        }
        // [batch, positions, out] to [batch, out, positions].
        let result = y.reshaped(&[batch, positions, out]).transposed(&[0, 2, 1]);
        self.give(node, result)
    }
}

/// The input of a transposed convolution with zeros between its elements.
fn spaced(x: &View, node: &OnnxNode) -> View {
    let mut x = x.clone();
    let strides = node.ints("strides").unwrap_or(&[]);
    for axis in 2..x.shape().len() {
        let stride = strides.get(axis - 2).map_or(1, |&s| s.max(1) as usize);
        let rank = x.shape().len();
        // A new axis behind it holds the element and the zeros that follow.
        let mut shape = x.shape().to_vec();
        shape.insert(axis + 1, 1);
        let mut after = vec![0; rank + 1];
        after[axis + 1] = stride - 1;
        let spread = x.reshaped(&shape).padded(&vec![0; rank + 1], &after);
        let mut merged = x.shape().to_vec();
        merged[axis] *= stride;
        let len = (x.shape()[axis] - 1) * stride + 1;
        x = spread.reshaped(&merged).sliced(axis, Slice::from(..len));
    }
    x
}

/// Weights `[in, out / groups, …]` of a transposed convolution as `[out, in / groups, …]` of a plain one, every kernel backwards.
fn turned<T: Clone>(weight: &ArrayD<T>, groups: usize) -> ArrayD<T> {
    let mut weight = weight.clone();
    for axis in 2..weight.ndim() {
        weight.invert_axis(Axis(axis));
    }
    let size = weight.shape()[0] / groups;
    let part = |group: usize| {
        let mut part = weight.slice_axis(Axis(0), Slice::from(group * size..(group + 1) * size));
        part.swap_axes(0, 1);
        part
    };
    let parts: Vec<_> = (0..groups).map(part).collect();
    let joined = ndarray::concatenate(Axis(0), &parts).expect("groups of one shape");
    joined.as_standard_layout().into_owned()
}

//! Elements that are picked by numbers which the model computes or is given: each number becomes a row of zeros with one 1, and picking a
//! product. Elements that are written to constant places only move.

use super::super::Importer;
use super::super::node::OnnxNode;
use super::super::view::View;
use super::{Operand, axis_of};
use crate::error::Result;
use crate::function::{Binary, Function, Unary};
use crate::graph::op;
use crate::graph::op::Reduction;
use ndarray::{ArrayD, Axis, IxDyn};

impl Importer<'_> {
    pub(super) fn base_gather(&mut self, node: &OnnxNode) -> Result<()> {
        let x = self.live(node, 0)?;
        let shape = x.shape().to_vec();
        let axis = self.axis(node, node.int("axis", 0), shape.len())?;
        let indices = self.shape_of(&node.inputs[1]);
        let picks = self.one_hot(node, shape[axis])?;
        let count = indices.iter().product();
        let mut order: Vec<usize> = (0..shape.len()).filter(|&at| at != axis).collect();
        order.insert(0, axis);
        let first = x.transposed(&order);
        let rest = [&shape[..axis], &shape[axis + 1..]].concat();
        let width = rest.iter().product();
        let rows = first.reshaped(&[shape[axis], width]);
        let y = self.matrix_product(node, picks.reshaped(&[count, shape[axis]]), rows)?;
        // The axes of the indices stand where the axis was.
        let rank = indices.len();
        let y = y.reshaped(&[&indices[..], &rest].concat());
        let before = rank..rank + axis;
        let behind = rank + axis..rank + rest.len();
        let order: Vec<usize> = before.chain(0..rank).chain(behind).collect();
        self.give(node, y.transposed(&order))
    }

    pub(super) fn base_gather_elements(&mut self, node: &OnnxNode) -> Result<()> {
        let x = self.live(node, 0)?;
        let indices = self.shape_of(&node.inputs[1]);
        let axis = self.axis(node, node.int("axis", 0), indices.len())?;
        let size = x.shape()[axis];
        let picks = self.one_hot(node, size)?;
        let shape = [&indices[..], &[size]].concat();
        let position = ArrayD::from_shape_fn(IxDyn(&shape), |at| {
            let mut place: Vec<usize> = (0..indices.len()).map(|axis| at[axis]).collect();
            place[axis] = at[indices.len()];
            x.position[&place[..]]
        });
        let candidates = View { position, ..x };
        let product = self.product_of(node, Operand::Live(picks), Operand::Live(candidates))?;
        let Operand::Live(product) = product else {
            return Err(node.unsupported());
        };
        let y = self.reduced(node, &product, size, Reduction::Sum, &indices);
        self.give(node, y)
    }

    /// `GridSample` between pixels: for each axis the weights of all its places, `max(1 - |place - at|, 0)`, and a product with the image.
    pub(super) fn base_grid_sample(&mut self, node: &OnnxNode) -> Result<()> {
        let (x, grid) = (self.live(node, 0)?, self.live(node, 1)?);
        let (&[1, channels, height, width], &[1, rows, columns, 2]) = (x.shape(), grid.shape())
        else {
            return Err(node
                .form("one image [1, channels, height, width] and a grid [1, height, width, 2]"));
        };
        let count = rows * columns;
        let border = node.string("padding_mode").as_deref() == Some("border");
        let corners = node.int("align_corners", 0) != 0;
        let mut weights = Vec::new();
        for (at, size) in [(1, height), (0, width)] {
            let last = size as f64 - 1.0;
            let scale = if corners { last } else { size as f64 } / 2.0;
            let place = Function::scaled(scale).with(Binary::Add, Function::Constant(last / 2.0));
            let place = match border {
                true => place
                    .with(Binary::Max, Function::Constant(0.0))
                    .with(Binary::Min, Function::Constant(last)),
                false => place,
            };
            let own = grid.selected(3, &[at]).reshaped(&[count, 1]);
            let own = Operand::Live(self.mapped(node, &own, place));
            let places = ArrayD::from_shape_fn(IxDyn(&[size]), |at| -(at[0] as f32));
            let Operand::Live(away) = self.sum_of(node, own, Operand::Constant(places))? else {
                return Err(node.unsupported());
            };
            let near = Function::Constant(1.0).with(Binary::Sub, Function::Input.then(Unary::Abs));
            weights.push(self.mapped(node, &away, near.then(Unary::Relu)));
        }
        let [down, across] = [
            weights[0].reshaped(&[count, height, 1]),
            weights[1].reshaped(&[count, 1, width]),
        ];
        let both = self.product_of(node, Operand::Live(down), Operand::Live(across))?;
        let Operand::Live(both) = both else {
            return Err(node.unsupported());
        };
        let pixels = height * width;
        let image = x.reshaped(&[channels, pixels]).transposed(&[1, 0]);
        let y = self.matrix_product(node, both.reshaped(&[count, pixels]), image)?;
        let y = y.reshaped(&[1, rows, columns, channels]);
        self.give(node, y.transposed(&[0, 3, 1, 2]))
    }

    /// For every index of input 1 a row of `size`, with 1 where it points.
    fn one_hot(&mut self, node: &OnnxNode, size: usize) -> Result<View> {
        let shape = [&self.shape_of(&node.inputs[1])[..], &[size]].concat();
        if let Some((tokens, by)) = self.tokens(node, 1) {
            return self.one_hot_of_tokens(node, &tokens, &by, &shape);
        }
        let Operand::Live(index) = self.operand(node, 1)? else {
            return Err(node.unsupported());
        };
        let one = [&shape[..shape.len() - 1], &[1]].concat();
        let places = |first: f32| {
            let places = (0..size).map(|at| first + at as f32).collect();
            ArrayD::from_shape_vec(IxDyn(&[size]), places).expect("one axis")
        };
        let mut sides = Vec::new();
        // Indices below 0 count from the end.
        for first in [0.0, -(size as f32)] {
            let index = Operand::Live(index.reshaped(&one));
            sides.push(self.equal(node, index, Operand::Constant(places(first)), true)?);
        }
        let (Some(behind), Some(front)) = (sides.pop(), sides.pop()) else {
            return Err(node.unsupported());
        };
        match self.sum_of(node, front, behind)? {
            Operand::Live(picks) => Ok(picks),
            Operand::Constant(_) => Err(node.unsupported()),
        }
    }

    /// The same for tokens plus numbers: a table.
    fn one_hot_of_tokens(
        &mut self,
        node: &OnnxNode,
        tokens: &View,
        by: &[i64],
        shape: &[usize],
    ) -> Result<View> {
        let size = shape.last().copied().unwrap_or(1);
        let mut blocks = by.to_vec();
        blocks.sort_unstable();
        blocks.dedup();
        let least = blocks.first().copied().unwrap_or(0);
        let count = usize::try_from(size as i64 - least).unwrap_or(0).max(1);
        let width = blocks.len() * size;
        let mut table = ArrayD::zeros(IxDyn(&[count, width]));
        for (block, by) in blocks.iter().enumerate() {
            for token in 0..count {
                if let Some(at) = axis_of(token as i64 + by, size) {
                    table[[token, block * size + at]] = 1.0;
                }
            }
        }
        let rows = self.graph.values[tokens.base.0].len();
        let op = op::Embedding { table };
        let all = self.part(node, "picks", op, vec![tokens.base], &[rows, width]);
        let places = tokens.positions();
        let starts = places.iter().zip(by).map(|(&place, by)| {
            let block = blocks.binary_search(by).unwrap_or(0);
            place * width as u32 + (block * size) as u32
        });
        let positions = starts.flat_map(|start| (0..size as u32).map(move |at| start + at));
        Ok(View::of(all.base, shape, positions.collect()))
    }

    /// `ScatterElements` and `ScatterND` with constant indices.
    pub(super) fn base_scatter(&mut self, node: &OnnxNode) -> Result<()> {
        let shape = self.shape_of(&node.inputs[0]);
        let by = self.shape_of(&node.inputs[1]);
        let list = self.integers(node, 1).ok_or_else(|| {
            node.form("elements written to places that the model computes: torch.where(places == place, new, old) does the same")
        })?;
        let places = match node.op {
            "ScatterElements" => {
                let axis = self.axis(node, node.int("axis", 0), shape.len())?;
                element_places(&shape, &by, &list, axis)
            }
            _ => slice_places(&shape, &by, &list),
        };
        let places = places.ok_or_else(|| node.form("an index that lies outside of the tensor"))?;
        let (old, new) = (self.live(node, 0)?, self.live(node, 2)?);
        let (n, m) = (old.position.len(), new.position.len());
        if places.len() != m {
            return Err(node.form(format!("{} indices for {m} elements", places.len())));
        }
        let flat = vec![old.reshaped(&[n]), new.reshaped(&[m])];
        let joined = self.joined(node, flat, 0)?;
        let mut order: Vec<usize> = (0..n).collect();
        for (number, place) in places.into_iter().enumerate() {
            order[place] = n + number;
        }
        let position = joined.position.select(Axis(0), &order);
        let y = View { position, ..joined };
        self.give(node, y.reshaped(&shape))
    }
}

/// Where each element of `ScatterElements` goes.
fn element_places(shape: &[usize], by: &[usize], list: &[i64], axis: usize) -> Option<Vec<usize>> {
    let fits = by.len() == shape.len() && by.iter().product::<usize>() == list.len();
    let mut places = Vec::with_capacity(list.len());
    for (number, &index) in list.iter().enumerate().take_while(|_| fits) {
        let (mut rest, mut place, mut step) = (number, 0, 1);
        for at in (0..shape.len()).rev() {
            let own = match at == axis {
                true => axis_of(index, shape[axis])?,
                false => rest % by[at],
            };
            if own >= shape[at] {
                return None;
            }
            place += step * own;
            rest /= by[at].max(1);
            step *= shape[at];
        }
        places.push(place);
    }
    fits.then_some(places)
}

/// Where each element of `ScatterND` goes.
fn slice_places(shape: &[usize], by: &[usize], list: &[i64]) -> Option<Vec<usize>> {
    let depth = by
        .last()
        .copied()
        .filter(|&depth| depth > 0 && depth <= shape.len())?;
    let inner: usize = shape[depth..].iter().product();
    let mut places = Vec::new();
    for row in list.chunks(depth) {
        let mut start = 0;
        for (&index, &size) in row.iter().zip(shape) {
            start = start * size + axis_of(index, size)?;
        }
        places.extend((0..inner).map(|at| start * inner + at));
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_the_end_and_lie_inside() {
        let places = |list: &[i64]| element_places(&[2, 3], &[2, 1], list, 1);
        assert_eq!(places(&[-1, 0]), Some(vec![2, 3]));
        assert_eq!(places(&[3, 0]), None);
        let slices = |list: &[i64]| slice_places(&[2, 3], &[2, 1], list);
        assert_eq!(slices(&[1, -2]), Some(vec![3, 4, 5, 0, 1, 2]));
        assert_eq!(slices(&[2, 0]), None);
    }
}

//! Views: ONNX tensors as index maps into a value in physical layout.
//!
//! Transpose, Reshape, Squeeze, Slice, Gather and Pad move no data here. They rewrite a table with the position of every element of
//! the ONNX tensor in the base value. The table then tells whether a chain of them is a split into heads, the last row or neither.

use crate::graph::ValueId;
use ndarray::{Array3, ArrayD, Axis, IxDyn, Slice};

/// Position of a padding zero.
pub const PADDING: u32 = u32::MAX;

/// An ONNX tensor as an index map into a base value.
#[derive(Clone, Debug)]
pub struct View {
    /// The value read.
    pub base: ValueId,
    /// For each element, its position in the base value, or [`PADDING`].
    pub position: ArrayD<u32>,
    /// Constant factor on every element.
    pub factor: f32,
}

impl View {
    /// All of `base`, in its own order, under an ONNX shape.
    pub fn whole(base: ValueId, shape: &[usize]) -> Self {
        let len = shape.iter().product::<usize>() as u32;
        Self::of(base, shape, (0..len).collect())
    }

    /// A view with the given positions.
    pub fn of(base: ValueId, shape: &[usize], position: Vec<u32>) -> Self {
        let position =
            ArrayD::from_shape_vec(IxDyn(shape), position).expect("one position for each element");
        Self {
            base,
            position,
            factor: 1.0,
        }
    }

    /// The ONNX shape.
    pub fn shape(&self) -> &[usize] {
        self.position.shape()
    }

    /// True if both have the same shape, but for axes of 1 in front, and take the same positions: nothing is broadcast.
    pub fn is_like(&self, other: &Self) -> bool {
        let trimmed = |view: &Self| {
            let shape = view.shape().iter().copied();
            shape.skip_while(|&size| size == 1).collect::<Vec<_>>()
        };
        trimmed(self) == trimmed(other) && self.positions() == other.positions()
    }

    /// Positions in the order of the ONNX tensor.
    pub fn positions(&self) -> Vec<u32> {
        self.position.iter().copied().collect()
    }

    /// A view `[…, a, b]` with all axes before the last two flattened to heads.
    pub fn by_head(&self) -> Option<Array3<u32>> {
        let shape = self.shape();
        let (&b, &a) = (shape.last()?, shape.get(shape.len().checked_sub(2)?)?);
        let heads = self.position.len() / (a * b).max(1);
        Array3::from_shape_vec((heads, a, b), self.positions()).ok()
    }

    fn with(&self, position: ArrayD<u32>) -> Self {
        Self {
            base: self.base,
            position,
            factor: self.factor,
        }
    }

    /// The same elements under another shape.
    pub fn reshaped(&self, shape: &[usize]) -> Self {
        self.with(
            ArrayD::from_shape_vec(IxDyn(shape), self.positions())
                .expect("reshaping keeps the number of elements"),
        )
    }

    /// Axes in another order.
    pub fn transposed(&self, order: &[usize]) -> Self {
        self.with(
            self.position
                .clone()
                .permuted_axes(IxDyn(order))
                .as_standard_layout()
                .into_owned(),
        )
    }

    /// A range of one axis.
    pub fn sliced(&self, axis: usize, slice: Slice) -> Self {
        self.with(
            self.position
                .slice_axis(Axis(axis), slice)
                .as_standard_layout()
                .into_owned(),
        )
    }

    /// Selected indices of one axis.
    pub fn selected(&self, axis: usize, places: &[usize]) -> Self {
        self.with(self.position.select(Axis(axis), places))
    }

    /// `[1, channels, time]` as `[time, channels]`.
    pub fn turned(&self) -> Self {
        let position = self.position.clone().permuted_axes(vec![0, 2, 1]);
        let dims = [position.shape()[1], position.shape()[2]];
        self.with(position.as_standard_layout().into_owned())
            .reshaped(&dims)
    }

    /// Broadcast to `shape`, which may have more axes in front.
    pub fn repeated(&self, shape: &[usize]) -> Self {
        let mut own = vec![1; shape.len() - self.shape().len().min(shape.len())];
        own.extend(self.shape());
        let mut position = self.reshaped(&own).position;
        for (axis, (&have, &want)) in own.iter().zip(shape).enumerate() {
            let places: Vec<usize> = (0..want).map(|i| i % have.max(1)).collect();
            position = position.select(Axis(axis), &places);
        }
        self.with(position)
    }

    /// Zeros before and after each axis.
    pub fn padded(&self, before: &[usize], after: &[usize]) -> Self {
        let shape: Vec<usize> = self
            .shape()
            .iter()
            .zip(before.iter().zip(after))
            .map(|(n, (b, a))| n + b + a)
            .collect();
        let mut position = ArrayD::from_elem(IxDyn(&shape), PADDING);
        let mut inside = position.view_mut();
        for (axis, (&start, &len)) in before.iter().zip(self.shape()).enumerate() {
            inside.slice_axis_inplace(Axis(axis), Slice::from(start..start + len));
        }
        inside.assign(&self.position);
        self.with(position)
    }
}

/// `0, 1, 2, …` from `start` on.
pub fn is_run(position: &[u32], start: usize) -> bool {
    position
        .iter()
        .enumerate()
        .all(|(i, &p)| p as usize == start + i)
}

//! What only moves elements: joins, padding of every kind, resizing, blocks of pixels.

use super::super::Importer;
use super::super::node::OnnxNode;
use super::super::view::{PADDING, View};
use super::{Operand, axis_of, dims_of};
use crate::error::Result;
use crate::graph::op;
use ndarray::{ArrayD, Axis, IxDyn};

impl Importer<'_> {
    pub(super) fn base_concat(&mut self, node: &OnnxNode) -> Result<()> {
        let mut views = Vec::new();
        for input in 0..node.inputs.len() {
            views.push(self.live(node, input)?);
        }
        let rank = self.shape_of(&node.output).len();
        let axis = self.axis(node, node.int("axis", -1), rank)?;
        let joined = self.joined(node, views, axis)?;
        self.give(node, joined)
    }

    /// Tensors joined along an axis: everything from there on is channels of rows.
    pub(in crate::import) fn joined(
        &mut self,
        node: &OnnxNode,
        views: Vec<View>,
        axis: usize,
    ) -> Result<View> {
        const MOST: usize = 4;
        let mut parts = views;
        while parts.len() > 1 {
            let mut next = Vec::new();
            for group in parts.chunks(MOST) {
                let [first, ..] = group else { continue };
                if group.len() == 1 {
                    next.push(first.clone());
                    continue;
                }
                let rows: usize = first.shape()[..axis].iter().product();
                let mut shape = first.shape().to_vec();
                shape[axis] = group.iter().map(|view| view.shape()[axis]).sum();
                let mut inputs = Vec::new();
                for view in group {
                    let width = view.position.len() / rows.max(1);
                    let input = self.plain(&view.reshaped(&[rows, width]));
                    let twice = inputs.contains(&input);
                    inputs.push(match twice {
                        false => input,
                        true => {
                            let index = (0..view.position.len() as u32).collect();
                            let name = format!("{}.twice{}", node.name, self.graph.values.len());
                            self.inner(&name, op::Copy { index }, vec![input], &[rows, width])
                        }
                    });
                }
                let width = shape[axis..].iter().product();
                let whole = self.part(node, "join", op::Concat, inputs, &[rows, width]);
                next.push(whole.reshaped(&shape));
            }
            parts = next;
        }
        parts.pop().ok_or_else(|| node.unsupported())
    }

    pub(super) fn base_move(&mut self, node: &OnnxNode) -> Result<()> {
        let x = self.live(node, 0)?;
        match node.op {
            "Pad" => self.base_pad(node, x),
            "Slice" => self.base_slice(node, x),
            "Resize" => self.base_resize(node, x),
            "DepthToSpace" | "SpaceToDepth" => {
                let block = node.int("blocksize", 1).max(1) as usize;
                let &[n, c, h, w] = x.shape() else {
                    return Err(node.unsupported());
                };
                let fits = match node.op {
                    "SpaceToDepth" => h.is_multiple_of(block) && w.is_multiple_of(block),
                    _ => c.is_multiple_of(block * block),
                };
                if !fits {
                    return Err(node.form(format!("blocks of {block} that do not fit")));
                }
                let deep = c / (block * block).max(1);
                let y = match (node.op, node.string("mode").as_deref()) {
                    ("SpaceToDepth", Some("CRD")) => x
                        .reshaped(&[n, c, h / block, block, w / block, block])
                        .transposed(&[0, 1, 3, 5, 2, 4]),
                    ("SpaceToDepth", _) => x
                        .reshaped(&[n, c, h / block, block, w / block, block])
                        .transposed(&[0, 3, 5, 1, 2, 4]),
                    (_, Some("CRD")) => x
                        .reshaped(&[n, deep, block, block, h, w])
                        .transposed(&[0, 1, 4, 2, 5, 3]),
                    _ => x
                        .reshaped(&[n, block, block, deep, h, w])
                        .transposed(&[0, 3, 4, 1, 5, 2]),
                };
                self.give(node, y)
            }
            _ => Err(node.unsupported()),
        }
    }

    /// Any mode, any constant, and negative amounts, which crop.
    fn base_pad(&mut self, node: &OnnxNode, x: View) -> Result<()> {
        let shape = x.shape().to_vec();
        let pads = self
            .integers(node, 1)
            .or_else(|| node.ints("pads").map(<[i64]>::to_vec));
        let pads = pads.ok_or_else(|| node.form("an amount of padding that the model computes"))?;
        let axes: Vec<usize> = match self.integers(node, 3) {
            Some(axes) => axes
                .iter()
                .map(|&at| self.axis(node, at, shape.len()))
                .collect::<Result<_>>()?,
            None => (0..shape.len()).collect(),
        };
        let mode = node.string("mode").unwrap_or_else(|| "constant".into());
        let mut y = x;
        for (place, &axis) in axes.iter().enumerate() {
            let (before, after) = (pads[place], pads[place + axes.len()]);
            let size = y.shape()[axis] as i64;
            let places = (-before..size + after).map(|at| match mode.as_str() {
                _ if (0..size).contains(&at) => Some(at as usize),
                "edge" => Some(at.clamp(0, size - 1) as usize),
                "wrap" => Some(at.rem_euclid(size) as usize),
                "reflect" if size > 1 => {
                    let at = at.rem_euclid(2 * (size - 1));
                    Some(at.min(2 * (size - 1) - at) as usize)
                }
                _ => None,
            });
            y = picked(&y, axis, &places.collect::<Vec<_>>());
        }
        let value = match node.has("value") {
            true => node.float("value", 0.0),
            false => self
                .weight(node, 2)?
                .and_then(|v| v.first().copied())
                .unwrap_or(0.0),
        };
        if mode == "constant" && value != 0.0 {
            let fill = y.position.mapv(|p| if p == PADDING { value } else { 0.0 });
            let sum = self.sum_of(node, Operand::Live(y), Operand::Constant(fill))?;
            let Operand::Live(sum) = sum else {
                return Err(node.unsupported());
            };
            y = sum;
        }
        self.give(node, y)
    }

    /// Slices backwards; the others are views already.
    fn base_slice(&mut self, node: &OnnxNode, x: View) -> Result<()> {
        let shape = x.shape().to_vec();
        let unknown = || node.form("a range that the model computes");
        let [starts, ends, axes, steps] = self.ranges(node).ok_or_else(unknown)?;
        let mut y = x;
        for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let axis = self.axis(node, axis, shape.len())?;
            let size = shape[axis] as i64;
            let place = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
            let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
            let (mut at, end) = (
                place(start).clamp(low.max(0), high),
                place(end).clamp(low, high),
            );
            let mut places = Vec::new();
            while step != 0 && (end - at) * step.signum() > 0 {
                places.push(Some(at as usize));
                at += step;
            }
            y = picked(&y, axis, &places);
        }
        self.give(node, y)
    }

    /// Nearest by moving elements; linear by a product with constant weights, axis by axis.
    fn base_resize(&mut self, node: &OnnxNode, x: View) -> Result<()> {
        let out = self.shape_of(&node.output);
        let mode = node.string("mode").unwrap_or_else(|| "nearest".into());
        let transform = node.string("coordinate_transformation_mode");
        let transform = transform.unwrap_or_else(|| "half_pixel".into());
        let nearest = node.string("nearest_mode");
        let nearest = nearest.unwrap_or_else(|| "round_prefer_floor".into());
        let known = [
            "half_pixel",
            "pytorch_half_pixel",
            "asymmetric",
            "align_corners",
            "half_pixel_symmetric",
        ];
        if !known.contains(&transform.as_str())
            || !["nearest", "linear", "cubic"].contains(&mode.as_str())
        {
            return Err(node.form(format!(
                "mode {mode}, coordinates {transform}; nearest, linear and cubic can be had"
            )));
        }
        let scales = self.constant(node, 2);
        let listed = node.ints("axes").map(<[i64]>::to_vec);
        let listed = listed.unwrap_or_else(|| (0..out.len() as i64).collect());
        let scales = scales.filter(|scales| scales.len() == listed.len());
        let one_scale = self.kept_ratio(node, x.shape(), &listed);
        let (a, exclude) = (
            node.float("cubic_coeff_a", -0.75),
            node.int("exclude_outside", 0) != 0,
        );
        let mut y = x;
        for axis in 0..out.len() {
            let (from, to) = (y.shape()[axis], out[axis]);
            let at = listed
                .iter()
                .position(|&at| axis_of(at, out.len()) == Some(axis));
            let scale = match (&scales, one_scale) {
                (Some(scales), _) => at.map_or(1.0, |at| f64::from(scales[[at]])),
                (None, Some(scale)) => at.map_or(1.0, |_| scale),
                (None, None) => to as f64 / from as f64,
            };
            if from == to && scale == 1.0 {
                continue;
            }
            let place = |at: usize| {
                let at = at as f64;
                match transform.as_str() {
                    "asymmetric" => at / scale,
                    "align_corners" if to > 1 => {
                        at * (from as f64 - 1.0) / (scale * from as f64 - 1.0)
                    }
                    "align_corners" => 0.0,
                    "pytorch_half_pixel" if to == 1 => 0.0,
                    "half_pixel_symmetric" => {
                        let adjust = to as f64 / (scale * from as f64);
                        let centre = from as f64 / 2.0;
                        centre * (1.0 - adjust) + (at + 0.5) / scale - 0.5
                    }
                    _ => (at + 0.5) / scale - 0.5,
                }
            };
            let last = from as f64 - 1.0;
            if mode == "nearest" {
                let rounded = |x: f64| match nearest.as_str() {
                    "floor" => x.floor(),
                    "ceil" => x.ceil(),
                    "round_prefer_ceil" => (x + 0.5).floor(),
                    _ => (x - 0.5).ceil(),
                };
                let one = |at| Some(rounded(place(at)).clamp(0.0, last) as usize);
                y = picked(&y, axis, &(0..to).map(one).collect::<Vec<_>>());
                continue;
            }
            let mut weights = ArrayD::zeros(IxDyn(&[from, to]));
            for at in 0..to {
                let x = place(at);
                let taps = taps(x, &mode, a.into());
                let inside = |tap: f64| (0.0..=last).contains(&tap);
                let kept: f64 = match exclude {
                    true => taps
                        .iter()
                        .filter(|(tap, _)| inside(*tap))
                        .map(|(_, w)| w)
                        .sum(),
                    false => 1.0,
                };
                for (tap, weight) in taps {
                    if !exclude || inside(tap) {
                        let tap = tap.clamp(0.0, last) as usize;
                        weights[[tap, at]] += (weight / kept) as f32;
                    }
                }
            }
            y = self.along_axis(node, y, axis, weights)?;
        }
        self.give(node, y)
    }

    /// The scale of all axes of a resize to sizes that keeps their ratio.
    fn kept_ratio(&self, node: &OnnxNode, shape: &[usize], listed: &[i64]) -> Option<f64> {
        let policy = node.string("keep_aspect_ratio_policy")?;
        let sizes = self.integers(node, 3)?;
        let scales = sizes.iter().zip(listed).filter_map(|(&size, &axis)| {
            let axis = axis_of(axis, shape.len())?;
            Some(size as f64 / shape[axis] as f64)
        });
        match policy.as_str() {
            "not_larger" => scales.reduce(f64::min),
            "not_smaller" => scales.reduce(f64::max),
            _ => None,
        }
    }

    /// A tensor times a constant matrix `[from, to]` along one axis.
    fn along_axis(
        &mut self,
        node: &OnnxNode,
        x: View,
        axis: usize,
        matrix: ArrayD<f32>,
    ) -> Result<View> {
        let rank = x.shape().len();
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(axis, rank - 1);
        let last = x.transposed(&order);
        let input = self.plain(&last);
        let mut shape = last.shape().to_vec();
        let (from, to) = (matrix.shape()[0], matrix.shape()[1]);
        if shape[rank - 1] != from {
            return Err(node.unsupported());
        }
        shape[rank - 1] = to;
        let weight = matrix.t().as_standard_layout().into_owned().into_dyn();
        let layer = op::Linear(op::Affine::new(weight, vec![0.0; to]));
        debug_assert_eq!(dims_of(&shape).last(), Some(&to));
        Ok(self
            .part(node, "resize", layer, vec![input], &shape)
            .transposed(&order))
    }
}

/// The places around `x` and their weights.
fn taps(x: f64, mode: &str, a: f64) -> Vec<(f64, f64)> {
    let (low, part) = (x.floor(), x - x.floor());
    if mode == "linear" {
        return vec![(low, 1.0 - part), (low + 1.0, part)];
    }
    let weight = |tap: i32| {
        let d = (part - f64::from(tap)).abs();
        match d <= 1.0 {
            true => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
            false => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
        }
    };
    (-1..3)
        .map(|tap| (low + f64::from(tap), weight(tap)))
        .collect()
}

/// Places along an axis; none for a zero.
fn picked(view: &View, axis: usize, places: &[Option<usize>]) -> View {
    let index: Vec<usize> = places.iter().map(|place| place.unwrap_or(0)).collect();
    let mut position = view.position.select(Axis(axis), &index);
    for (at, place) in places.iter().enumerate() {
        if place.is_none() {
            position.index_axis_mut(Axis(axis), at).fill(PADDING);
        }
    }
    View {
        position,
        ..view.clone()
    }
}

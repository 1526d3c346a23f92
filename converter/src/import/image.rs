//! Operators over images and over channels: convolution, pooling, means and maxima, gates.
//!
//! ONNX images are `[1, channels, height, width]`, ours `[height, width, channels]`. A sequence `[1, channels, time]` is an
//! image one pixel wide.

use super::node::OnnxNode;
use super::view::{PADDING, View, is_run};
use super::{Importer, Item};
use crate::error::Result;
use crate::graph::op::Affine;
use crate::graph::{Node, Op, Value, ValueId, Window, Window1d, op};
use ndarray::{Array3, ArrayD, IxDyn, Slice};

/// A value that a view reads as an image, and the zeros around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image {
    /// `[height, width, channels]`
    pub value: ValueId,
    pub size: [usize; 3],
    /// Rows above, columns to the left.
    pub before: [usize; 2],
    /// Rows below, columns to the right.
    pub after: [usize; 2],
}

/// Positions of a view `[1, c, h, w]` or `[1, c, t]` as `[h, w, c]`.
fn pixels(view: &View) -> Option<Array3<u32>> {
    let (c, h, w) = match *view.shape() {
        [1, c, h, w] => (c, h, w),
        [1, c, t] => (c, t, 1),
        _ => return None,
    };
    let array = Array3::from_shape_vec((c, h, w), view.positions()).ok()?;
    Some(array.permuted_axes([1, 2, 0]))
}

/// Number of places at either end of `axis` that hold only padding.
fn margins(pixels: &Array3<u32>, axis: usize) -> (usize, usize) {
    let empty: Vec<bool> = pixels
        .axis_iter(ndarray::Axis(axis))
        .map(|part| part.iter().all(|&p| p == PADDING))
        .collect();
    let before = empty.iter().take_while(|&&empty| empty).count();
    let after = empty.iter().rev().take_while(|&&empty| empty).count();
    (before, after.min(empty.len() - before))
}

/// One number for each of the two axes of an image; a sequence has only the first.
pub(super) fn pair(list: &[i64], missing: usize) -> [usize; 2] {
    [0, 1].map(|i| list.get(i).map_or(missing, |&n| n.max(0) as usize))
}

impl Importer<'_> {
    /// `value` with other dimensions, same bytes.
    pub(super) fn shaped(&mut self, value: ValueId, dims: &[usize]) -> ValueId {
        let from = &self.graph.values[value.0];
        if from.dims == dims {
            return value;
        }
        let key = (value, dims.to_vec());
        if let Some(&shaped) = self.shapes.get(&key) {
            return shaped;
        }
        let name = format!("{} as {dims:?}", from.name);
        let source = from.source.clone();
        let output = self.next_value();
        self.graph.values.push(Value {
            name: name.clone(),
            dims: dims.to_vec(),
            source,
        });
        self.graph.nodes.push(Node {
            name,
            op: Op::Reshape(op::Reshape),
            inputs: vec![value],
            output,
            second: None,
        });
        self.shapes.insert(key, output);
        output
    }

    /// The image that a view reads, if it reads the whole of one.
    pub(super) fn image(&mut self, view: &View) -> Option<Image> {
        let mut pixels = pixels(view)?;
        let ((above, below), (left, right)) = (margins(&pixels, 0), margins(&pixels, 1));
        for (axis, before, after) in [(0, above, below), (1, left, right)] {
            let end = pixels.shape()[axis] - after;
            pixels.slice_axis_inplace(ndarray::Axis(axis), Slice::from(before..end));
        }
        let (h, w, c) = pixels.dim();
        let position: Vec<u32> = pixels.iter().copied().collect();
        let whole = position.len() == self.graph.values[view.base.0].len();
        if !whole || !is_run(&position, 0) {
            return None;
        }
        Some(Image {
            value: self.shaped(view.base, &[h, w, c]),
            size: [h, w, c],
            before: [above, left],
            after: [below, right],
        })
    }

    pub(super) fn image_operand(&mut self, node: &OnnxNode, view: &View) -> Result<Image> {
        let image = self.image(view);
        image.ok_or_else(|| {
            node.form("its input must be a whole image [1, channels, height, width], or a sequence [1, channels, time], with zeros around it at most")
        })
    }

    /// As [`Self::image_operand`], for an image without padding and without a factor.
    pub(super) fn bare_image(&mut self, node: &OnnxNode, view: &View) -> Result<Image> {
        let image = self.image_operand(node, view)?;
        if (image.before, image.after) != ([0; 2], [0; 2]) {
            return Err(node.form(
                "zeros around its input; only a convolution or an average can take them in",
            ));
        }
        if view.factor != 1.0 {
            return Err(node.form("a scaled tensor; put the factor into the layer before it"));
        }
        Ok(image)
    }

    /// Adds a node whose result is an image.
    pub(super) fn add_image(
        &mut self,
        node: &OnnxNode,
        op: Op,
        inputs: Vec<ValueId>,
        [h, w, c]: [usize; 3],
    ) {
        let shape = self.shape_of(&node.output);
        let position = (0..c)
            .flat_map(|channel| (0..h * w).map(move |pixel| (pixel * c + channel) as u32))
            .collect();
        let view = View::of(self.next_value(), &shape, position);
        self.add_node_as(node, op, inputs, &[h, w, c], view);
    }

    /// Height and width of a node's result in ONNX.
    pub(super) fn result_size(&self, node: &OnnxNode) -> [usize; 2] {
        let shape = self.shape_of(&node.output);
        [2, 3].map(|axis| shape.get(axis).copied().unwrap_or(1))
    }

    /// Pooling and transposed convolutions are not dilated.
    pub(super) fn check_dense(&self, node: &OnnxNode) -> Result<()> {
        let dilations = node.ints("dilations").unwrap_or(&[]);
        match dilations.iter().any(|&n| n != 1) {
            true => Err(node.form("dilation; use a larger kernel or a stride")),
            false => Ok(()),
        }
    }

    pub(super) fn check_window(&self, node: &OnnxNode) -> Result<()> {
        let positive = |name| {
            node.ints(name)
                .is_none_or(|list| list.iter().all(|&n| n > 0))
        };
        if !positive("dilations") || !positive("strides") {
            return Err(node.form("dilations and strides must be 1 or more"));
        }
        if node.string("auto_pad").is_some_and(|mode| mode != "NOTSET") {
            return Err(node.form("automatic padding; export with explicit pads"));
        }
        if node.int("ceil_mode", 0) != 0 {
            return Err(node
                .form("ceil_mode; pad the input so that the window fits a whole number of times"));
        }
        if node
            .ints("pads")
            .is_some_and(|pads| pads.iter().any(|&n| n < 0))
        {
            return Err(node.form("negative padding; slice the input in its place"));
        }
        Ok(())
    }

    /// The window of a node over `image`, whose own zeros become padding.
    pub(super) fn window(
        &self,
        node: &OnnxNode,
        image: &Image,
        kernel: [usize; 2],
    ) -> Result<Window> {
        self.check_window(node)?;
        let pads = node.ints("pads").unwrap_or(&[]);
        let (before, after) = pads.split_at(pads.len() / 2);
        let sum = |a: [usize; 2], b: [usize; 2]| [a[0] + b[0], a[1] + b[1]];
        Ok(Window {
            kernel,
            stride: pair(node.ints("strides").unwrap_or(&[]), 1),
            dilation: pair(node.ints("dilations").unwrap_or(&[]), 1),
            pad_before: sum(image.before, pair(before, 0)),
            pad_after: sum(image.after, pair(after, 0)),
        })
    }

    /// Convolution over an image: `weight` is `[out, in / groups, height, width]`.
    pub(super) fn conv2d(
        &mut self,
        node: &OnnxNode,
        weight: ArrayD<f32>,
        bias: Vec<f32>,
    ) -> Result<()> {
        let x = self.view(node, 0)?;
        let image = self.image_operand(node, &x)?;
        let &[out, per_group, height, width] = weight.shape() else {
            return Err(node.unsupported());
        };
        let window = self.window(node, &image, [height, width])?;
        let weight = weight * x.factor;
        let [_, _, c] = image.size;
        let [h, w] = self.result_size(node);
        let op = match node.int("group", 1) as usize {
            1 if window.is_pointwise() => {
                let weight = flat(weight, &[out, per_group]);
                Op::Linear(op::Linear(Affine::new(weight, bias)))
            }
            1 => Op::Conv2d(op::Conv2d {
                affine: Affine::new(reordered(weight, &[0, 2, 3, 1]), bias),
                window,
            }),
            groups if groups == c && per_group == 1 && out == c => {
                let weight = reordered(flat(weight, &[c, height, width]), &[1, 2, 0]);
                Op::DepthwiseConv2d(op::DepthwiseConv2d {
                    affine: Affine::new(weight, bias),
                    window,
                })
            }
            groups => {
                return Err(node.form(format!(
                    "{groups} groups from {c} to {out} channels; use 1 group, or as many as channels in and out (depthwise)"
                )));
            }
        };
        self.add_image(node, op, vec![image.value], [h, w, out]);
        Ok(())
    }

    /// Transposed convolution; ONNX weights are `[in, out / groups, height, width]`.
    pub(super) fn conv_transpose(&mut self, node: &OnnxNode) -> Result<()> {
        let weight = self
            .weight(node, 1)?
            .ok_or_else(|| node.form("weights must be constant"))?;
        let mut shape = weight.shape().to_vec();
        if shape.len() == 3 {
            shape.push(1);
        }
        if shape.len() != 4 {
            return Err(node.unsupported());
        }
        if node.int("group", 1) != 1 {
            return Err(node.form("a transposed convolution in groups; use 1 group"));
        }
        self.check_window(node)?;
        self.check_dense(node)?;
        let out = shape[1];
        let bias = self.bias(node, out)?;
        let x = self.view(node, 0)?;
        let image = self.image_operand(node, &x)?;
        if (image.before, image.after) != ([0; 2], [0; 2]) {
            return Err(
                node.form("zeros around the input of a transposed convolution; leave them out")
            );
        }
        let op = Op::ConvTranspose2d(op::ConvTranspose2d {
            affine: Affine::new(
                reordered(flat(weight * x.factor, &shape), &[1, 2, 3, 0]),
                bias,
            ),
            stride: pair(node.ints("strides").unwrap_or(&[]), 1),
            crop: pair(crop(node.ints("pads").unwrap_or(&[])), 0),
        });
        let [h, w] = self.result_size(node);
        self.add_image(node, op, vec![image.value], [h, w, out]);
        Ok(())
    }

    /// The bias of a convolution with `out` outputs; zeros without one.
    pub(super) fn bias(&self, node: &OnnxNode, out: usize) -> Result<Vec<f32>> {
        Ok(self
            .optional_weight(node, 2)?
            .map_or(vec![0.0; out], |bias| bias.iter().copied().collect()))
    }

    /// Concatenation along the channels of images or sequences.
    pub(super) fn concat_channels(&mut self, node: &OnnxNode, views: &[View]) -> Result<()> {
        let (mut inputs, mut sizes) = (Vec::new(), Vec::new());
        for view in views {
            let image = self.bare_image(node, view)?;
            inputs.push(image.value);
            sizes.push(image.size);
        }
        let Some(&[h, w, _]) = sizes.first() else {
            return Err(node.unsupported());
        };
        let channels = sizes.iter().map(|[_, _, c]| c).sum();
        self.add_image(node, Op::Concat(op::Concat), inputs, [h, w, channels]);
        Ok(())
    }

    /// A product of a tensor with one factor for each channel or each row of it; false when it is another product.
    pub(super) fn gate(&mut self, node: &OnnxNode, a: &View, b: &View) -> Result<bool> {
        let shape = self.shape_of(&node.output);
        for (x, gate) in [(a, b), (b, a)] {
            let (value, factors) = (
                &self.graph.values[x.base.0],
                &self.graph.values[gate.base.0],
            );
            let Some(broadcast) = gate.position.broadcast(IxDyn(&shape)) else {
                continue;
            };
            if x.shape() != shape || x.position.len() != value.len() {
                continue;
            }
            // For each element of x: its place, and that of its factor.
            let agrees = |place: &dyn Fn(usize) -> usize| {
                let mut both = x.position.iter().zip(broadcast.iter());
                both.all(|(&x, &g)| x != PADDING && place(x as usize) == g as usize)
            };
            let (channels, rows) = (value.channels(), value.rows());
            let per_row = factors.len() == rows && agrees(&|x| x / channels);
            let per_channel = factors.len() == channels && agrees(&|x| x % channels);
            if !per_row && !per_channel {
                continue;
            }
            let op = Op::Gate(op::Gate {
                per_row,
                factor: x.factor * gate.factor,
            });
            let (dims, inputs) = (value.dims.clone(), vec![x.base, gate.base]);
            let view = View {
                base: self.next_value(),
                factor: 1.0,
                ..x.clone()
            };
            self.add_node_as(node, op, inputs, &dims, view);
            return Ok(true);
        }
        Ok(false)
    }

    /// A batch normalisation that cannot be folded into a layer before it: a factor and a summand for each channel.
    pub(super) fn scale_channels(
        &mut self,
        node: &OnnxNode,
        x: View,
        factor: &[f32],
        summand: Vec<f32>,
    ) -> Result<()> {
        let rows = match self.image(&x) {
            Some(image) if (image.before, image.after) == ([0; 2], [0; 2]) => image.value,
            _ => self.row_operand(node, &x)?,
        };
        let weight: Vec<f32> = factor.iter().map(|f| f * x.factor).collect();
        let weight = ArrayD::from_shape_vec(IxDyn(&[1, weight.len()]), weight);
        let weight = weight.expect("one factor for each channel");
        let op = Op::DepthwiseConv1d(op::DepthwiseConv1d {
            affine: Affine::new(weight, summand),
            window: Window1d::POINTWISE,
        });
        let dims = self.graph.values[rows.0].dims.clone();
        let view = View {
            base: self.next_value(),
            factor: 1.0,
            ..x
        };
        self.add_node_as(node, op, vec![rows], &dims, view);
        Ok(())
    }

    pub(super) fn is_used(&self, name: &str) -> bool {
        self.uses.get(name).is_some_and(|&uses| uses > 0)
    }

    /// The input of a linear layer that reads one row in another order than ours, such as a flattened image: the row, and the columns of
    /// the weights in our order.
    pub(super) fn flattened(
        &mut self,
        x: &View,
        weight: &ArrayD<f32>,
    ) -> Option<(ValueId, ArrayD<f32>)> {
        let (n, value) = (x.position.len(), &self.graph.values[x.base.0]);
        let is_row = value.channels() == n;
        if x.shape().last() != Some(&n) || value.len() != n || is_row {
            return None;
        }
        let mut column = vec![None; n];
        for (at, &position) in x.position.iter().enumerate() {
            *column.get_mut(position as usize)? = Some(at);
        }
        let column: Vec<usize> = column.into_iter().collect::<Option<_>>()?;
        let row = self.shaped(x.base, &[n]);
        Some((row, weight.select(ndarray::Axis(1), &column)))
    }

    /// True if a convolution or a pool reads an image anywhere in the model; its inputs of rank 4 are then images.
    pub(super) fn reads_images(&self) -> bool {
        let over_images = |node: &tract_onnx::pb::NodeProto| {
            matches!(
                node.op_type.as_str(),
                "Conv"
                    | "ConvTranspose"
                    | "MaxPool"
                    | "AveragePool"
                    | "GlobalMaxPool"
                    | "GlobalAveragePool"
            ) && node
                .input
                .first()
                .is_some_and(|name| self.shape_of(name).len() == 4)
        };
        self.reference.graph().node.iter().any(over_images)
    }

    /// The graph's value for an output, channels last where ONNX has them first.
    pub(super) fn image_output(&mut self, view: &View) -> Option<ValueId> {
        if view.shape().len() != 4 {
            return None;
        }
        let image = self.image(view)?;
        ((image.before, image.after) == ([0; 2], [0; 2])).then_some(image.value)
    }

    /// The item of an input that is an image `[1, c, h, w]`.
    pub(super) fn add_image_input(&mut self, name: &str, shape: &[usize]) -> Option<ValueId> {
        let &[1, c, h, w] = shape else { return None };
        let position: Vec<u32> = (0..c)
            .flat_map(|channel| (0..h * w).map(move |pixel| (pixel * c + channel) as u32))
            .collect();
        let id = self.add_value_at(name, &[h, w, c], position.clone());
        self.items
            .insert(name.into(), Item::View(View::of(id, shape, position)));
        Some(id)
    }
}

/// Pads at the start of each axis.
pub(super) fn crop(pads: &[i64]) -> &[i64] {
    pads.split_at(pads.len() / 2).0
}

fn flat(weight: ArrayD<f32>, shape: &[usize]) -> ArrayD<f32> {
    weight
        .into_shape_with_order(IxDyn(shape))
        .expect("unit axes only")
}

fn reordered(weight: ArrayD<f32>, axes: &[usize]) -> ArrayD<f32> {
    weight
        .permuted_axes(IxDyn(axes))
        .as_standard_layout()
        .into_owned()
}

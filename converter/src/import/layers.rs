//! Layers with weights, except Linear: convolution over time, and batch normalisation. Recurrent layers are in
//! `recurrent`, convolutions over images in `image`.

use super::Importer;
use super::node::OnnxNode;
use super::view::{PADDING, View};
use crate::error::Result;
use crate::graph::op::Affine;
use crate::graph::{Clamp, Op, Window1d, op};
use ndarray::Ix3;

impl Importer<'_> {
    pub(super) fn conv(&mut self, node: &OnnxNode) -> Result<()> {
        let weight = self
            .weight(node, 1)?
            .ok_or_else(|| node.form("weights must be constant"))?;
        let bias = self.bias(node, weight.shape()[0])?;
        if weight.ndim() == 4 {
            return self.conv2d(node, weight, bias);
        }
        let weight = weight
            .into_dimensionality::<Ix3>()
            .map_err(|_| node.unsupported())?;
        let (out, per_group, kernel) = weight.dim();
        let list = |name: &str| {
            node.ints(name)
                .and_then(|list| list.first().copied())
                .unwrap_or(1)
        };
        if node.string("auto_pad").is_some_and(|mode| mode != "NOTSET") {
            return Err(node.form("automatic padding; export with explicit pads"));
        }
        let x = self.view(node, 0)?;
        let group = node.int("group", 1) as usize;
        let (base, channels, mut padding) = match self.time_operand(node, &x) {
            Err(_)
                if x.shape().len() == 3
                    && x.shape()[0] == 1
                    && has_groups(group, x.shape()[1], [out, per_group]) =>
            {
                // Rows of channels, in one copy.
                let rows = self.plain(&x.turned());
                (rows, x.shape()[1], (0, 0))
            }
            found => found?,
        };
        let pads = node.ints("pads").unwrap_or(&[0, 0]);
        padding.0 += pads.first().map_or(0, |&n| n.max(0) as usize);
        padding.1 += pads.get(1).map_or(0, |&n| n.max(0) as usize);
        let positive = |name: &str| {
            let size = usize::try_from(list(name)).ok().filter(|&size| size > 0);
            size.ok_or_else(|| node.form(format!("{name} must be 1 or more")))
        };
        let window = Window1d {
            kernel,
            stride: positive("strides")?,
            dilation: positive("dilations")?,
            padding,
        };
        let weight = weight * x.factor;
        let op = if group == 1 {
            // [out, in, kernel] to [out, kernel, in]
            let weight = weight
                .permuted_axes([0, 2, 1])
                .as_standard_layout()
                .into_owned()
                .into_dyn();
            Op::Conv1d(op::Conv1d {
                affine: Affine::new(weight, bias),
                window,
            })
        } else if has_groups(group, channels, [out, per_group]) {
            let weight = weight
                .into_shape_with_order((out, kernel))
                .expect("one input channel per group");
            let weight = weight.t().as_standard_layout().into_owned().into_dyn();
            Op::DepthwiseConv1d(op::DepthwiseConv1d {
                affine: Affine::new(weight, bias),
                window,
            })
        } else {
            return Err(node.form(format!(
                "{group} groups; use 1 group, or as many as channels (depthwise)"
            )));
        };
        let steps = self.shape_of(&node.output).last().copied().unwrap_or(0);
        let position = (0..out)
            .flat_map(|o| (0..steps).map(move |t| (t * out + o) as u32))
            .collect();
        let view = View::of(self.next_value(), &[1, out, steps], position);
        self.add_node(node, op, vec![base], &[steps, out], view);
        Ok(())
    }

    /// A view `[1, channels, padding + time + padding]` of rows `[time, channels]`.
    fn time_operand(
        &mut self,
        node: &OnnxNode,
        view: &View,
    ) -> Result<(crate::graph::ValueId, usize, (usize, usize))> {
        let form = || {
            node.form("a convolution must run over time, on [batch, channels, time] transposed from [batch, time, channels]")
        };
        let &[1, channels, padded] = view.shape() else {
            return Err(form());
        };
        let value = &self.graph.values[view.base.0];
        let rows = value.rows();
        let first_row: Vec<u32> = view.position.iter().take(padded).copied().collect();
        let before = first_row.iter().take_while(|&&p| p == PADDING).count();
        let after = padded.saturating_sub(before + rows);
        let expected = |c: usize, t: usize| match t.checked_sub(before) {
            Some(row) if row < rows => (row * channels + c) as u32,
            _ => PADDING,
        };
        let fits = value.channels() == channels && before + rows <= padded;
        let agrees = view
            .position
            .indexed_iter()
            .all(|(at, &p)| p == expected(at[1], at[2]));
        if fits && agrees {
            Ok((view.base, channels, (before, after)))
        } else {
            Err(form())
        }
    }

    /// Folds batch normalisation into the layer before it. Without such a layer it becomes a depthwise convolution with a kernel of one
    /// row.
    pub(super) fn batch_norm(&mut self, node: &OnnxNode) -> Result<()> {
        let x = self.view(node, 0)?;
        let mut parameters = Vec::new();
        for input in 1..5 {
            parameters.push(
                self.weight(node, input)?
                    .ok_or_else(|| node.form("parameters must be constant"))?,
            );
        }
        let [gamma, beta, mean, variance] = parameters.as_slice() else {
            return Err(node.unsupported());
        };
        let epsilon = node.float("epsilon", 1e-5);
        let factor: Vec<f32> = gamma
            .iter()
            .zip(variance)
            .map(|(g, v)| g / (v + epsilon).sqrt())
            .collect();
        let summand: Vec<f32> = beta
            .iter()
            .zip(mean)
            .zip(&factor)
            .map(|((beta, mean), f)| beta - mean * f)
            .collect();
        if x.factor == 1.0 && self.fold(node, &x, &factor, &summand) {
            self.renamed(x, node);
            return Ok(());
        }
        if self.graph.values[x.base.0].channels() != factor.len() {
            return Err(node.form("channels that are not those of the rows before it"));
        }
        self.scale_channels(node, x, &factor, summand)
    }

    /// Folds a factor and a summand for each channel into the layer that computes `x`; false if no layer can take them.
    fn fold(&mut self, node: &OnnxNode, x: &View, factor: &[f32], summand: &[f32]) -> bool {
        let channels = self.graph.values[x.base.0].channels();
        // ONNX normalises axis 1.
        let by_channel = factor.len() == channels
            && x.position.ndim() > 1
            && x.position
                .indexed_iter()
                .all(|(at, &p)| p as usize % channels == at[1]);
        if !by_channel {
            return false;
        }
        let producer = self.sole_producer(x.base, &node.inputs[0]);
        let Some((affine, axis)) = producer.and_then(|producer| producer.op.affine_mut()) else {
            return false;
        };
        if affine.clamp != Clamp::NONE {
            return false;
        }
        for (mut channel, &f) in affine.weight.axis_iter_mut(ndarray::Axis(axis)).zip(factor) {
            channel *= f;
        }
        for ((b, f), summand) in affine.bias.iter_mut().zip(factor).zip(summand) {
            *b = *b * f + summand;
        }
        true
    }
}

/// True for groups that the convolutions over time have: one, or one for each channel.
fn has_groups(group: usize, channels: usize, [out, per_group]: [usize; 2]) -> bool {
    group == 1 || (group == channels && per_group == 1 && out == channels)
}

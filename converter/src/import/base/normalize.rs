//! Normalisation over any axes: rows of the right elements, normalised, then factors and summands.

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
    pub(super) fn base_normalization(&mut self, node: &OnnxNode) -> Result<()> {
        let x = self.live(node, 0)?;
        let shape = x.shape().to_vec();
        let given = |input: usize| node.inputs.get(input).is_some_and(|name| !name.is_empty());
        let (mut scale, mut bias) = (None, None);
        for (input, place) in [(1, &mut scale), (2, &mut bias)] {
            if given(input) {
                *place = Some(self.operand(node, input)?);
            }
        }
        let epsilon = node.float("epsilon", 1e-5);
        let channels = shape.get(1).copied().unwrap_or(1);
        // One number for each channel, the second axis.
        let mut wide = vec![1; shape.len()];
        if let Some(axis) = wide.get_mut(1) {
            *axis = channels;
        }
        let on_channels = |operand: Option<Operand>| -> Result<Option<Operand>> {
            let each = |len: usize| match len {
                0 => Err(node.form("parameters of no channel")),
                len if channels.is_multiple_of(len) => Ok(channels / len),
                _ => Err(node.form("parameters of another size")),
            };
            // Before opset 21 a group normalisation has one number for each group.
            Ok(match operand {
                None => None,
                Some(Operand::Constant(c)) => {
                    let each = each(c.len())?;
                    let all = c
                        .iter()
                        .flat_map(|&x| std::iter::repeat_n(x, each))
                        .collect();
                    let all = ArrayD::from_shape_vec(IxDyn(&wide), all);
                    Some(Operand::Constant(all.map_err(|_| node.unsupported())?))
                }
                Some(Operand::Live(x)) => {
                    let each = each(x.position.len())?;
                    let all = x
                        .position
                        .iter()
                        .flat_map(|&p| std::iter::repeat_n(p, each));
                    Some(Operand::Live(View::of(x.base, &wide, all.collect())))
                }
            })
        };
        let (normalised, scale, bias) = match node.op {
            "BatchNormalization" => {
                let (mean, variance) = (
                    self.optional_weight(node, 3)?,
                    self.optional_weight(node, 4)?,
                );
                let (
                    Some(Operand::Constant(scale)),
                    Some(Operand::Constant(bias)),
                    Some(mean),
                    Some(variance),
                ) = (scale, bias, mean, variance)
                else {
                    return Err(node.form("parameters that the model computes"));
                };
                let factor = scale / variance.mapv(|v| (v + epsilon).sqrt());
                let summand = bias - mean * &factor;
                let constant = |array| on_channels(Some(Operand::Constant(array)));
                (x, constant(factor)?, constant(summand)?)
            }
            "InstanceNormalization" | "GroupNormalization" => {
                let groups = match node.op {
                    "GroupNormalization" => node.int("num_groups", 1).max(1) as usize,
                    _ => channels,
                };
                let n = x.position.len() / (shape[0] * groups).max(1);
                let rows = self.normal_rows(node, &x, n, epsilon, true);
                (rows, on_channels(scale)?, on_channels(bias)?)
            }
            _ => {
                let axis = self.axis(node, node.int("axis", -1), shape.len())?;
                let n = shape[axis..].iter().product();
                let centre = node.op == "LayerNormalization";
                self.statistics(node, &x, n, epsilon)?;
                (self.normal_rows(node, &x, n, epsilon, centre), scale, bias)
            }
        };
        let mut y = Operand::Live(normalised);
        if let Some(scale) = scale {
            y = self.product_of(node, y, scale)?;
        }
        if let Some(bias) = bias {
            y = self.sum_of(node, y, bias)?;
        }
        match y {
            Operand::Live(y) => self.give(node, y),
            Operand::Constant(_) => Err(node.unsupported()),
        }
    }

    /// Mean and inverse deviation of every `n` adjacent elements, where the model hands them out.
    fn statistics(&mut self, node: &OnnxNode, x: &View, n: usize, epsilon: f32) -> Result<()> {
        let asked = |at: usize| {
            node.outputs
                .get(at)
                .filter(|name| self.is_used(name))
                .cloned()
        };
        let (mean_name, deviation_name) = (asked(1), asked(2));
        if mean_name.is_none() && deviation_name.is_none() {
            return Ok(());
        }
        let rows = [x.position.len() / n.max(1), n];
        let flat = x.reshaped(&rows);
        let mean = self.reduced(node, &flat, n, Reduction::Mean, &[rows[0], 1]);
        if let Some(name) = mean_name {
            self.give(&node.named(&name), mean.clone())?;
        }
        let Some(name) = deviation_name else {
            return Ok(());
        };
        let negative = self.mapped(node, &mean, Function::scaled(-1.0));
        let Operand::Live(centred) =
            self.sum_of(node, Operand::Live(flat), Operand::Live(negative))?
        else {
            return Err(node.unsupported());
        };
        let square = Function::Input.with(Binary::Mul, Function::Input);
        let squares = self.mapped(node, &centred, square);
        let variance = self.reduced(node, &squares, n, Reduction::Mean, &[rows[0], 1]);
        let root = Function::Input.with(Binary::Add, Function::Constant(epsilon.into()));
        let inverse = Function::Constant(1.0).with(Binary::Div, root.then(Unary::Sqrt));
        let deviation = self.mapped(node, &variance, inverse);
        self.give(&node.named(&name), deviation)
    }

    /// Every `n` adjacent elements with mean 0 (if it is to be taken off) and variance 1.
    fn normal_rows(
        &mut self,
        node: &OnnxNode,
        x: &View,
        n: usize,
        epsilon: f32,
        centre: bool,
    ) -> View {
        let rows = [x.position.len() / n.max(1), n];
        let input = self.plain(&x.reshaped(&rows));
        let norm = op::LayerNorm {
            gamma: vec![1.0; n],
            beta: vec![0.0; n],
            epsilon,
            centre,
        };
        self.part(node, "normal", norm, vec![input], &rows)
            .reshaped(x.shape())
    }
}

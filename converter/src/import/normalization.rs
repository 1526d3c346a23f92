//! LayerNorm, RmsNorm and means: as one node, or decomposed.
//!
//! ONNX has an operator for RMSNorm only since opset 23; before, exporters write `x / sqrt(mean(x^2) + epsilon)`.

use super::node::OnnxNode;
use super::nodes::normalize;
use super::view::View;
use super::{Importer, Item};
use crate::error::Result;
use crate::function::{Binary, Function};
use crate::graph::{Op, op};
use ndarray::ArrayD;

/// The mean over channels of the square of a tensor, part of an RMSNorm.
#[derive(Clone, Debug)]
pub struct MeanSquare {
    view: View,
    epsilon: f32,
    power: Power,
}

/// Power of the mean square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    One,
    Half,
    MinusHalf,
}

impl Importer<'_> {
    pub(super) fn layer_norm(&mut self, node: &OnnxNode) -> Result<()> {
        if node.outputs.iter().skip(1).any(|name| self.is_used(name)) {
            return Err(node.form("statistics as results"));
        }
        let x = self.view(node, 0)?;
        let rank = x.shape().len();
        if normalize(node.int("axis", -1), rank) != Some(rank - 1) || x.factor != 1.0 {
            return Err(
                node.form("normalisation must run along the last axis of an unscaled tensor")
            );
        }
        let channels = x.shape()[rank - 1];
        let vector = |array: Option<ArrayD<f32>>, default: f32| {
            array.map_or(vec![default; channels], |array| {
                array.iter().copied().collect::<Vec<f32>>()
            })
        };
        let (gamma, beta) = (
            vector(self.optional_weight(node, 1)?, 1.0),
            vector(self.optional_weight(node, 2)?, 0.0),
        );
        if gamma.len() != channels || beta.len() != channels {
            return Err(node.form("gamma and beta must be constants with one number per channel"));
        }
        let (epsilon, centre) = (node.float("epsilon", 1e-5), node.op == "LayerNormalization");
        self.add_norm(
            node,
            x,
            Op::LayerNorm(op::LayerNorm {
                gamma,
                beta,
                epsilon,
                centre,
            }),
        )
    }

    fn add_norm(&mut self, node: &OnnxNode, x: View, op: Op) -> Result<()> {
        let rows = self.row_operand(node, &x)?;
        let view = View::whole(self.next_value(), x.shape());
        let shape = x.shape().to_vec();
        self.add_node(node, op, vec![rows], &shape, view);
        Ok(())
    }

    /// A mean or maximum, or the mean over the channels of a square.
    pub(super) fn mean(&mut self, node: &OnnxNode) -> Result<()> {
        let axes = self
            .integers(node, 1)
            .or_else(|| node.ints("axes").map(<[i64]>::to_vec))
            .unwrap_or_default();
        if let Item::Curve(view, function) = self.item(node, 0)? {
            let rank = view.shape().len();
            let over_channels = axes.len() == 1 && normalize(axes[0], rank) == Some(rank - 1);
            if node.op == "ReduceMean" && over_channels && is_square(&function) {
                let mean = MeanSquare {
                    view,
                    epsilon: 0.0,
                    power: Power::One,
                };
                self.items
                    .insert(node.output.clone(), Item::MeanSquare(mean));
                return Ok(());
            }
        }
        self.reduce(node, &axes, node.op == "ReduceMax")
    }

    /// `mean square + epsilon`; false when the node is another sum.
    pub(super) fn add_epsilon(&mut self, node: &OnnxNode) -> Result<bool> {
        for (mean, epsilon) in [(0, 1), (1, 0)] {
            if let Ok(Item::MeanSquare(mean)) = self.item(node, mean)
                && mean.power == Power::One
            {
                let epsilon = mean.epsilon + self.scalar(node, epsilon)? as f32;
                self.items.insert(
                    node.output.clone(),
                    Item::MeanSquare(MeanSquare { epsilon, ..mean }),
                );
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The root of a mean square, or its reciprocal.
    pub(super) fn root(
        &mut self,
        node: &OnnxNode,
        mean: MeanSquare,
        function: &Function,
    ) -> Result<()> {
        let is = |exponent: f64| {
            [0.3, 1.0, 7.0]
                .iter()
                .all(|&x: &f64| (function.eval(x) - x.powf(exponent)).abs() < 1e-9)
        };
        let power = match mean.power {
            Power::One if is(0.5) => Power::Half,
            Power::One if is(-0.5) => Power::MinusHalf,
            Power::Half if is(-1.0) => Power::MinusHalf,
            _ => return Err(node.form("a mean square can only become the root of an RMSNorm")),
        };
        self.items.insert(
            node.output.clone(),
            Item::MeanSquare(MeanSquare { power, ..mean }),
        );
        Ok(())
    }

    /// `x * mean square ^ -1/2` or `x / mean square ^ 1/2`; false when the node is another product.
    pub(super) fn root_mean_square(&mut self, node: &OnnxNode, binary: Binary) -> Result<bool> {
        let (x, mean) = match (self.item(node, 0)?, self.item(node, 1)?) {
            (Item::MeanSquare(mean), _) if binary == Binary::Mul => (1, mean),
            (_, Item::MeanSquare(mean)) => (0, mean),
            _ => return Ok(false),
        };
        let x = self.view(node, x)?;
        let expected = if binary == Binary::Mul {
            Power::MinusHalf
        } else {
            Power::Half
        };
        let same = x.base == mean.view.base && x.position == mean.view.position && x.factor == 1.0;
        if mean.power != expected || !same {
            return Err(
                node.form("RMSNorm must be x / sqrt(mean(x^2) + epsilon) over the last axis")
            );
        }
        let channels = x.shape().last().copied().unwrap_or(1);
        let (gamma, beta) = (vec![1.0; channels], vec![0.0; channels]);
        self.add_norm(
            node,
            x,
            Op::LayerNorm(op::LayerNorm {
                gamma,
                beta,
                epsilon: mean.epsilon,
                centre: false,
            }),
        )?;
        Ok(true)
    }
}

fn is_square(function: &Function) -> bool {
    [-2.0, -0.5, 0.25, 3.0]
        .iter()
        .all(|&x: &f64| (function.eval(x) - x * x).abs() < 1e-9)
}

//! Layers of weights over rows: linear, and convolutions over time.

use crate::graph::facts::{
    Facts, Held, Kind, Operator, Positions, Rows, Second, Step, Weighted, rescaled,
};
use crate::graph::op::{Clamp, Window1d};
use attn_runtime::format::OpKind;
use ndarray::{ArrayD, ArrayViewD, Axis};

/// Weights of a layer, its bias, and the clamp fused behind it.
#[derive(Clone, Debug)]
pub struct Affine {
    /// `[out, …]`, or `[…, channels]` of a depthwise layer; the operator says more.
    pub weight: ArrayD<f32>,
    /// `[out]`
    pub bias: Vec<f32>,
    /// Clamp of the result.
    pub clamp: Clamp,
}

impl Affine {
    /// Without a clamp.
    pub fn new(weight: ArrayD<f32>, bias: Vec<f32>) -> Self {
        Self {
            weight,
            bias,
            clamp: Clamp::NONE,
        }
    }

    /// See [`Operator::channel_sizes`]; the outputs are on `axis` of the weights.
    pub fn channel_sizes(&self, axis: usize) -> Option<Vec<f64>> {
        let fixed =
            self.clamp.max.is_finite() || ![f32::NEG_INFINITY, 0.0].contains(&self.clamp.min);
        let rows = self.weight.axis_iter(Axis(axis)).zip(&self.bias);
        let square = |w: &f32| f64::from(*w).powi(2);
        let size = |(row, bias): (ArrayViewD<f32>, &f32)| {
            let squares = row.iter().chain([bias]).map(square);
            squares.sum::<f64>().sqrt()
        };
        (!fixed).then(|| rows.map(size).collect())
    }

    /// See [`Operator::divide`]; the outputs are on `axis` of the weights.
    pub fn divide(&mut self, axis: usize, factors: &[f32]) {
        for (mut row, factor) in self.weight.axis_iter_mut(Axis(axis)).zip(factors) {
            row.mapv_inplace(|w| w * (1.0 / factor));
        }
        let bias = self.bias.iter_mut().zip(factors);
        bias.for_each(|(bias, factor)| *bias /= factor);
    }

    /// See [`Operator::finest`].
    pub fn finest(&self, inputs: &[Step]) -> f64 {
        const STEPS: f64 = 127.0;
        let largest = self.weight.iter().fold(0.0f32, |max, w| max.max(w.abs()));
        let terms = self.weight.len() / self.bias.len().max(1);
        let sum = |input: &Step| {
            let unit = input.scale * f64::from(largest) / STEPS;
            rescaled(unit, input.largest * STEPS * terms as f64)
        };
        inputs.first().map_or(0.0, sum)
    }
}

/// `y[r, o] = clamp(sum_i x[r, i] * weight[o, i] + bias[o])`; input `x: [rows, in]`, weights `[out, in]`.
#[derive(Clone, Debug)]
pub struct Linear(pub Affine);

impl Operator for Linear {
    fn affine(&self) -> Option<(&Affine, usize)> {
        Some((&self.0, 0))
    }

    fn affine_mut(&mut self) -> Option<(&mut Affine, usize)> {
        Some((&mut self.0, 0))
    }

    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Runtime(OpKind::Linear),
            rows: Rows::Each,
            positions: Positions::None,
            shortens: true,
            held: Held::Free,
            second: Second::None,
            weighted: Weighted::Rows,
        }
    }
}

/// Convolution over time, channels last; input `x: [t, in]`, weights `[out, kernel, in]`, result `[t_out, out]`.
#[derive(Clone, Debug)]
pub struct Conv1d {
    /// Weights, bias, clamp.
    pub affine: Affine,
    /// The kernel's way over the rows.
    pub window: Window1d,
}

impl Operator for Conv1d {
    fn affine(&self) -> Option<(&Affine, usize)> {
        Some((&self.affine, 0))
    }

    fn affine_mut(&mut self) -> Option<(&mut Affine, usize)> {
        Some((&mut self.affine, 0))
    }

    fn facts(&self, _channels: usize) -> Facts {
        over_time(OpKind::Conv1d, self.window, Weighted::Window(self.window))
    }
}

/// Depthwise convolution over time; input `x: [t, c]`, weights `[kernel, c]`, result `[t_out, c]`.
#[derive(Clone, Debug)]
pub struct DepthwiseConv1d {
    /// Weights, bias, clamp.
    pub affine: Affine,
    /// The kernel's way over the rows.
    pub window: Window1d,
}

impl Operator for DepthwiseConv1d {
    fn affine(&self) -> Option<(&Affine, usize)> {
        Some((&self.affine, 1))
    }

    fn affine_mut(&mut self) -> Option<(&mut Affine, usize)> {
        Some((&mut self.affine, 1))
    }

    fn facts(&self, _channels: usize) -> Facts {
        over_time(OpKind::DepthwiseConv1d, self.window, Weighted::None)
    }
}

fn over_time(kind: OpKind, window: Window1d, weighted: Weighted) -> Facts {
    Facts {
        kind: Kind::Runtime(kind),
        rows: Rows::Window(window),
        positions: Positions::None,
        shortens: true,
        held: Held::Free,
        second: Second::None,
        weighted,
    }
}

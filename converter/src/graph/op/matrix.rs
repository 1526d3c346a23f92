//! Layers of weights over rows: linear, and convolutions over time.

use crate::graph::facts::{Facts, Held, Kind, Operator, Positions, Rows, Second, Weighted};
use crate::graph::op::{Clamp, Window1d};
use attn_runtime::format::OpKind;
use ndarray::ArrayD;

/// `y[r, o] = clamp(sum_i x[r, i] * weight[o, i] + bias[o])`; input `x: [rows, in]`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: ArrayD<f32>,
    /// `[out]`
    pub bias: Vec<f32>,
    /// Clamp fused after it.
    pub clamp: Clamp,
}

impl Operator for Linear {
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

/// Convolution over time, channels last; input `x: [t, in]`, result `[t_out, out]`.
#[derive(Clone, Debug)]
pub struct Conv1d {
    /// `[out, kernel, in]`
    pub weight: ArrayD<f32>,
    /// `[out]`
    pub bias: Vec<f32>,
    /// Kernel size, stride, dilation and padding over the rows.
    pub window: Window1d,
    /// Clamp fused after it.
    pub clamp: Clamp,
}

impl Operator for Conv1d {
    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Runtime(OpKind::Conv1d),
            rows: Rows::Window(self.window),
            positions: Positions::None,
            shortens: true,
            held: Held::Free,
            second: Second::None,
            weighted: Weighted::Window(self.window),
        }
    }
}

/// Depthwise convolution over time; input `x: [t, c]`, result `[t_out, c]`.
#[derive(Clone, Debug)]
pub struct DepthwiseConv1d {
    /// `[kernel, channels]`
    pub weight: ArrayD<f32>,
    /// `[channels]`
    pub bias: Vec<f32>,
    /// Kernel size, stride, dilation and padding over the rows.
    pub window: Window1d,
    /// Clamp fused after it.
    pub clamp: Clamp,
}

impl Operator for DepthwiseConv1d {
    fn facts(&self, _channels: usize) -> Facts {
        Facts {
            kind: Kind::Runtime(OpKind::DepthwiseConv1d),
            rows: Rows::Window(self.window),
            positions: Positions::None,
            shortens: true,
            held: Held::Free,
            second: Second::None,
            weighted: Weighted::None,
        }
    }
}

//! Operators that work element by element, or row by row.

use crate::function::Function;
use crate::graph::facts::{
    Facts, Held, Kind, Operator, Positions, Rows, Second, Step, Weighted, finest_addition,
    finest_product, finest_sum,
};
use crate::graph::op::Clamp;
use attn_runtime::format::OpKind;

/// Elementwise function.
#[derive(Clone, Debug)]
pub struct Activation(pub Function);

impl Operator for Activation {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::row_by_row(Kind::Runtime(OpKind::Lut), true, Held::Table)
    }
}

/// Elementwise sum of two inputs of the same shape.
#[derive(Clone, Debug)]
pub struct Add {
    /// Clamp fused after it.
    pub clamp: Clamp,
}

impl Operator for Add {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::row_by_row(Kind::Runtime(OpKind::Add), true, Held::Free)
    }

    fn finest(&self, inputs: &[Step], _n: usize) -> f64 {
        finest_addition(inputs.iter().map(|input| input.scale))
    }
}

/// Elementwise product of two inputs of the same shape, times a constant.
#[derive(Clone, Debug)]
pub struct Mul {
    /// The constant.
    pub factor: f32,
}

impl Operator for Mul {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::row_by_row(Kind::Runtime(OpKind::Mul), true, Held::Free)
    }

    fn finest(&self, inputs: &[Step], _n: usize) -> f64 {
        finest_product(inputs, self.factor)
    }
}

/// Sum with a constant of the same shape.
#[derive(Clone, Debug)]
pub struct AddConstant {
    /// In the order of the input.
    pub constant: Vec<f32>,
    /// Clamp fused after it.
    pub clamp: Clamp,
}

impl Operator for AddConstant {
    fn facts(&self, channels: usize) -> Facts {
        let mut rows = self.constant.chunks(channels.max(1));
        let first = rows.next();
        let positions = match rows.any(|row| Some(row) != first) {
            true => Positions::Listed,
            false => Positions::None,
        };
        Facts {
            kind: Kind::Runtime(OpKind::AddConstant),
            rows: Rows::Each,
            positions,
            shortens: true,
            held: Held::Free,
            second: Second::None,
            weighted: Weighted::None,
        }
    }

    fn finest(&self, inputs: &[Step], _n: usize) -> f64 {
        let constants = self.constant.iter().map(|c| f64::from(c.abs()));
        finest_addition(constants.chain(inputs.iter().map(|input| input.scale)))
    }
}

/// Normalisation of every row: `(x - mean) / sqrt(variance + epsilon) * gamma + beta`.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// `[channels]`
    pub gamma: Vec<f32>,
    /// `[channels]`
    pub beta: Vec<f32>,
    /// Added to the variance.
    pub epsilon: f32,
    /// Subtract the mean. If false, the mean square replaces the variance (RmsNorm).
    pub centre: bool,
}

impl Operator for LayerNorm {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::row_by_row(Kind::Runtime(OpKind::LayerNorm), true, Held::Free)
    }

    fn channel_sizes(&self) -> Option<Vec<f64>> {
        let pairs = self.gamma.iter().zip(&self.beta);
        Some(
            pairs
                .map(|(g, b)| f64::from(*g).hypot((*b).into()))
                .collect(),
        )
    }

    fn divide(&mut self, factors: &[f32]) {
        for numbers in [&mut self.gamma, &mut self.beta] {
            let channels = numbers.iter_mut().zip(factors);
            channels.for_each(|(x, factor)| *x /= factor);
        }
    }
}

/// Softmax over channels.
#[derive(Clone, Debug)]
pub struct Softmax;

impl Operator for Softmax {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::row_by_row(Kind::Runtime(OpKind::Softmax), true, Held::Probability)
    }
}

/// `x: [rows, c]` times one factor for each channel, `[c]`, or each row, `[rows]`, times a constant.
#[derive(Clone, Debug)]
pub struct Gate {
    /// One factor per row; otherwise one per channel.
    pub per_row: bool,
    /// The constant.
    pub factor: f32,
}

impl Operator for Gate {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::row_by_row(Kind::Runtime(OpKind::Gate), false, Held::Free)
    }

    fn finest(&self, inputs: &[Step], _n: usize) -> f64 {
        finest_product(inputs, self.factor)
    }
}

/// Largest channel of every row: `x: [rows, c]`, result `[rows, 1]`.
#[derive(Clone, Debug)]
pub struct MaxChannels;

impl Operator for MaxChannels {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::row_by_row(Kind::Runtime(OpKind::MaxChannels), false, Held::AsInput)
    }
}

/// Mean over the channels of every row: `x: [rows, c]`, result `[rows, 1]`.
#[derive(Clone, Debug)]
pub struct MeanChannels;

impl Operator for MeanChannels {
    fn facts(&self, _channels: usize) -> Facts {
        Facts::row_by_row(Kind::Runtime(OpKind::MeanChannels), false, Held::Free)
    }

    fn finest(&self, inputs: &[Step], n: usize) -> f64 {
        finest_sum(inputs, n, n)
    }
}

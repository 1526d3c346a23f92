//! The innermost loop of depthwise convolutions: for a run of channels, the sum over a rectangle of taps of an input times
//! its own weight. Each sum is requantized at once.
//!
//! Here are the operands and the choice of the body; `portable::taps` defines the result.

use crate::kernels::int::requantize::{Activation, Output};

/// Elements from one row of taps to the next, and from one tap of a row to the next.
pub type Steps = [usize; 2];

/// Inputs of some type under a kernel, by the type's width.
#[derive(Clone, Copy, Debug)]
pub enum Values<'x> {
    /// int8.
    I8(&'x [i8]),
    /// int16.
    I16(&'x [i16]),
}

/// Operands of the products, and the requantization of sums.
#[derive(Clone, Copy, Debug)]
pub struct Taps<'w, X> {
    /// Inputs, from the first channel of the first tap on.
    pub x: &'w [X],
    /// Weights, from the first channel of the first tap on.
    pub weights: &'w [i8],
    /// Rows of taps, and taps of a row.
    pub count: [usize; 2],
    /// The way from tap to tap in `x`.
    pub x_steps: Steps,
    /// The way from tap to tap in `weights`.
    pub weight_steps: Steps,
    /// Subtracted from every input.
    pub zero: i32,
    /// Initial values of sums, one for each channel.
    pub bias: &'w [i32],
    /// Requantization, with a multiplier for each channel.
    pub output: Output<'w>,
}

impl<X: Activation> Taps<'_, X> {
    /// Computes as many channels as `y`, `bias` and the multipliers all have. A tap that `x` or `weights` lack adds nothing.
    pub fn run<Y: Activation>(&self, y: &mut [Y]) {
        #[cfg(attn_dsp)]
        super::dsp::taps::run(self, y);
        #[cfg(not(attn_dsp))]
        super::portable::taps::run(self, y);
    }

    /// The channels from `at` on.
    pub(super) fn from(&self, at: usize) -> Self {
        Self {
            x: self.x.get(at..).unwrap_or(&[]),
            weights: self.weights.get(at..).unwrap_or(&[]),
            bias: self.bias.get(at..).unwrap_or(&[]),
            output: Output {
                multipliers: self.output.multipliers.get(at..).unwrap_or(&[]),
                ..self.output
            },
            ..*self
        }
    }
}

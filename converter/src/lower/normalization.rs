//! LayerNorm and RmsNorm.

use super::{Lower, Lowered, Lowering, limit};
use crate::graph::{Node, op};
use attn_runtime::format::OpKind;
use attn_runtime::kernels::int::layer_norm::{BIAS_BITS, MAX_CHANNELS, MAX_MULTIPLIER_BITS};
use attn_runtime::ops::{LayerNormHalfParams, LayerNormParams};

/// Multipliers stay below this.
const MULTIPLIER_MAX: f64 = (1u32 << 30) as f64;

impl Lower for op::LayerNorm {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (n, kind, centre) = (self.gamma.len(), OpKind::LayerNorm, self.centre.into());
        if to.scheme.is_half() {
            let ends = to.ends(node);
            let params = LayerNormHalfParams {
                gamma: to.program.weights(&self.gamma),
                beta: to.program.weights(&self.beta),
                epsilon: self.epsilon,
                centre,
            };
            return to.unary(node, kind, ends, None, &params);
        }
        if n > MAX_CHANNELS {
            let reason = format!("rows of {n} channels; at most {MAX_CHANNELS}");
            return Err(limit(node, reason));
        }
        let ends = to.ends(node);
        let [from, out] = ends.map(|tensor| to.quant(tensor));
        let steps = |x: f64| x / f64::from(out.scale);
        let root = (n as f64).sqrt();
        let magnitudes = self.gamma.iter().map(|&g| steps(f64::from(g).abs() * root));
        let largest = magnitudes.fold(0.0, f64::max);
        let bits = (0..=MAX_MULTIPLIER_BITS)
            .rev()
            .find(|&bits| largest * f64::from(bits).exp2() < MULTIPLIER_MAX);
        let bits = bits.ok_or_else(|| {
            limit(
                node,
                "gamma is beyond what its range in calibration can hold",
            )
        })?;
        let multiplier =
            |&g: &f32| (steps(f64::from(g) * root) * f64::from(bits).exp2()).round() as i32;
        let bias = |&b: &f32| (steps(b.into()) * f64::from(BIAS_BITS).exp2()).round() as i32;
        let multipliers: Vec<i32> = self.gamma.iter().map(multiplier).collect();
        let biases: Vec<i32> = self.beta.iter().map(bias).collect();
        let squares = (n as f64).powi(3) / f64::from(from.scale).powi(2);
        let epsilon = (f64::from(self.epsilon) * squares).round() as u64;
        let (min, max) = out.limits();
        let params = LayerNormParams {
            multipliers: to.program.weights(&multipliers),
            multiplier_bits: bits,
            bias: to.program.weights(&biases),
            epsilon: [epsilon as u32, (epsilon >> 32) as u32],
            centre,
            min,
            max,
        };
        to.unary(node, kind, ends, None, &params)
    }
}

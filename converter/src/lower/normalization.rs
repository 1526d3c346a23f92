//! LayerNorm and RmsNorm.

use super::Lowering;
use crate::error::ConvertError;
use crate::graph::{Node, op};
use attn_runtime::format::OpKind;
use attn_runtime::kernels::int::layer_norm::{BIAS_BITS, MAX_CHANNELS, MAX_MULTIPLIER_BITS};
use attn_runtime::ops::LayerNormParams;

/// Multipliers stay below this.
const MULTIPLIER_MAX: f64 = (1u32 << 30) as f64;

impl Lowering<'_> {
    pub(super) fn layer_norm(
        &mut self,
        node: &Node,
        op: &op::LayerNorm,
    ) -> Result<(), ConvertError> {
        let (gamma, beta, epsilon, centre) = (&op.gamma, &op.beta, op.epsilon, op.centre);
        let limit = |reason: String| ConvertError::Limit {
            node: node.name.clone(),
            reason,
        };
        let n = gamma.len();
        if n > MAX_CHANNELS {
            return Err(limit(format!(
                "rows of {n} channels; at most {MAX_CHANNELS}"
            )));
        }
        let (x, y) = (self.tensor(node.inputs[0]), self.add_value(node.output));
        let (from, out) = (self.quant(x), self.quant(y));
        let steps = |x: f64| x / f64::from(out.scale);
        let root = (n as f64).sqrt();
        let largest = gamma
            .iter()
            .map(|&g| steps(f64::from(g).abs() * root))
            .fold(0.0, f64::max);
        let bits = (0..=MAX_MULTIPLIER_BITS)
            .rev()
            .find(|&bits| largest * f64::from(bits).exp2() < MULTIPLIER_MAX);
        let bits = bits.ok_or_else(|| {
            limit("gamma is beyond what its range in calibration can hold".into())
        })?;
        let multiplier =
            |&g: &f32| (steps(f64::from(g) * root) * f64::from(bits).exp2()).round() as i32;
        let bias = |&b: &f32| (steps(b.into()) * f64::from(BIAS_BITS).exp2()).round() as i32;
        let multipliers: Vec<i32> = gamma.iter().map(multiplier).collect();
        let biases: Vec<i32> = beta.iter().map(bias).collect();
        let epsilon = (f64::from(epsilon) * (n as f64).powi(3) / f64::from(from.scale).powi(2))
            .round() as u64;
        let (min, max) = out.limits();
        let params = LayerNormParams {
            multipliers: self.program.weights(&multipliers),
            multiplier_bits: bits,
            bias: self.program.weights(&biases),
            epsilon: [epsilon as u32, (epsilon >> 32) as u32],
            centre: u32::from(centre),
            min,
            max,
        };
        self.op(
            &node.name,
            OpKind::LayerNorm,
            vec![x],
            vec![y],
            None,
            &params,
        );
        Ok(())
    }
}

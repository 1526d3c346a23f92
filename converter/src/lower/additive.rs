//! Additive attention: energies, softmax and mean in one operator.

use super::Lowering;
use crate::error::ConvertError;
use crate::graph::Node;
use crate::program::TensorId;
use crate::quantize::weights::rescale;
use attn_runtime::format::{DType, OpKind};
use attn_runtime::ops::AdditiveAttentionParams;

/// Energies are sums of int16 numbers up to this, each times a number of at most 1.
const V_MAX: f64 = 32767.0;

impl Lowering<'_> {
    pub(super) fn additive_attention(
        &mut self,
        node: &Node,
        v: &[f32],
        tanh: bool,
    ) -> Result<(), ConvertError> {
        let [query, keys, values] = [0, 1, 2].map(|i| self.tensor(node.inputs[i]));
        let context = self.add_value(node.output);
        let weights = node.second.map(|weights| self.add_value(weights));
        let largest = v.iter().fold(0.0f64, |max, v| max.max(f64::from(v.abs())));
        let step = largest.max(1e-9) / V_MAX;
        let stored: Vec<i16> = v
            .iter()
            .map(|&v| (f64::from(v) / step).round() as i16)
            .collect();
        let multiplier = step * std::f64::consts::LOG2_E * 32f64.exp2();
        if multiplier >= f64::from(u32::MAX) {
            return Err(ConvertError::Limit {
                node: node.name.clone(),
                reason: format!(
                    "weights of the energies up to {largest}: the training has diverged"
                ),
            });
        }
        let (query_multiplier, query_shift) = self.to_q16(node, query)?;
        let (key_multiplier, key_shift) = self.to_q16(node, keys)?;
        let params = AdditiveAttentionParams {
            v: self.program.weights(&stored),
            score_multiplier: multiplier.round() as u32,
            query_multiplier,
            query_shift,
            key_multiplier,
            key_shift,
            tanh: tanh.into(),
        };
        let rows = self.graph.values[node.inputs[1].0].rows();
        let scratch_len = v.len() + rows + rows.div_ceil(2);
        let scratch = self.program.scratch(&node.name, DType::I32, scratch_len);
        self.op(
            &node.name,
            OpKind::AdditiveAttention,
            vec![query, keys, values],
            [Some(context), weights].into_iter().flatten().collect(),
            Some(scratch),
            &params,
        );
        Ok(())
    }

    fn to_q16(&self, node: &Node, tensor: TensorId) -> Result<(i32, u32), ConvertError> {
        rescale(&node.name, self.quant(tensor), 1.0 / 65536.0)
    }
}

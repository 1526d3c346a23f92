//! Attention in half precision: keys and values packed into a window, then the query over it.

use super::super::attention::mask_words;
use super::super::{Form, Lowering};
use crate::error::ConvertError;
use crate::graph::Node;
use crate::program::{Place, TensorId};
use crate::quantize::Quant;
use attn_runtime::format::OpKind;
use attn_runtime::kernels::half::LANES;
use attn_runtime::kernels::half::attention::Shape;
use attn_runtime::ops::{AttentionHalfParams, AttentionParams};

impl Lowering<'_> {
    pub(super) fn half_attention(
        &mut self,
        node: &Node,
        [heads, key_heads]: [usize; 2],
        scale: f32,
        causal: bool,
        visible: Option<&[bool]>,
    ) -> Result<(), ConvertError> {
        let [query, key, value] = [0, 1, 2].map(|i| self.tensor(node.inputs[i]));
        let [keys, values] = [1, 2].map(|i| &self.graph.values[node.inputs[i].0]);
        if keys.channels() != values.channels() {
            let reason = format!(
                "keys have {} channels, values {}: they must agree",
                keys.channels(),
                values.channels()
            );
            return Err(ConvertError::Limit {
                node: node.name.clone(),
                reason,
            });
        }
        let shape = Shape {
            heads,
            key_heads,
            head_dim: keys.channels() / key_heads,
            slots: keys.rows(),
        };
        let (keys, values, ring) = self.half_push(node, &shape, key, value);
        let context = self.add_value(node.output);
        let (seen, mask) = match visible {
            Some(visible) => {
                let words = mask_words(visible, shape.slots);
                (AttentionParams::MASK, self.program.weights(&words))
            }
            // The newest frame of a stream sees all there is.
            None if causal && self.form == Form::Window => (AttentionParams::CAUSAL, 0),
            None => (AttentionParams::ALL, 0),
        };
        let params = AttentionHalfParams {
            score_factor: (f64::from(scale) * std::f64::consts::LOG2_E) as f32,
            seen,
            mask,
            ..window_params(&shape)
        };
        let scratch = self.half_scratch(node, shape.scratch_len());
        let inputs = [query, keys, values].into_iter().chain(ring).collect();
        self.op(
            &node.name,
            OpKind::Attention,
            inputs,
            vec![context],
            scratch,
            &params,
        );
        Ok(())
    }

    /// Packs rows of keys and values; gives the packed tensors and, when streaming, the ring.
    fn half_push(
        &mut self,
        node: &Node,
        shape: &Shape,
        key: TensorId,
        value: TensorId,
    ) -> (TensorId, TensorId, Option<TensorId>) {
        let place = match self.form {
            Form::Stream => Place::State,
            Form::Window => Place::Arena,
        };
        let name = |part: &str| format!("{}.{part}", node.name);
        let mut window = |part: &str, groups: usize| {
            let dims = [shape.key_heads, LANES * groups / shape.key_heads];
            self.program.tensor(name(part), &dims, Quant::HALF, place)
        };
        let keys = window("keys", shape.keys_len());
        let values = window("values", shape.values_len());
        let ring = (self.form == Form::Stream).then(|| {
            self.program
                .tensor(name("ring"), &[2], Quant::COUNTER, Place::State)
        });
        let (inputs, outputs) = match ring {
            Some(ring) => (vec![key, value, keys, values, ring], vec![]),
            None => (vec![key, value], vec![keys, values]),
        };
        let params = window_params(shape);
        self.op(
            &name("push"),
            OpKind::PushKeyValue,
            inputs,
            outputs,
            None,
            &params,
        );
        (keys, values, ring)
    }
}

fn window_params(shape: &Shape) -> AttentionHalfParams {
    AttentionHalfParams {
        heads: shape.heads as u32,
        key_heads: shape.key_heads as u32,
        head_dim: shape.head_dim as u32,
        slots: shape.slots as u32,
        score_factor: 0.0,
        seen: AttentionParams::ALL,
        mask: 0,
        rows_rule: 0,
    }
}

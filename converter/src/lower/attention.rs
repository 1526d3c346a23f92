//! Attention: keys and values packed into a window, then the query over it.

use super::{Form, Lowering};
use crate::error::ConvertError;
use crate::graph::Node;
use crate::program::{Place, TensorId};
use crate::quantize::Quant;
use attn_runtime::format::{DType, OpKind};
use attn_runtime::kernels::attention::Shape;
use attn_runtime::kernels::dot::packed_len;
use attn_runtime::ops::AttentionParams;

/// Q15 weights times int8 values stay within 32 bits up to here.
const MAX_SLOTS: usize = 511;

impl Lowering<'_> {
    pub(super) fn attention(
        &mut self,
        node: &Node,
        heads: usize,
        scale: f32,
        causal: bool,
    ) -> Result<(), ConvertError> {
        let [query, key, value] = [node.inputs[0], node.inputs[1], node.inputs[2]];
        let shape = self.attention_shape(node, heads)?;
        let (k, v) = (self.int8(key)?, self.int8(value)?);
        let q = self.tensor(query);
        self.check_scores(node, &shape, self.quant(q))?;
        let (keys, values, ring) = self.push(node, &shape, k, v);
        let context = self.add_value(node.output);
        let exponent =
            f64::from(self.quant(q).scale) * f64::from(self.quant(k).scale) * f64::from(scale);
        let multiplier = exponent * std::f64::consts::LOG2_E * 32f64.exp2();
        if !(0.0..f64::from(u32::MAX)).contains(&multiplier) {
            let reason = format!(
                "one step of a score is {exponent:.2}: the scores' scale must be positive and below 0.69"
            );
            return Err(ConvertError::Limit {
                node: node.name.clone(),
                reason,
            });
        }
        let params = AttentionParams {
            score_multiplier: multiplier.round() as u32,
            value_zero_point: self.quant(v).zero_point,
            // The newest frame of a stream sees all there is.
            causal: u32::from(causal && self.form == Form::Window),
            ..window_params(&shape)
        };
        let scratch_len = shape.scores_len() + shape.pairs_len() / 2;
        let scratch = self.program.scratch(&node.name, DType::I32, scratch_len);
        let inputs = [q, keys, values].into_iter().chain(ring).collect();
        self.op(
            &node.name,
            OpKind::Attention,
            inputs,
            vec![context],
            Some(scratch),
            &params,
        );
        Ok(())
    }

    fn attention_shape(&self, node: &Node, heads: usize) -> Result<Shape, ConvertError> {
        let limit = |reason| ConvertError::Limit {
            node: node.name.clone(),
            reason,
        };
        let [key, value] = [1, 2].map(|i| &self.graph.values[node.inputs[i].0]);
        if key.channels() != value.channels() {
            let reason = format!(
                "keys have {} channels, values {}: they must agree",
                key.channels(),
                value.channels()
            );
            return Err(limit(reason));
        }
        if key.rows() > MAX_SLOTS {
            return Err(limit(format!(
                "a window of {} keys; at most {MAX_SLOTS} fit a 32-bit sum",
                key.rows()
            )));
        }
        Ok(Shape {
            heads,
            head_dim: key.channels() / heads,
            slots: key.rows(),
        })
    }

    fn check_scores(&self, node: &Node, shape: &Shape, query: Quant) -> Result<(), ConvertError> {
        let largest =
            (query.magnitude() + i64::from(query.zero_point.abs())) * 128 * shape.head_dim as i64;
        if largest <= i64::from(i32::MAX) {
            return Ok(());
        }
        let reason = format!(
            "scores over {} channels could leave 32 bits: use more heads",
            shape.head_dim
        );
        Err(ConvertError::Limit {
            node: node.name.clone(),
            reason,
        })
    }

    /// Packs rows of keys and values; gives the packed tensors and, when streaming, the ring.
    fn push(
        &mut self,
        node: &Node,
        shape: &Shape,
        k: TensorId,
        v: TensorId,
    ) -> (TensorId, TensorId, Option<TensorId>) {
        let place = if self.form == Form::Stream {
            Place::State
        } else {
            Place::Arena
        };
        // What was never pushed has weight 0 or is not looked at: its bytes are 0.
        let packed = |from: Quant| Quant {
            zero_point: 0,
            ..from
        };
        let name = |part: &str| format!("{}.{part}", node.name);
        let dims = |out: usize, k: usize| [shape.heads, packed_len(out, k)];
        let keys = self.program.tensor(
            name("keys"),
            &dims(shape.slots, shape.head_dim),
            packed(self.quant(k)),
            place,
        );
        let values = self.program.tensor(
            name("values"),
            &dims(shape.head_dim, shape.slots),
            packed(self.quant(v)),
            place,
        );
        let params = window_params(shape);
        if self.form == Form::Window {
            self.op(
                &name("push"),
                OpKind::PushKeyValue,
                vec![k, v],
                vec![keys, values],
                None,
                &params,
            );
            return (keys, values, None);
        }
        let ring = self
            .program
            .tensor(name("ring"), &[2], Quant::COUNTER, Place::State);
        self.op(
            &name("push"),
            OpKind::PushKeyValue,
            vec![k, v, keys, values, ring],
            vec![],
            None,
            &params,
        );
        (keys, values, Some(ring))
    }
}

fn window_params(shape: &Shape) -> AttentionParams {
    AttentionParams {
        heads: shape.heads as u32,
        head_dim: shape.head_dim as u32,
        slots: shape.slots as u32,
        score_multiplier: 0,
        value_zero_point: 0,
        causal: 0,
        rows_rule: 0,
    }
}

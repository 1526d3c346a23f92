//! Attention in half precision: keys and values packed into a window, then the query over it.

use super::super::attention::{Window, geometry, mask_words};
use super::super::{Form, Lowering};
use crate::error::ConvertError;
use crate::graph::{Node, op};
use crate::program::Place;
use crate::quantize::Quant;
use attn_runtime::format::OpKind;
use attn_runtime::kernels::geometry::Shape;
use attn_runtime::kernels::half::{LANES, packed_len};
use attn_runtime::ops::{AttentionGeometry, AttentionHalfParams};

impl Lowering<'_> {
    pub(super) fn half_attention(
        &mut self,
        node: &Node,
        op: &op::Attention,
    ) -> Result<(), ConvertError> {
        let (heads, key_heads) = (op.heads, op.key_heads);
        let (scale, causal, visible) = (op.scale, op.causal, op.visible.as_deref());
        let query = self.tensor(node.inputs[0]);
        let shape = self.half_shape(node, [heads, key_heads])?;
        let rows_rule = match self.graph.varying.get(&node.inputs[1]) {
            Some(&rule) => self.program.rows_rule(rule).into(),
            None => 0,
        };
        let Window { keys, values, ring } = match self.packed.get(&node.output) {
            Some(&window) => window,
            None => self.half_push(node, &shape),
        };
        let context = self.add_value(node.output);
        let weights = node.second.map(|weights| self.add_value(weights));
        let (seen, mask) = match visible {
            Some(visible) => {
                let words = mask_words(visible, shape.slots);
                (AttentionGeometry::MASK, self.program.weights(&words))
            }
            // The newest frame of a stream sees all there is.
            None if causal && self.form == Form::Window => (AttentionGeometry::CAUSAL, 0),
            None => (AttentionGeometry::ALL, 0),
        };
        let params = AttentionHalfParams {
            score_factor: (f64::from(scale) * std::f64::consts::LOG2_E) as f32,
            window: AttentionGeometry {
                seen,
                mask,
                rows_rule,
                ..geometry(&shape)
            },
        };
        let scratch = self.half_scratch(node, shape.scratch_len());
        let inputs = [query, keys, values].into_iter().chain(ring).collect();
        self.op(
            &node.name,
            OpKind::Attention,
            inputs,
            [Some(context), weights].into_iter().flatten().collect(),
            scratch,
            &params,
        );
        Ok(())
    }

    fn half_shape(
        &self,
        node: &Node,
        [heads, key_heads]: [usize; 2],
    ) -> Result<Shape, ConvertError> {
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
        Ok(Shape {
            heads,
            key_heads,
            head_dim: keys.channels() / key_heads,
            slots: keys.rows(),
        })
    }

    /// Packs keys and values now, for an attention that another entry point runs.
    pub(in super::super) fn half_pack(
        &mut self,
        node: &Node,
        heads: [usize; 2],
    ) -> Result<(), ConvertError> {
        let shape = self.half_shape(node, heads)?;
        let window = self.half_push(node, &shape);
        for tensor in [window.keys, window.values] {
            self.program.tensors[tensor].place = Place::Shared;
        }
        self.packed.insert(node.output, window);
        Ok(())
    }

    /// Packs rows of keys and values.
    fn half_push(&mut self, node: &Node, shape: &Shape) -> Window {
        let [key, value] = [1, 2].map(|i| self.tensor(node.inputs[i]));
        let place = match self.form {
            Form::Stream => Place::State,
            Form::Window => Place::Arena,
        };
        let name = |part: &str| format!("{}.{part}", node.name);
        let mut window = |part: &str, groups: usize| {
            let dims = [shape.key_heads, LANES * groups / shape.key_heads];
            self.program.tensor(name(part), &dims, Quant::HALF, place)
        };
        let keys = window("keys", shape.keys_len(packed_len));
        let values = window("values", shape.values_len(packed_len));
        let ring = (self.form == Form::Stream).then(|| {
            self.program
                .tensor(name("ring"), &[2], Quant::COUNTER, Place::State)
        });
        let (inputs, outputs) = match ring {
            Some(ring) => (vec![key, value, keys, values, ring], vec![]),
            None => (vec![key, value], vec![keys, values]),
        };
        let params = AttentionHalfParams {
            score_factor: 0.0,
            window: geometry(shape),
        };
        self.op(
            &name("push"),
            OpKind::PushKeyValue,
            inputs,
            outputs,
            None,
            &params,
        );
        Window { keys, values, ring }
    }
}

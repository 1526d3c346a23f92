//! Attention: keys and values packed into a window, then the query over it.

use super::{Form, Lowering};
use crate::error::ConvertError;
use crate::graph::{Node, op};
use crate::program::{Place, TensorId};
use crate::quantize::Quant;
use attn_runtime::format::{DType, OpKind};
use attn_runtime::kernels::geometry::Shape;
use attn_runtime::kernels::int::attention::MAX_SLOTS;
use attn_runtime::kernels::int::dot::packed_len;
use attn_runtime::ops::{AttentionGeometry, AttentionParams};

/// With int16 keys a step of a score is made so large that its multiplier has at least this many bits, and is thereby exact
/// to 2^-18.
const MULTIPLIER_BITS: i32 = 17;

/// Packed keys and values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub keys: TensorId,
    pub values: TensorId,
    /// Which slot is next, on a stream.
    pub ring: Option<TensorId>,
}

impl Lowering<'_> {
    pub(super) fn attention(
        &mut self,
        node: &Node,
        op: &op::Attention,
    ) -> Result<(), ConvertError> {
        let (heads, key_heads) = (op.heads, op.key_heads);
        let (scale, causal, visible) = (op.scale, op.causal, op.visible.as_deref());
        let [key, value] = [node.inputs[1], node.inputs[2]];
        let shape = self.attention_shape(node, heads, key_heads)?;
        let wide = self.scheme.all_int16(&[key, value]);
        let [k, v] = [key, value].map(|id| self.scheme.of_window(id, wide));
        let q = self.query(node, &shape, k)?;
        let rows_rule = match self.graph.varying.get(&key) {
            Some(&rule) => self.program.rows_rule(rule).into(),
            None => 0,
        };
        let Window { keys, values, ring } = match self.packed.get(&node.output) {
            Some(&window) => window,
            None => self.push(node, &shape)?,
        };
        let context = self.add_value(node.output);
        let weights = node.second.map(|weights| self.add_value(weights));
        let exponent = f64::from(self.quant(q).scale) * f64::from(k.scale) * f64::from(scale);
        let score_shift = if wide {
            score_shift(self.quant(q), &shape, exponent)
        } else {
            0
        };
        let exponent = exponent * f64::from(score_shift).exp2();
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
        let (seen, mask) = match visible {
            Some(visible) => {
                let words = mask_words(visible, shape.slots);
                (AttentionGeometry::MASK, self.program.weights(&words))
            }
            // The newest frame of a stream sees all there is.
            None if causal && self.form == Form::Window => (AttentionGeometry::CAUSAL, 0),
            None => (AttentionGeometry::ALL, 0),
        };
        let params = AttentionParams {
            score_multiplier: multiplier.round() as u32,
            value_zero_point: v.zero_point,
            score_shift,
            window: AttentionGeometry {
                seen,
                mask,
                rows_rule,
                ..geometry(&shape)
            },
        };
        let scratch_len = shape.scores_len() + shape.pairs_len() / 2;
        let scratch = self.program.scratch(&node.name, DType::I32, scratch_len);
        let inputs = [q, keys, values].into_iter().chain(ring).collect();
        self.op(
            &node.name,
            OpKind::Attention,
            inputs,
            [Some(context), weights].into_iter().flatten().collect(),
            Some(scratch),
            &params,
        );
        Ok(())
    }

    fn attention_shape(
        &self,
        node: &Node,
        heads: usize,
        key_heads: usize,
    ) -> Result<Shape, ConvertError> {
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
                "a window of {} keys; at most {MAX_SLOTS}",
                key.rows()
            )));
        }
        Ok(Shape {
            heads,
            key_heads,
            head_dim: key.channels() / key_heads,
            slots: key.rows(),
        })
    }

    /// The query; in int8 where int8 keys ask for that, so that scores fit 32 bits.
    fn query(&mut self, node: &Node, shape: &Shape, keys: Quant) -> Result<TensorId, ConvertError> {
        let fits = |query: Quant| largest_score(query, 128, shape) <= i64::from(i32::MAX);
        let query = self.tensor(node.inputs[0]);
        if keys.dtype == DType::I16 || fits(self.quant(query)) {
            return Ok(query);
        }
        let query = self.int8(node.inputs[0])?;
        if fits(self.quant(query)) {
            return Ok(query);
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

    /// Packs keys and values now, for an attention that another entry point runs.
    pub(super) fn pack(
        &mut self,
        node: &Node,
        heads: usize,
        key_heads: usize,
    ) -> Result<(), ConvertError> {
        let shape = self.attention_shape(node, heads, key_heads)?;
        let window = self.push(node, &shape)?;
        for tensor in [window.keys, window.values] {
            self.program.tensors[tensor].place = Place::Shared;
        }
        self.packed.insert(node.output, window);
        Ok(())
    }

    /// Packs rows of keys and values; gives the packed tensors and, when streaming, the ring.
    fn push(&mut self, node: &Node, shape: &Shape) -> Result<Window, ConvertError> {
        // The runtime takes both in int8 or both in int16.
        let [key, value] = [node.inputs[1], node.inputs[2]];
        let [k, v] = if self.scheme.all_int16(&[key, value]) {
            [self.tensor(key), self.tensor(value)]
        } else {
            [self.int8(key)?, self.int8(value)?]
        };
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
        let dims = |out: usize, k: usize| [shape.key_heads, packed_len(out, k)];
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
        let params = AttentionParams {
            score_multiplier: 0,
            value_zero_point: 0,
            score_shift: 0,
            window: geometry(shape),
        };
        if self.form == Form::Window {
            self.op(
                &name("push"),
                OpKind::PushKeyValue,
                vec![k, v],
                vec![keys, values],
                None,
                &params,
            );
            return Ok(Window {
                keys,
                values,
                ring: None,
            });
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
        Ok(Window {
            keys,
            values,
            ring: Some(ring),
        })
    }
}

/// A window that every query sees whole.
pub(super) fn geometry(shape: &Shape) -> AttentionGeometry {
    AttentionGeometry {
        heads: shape.heads as u32,
        key_heads: shape.key_heads as u32,
        head_dim: shape.head_dim as u32,
        slots: shape.slots as u32,
        seen: AttentionGeometry::ALL,
        mask: 0,
        rows_rule: 0,
    }
}

/// For each query, words of 32 bits: bit `slot % 32` of word `slot / 32` is set where it sees the slot.
pub(super) fn mask_words(visible: &[bool], slots: usize) -> Vec<u32> {
    let word = |bits: &[bool]| {
        let bit = |(i, &seen): (usize, &bool)| u32::from(seen) << i;
        bits.iter().enumerate().map(bit).sum::<u32>()
    };
    let rows = visible.chunks_exact(slots);
    rows.flat_map(|row| row.chunks(32).map(word)).collect()
}

/// Bound of the scores of queries held as `query` over keys of at most `key`.
fn largest_score(query: Quant, key: i64, shape: &Shape) -> i64 {
    (query.magnitude() + i64::from(query.zero_point.abs())) * key * shape.head_dim as i64
}

/// The right shift of scores over int16 keys: they must fit 32 bits, and a step of them, `exponent` before the shift, needs
/// a precise multiplier.
fn score_shift(query: Quant, shape: &Shape, exponent: f64) -> u32 {
    let fits = |shift: &u32| largest_score(query, 32768, shape) >> shift <= i64::from(i32::MAX);
    let multiplier = exponent * std::f64::consts::LOG2_E * 32f64.exp2();
    let precise =
        |shift: &u32| multiplier * f64::from(*shift).exp2() >= f64::from(MULTIPLIER_BITS).exp2();
    (0..31)
        .find(|shift| fits(shift) && precise(shift))
        .unwrap_or(31)
}

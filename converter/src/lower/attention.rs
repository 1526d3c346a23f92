//! Attention: keys and values packed into a window, then the query over it; additive attention; positions rotated into both.

use super::matrix::halves;
use super::{Form, Lower, Lowered, Lowering, limit};
use crate::error::Result;
use crate::graph::{Node, op};
use crate::program::{Place, TensorId};
use crate::quantize::Quant;
use crate::quantize::weights::{rescale, turned};
use attn_runtime::format::{DType, OpKind};
use attn_runtime::kernels::geometry::Shape;
use attn_runtime::kernels::half;
use attn_runtime::kernels::int::attention::MAX_SLOTS;
use attn_runtime::kernels::int::dot::packed_len;
use attn_runtime::kernels::int::linear::scratch_len;
use attn_runtime::kernels::int::rotary::TURN_BITS;
use attn_runtime::ops::{
    AdditiveAttentionHalfParams, AdditiveAttentionParams, AttentionGeometry, AttentionHalfParams,
    AttentionParams, RotaryGeometry, RotaryHalfParams, RotaryParams,
};
use std::f64::consts::LOG2_E;
use zerocopy::IntoBytes;

/// With int16 keys a step of a score is made so large that its multiplier has at least this many bits, and is thereby exact
/// to 2^-18.
const MULTIPLIER_BITS: i32 = 17;
/// Energies are sums of int16 numbers up to this, each times a number of at most 1.
const V_MAX: f64 = 32767.0;

/// Bytes of the parameters that every runtime knows; what is 0 behind them is left out.
const INT_PARAMS: usize = 40;
const HALF_PARAMS: usize = 32;

/// Packed keys and values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub keys: TensorId,
    pub values: TensorId,
    /// Which slot is next, on a stream.
    pub ring: Option<TensorId>,
}

impl Lower for op::Attention {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let shape = to.attention_shape(node, self)?;
        let query = to.query(node, &shape)?;
        let rows_rule = match to.graph.varying.get(&node.inputs[1]) {
            Some(&rule) => to.program.rows_rule(rule).into(),
            None => 0,
        };
        let window = match to.packed.get(&node.output) {
            Some(&window) => window,
            None => to.push(node, &shape)?,
        };
        let outputs = to.mean_and_weights(node);
        let scores = to.scores(node, self.scale, query, &shape)?;
        let (seen, mask) = match &self.visible {
            Some(visible) => {
                let words = mask_words(visible, shape.slots);
                (AttentionGeometry::MASK, to.program.weights(&words))
            }
            // The newest frame of a stream sees all there is.
            None if self.causal && to.form == Form::Window => (AttentionGeometry::CAUSAL, 0),
            None => (AttentionGeometry::ALL, 0),
        };
        let bias = self.biased.then(|| to.tensor(node.inputs[3]));
        let window_params = AttentionGeometry {
            seen,
            mask,
            rows_rule,
            biased: self.biased.into(),
            ..geometry(&shape)
        };
        let params = scores.params(window_params, bias.map(|bias| to.quant(bias)), node)?;
        let scratch = to.f32_scratch(
            node,
            match scores {
                Scores::Half(_) => shape.scratch_len(),
                Scores::Int(_) => {
                    let tiled = to.quant(window.keys).dtype == DType::I8;
                    let rows = if tiled { to.results(node) } else { 1 };
                    scratch_len(shape.scores_len() + shape.pairs_len() / 2, rows)
                }
            },
        );
        let window = [window.keys, window.values].into_iter().chain(window.ring);
        let inputs = [query].into_iter().chain(window).chain(bias);
        let kind = OpKind::Attention;
        to.op(
            &node.name,
            kind,
            inputs.collect(),
            outputs,
            scratch,
            &*params,
        )
    }
}

/// What takes a product of query and key to a score.
enum Scores {
    /// Parameters whose window is still to be set.
    Int(AttentionParams),
    /// A factor.
    Half(f32),
}

impl Scores {
    /// The record, without the fields at its end that are 0.
    fn params(
        &self,
        window: AttentionGeometry,
        bias: Option<Quant>,
        node: &Node,
    ) -> Result<Vec<u8>> {
        let mut bytes = match *self {
            Self::Int(params) => {
                let (bias_factor, bias_shift) = match bias {
                    Some(bias) => bias_steps(node, bias, params.score_multiplier)?,
                    None => (0, 0),
                };
                let params = AttentionParams {
                    window,
                    bias_factor,
                    bias_shift,
                    ..params
                };
                params.as_bytes().to_vec()
            }
            Self::Half(score_factor) => AttentionHalfParams {
                score_factor,
                window,
            }
            .as_bytes()
            .to_vec(),
        };
        let last = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0);
        let old = match self {
            Self::Int(_) => INT_PARAMS,
            Self::Half(_) => HALF_PARAMS,
        };
        bytes.truncate((last + 1).next_multiple_of(size_of::<u32>()).max(old));
        Ok(bytes)
    }
}

impl Lowering<'_> {
    fn attention_shape(&self, node: &Node, op: &op::Attention) -> Result<Shape> {
        let [key, value] = [1, 2].map(|i| &self.graph.values[node.inputs[i].0]);
        let (channels, slots) = (key.channels(), key.rows());
        if slots > MAX_SLOTS && !self.scheme.is_half() {
            let reason = format!("a window of {slots} keys; at most {MAX_SLOTS}");
            return Err(limit(node, reason));
        }
        Ok(Shape {
            heads: op.heads,
            key_heads: op.key_heads,
            head_dim: channels / op.key_heads,
            value_dim: value.channels() / op.key_heads,
            slots,
        })
    }

    /// True where keys and values are both held in int16: the runtime takes both so, or both in int8.
    fn wide_window(&self, node: &Node) -> bool {
        self.scheme.all_int16(&node.inputs[1..3])
    }

    /// The query; in int8 where int8 keys ask for that, so that scores fit 32 bits.
    fn query(&mut self, node: &Node, shape: &Shape) -> Result<TensorId> {
        let fits = |query: Quant| largest_score(query, 128, shape) <= i64::from(i32::MAX);
        let query = self.tensor(node.inputs[0]);
        if self.scheme.is_half() || self.wide_window(node) || fits(self.quant(query)) {
            return Ok(query);
        }
        let query = self.int8(node.inputs[0])?;
        if fits(self.quant(query)) {
            return Ok(query);
        }
        let width = shape.head_dim;
        let reason = format!("scores over {width} channels could leave 32 bits: use more heads");
        Err(limit(node, reason))
    }

    fn scores(&self, node: &Node, scale: f32, query: TensorId, shape: &Shape) -> Result<Scores> {
        if self.scheme.is_half() {
            return Ok(Scores::Half((f64::from(scale) * LOG2_E) as f32));
        }
        let (query, wide) = (self.quant(query), self.wide_window(node));
        let [k, v] = [1, 2].map(|i| self.scheme.of_window(node.inputs[i], wide));
        let exponent = f64::from(query.scale) * f64::from(k.scale) * f64::from(scale);
        let score_shift = match wide {
            true => score_shift(query, shape, exponent),
            false => 0,
        };
        let exponent = exponent * f64::from(score_shift).exp2();
        let multiplier = exponent * LOG2_E * 32f64.exp2();
        if !(0.0..f64::from(u32::MAX)).contains(&multiplier) {
            let reason = format!(
                "one step of a score is {exponent:.2}: the scores' scale must be positive and below 0.69"
            );
            return Err(limit(node, reason));
        }
        Ok(Scores::Int(AttentionParams {
            score_multiplier: multiplier.round() as u32,
            value_zero_point: v.zero_point,
            score_shift,
            window: geometry(shape),
            bias_factor: 0,
            bias_shift: 0,
        }))
    }

    /// Packs keys and values now, for an attention that another entry point runs.
    pub(super) fn pack(&mut self, node: &Node, op: &op::Attention) -> Lowered {
        let shape = self.attention_shape(node, op)?;
        let window = self.push(node, &shape)?;
        for tensor in [window.keys, window.values] {
            self.program.tensors[tensor].place = Place::Shared;
        }
        self.packed.insert(node.output, window);
        Ok(())
    }

    /// Packs rows of keys and values; gives the packed tensors and, when streaming, the ring.
    fn push(&mut self, node: &Node, shape: &Shape) -> Result<Window> {
        let half = self.scheme.is_half();
        let [key, value] = [node.inputs[1], node.inputs[2]];
        let [k, v] = match half || self.wide_window(node) {
            true => [self.tensor(key), self.tensor(value)],
            false => [self.int8(key)?, self.int8(value)?],
        };
        let packed_len = |out: usize, k: usize| match half {
            true => half::LANES * half::packed_len(out, k),
            false => packed_len(out, k),
        };
        let mut packed = |part: &str, from: TensorId, len: usize| {
            // What was never pushed has weight 0 or is not looked at: its bytes are 0.
            let quant = Quant {
                zero_point: 0,
                ..self.quant(from)
            };
            let name = format!("{}.{part}", node.name);
            self.kept(name, &[shape.key_heads, len], quant)
        };
        let keys = packed("keys", k, packed_len(shape.slots, shape.head_dim));
        let values = packed("values", v, packed_len(shape.value_dim, shape.slots));
        let ring = (self.form == Form::Stream)
            .then(|| self.kept(format!("{}.ring", node.name), &[2], Quant::COUNTER));
        let (inputs, outputs) = match ring {
            Some(ring) => (vec![k, v, keys, values, ring], vec![]),
            None => (vec![k, v], vec![keys, values]),
        };
        let scores = match half {
            true => Scores::Half(0.0),
            false => Scores::Int(AttentionParams {
                score_multiplier: 0,
                value_zero_point: 0,
                score_shift: 0,
                window: geometry(shape),
                bias_factor: 0,
                bias_shift: 0,
            }),
        };
        let (name, kind) = (format!("{}.push", node.name), OpKind::PushKeyValue);
        let params = scores.params(geometry(shape), None, node)?;
        self.op(&name, kind, inputs, outputs, None, &*params)?;
        Ok(Window { keys, values, ring })
    }

    /// New tensors for the mean of the values and, where they are asked for, the weights.
    fn mean_and_weights(&mut self, node: &Node) -> Vec<TensorId> {
        let values = [node.output].into_iter().chain(node.second);
        values.map(|value| self.add_value(value)).collect()
    }
}

impl Lower for op::AdditiveAttention {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let (inputs, outputs) = (to.inputs(node), to.mean_and_weights(node));
        let (kind, tanh) = (OpKind::AdditiveAttention, self.tanh.into());
        let rows = to.graph.values[node.inputs[1].0].rows();
        if to.scheme.is_half() {
            let v = to.program.weights(&self.v);
            let params = AdditiveAttentionHalfParams { v, tanh };
            let scratch = to.f32_scratch(node, self.v.len() + rows);
            return to.op(&node.name, kind, inputs, outputs, scratch, &params);
        }
        let largest = self
            .v
            .iter()
            .fold(0.0f64, |max, v| max.max(f64::from(v.abs())));
        let step = largest.max(1e-9) / V_MAX;
        let multiplier = step * LOG2_E * 32f64.exp2();
        if multiplier >= f64::from(u32::MAX) {
            let reason =
                format!("weights of the energies up to {largest}: the training has diverged");
            return Err(limit(node, reason));
        }
        let steps = |&v: &f32| (f64::from(v) / step).round() as i16;
        let stored: Vec<i16> = self.v.iter().map(steps).collect();
        let q16 = |tensor| rescale(&node.name, to.quant(tensor), 1.0 / 65536.0);
        let (query_multiplier, query_shift) = q16(inputs[0])?;
        let (key_multiplier, key_shift) = q16(inputs[1])?;
        let params = AdditiveAttentionParams {
            v: to.program.weights(&stored),
            score_multiplier: multiplier.round() as u32,
            query_multiplier,
            query_shift,
            key_multiplier,
            key_shift,
            tanh,
        };
        let len = self.v.len() + rows + rows.div_ceil(2);
        let scratch = Some(to.program.scratch(&node.name, DType::I32, len));
        to.op(&node.name, kind, inputs, outputs, scratch, &params)
    }
}

impl Lower for op::Rotary {
    fn lower(&self, to: &mut Lowering, node: &Node) -> Lowered {
        let [x, y] = to.ends(node);
        let turns = RotaryGeometry {
            positions: (self.table.len() / self.pairs) as u32,
            head_dim: self.head_dim as u32,
            pairs: self.pairs as u32,
            interleaved: self.interleaved.into(),
        };
        let table = self.table.iter().flatten();
        let params = if to.scheme.is_half() {
            let table = to.program.weights(&halves(node, table)?);
            RotaryHalfParams { table, turns }.as_bytes().to_vec()
        } else {
            let by = to.by(y, turned(&node.name, to.quant(x), to.quant(y).scale)?);
            let one = f32::from(1u16 << TURN_BITS);
            let q14: Vec<i16> = table.map(|x| (x * one).round() as i16).collect();
            let table = to.program.weights(&q14);
            RotaryParams { table, by, turns }.as_bytes().to_vec()
        };
        let mut inputs = vec![x];
        if to.form == Form::Stream {
            inputs.push(to.position(node));
        }
        to.op(&node.name, OpKind::Rotary, inputs, vec![y], None, &*params)
    }
}

/// A window that every query sees whole.
fn geometry(shape: &Shape) -> AttentionGeometry {
    AttentionGeometry {
        heads: shape.heads as u32,
        key_heads: shape.key_heads as u32,
        head_dim: shape.head_dim as u32,
        slots: shape.slots as u32,
        seen: AttentionGeometry::ALL,
        mask: 0,
        rows_rule: 0,
        value_dim: match shape.value_dim == shape.head_dim {
            true => 0,
            false => shape.value_dim as u32,
        },
        biased: 0,
    }
}

/// The factor from a bias to a score, and the shift behind it.
fn bias_steps(node: &Node, bias: Quant, score_multiplier: u32) -> Result<(i32, u32)> {
    let score = f64::from(score_multiplier) / (LOG2_E * 32f64.exp2());
    let ratio = f64::from(bias.scale) / score.max(f64::MIN_POSITIVE);
    let fits = |shift: &u32| ratio * f64::from(*shift).exp2() <= f64::from(i32::MAX);
    let shift = (0..u32::BITS).rev().find(fits);
    let too_large = || {
        let reason = format!(
            "a step of the summands of its scores is {ratio:.0} times one of the scores: scale queries and keys up, or the summands down"
        );
        limit(node, reason)
    };
    let shift = shift.ok_or_else(too_large)?;
    Ok(((ratio * f64::from(shift).exp2()).round() as i32, shift))
}

/// For each query, words of 32 bits: bit `slot % 32` of word `slot / 32` is set where it sees the slot.
fn mask_words(visible: &[bool], slots: usize) -> Vec<u32> {
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
    let multiplier = exponent * LOG2_E * 32f64.exp2();
    let precise =
        |shift: &u32| multiplier * f64::from(*shift).exp2() >= f64::from(MULTIPLIER_BITS).exp2();
    (0..31)
        .find(|shift| fits(shift) && precise(shift))
        .unwrap_or(31)
}

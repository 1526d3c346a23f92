//! Lowering to half precision: the same operators, with weights and activations as IEEE halves.
//!
//! No scales, so nothing is calibrated but the range over which a function's table is exact.

mod attention;
mod elementwise;
mod function;
mod image;
mod matrix;
mod recurrent;
mod rows;

use super::Lowering;
use crate::error::ConvertError;
use crate::graph::{Clamp, Node, Op};
use attn_runtime::f16;
use attn_runtime::format::OpKind;
use attn_runtime::kernels::half::{LANES, MAX, packed_index, packed_len};

impl Lowering<'_> {
    pub(super) fn half_node(&mut self, node: &Node) -> Result<(), ConvertError> {
        match &node.op {
            Op::Linear(op) => self.half_linear(node, op),
            Op::Conv1d(op) => self.half_conv1d(node, op),
            Op::DepthwiseConv1d(op) => self.half_depthwise(node, op),
            Op::Gru(op) => self.half_gru(node, &op.into()),
            Op::Lstm(op) => self.half_lstm(node, &op.into()),
            Op::Attention(op) => self.half_attention(node, op),
            Op::AdditiveAttention(op) => self.half_additive_attention(node, &op.v, op.tanh),
            Op::Activation(op) => self.half_activation(node, &op.0),
            Op::Add(op) => self.half_add(node, op.clamp),
            Op::SelectRows(op) => self.select_rows(node, op.start),
            Op::Reshape(_) | Op::Sequence(_) => self.reshape(node),
            Op::ClearRows(_) => self.clear_rows(node),
            Op::AddConstant(op) => self.half_add_constant(node, &op.constant, op.clamp),
            Op::LayerNorm(op) => self.half_layer_norm(node, op),
            Op::Mul(op) => self.half_mul(node, op.factor),
            Op::MeanRows(_) => self.half_plain(node, OpKind::MeanRows),
            Op::Concat(_) => self.concat(node),
            Op::Embedding(op) => self.half_embedding(node, &op.table),
            Op::ConcatRows(_) => self.concat_rows(node),
            Op::Constant(op) => self.half_constant(node, &op.values),
            Op::Rotary(op) => self.half_rotary(node, op),
            Op::WeightedRows(_) => self.half_weighted_rows(node),
            Op::Softmax(_) => self.half_plain(node, OpKind::Softmax),
            Op::Conv2d(op) => self.half_conv2d(node, op),
            Op::DepthwiseConv2d(op) => self.half_depthwise_conv2d(node, op),
            Op::ConvTranspose2d(op) => self.half_conv_transpose2d(node, op),
            Op::MaxPool2d(op) => self.half_pool(node, OpKind::MaxPool2d, &op.window),
            Op::AveragePool2d(op) => self.half_pool(node, OpKind::AveragePool2d, &op.window),
            Op::MaxChannels(_) => self.half_plain(node, OpKind::MaxChannels),
            Op::MeanChannels(_) => self.half_plain(node, OpKind::MeanChannels),
            Op::Gate(op) => self.half_gate(node, op.per_row, op.factor),
        }
    }
}

/// Weights as halves.
///
/// # Errors
/// [`ConvertError::Limit`] for a weight that no half is near.
fn halves<'w>(
    node: &Node,
    weights: impl Iterator<Item = &'w f32>,
) -> Result<Vec<f16>, ConvertError> {
    let one = |&w: &f32| {
        if w.abs() <= MAX {
            return Ok(f16::from_f32(w));
        }
        let reason =
            format!("a weight of {w}: half precision ends at {MAX}; convert with int8 weights");
        Err(ConvertError::Limit {
            node: node.name.clone(),
            reason,
        })
    };
    weights.map(one).collect()
}

/// Rows of a matrix, `[out, k]`, packed as the runtime reads them.
fn pack(node: &Node, rows: &[Vec<f32>]) -> Result<Vec<f16>, ConvertError> {
    let k = rows.first().map_or(0, Vec::len);
    let mut packed = vec![f16::ZERO; LANES * packed_len(rows.len(), k)];
    for (o, row) in rows.iter().enumerate() {
        for (i, w) in halves(node, row.iter())?.into_iter().enumerate() {
            packed[packed_index(o, i, k)] = w;
        }
    }
    Ok(packed)
}

/// A clamp within the finite halves.
fn limits(clamp: Clamp) -> (f32, f32) {
    (clamp.min.clamp(-MAX, MAX), clamp.max.clamp(-MAX, MAX))
}

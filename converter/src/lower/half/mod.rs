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
use super::recurrent::Layer;
use crate::error::ConvertError;
use crate::graph::{Clamp, Node, Op};
use attn_runtime::f16;
use attn_runtime::format::OpKind;
use attn_runtime::kernels::half::{LANES, MAX, packed_index, packed_len};

impl Lowering<'_> {
    pub(super) fn half_node(&mut self, node: &Node) -> Result<(), ConvertError> {
        match &node.op {
            Op::Linear {
                weight,
                bias,
                clamp,
            } => self.half_linear(node, weight, bias, *clamp),
            Op::Conv1d {
                weight,
                bias,
                stride,
                padding,
                clamp,
            } => self.half_conv1d(node, weight, bias, *stride, *padding, *clamp),
            Op::DepthwiseConv1d {
                weight,
                bias,
                stride,
                padding,
                clamp,
            } => self.half_depthwise(node, weight, bias, *stride, *padding, *clamp),
            Op::Gru {
                w,
                r,
                bias_w,
                bias_r,
                reverse,
            } => self.half_gru(
                node,
                &Layer {
                    w,
                    r,
                    bias_w,
                    bias_r,
                    reverse: *reverse,
                },
            ),
            Op::Lstm {
                w,
                r,
                bias_w,
                bias_r,
                reverse,
            } => self.half_lstm(
                node,
                &Layer {
                    w,
                    r,
                    bias_w,
                    bias_r,
                    reverse: *reverse,
                },
            ),
            Op::Attention {
                heads,
                scale,
                causal,
                visible,
                key_heads,
            } => {
                let visible = visible.as_deref();
                self.half_attention(node, [*heads, *key_heads], *scale, *causal, visible)
            }
            Op::Activation(function) => self.half_activation(node, function),
            Op::Add { clamp } => self.half_add(node, *clamp),
            Op::SelectRows { start, .. } => self.select_rows(node, *start),
            Op::AddConstant { constant, clamp } => self.half_add_constant(node, constant, *clamp),
            Op::LayerNorm {
                gamma,
                beta,
                epsilon,
                centre,
            } => self.half_layer_norm(node, gamma, beta, *epsilon, *centre),
            Op::Mul { factor } => self.half_mul(node, *factor),
            Op::MeanRows => self.half_plain(node, OpKind::MeanRows),
            Op::Concat => self.concat(node),
            Op::Conv2d {
                weight,
                bias,
                window,
                clamp,
            } => self.half_conv2d(node, weight, bias, window, *clamp),
            Op::DepthwiseConv2d {
                weight,
                bias,
                window,
                clamp,
            } => self.half_depthwise_conv2d(node, weight, bias, window, *clamp),
            Op::ConvTranspose2d {
                weight,
                bias,
                stride,
                crop,
                clamp,
            } => self.half_conv_transpose2d(node, weight, bias, *stride, *crop, *clamp),
            Op::MaxPool2d { window } => self.half_pool(node, OpKind::MaxPool2d, window),
            Op::AveragePool2d { window } => self.half_pool(node, OpKind::AveragePool2d, window),
            Op::MaxChannels => self.half_plain(node, OpKind::MaxChannels),
            Op::MeanChannels => self.half_plain(node, OpKind::MeanChannels),
            Op::Gate { per_row, factor } => self.half_gate(node, *per_row, *factor),
            Op::Reshape | Op::Sequence => {
                self.reshape(node);
                Ok(())
            }
            Op::ClearRows => {
                self.clear_rows(node);
                Ok(())
            }
            Op::ConcatRows => self.concat_rows(node),
            Op::Constant { values } => self.half_constant(node, values),
            Op::Rotary(rotation) => self.half_rotary(node, rotation),
            Op::WeightedRows => self.half_weighted_rows(node),
            Op::AdditiveAttention { v, tanh } => self.half_additive_attention(node, v, *tanh),
            Op::Embedding { table } => self.half_embedding(node, table),
            Op::Softmax => self.half_plain(node, OpKind::Softmax),
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

//! The operators on half-precision tensors: the same [`OpKind`]s, with parameters of their own.
//!
//! An operator that touches a float16 tensor comes here; all its tensors are float16 then, but for rings, tokens
//! and their scores (int32). Scratch
//! is int32 in the file and f32 in use. The arithmetic is in [`crate::kernels::half`].

mod attention;
mod decoding;
mod elementwise;
mod image;
mod matrix;
mod recurrent;
mod rows;

pub use attention::AttentionHalfParams;
pub use decoding::{AdditiveAttentionHalfParams, TopKHalfParams};
pub use elementwise::{
    AddConstantHalfParams, AddHalfParams, EmbeddingHalfParams, LayerNormHalfParams, LutHalfParams,
    MulHalfParams,
};
pub use image::{
    Conv2dHalfParams, ConvTranspose2dHalfParams, DepthwiseConv2dHalfParams, GateHalfParams,
};
pub use matrix::{Conv1dHalfParams, DepthwiseConv1dHalfParams, LinearHalfParams};
pub use recurrent::{GruHalfParams, LstmHalfParams, RecurrentHalfSide};
pub use rows::RotaryHalfParams;

use super::{ALL, OpError, OpView, arena, in_place, require, state};
use crate::f16;
use crate::format::{DType, OpKind, TensorRecord};
use crate::kernels::half::{Clamp, LANES, MAX};

/// Checks everything that [`run`] relies on.
pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    match op.kind()? {
        OpKind::Linear => matrix::check_linear(op),
        OpKind::Conv1d => matrix::check_conv1d(op),
        OpKind::DepthwiseConv1d if ALL => matrix::check_depthwise(op),
        OpKind::Gru => recurrent::check_gru(op),
        OpKind::Attention => attention::check(op),
        OpKind::PushKeyValue => attention::check_push(op),
        OpKind::Lut => elementwise::check_lut(op),
        OpKind::Add if ALL => elementwise::check_add(op),
        OpKind::Concat => elementwise::check_concat(op),
        OpKind::Softmax if ALL => elementwise::check_softmax(op),
        OpKind::ShiftRows => state::check_shift_rows(op),
        OpKind::LayerNorm if ALL => elementwise::check_layer_norm(op),
        OpKind::MeanRows if ALL => elementwise::check_mean_rows(op),
        OpKind::AddConstant if ALL => elementwise::check_add_constant(op),
        OpKind::Mul if ALL => elementwise::check_mul(op),
        OpKind::AdditiveAttention if ALL => decoding::check_additive(op),
        OpKind::Requantize => elementwise::check_copy(op),
        OpKind::LastRow if ALL => state::check_last_row(op),
        OpKind::Constant if ALL => super::rows::check_constant(op),
        OpKind::Rotary if ALL => rows::check_rotary(op),
        OpKind::WeightedRows if ALL => rows::check_weighted(op),
        OpKind::ClearRows if ALL => super::rows::check_clear(op),
        OpKind::TopK if ALL => decoding::check_top_k(op),
        OpKind::Lstm if ALL => recurrent::check_lstm(op),
        OpKind::Embedding if ALL => elementwise::check_embedding(op),
        OpKind::Conv2d if ALL => image::check_conv(op),
        OpKind::DepthwiseConv2d if ALL => image::check_depthwise(op),
        OpKind::ConvTranspose2d if ALL => image::check_transposed(op),
        OpKind::MaxPool2d if ALL => image::check_pool(op),
        OpKind::AveragePool2d if ALL => image::check_pool(op),
        OpKind::MaxChannels if ALL => image::check_channels(op),
        OpKind::MeanChannels if ALL => image::check_channels(op),
        OpKind::Gate if ALL => image::check_gate(op),
        _ => Err(OpError::UnknownKind),
    }
}

/// Runs an operator that [`check`] accepted.
pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    match op.kind()? {
        OpKind::Linear => matrix::run_linear(op, arena),
        OpKind::Conv1d => matrix::run_conv1d(op, arena),
        OpKind::DepthwiseConv1d if ALL => matrix::run_depthwise(op, arena),
        OpKind::Gru => recurrent::run_gru(op, arena),
        OpKind::Attention => attention::run(op, arena),
        OpKind::PushKeyValue => attention::run_push(op, arena),
        OpKind::Lut => elementwise::run_lut(op, arena),
        OpKind::Add if ALL => elementwise::run_add(op, arena),
        OpKind::Concat => elementwise::run_concat(op, arena),
        OpKind::Softmax if ALL => elementwise::run_softmax(op, arena),
        OpKind::ShiftRows => state::run_shift_rows(op, arena),
        OpKind::LayerNorm if ALL => elementwise::run_layer_norm(op, arena),
        OpKind::MeanRows if ALL => elementwise::run_mean_rows(op, arena),
        OpKind::AddConstant if ALL => elementwise::run_add_constant(op, arena),
        OpKind::Mul if ALL => elementwise::run_mul(op, arena),
        OpKind::AdditiveAttention if ALL => decoding::run_additive(op, arena),
        OpKind::Requantize => elementwise::run_copy(op, arena),
        OpKind::LastRow if ALL => state::run_last_row(op, arena),
        OpKind::Constant if ALL => super::rows::run_constant(op, arena),
        OpKind::Rotary if ALL => rows::run_rotary(op, arena),
        OpKind::WeightedRows if ALL => rows::run_weighted(op, arena),
        OpKind::ClearRows if ALL => super::rows::run_clear(op, arena),
        OpKind::TopK if ALL => decoding::run_top_k(op, arena),
        OpKind::Lstm if ALL => recurrent::run_lstm(op, arena),
        OpKind::Embedding if ALL => elementwise::run_embedding(op, arena),
        OpKind::Conv2d if ALL => image::run_conv(op, arena),
        OpKind::DepthwiseConv2d if ALL => image::run_depthwise(op, arena),
        OpKind::ConvTranspose2d if ALL => image::run_transposed(op, arena),
        OpKind::MaxPool2d if ALL => image::run_pool(op, arena, true),
        OpKind::AveragePool2d if ALL => image::run_pool(op, arena, false),
        OpKind::MaxChannels if ALL => image::run_channels(op, arena, true),
        OpKind::MeanChannels if ALL => image::run_channels(op, arena, false),
        OpKind::Gate if ALL => image::run_gate(op, arena),
        _ => Err(OpError::UnknownKind),
    }
}

/// `inputs` float16 inputs and one float16 output, no two with bytes in common.
fn check_tensors(op: &OpView, inputs: usize) -> Result<(), OpError> {
    let y = op.output()?;
    require(
        op.input_count() == inputs && op.record.outputs().count() == 1,
        OpError::MissingTensor,
    )?;
    half(y)?;
    for slot in 0..inputs {
        let x = op.input(slot)?;
        half(x)?;
        op.require_disjoint(&[x, y])?;
    }
    Ok(())
}

fn half(tensor: &TensorRecord) -> Result<(), OpError> {
    require(tensor.dtype() == DType::F16, OpError::WrongType)
}

/// Limits of an operator's results: finite halves.
fn clamp(min: f32, max: f32) -> Result<Clamp, OpError> {
    // Written so that a NaN is refused, too.
    require(-MAX <= min && min <= max && max <= MAX, OpError::BadParams)?;
    Ok(Clamp { min, max })
}

/// `groups` groups of packed weights at byte `offset`, which must be a multiple of 4.
fn packed<'a>(op: &OpView<'a>, offset: u32, groups: usize) -> Result<&'a [[f16; LANES]], OpError> {
    require(offset.is_multiple_of(4), OpError::BadParams)?;
    op.weights(offset, groups)
}

/// Scratch of `len` f32.
fn scratch<'a>(op: &OpView<'a>, len: usize) -> Result<&'a TensorRecord, OpError> {
    op.scratch(DType::I32, len)
}

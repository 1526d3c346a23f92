//! AdditiveAttention and TopK in half precision: tensors as in the integer forms, activations float16.

use super::matrix::LinearHalfParams;
use super::{OpError, OpView, arena, clamp, half, require, scratch};
use crate::f16;
use crate::format::{DType, MAX_CANDIDATES, MAX_TOKENS, Storage, TensorRecord};
use crate::kernels::attention::MAX_SLOTS;
use crate::kernels::half::additive::{energies, mean, weigh};
use crate::kernels::half::top_k::linear_top_k;
use crate::kernels::half::{Clamp, narrow, widen};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of AdditiveAttention in half precision.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AdditiveAttentionHalfParams {
    /// f32 `[width]`; offset in the weights section.
    pub v: u32,
    /// 1: the sums go through tanh; 0: as they are.
    pub tanh: u32,
}

pub(super) fn check_additive(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<AdditiveAttentionHalfParams>()?;
    let (query, keys, values, context) = (op.input(0)?, op.input(1)?, op.input(2)?, op.output()?);
    require(op.input_count() == 3, OpError::MissingTensor)?;
    for tensor in [query, keys, values, context] {
        half(tensor)?;
    }
    let fits = query.len() == keys.channels()
        && keys.rows() == values.rows()
        && keys.rows() <= MAX_SLOTS
        && context.len() == values.channels();
    require(fits, OpError::WrongShape)?;
    require(params.tanh <= 1, OpError::BadParams)?;
    op.weights::<f32>(params.v, query.len())?;
    // Keys and values may be the same tensor.
    op.require_disjoint(&[query, keys, context])?;
    op.require_disjoint(&[query, values, context])?;
    if let Ok(weights) = op.output_at(1) {
        check_weights(weights, keys.rows())?;
        op.require_disjoint(&[query, keys, weights])?;
        op.require_disjoint(&[values, weights])?;
    }
    scratch(op, query.len().saturating_add(keys.rows())).map(drop)
}

/// A second output `[rows, 1]` with the weights of attention.
pub(super) fn check_weights(weights: &TensorRecord, rows: usize) -> Result<(), OpError> {
    half(weights)?;
    let fits = weights.rows() == rows && weights.channels() == 1;
    require(fits, OpError::WrongShape)?;
    require(weights.storage() == Storage::Arena, OpError::WrongStorage)
}

pub(super) fn run_additive(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<AdditiveAttentionHalfParams>()?;
    let (query, keys, values) = (op.input(0)?, op.input(1)?, op.input(2)?);
    let v = op.weights::<f32>(params.v, query.len())?;
    let rows = op.rows(keys).min(keys.rows());
    let (width, wide) = (
        query.len(),
        scratch(op, query.len().saturating_add(keys.rows()))?,
    );

    let [query, keys, wide_bytes] = op.tensors(arena, [query, keys, wide])?;
    let (wide_query, rest) = arena::typed::<f32>(wide_bytes)?
        .split_at_mut_checked(width)
        .ok_or(OpError::ScratchTooSmall)?;
    let scores = rest.get_mut(..rows).ok_or(OpError::ScratchTooSmall)?;
    widen(arena::typed::<f16>(query)?, wide_query);
    energies(wide_query, arena::typed(keys)?, v, params.tanh == 1, scores);
    weigh(scores);

    let [values, context, wide_bytes] = op.tensors(arena, [values, op.output()?, wide])?;
    let scores = arena::typed::<f32>(wide_bytes)?.get(width..width + rows);
    let scores = scores.ok_or(OpError::ScratchTooSmall)?;
    mean(scores, arena::typed(values)?, arena::typed(context)?);
    let Ok(output) = op.output_at(1) else {
        return Ok(());
    };
    let [output, wide_bytes] = op.tensors(arena, [output, wide])?;
    let scores = arena::typed::<f32>(wide_bytes)?.get(width..width + rows);
    narrow(scores.unwrap_or(&[]), Clamp::NONE, arena::typed(output)?);
    Ok(())
}

/// Parameters of TopK in half precision.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TopKHalfParams {
    /// The layer, for `tokens` outputs; its limits are not looked at but must be in range.
    pub matrix: LinearHalfParams,
    /// Number of tokens, at least as many as are put out.
    pub tokens: u32,
}

pub(super) fn check_top_k(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<TopKHalfParams>()?;
    let (x, tokens, scores) = (op.input(0)?, op.output_at(0)?, op.output_at(1)?);
    require(op.input_count() == 1, OpError::MissingTensor)?;
    half(x)?;
    let numbers = tokens.dtype() == DType::I32 && scores.dtype() == DType::I32;
    require(numbers, OpError::WrongType)?;
    let (k, count) = (tokens.len(), params.tokens as usize);
    require(
        x.rows() == 1
            && [x, tokens, scores].iter().all(|t| t.rows_rule == 0)
            && scores.len() == k
            && k <= MAX_CANDIDATES.min(count),
        OpError::WrongShape,
    )?;
    let kept = [tokens, scores]
        .iter()
        .all(|t| t.storage() == Storage::Arena);
    require(kept, OpError::WrongStorage)?;
    op.require_disjoint(&[x, tokens, scores])?;
    require(count <= MAX_TOKENS, OpError::BadParams)?;
    clamp(params.matrix.min, params.matrix.max)?;
    params.matrix.matrix(op, count, x.channels())?;
    scratch(op, x.channels()).map(drop)
}

pub(super) fn run_top_k(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<TopKHalfParams>()?;
    let x = op.input(0)?;
    let matrix = params
        .matrix
        .matrix(op, params.tokens as usize, x.channels())?;
    let (tokens, scores) = (op.output_at(0)?, op.output_at(1)?);
    let wide = scratch(op, x.channels())?;
    let count = x.channels();
    let [x, tokens, scores, wide] = op.tensors(arena, [x, tokens, scores, wide])?;
    let wide = arena::first::<f32>(wide, count)?;
    widen(arena::typed::<f16>(x)?, wide);
    linear_top_k(wide, &matrix, arena::typed(tokens)?, arena::typed(scores)?);
    Ok(())
}

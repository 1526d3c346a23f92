//! AdditiveAttention: query `[width]`, keys `[rows, width]` and values `[rows, channels]` (inputs 0 to 2); outputs the context
//! `[channels]` and, if named, the weights `[rows, 1]`.
//!
//! Integer: int8 or int16 in; the context is int16 with 1/128 of the scale of int8 values or with that of int16 values, the
//! weights are int16 (32767 is 1). Scratch int32: the query in Q16, the energies, and the weights in int16. Half: scratch f32
//! for query and energies.

use super::arena::{self, Values, by_width};
use super::{OpError, OpView, centred, require, require_fits};
use crate::format::{DType, Storage, TensorRecord};
use crate::kernels::int::additive::{Energy, ToQ16, energies, mean, normalize, query_q16, weigh};
use crate::kernels::int::attention::{CONTEXT_FRACTION_BITS, MAX_SLOTS};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of AdditiveAttention.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AdditiveAttentionParams {
    /// int16 `[width]`; offset in the weights section.
    pub v: u32,
    /// From a step of `v` to the exponent of 2, Q32; see [`crate::kernels::int::softmax`].
    pub score_multiplier: u32,
    /// From the query's steps to Q16.
    pub query_multiplier: i32,
    /// Left shift of the query, 0 to 31.
    pub query_shift: u32,
    /// From the keys' steps to Q16.
    pub key_multiplier: i32,
    /// Left shift of the keys, 0 to 31.
    pub key_shift: u32,
    /// 1: the sums go through tanh; 0: as they are.
    pub tanh: u32,
}

impl AdditiveAttentionParams {
    fn energy<'a>(
        &self,
        op: &OpView<'a>,
        query: &TensorRecord,
        keys: &TensorRecord,
    ) -> Result<Energy<'a>, OpError> {
        let scale = |multiplier, left_shift, tensor: &TensorRecord| ToQ16 {
            multiplier,
            left_shift,
            zero_point: tensor.zero_point,
        };
        Ok(Energy {
            v: op.weights(self.v, query.len())?,
            query: scale(self.query_multiplier, self.query_shift, query),
            keys: scale(self.key_multiplier, self.key_shift, keys),
            tanh: self.tanh == 1,
        })
    }
}

/// int32 elements of scratch.
fn scratch_len(width: usize, rows: usize) -> usize {
    width + rows + rows.div_ceil(2)
}

/// Shapes and places of the tensors, whatever their types.
fn check_shapes(op: &OpView) -> Result<(), OpError> {
    let (query, keys, values, context) = (op.input(0)?, op.input(1)?, op.input(2)?, op.output()?);
    require(op.input_count() == 3, OpError::MissingTensor)?;
    let fits = query.len() == keys.channels()
        && keys.rows() == values.rows()
        && keys.rows() <= MAX_SLOTS
        && context.len() == values.channels();
    require(fits, OpError::WrongShape)?;
    op.require_fixed(&[query, context])?;
    op.count_macs(keys.rows(), query.len().saturating_add(context.len()));
    // Keys and values may be the same tensor.
    op.require_disjoint(&[query, keys, context])?;
    op.require_disjoint(&[query, values, context])?;
    let Ok(weights) = op.output_at(1) else {
        return Ok(());
    };
    check_weights(op, keys.rows(), keys.rows_rule != 0)?;
    let alike = keys.rows_rule == 0 || weights.rows_rule == keys.rows_rule;
    require(alike, OpError::RowsDiffer)?;
    op.require_disjoint(&[query, keys, weights])?;
    op.require_disjoint(&[values, weights])
}

/// The weights of attention, a second output of the type of the context: `[rows, 1]`, or one row of them where no length `varies`.
pub(super) fn check_weights(op: &OpView, rows: usize, varies: bool) -> Result<(), OpError> {
    let (context, weights) = (op.output()?, op.output_at(1)?);
    require(weights.dtype() == context.dtype(), OpError::WrongType)?;
    let fixed = weights.rows_rule == 0 && !varies;
    let fits = weights.len() == rows && (weights.channels() == 1 || fixed);
    require(fits, OpError::WrongShape)?;
    require(weights.storage() == Storage::Arena, OpError::WrongStorage)
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<AdditiveAttentionParams>()?;
    check_shapes(op)?;
    let (query, keys, values) = (op.input(0)?, op.input(1)?, op.input(2)?);
    let read = [query, keys, values];
    let activations = read.iter().all(|tensor| tensor.dtype() != DType::I32);
    let known = activations && op.output()?.dtype() == DType::I16;
    require(known, OpError::WrongType)?;
    let in_range = params.tanh <= 1 && params.query_shift < 32 && params.key_shift < 32;
    require(in_range, OpError::BadParams)?;
    params.energy(op, query, keys)?;
    require_fits(centred(query).into(), params.query_shift)?;
    require_fits(centred(keys).into(), params.key_shift)?;
    op.scratch(DType::I32, scratch_len(query.len(), keys.rows()))
        .map(drop)
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<AdditiveAttentionParams>()?;
    let (query, keys, values, context) = (op.input(0)?, op.input(1)?, op.input(2)?, op.output()?);
    let energy = params.energy(op, query, keys)?;
    let scratch = op.scratch(DType::I32, scratch_len(query.len(), keys.rows()))?;
    let rows = op.rows(keys);

    let [query_bytes, keys_bytes, scratch_bytes] = op.tensors(arena, [query, keys, scratch])?;
    let ([sums, scores], weights) = split(scratch_bytes, query.len(), rows)?;
    let (queries, keys) = (
        arena::values(query_bytes, query)?,
        arena::values(keys_bytes, keys)?,
    );
    by_width!(queries => query_q16(queries, &energy.query, sums));
    by_width!(keys => energies(sums, keys, &energy, scores));
    let total = weigh(scores, params.score_multiplier, weights);

    let [values_bytes, context, scratch_bytes] = op.tensors(arena, [values, context, scratch])?;
    let (_, weights) = split(scratch_bytes, query.len(), rows)?;
    let context = arena::typed::<i16>(context)?;
    match arena::values(values_bytes, values)? {
        Values::I8(rows) => {
            let bits = CONTEXT_FRACTION_BITS;
            mean(weights, total, rows, values.zero_point, bits, context);
        }
        Values::I16(rows) => mean(weights, total, rows, 0, 0, context),
    }
    let Ok(output) = op.output_at(1) else {
        return Ok(());
    };
    let [output, scratch_bytes] = op.tensors(arena, [output, scratch])?;
    let (_, weights) = split(scratch_bytes, query.len(), rows)?;
    normalize(weights, total);
    let output = arena::typed::<i16>(output)?;
    output.iter_mut().zip(weights).for_each(|(y, w)| *y = *w);
    Ok(())
}

type Scratch<'t> = ([&'t mut [i32]; 2], &'t mut [i16]);

/// Query, energies and weights.
fn split(scratch: &mut [u8], width: usize, rows: usize) -> Result<Scratch<'_>, OpError> {
    let words = size_of::<i32>();
    let short = OpError::ScratchTooSmall;
    let (sums, rest) = scratch.split_at_mut_checked(width * words).ok_or(short)?;
    let (scores, weights) = rest.split_at_mut_checked(rows * words).ok_or(short)?;
    let weights = arena::first::<i16>(weights, rows)?;
    Ok(([arena::typed(sums)?, arena::typed(scores)?], weights))
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::{check_half, scratch};
    use super::*;
    use crate::f16;
    use crate::kernels::half::additive::{energies, mean, weigh};
    use crate::kernels::half::{Clamp, narrow, widen};

    /// Parameters of AdditiveAttention in half precision.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct AdditiveAttentionHalfParams {
        /// f32 `[width]`; offset in the weights section.
        pub v: u32,
        /// 1: the sums go through tanh; 0: as they are.
        pub tanh: u32,
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        let params = op.params::<AdditiveAttentionHalfParams>()?;
        check_shapes(op)?;
        let (query, keys) = (op.input(0)?, op.input(1)?);
        for tensor in [query, keys, op.input(2)?, op.output()?] {
            check_half(tensor)?;
        }
        require(params.tanh <= 1, OpError::BadParams)?;
        op.weights::<f32>(params.v, query.len())?;
        scratch(op, query.len().saturating_add(keys.rows())).map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
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
}

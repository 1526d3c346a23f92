//! Constant: a tensor from the weights section. WeightedRows: weights `[q, t]` times rows `[t, c]`, result `[q, c]`; integer:
//! int16 weights, scratch int32 `[c]`; half: scratch f32 `[t]`. ClearRows: the valid rows of `[t, c]`, then rows of 0.0.

use super::arena::{self, Values, by_width};
use super::rescale::RequantizeParams;
use super::{OpError, OpView, require};
use crate::format::{DType, Storage};
use crate::kernels::int::elementwise::Rescale;
use crate::kernels::int::requantize::Activation;
use crate::kernels::int::weighted_rows::weighted_rows;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Constant.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConstantParams {
    /// The tensor's elements in the weights section, in its type; a multiple of 4.
    pub data: u32,
}

/// Parameters of WeightedRows: the multiplier is the product of both input scales / output scale * 2^(32 - left_shift).
pub type WeightedRowsParams = RequantizeParams;

pub(super) fn check_constant(op: &OpView) -> Result<(), OpError> {
    let y = op.output()?;
    require(op.input_count() == 0, OpError::WrongShape)?;
    require(y.storage() == Storage::Arena, OpError::WrongStorage)?;
    require(y.dtype() != DType::I32, OpError::WrongType)?;
    let params = op.params::<ConstantParams>()?;
    require(params.data.is_multiple_of(4), OpError::BadParams)?;
    op.weights::<u8>(params.data, y.byte_len()).map(drop)
}

pub(super) fn run_constant(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let y = op.output()?;
    let data = op.weights::<u8>(op.params::<ConstantParams>()?.data, y.byte_len())?;
    let [bytes] = op.tensors(arena, [y])?;
    arena::copy(data, bytes);
    Ok(())
}

/// Shapes of a product of matrices.
fn check_product(op: &OpView) -> Result<(), OpError> {
    let (w, x, y) = (op.input(0)?, op.input(1)?, op.output()?);
    let fits = w.channels() == x.rows() && w.rows() == y.rows() && x.channels() == y.channels();
    require(fits && op.input_count() == 2, OpError::WrongShape)?;
    let alike = w.rows_rule == 0 || w.rows_rule == y.rows_rule;
    require(alike, OpError::RowsDiffer)?;
    op.count_macs(y.len(), w.channels());
    Ok(())
}

pub(super) fn check_weighted(op: &OpView) -> Result<(), OpError> {
    let (w, x, y) = (op.input(0)?, op.input(1)?, op.output()?);
    let types = w.dtype() == DType::I16 && x.dtype() != DType::I32 && y.dtype() != DType::I32;
    require(types, OpError::WrongType)?;
    require(y.storage() == Storage::Arena, OpError::WrongStorage)?;
    check_product(op)?;
    op.require_disjoint(&[w, x, y])?;
    op.scratch(DType::I32, y.channels())?;
    op.params::<WeightedRowsParams>()?.check(y)
}

pub(super) fn run_weighted(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (w, x, y) = (op.input(0)?, op.input(1)?, op.output()?);
    let by = op.params::<WeightedRowsParams>()?.rescale(x, y);
    let scratch = op.scratch(DType::I32, y.channels())?;
    let (steps, channels) = (w.channels(), y.channels());
    let [w, x_bytes, y_bytes, sums] = op.tensors(arena, [w, x, y, scratch])?;
    let weights = arena::typed::<i16>(w)?.chunks_exact(steps.max(1));
    let sums = arena::first::<i32>(sums, channels)?;
    let (x, y) = (arena::values(x_bytes, x)?, arena::values(y_bytes, y)?);
    by_width!(x, y => weigh(weights, x, &by, sums, y));
    Ok(())
}

fn weigh<'w, X: Activation, Y: Activation>(
    mut weights: impl Iterator<Item = &'w [i16]>,
    x: &[X],
    by: &Rescale,
    sums: &mut [i32],
    y: &mut [Y],
) {
    // Not zipped: that would divide by the length of a row, which the compiler does not know to be above 0.
    let mut rows = y.chunks_exact_mut(sums.len().max(1));
    while let (Some(w), Some(y)) = (weights.next(), rows.next()) {
        weighted_rows(w, x, by, sums, y);
    }
}

/// ClearRows: input `[t, c]`, of which fewer rows may be valid; output `[t, c]` of the same type and zero point, all rows
/// valid.
pub(super) fn check_clear(op: &OpView) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    require(op.input_count() == 1, OpError::MissingTensor)?;
    require(
        x.dtype == y.dtype && x.dtype() != DType::I32,
        OpError::WrongType,
    )?;
    let same = x.rows() == y.rows() && x.channels() == y.channels();
    let fits = same && x.zero_point == y.zero_point && y.rows_rule == 0;
    require(fits, OpError::WrongShape)?;
    op.require_disjoint(&[x, y])?;
    op.params::<[u8; 0]>().map(drop)
}

pub(super) fn run_clear(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let [rows, all] = op.tensors(arena, [x, y])?;
    let (kept, cleared) = all
        .split_at_mut_checked(rows.len())
        .ok_or(OpError::WrongShape)?;
    kept.copy_from_slice(rows);
    // Of all types but int8 the zero point is 0, in as many bytes.
    cleared.fill(y.zero_point as u8);
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::{check_tensors, scratch};
    use super::*;
    pub(in crate::ops) use super::{check_clear, check_constant, run_clear, run_constant};
    use crate::f16;
    use crate::kernels::half::additive::mean;
    use crate::kernels::half::widen;

    pub(in crate::ops) fn check_weighted(op: &OpView) -> Result<(), OpError> {
        check_tensors(op, 2)?;
        let w = op.input(0)?;
        op.require_disjoint(&[w, op.input(1)?])?;
        check_product(op)?;
        op.params::<[u8; 0]>()?;
        scratch(op, w.channels()).map(drop)
    }

    pub(in crate::ops) fn run_weighted(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let (w, x, y) = (op.input(0)?, op.input(1)?, op.output()?);
        let (steps, channels) = (w.channels().max(1), y.channels().max(1));
        let [w, x, y, wide] = op.tensors(arena, [w, x, y, scratch(op, w.channels())?])?;
        let wide = arena::first::<f32>(wide, steps)?;
        let x = arena::typed::<f16>(x)?;
        let mut rows = arena::typed::<f16>(y)?.chunks_exact_mut(channels);
        for weights in arena::typed::<f16>(w)?.chunks_exact(steps) {
            let Some(y) = rows.next() else { break };
            widen(weights, wide);
            mean(wide, x, y);
        }
        Ok(())
    }
}

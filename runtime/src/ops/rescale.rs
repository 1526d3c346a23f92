//! Requantize, Concat, MeanRows: values on another scale. Requantize takes one input, Concat any number with equal rows, joined
//! along channels, MeanRows `[rows, c]` to `[c]`. In half precision there is no scale: Requantize copies. No scratch.

use super::activations::{check_activations, check_clamp};
use super::arena::{Values, by_width};
use super::{OpError, OpView, centred, require, require_fits};
use crate::format::{DType, TensorRecord};
use crate::kernels::int::elementwise::{Rescale, join, mean_rows, rescale};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Requantize, and a list of them for the inputs of Concat. Zero points are the tensors'.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RequantizeParams {
    /// Input scale / output scale * 2^(32 - left_shift).
    pub multiplier: i32,
    /// 0 to 15.
    pub left_shift: u32,
    /// Smallest result.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

/// Parameters of MeanRows: the multiplier also divides by the number of rows.
pub type MeanRowsParams = RequantizeParams;

impl RequantizeParams {
    pub(super) fn check(&self, y: &TensorRecord) -> Result<(), OpError> {
        require(self.left_shift <= 15, OpError::BadParams)?;
        check_clamp(y.dtype(), self.min, self.max)
    }

    /// The same, for sums of up to `count` values of at most `magnitude`.
    pub(super) fn check_sum(
        &self,
        y: &TensorRecord,
        count: usize,
        magnitude: u64,
    ) -> Result<(), OpError> {
        self.check(y)?;
        require_fits(magnitude.saturating_mul(count as u64), self.left_shift)
    }

    pub(super) fn rescale(&self, x: &TensorRecord, y: &TensorRecord) -> Rescale {
        Rescale {
            input_zero_point: x.zero_point,
            multiplier: self.multiplier,
            left_shift: self.left_shift,
            zero_point: y.zero_point,
            min: self.min,
            max: self.max,
        }
    }
}

pub(super) fn check_requantize(op: &OpView) -> Result<(), OpError> {
    let [x, y] = check_activations(op)?;
    require(
        x.len() == y.len() && op.input_count() == 1,
        OpError::WrongShape,
    )?;
    op.require_disjoint(&[x, y])?;
    op.params::<RequantizeParams>()?
        .check_sum(y, 1, centred(x).into())
}

pub(super) fn run_requantize<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let by = op.params::<RequantizeParams>()?.rescale(x, y);
    let [x, y] = op.values(arena, [x, y])?;
    by_width!(USES; x, y => rescale(x, &by, y));
    Ok(())
}

pub(super) fn check_concat(op: &OpView) -> Result<(), OpError> {
    let [_, y] = check_activations(op)?;
    let params = op.param_list::<RequantizeParams>()?;
    require(params.len() == op.input_count(), OpError::BadParams)?;
    let mut channels = 0usize;
    for (slot, params) in params.iter().enumerate() {
        let x = op.input(slot)?;
        require(x.dtype() != DType::I32, OpError::WrongType)?;
        require(x.rows() == y.rows(), OpError::WrongShape)?;
        op.require_disjoint(&[x, y])?;
        params.check_sum(y, 1, centred(x).into())?;
        channels = channels.saturating_add(x.channels());
    }
    require(channels == y.channels(), OpError::WrongShape)
}

pub(super) fn run_concat(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let y = op.output()?;
    let mut at = 0;
    for (slot, params) in op.param_list::<RequantizeParams>()?.iter().enumerate() {
        let x = op.input(slot)?;
        let by = params.rescale(x, y);
        let (channels, row_len) = (x.channels(), y.channels());
        let [x, y] = op.values(arena, [x, y])?;
        by_width!(x, y => join(x, channels, &by, y, row_len, at));
        at += channels;
    }
    Ok(())
}

/// Rows of int16 whose sum stays within 32 bits.
const MAX_MEAN_ROWS: usize = 1 << 15;

pub(super) fn check_mean_rows(op: &OpView) -> Result<(), OpError> {
    let [x, y] = check_activations(op)?;
    op.require_disjoint(&[x, y])?;
    let fits = x.channels() == y.len() && x.rows() <= MAX_MEAN_ROWS && op.input_count() == 1;
    require(fits, OpError::WrongShape)?;
    op.require_fixed(&[y])?;
    op.params::<MeanRowsParams>()?
        .check_sum(y, x.rows(), centred(x).into())
}

pub(super) fn run_mean_rows<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let by = op.params::<MeanRowsParams>()?.rescale(x, y);
    let [x, y] = op.values(arena, [x, y])?;
    by_width!(USES; x, y => mean_rows(x, &by, y));
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::{check_same, check_tensors};
    use super::super::arena::copy;
    use super::*;
    use crate::f16;
    use crate::kernels::half::elementwise::{join, mean_rows};

    /// Requantize has no scale to change here: it copies.
    pub(in crate::ops) fn check_requantize(op: &OpView) -> Result<(), OpError> {
        check_same(op, 1)?;
        op.params::<[u8; 0]>().map(drop)
    }

    pub(in crate::ops) fn run_requantize(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let [x, y] = op.tensors(arena, [op.input(0)?, op.output()?])?;
        copy(x, y);
        Ok(())
    }

    pub(in crate::ops) fn check_concat(op: &OpView) -> Result<(), OpError> {
        check_tensors(op, op.input_count())?;
        let y = op.output()?;
        let mut channels = 0usize;
        for slot in 0..op.input_count() {
            let x = op.input(slot)?;
            require(x.rows() == y.rows(), OpError::WrongShape)?;
            channels = channels.saturating_add(x.channels());
        }
        require(channels == y.channels(), OpError::WrongShape)?;
        op.params::<[u8; 0]>().map(drop)
    }

    pub(in crate::ops) fn run_concat(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let (y, mut at) = (op.output()?, 0);
        for slot in 0..op.input_count() {
            let x = op.input(slot)?;
            let [values, joined] = op.typed::<f16, 2>(arena, [x, y])?;
            join(values, x.channels(), joined, y.channels(), at);
            at += x.channels();
        }
        Ok(())
    }

    pub(in crate::ops) fn check_mean_rows(op: &OpView) -> Result<(), OpError> {
        check_tensors(op, 1)?;
        let (x, y) = (op.input(0)?, op.output()?);
        require(x.channels() == y.len(), OpError::WrongShape)?;
        op.require_fixed(&[y])?;
        op.params::<[u8; 0]>().map(drop)
    }

    pub(in crate::ops) fn run_mean_rows(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let [x, y] = op.typed(arena, [op.input(0)?, op.output()?])?;
        mean_rows(x, y);
        Ok(())
    }
}

//! Conv1d and DepthwiseConv1d over time: input `[t, c]` (a state tensor when streaming), output `[t_out, out]`. Integer:
//! int8 or int16 each, and Conv1d needs scratch int16 `[kernel * c]` in pair order. Half: scratch f32 `[kernel * c]`.

use super::activations::check_activations;
use super::arena::{Values, by_width};
use super::linear::LinearParams;
use super::{OpError, OpView, Uses, require};
use crate::format::{DType, TensorRecord};
use crate::kernels::geometry::{MAX_ROWS, MAX_SPAN, Window1d};
use crate::kernels::int::conv::{conv1d, depthwise_conv1d};
use crate::kernels::int::dot::{packed_len, pairs_len};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How a window moves over rows, in every encoding.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Window1dParams {
    /// Rows under the kernel.
    pub kernel: u32,
    /// Rows from one position to the next.
    pub stride: u32,
    /// Rows of padding before the input, no more than from the first tap to the last.
    pub pad_before: u32,
    /// Rows of padding behind the input, likewise.
    pub pad_after: u32,
    /// Rows left out between two taps of the kernel: its dilation less 1.
    pub gap: u32,
}

/// Parameters of Conv1d. Weights are packed `[out, kernel * c]`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Conv1dParams {
    /// Weights and requantization.
    pub matrix: LinearParams,
    /// The kernel's way.
    pub window: Window1dParams,
}

/// Parameters of DepthwiseConv1d: the same, with weights `[kernel, c]` as they are.
pub type DepthwiseConv1dParams = Conv1dParams;

impl Window1dParams {
    /// The output must have a row for each position of the kernel.
    fn check(&self, x: &TensorRecord, y: &TensorRecord) -> Result<(), OpError> {
        let Self {
            kernel,
            stride,
            pad_before: before,
            pad_after: after,
            gap,
        } = *self;
        let small = [kernel, stride, gap].iter().all(|&n| n <= MAX_ROWS);
        require(small && kernel > 0 && stride > 0, OpError::BadParams)?;
        // Rows from the first tap to the last, both counted.
        let reach = 1 + u64::from(kernel - 1) * u64::from(gap + 1);
        let padded = u64::from(before) <= reach && u64::from(after) <= reach;
        require(reach <= MAX_ROWS.into() && padded, OpError::BadParams)?;
        let rows = x.rows().saturating_add((before + after) as usize);
        let steps = rows
            .checked_sub(reach as usize)
            .and_then(|steps| steps.checked_div(stride as usize));
        require(steps.map(|n| n + 1) == Some(y.rows()), OpError::WrongShape)
    }

    /// Values under the kernel.
    fn span(&self, x: &TensorRecord) -> Result<usize, OpError> {
        x.channels()
            .checked_mul(self.kernel as usize)
            .filter(|&span| span < MAX_SPAN)
            .ok_or(OpError::BadParams)
    }

    fn window(&self, x: &TensorRecord) -> Window1d {
        Window1d {
            kernel: self.kernel as usize,
            stride: self.stride as usize,
            dilation: self.gap as usize + 1,
            pad_before: self.pad_before as usize,
            pad_value: x.zero_point,
        }
    }
}

fn check_both(op: &OpView) -> Result<Conv1dParams, OpError> {
    let [x, y] = check_activations(op)?;
    op.require_disjoint(&[x, y])?;
    let params = op.params::<Conv1dParams>()?;
    params.window.check(x, y)?;
    Ok(params)
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = check_both(op)?;
    let span = params.window.span(op.input(0)?)?;
    op.scratch(DType::I16, pairs_len(span))?;
    params
        .matrix
        .check(op, packed_len(op.output()?.channels(), span), span)
}

pub(super) fn run<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    run_with::<USES, false>(op, arena)
}

pub(super) fn run_joined<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    run_with::<USES, true>(op, arena)
}

fn run_with<const USES: u8, const JOINED: bool>(
    op: &OpView,
    arena: &mut [u8],
) -> Result<(), OpError> {
    let params = op.params::<Conv1dParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let (c, span) = (x.channels(), params.window.span(x)?);
    let matrix =
        params
            .matrix
            .matrix::<JOINED>(op, y.channels(), packed_len(y.channels(), span))?;
    let (output, window) = (
        params.matrix.output(op, y.channels(), y.zero_point)?,
        params.window.window(x),
    );
    let (x, y, pairs) = op.with_pairs(arena, pairs_len(span))?;
    if USES & Uses::ROWS != 0 {
        by_width!(USES; x, y => conv1d::<_, _, true, JOINED>(x, c, &window, &matrix, &output, pairs, y));
    } else {
        by_width!(USES; x, y => conv1d::<_, _, false, JOINED>(x, c, &window, &matrix, &output, pairs, y));
    }
    Ok(())
}

pub(super) fn check_depthwise(op: &OpView) -> Result<(), OpError> {
    let params = check_both(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
    require(x.channels() == y.channels(), OpError::WrongShape)?;
    params.window.span(x)?;
    params.matrix.check_apart(op, params.window.kernel as usize)
}

pub(super) fn run_depthwise(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<DepthwiseConv1dParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let c = x.channels();
    let matrix = params.matrix.matrix(op, c, params.window.span(x)?)?;
    let (output, window) = (
        params.matrix.output(op, y.channels(), y.zero_point)?,
        params.window.window(x),
    );
    let [x, y] = op.values(arena, [x, y])?;
    by_width!(x, y => depthwise_conv1d(x, c, &window, &matrix, &output, y));
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::{check_tensors, scratch, with_wide};
    use super::super::linear::half::LinearHalfParams;
    use super::*;
    use crate::kernels::half::conv::{conv1d, depthwise_conv1d};

    /// Parameters of Conv1d in half precision. Weights are packed `[out, kernel * c]`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct Conv1dHalfParams {
        /// Weights and limits.
        pub matrix: LinearHalfParams,
        /// The kernel's way.
        pub window: Window1dParams,
    }

    /// Parameters of DepthwiseConv1d in half precision: the same, with float16 weights `[kernel, c]` as they are.
    pub type DepthwiseConv1dHalfParams = Conv1dHalfParams;

    fn check_both(op: &OpView) -> Result<Conv1dHalfParams, OpError> {
        check_tensors(op, 1)?;
        let params = op.params::<Conv1dHalfParams>()?;
        params.matrix.clamp()?;
        params.window.check(op.input(0)?, op.output()?)?;
        Ok(params)
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        let params = check_both(op)?;
        let span = params.window.span(op.input(0)?)?;
        params.matrix.matrix(op, op.output()?.channels(), span)?;
        op.count_macs(op.output()?.len(), span);
        scratch(op, span).map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let Conv1dHalfParams { matrix, window } = op.params()?;
        let (x, out) = (op.input(0)?, op.output()?.channels());
        let (c, span, window) = (x.channels(), window.span(x)?, window.window(x));
        let (clamp, matrix) = (matrix.clamp()?, matrix.matrix(op, out, span)?);
        let (x, y, wide) = with_wide(op, arena, span)?;
        conv1d(x, c, &window, &matrix, clamp, wide, y);
        Ok(())
    }

    pub(in crate::ops) fn check_depthwise(op: &OpView) -> Result<(), OpError> {
        let params = check_both(op)?;
        let (x, y) = (op.input(0)?, op.output()?);
        require(x.channels() == y.channels(), OpError::WrongShape)?;
        op.count_macs(y.len(), params.window.kernel as usize);
        params.matrix.apart(op, params.window.span(x)?).map(drop)
    }

    pub(in crate::ops) fn run_depthwise(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let DepthwiseConv1dHalfParams { matrix, window } = op.params()?;
        let (x, y) = (op.input(0)?, op.output()?);
        let (c, span, window) = (x.channels(), window.span(x)?, window.window(x));
        let (clamp, (weights, bias)) = (matrix.clamp()?, matrix.apart(op, span)?);
        let [x, y] = op.typed(arena, [x, y])?;
        depthwise_conv1d(x, c, &window, weights, bias, clamp, y);
        Ok(())
    }
}

//! Conv1d and DepthwiseConv1d over time: input `[t, c]` int8 or int16 (a state tensor when streaming), output
//! `[t_out, out]` int8 or int16. Conv1d needs scratch int16 `[kernel * c]` in pair order.

use super::arena::{self, Values, ValuesMut};
use super::linear::{LinearParams, check_activations};
use super::{OpError, OpView, require};
use crate::format::{DType, TensorRecord};
use crate::kernels::conv::{Window, conv1d, depthwise_conv1d};
use crate::kernels::dot::{packed_len, pairs_len};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Conv1d. Weights are packed `[out, kernel * c]`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Conv1dParams {
    /// Weights and requantization.
    pub matrix: LinearParams,
    /// Rows under the kernel.
    pub kernel: u32,
    /// Rows from one position to the next.
    pub stride: u32,
    /// Rows of padding before the input, at most `kernel`.
    pub pad_before: u32,
    /// Rows of padding behind the input, at most `kernel`.
    pub pad_after: u32,
}

/// Parameters of DepthwiseConv1d: the same, with weights `[kernel, c]` as they are.
pub type DepthwiseConv1dParams = Conv1dParams;

const MAX_ROWS: u32 = 1 << 20;

impl Conv1dParams {
    fn check(&self, x: &TensorRecord, y: &TensorRecord) -> Result<(), OpError> {
        let all = [self.kernel, self.stride, self.pad_before, self.pad_after];
        let pads = self.pad_before <= self.kernel && self.pad_after <= self.kernel;
        require(
            all.iter().all(|&n| n <= MAX_ROWS) && self.kernel > 0 && self.stride > 0 && pads,
            OpError::BadParams,
        )?;
        let padded = x
            .rows()
            .saturating_add(self.pad_before as usize)
            .saturating_add(self.pad_after as usize);
        let steps = padded
            .checked_sub(self.kernel as usize)
            .ok_or(OpError::WrongShape)?;
        require(
            y.rows() == 1 + steps / self.stride as usize,
            OpError::WrongShape,
        )
    }

    fn window(&self, x: &TensorRecord) -> Window {
        Window {
            kernel: self.kernel as usize,
            stride: self.stride as usize,
            pad_before: self.pad_before as usize,
            pad_value: x.zero_point,
        }
    }

    fn span(&self, x: &TensorRecord) -> Result<usize, OpError> {
        x.channels()
            .checked_mul(self.kernel as usize)
            .filter(|&span| span < 1 << 28)
            .ok_or(OpError::BadParams)
    }
}

fn check_both(op: &OpView) -> Result<(), OpError> {
    check_activations(op)?;
    op.require_disjoint(&[op.input(0)?, op.output()?])?;
    op.params::<Conv1dParams>()?
        .check(op.input(0)?, op.output()?)
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    check_both(op)?;
    let params = op.params::<Conv1dParams>()?;
    let span = params.span(op.input(0)?)?;
    op.scratch(DType::I16, pairs_len(span))?;
    params
        .matrix
        .check(op, packed_len(op.output()?.channels(), span))
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<Conv1dParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let (c, span) = (x.channels(), params.span(x)?);
    let scratch = op.scratch(DType::I16, pairs_len(span))?;
    let matrix = params
        .matrix
        .matrix(op, y.channels(), packed_len(y.channels(), span))?;
    let (output, window) = (params.matrix.output(op, y)?, params.window(x));
    let [x_bytes, y_bytes, scratch] = op.tensors(arena, [x, y, scratch])?;
    let pairs = arena::first::<i16>(scratch, pairs_len(span))?;
    match (arena::values(x_bytes, x)?, arena::values_mut(y_bytes, y)?) {
        (Values::I8(x), ValuesMut::I8(y)) => conv1d(x, c, &window, &matrix, &output, pairs, y),
        (Values::I8(x), ValuesMut::I16(y)) => conv1d(x, c, &window, &matrix, &output, pairs, y),
        (Values::I16(x), ValuesMut::I8(y)) => conv1d(x, c, &window, &matrix, &output, pairs, y),
        (Values::I16(x), ValuesMut::I16(y)) => conv1d(x, c, &window, &matrix, &output, pairs, y),
    }
    Ok(())
}

pub(super) fn check_depthwise(op: &OpView) -> Result<(), OpError> {
    check_both(op)?;
    let params = op.params::<DepthwiseConv1dParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    require(x.channels() == y.channels(), OpError::WrongShape)?;
    params.matrix.check(op, params.span(x)?)
}

pub(super) fn run_depthwise(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<DepthwiseConv1dParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let c = x.channels();
    let matrix = params.matrix.matrix(op, c, params.span(x)?)?;
    let (output, window) = (params.matrix.output(op, y)?, params.window(x));
    let [x_bytes, y_bytes] = op.tensors(arena, [x, y])?;
    match (arena::values(x_bytes, x)?, arena::values_mut(y_bytes, y)?) {
        (Values::I8(x), ValuesMut::I8(y)) => depthwise_conv1d(x, c, &window, &matrix, &output, y),
        (Values::I8(x), ValuesMut::I16(y)) => depthwise_conv1d(x, c, &window, &matrix, &output, y),
        (Values::I16(x), ValuesMut::I8(y)) => depthwise_conv1d(x, c, &window, &matrix, &output, y),
        (Values::I16(x), ValuesMut::I16(y)) => depthwise_conv1d(x, c, &window, &matrix, &output, y),
    }
    Ok(())
}

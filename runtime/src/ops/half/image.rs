//! Images in half precision: shapes and tensors as in the integer forms, [`crate::ops`]' `conv2d`, `pool` and `gate`.

use super::super::conv2d::{Window2dParams, image, size};
use super::matrix::LinearHalfParams;
use super::{OpError, OpView, arena, check_tensors, clamp, require, scratch};
use crate::f16;
use crate::format::TensorRecord;
use crate::kernels::conv2d::Window2d;
use crate::kernels::half::image as kernels;
use crate::kernels::half::linear::Matrix;
use crate::kernels::half::packed_len;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Conv2d in half precision. Weights are packed `[out, kernel height * kernel width * c]`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Conv2dHalfParams {
    /// Weights and limits.
    pub matrix: LinearHalfParams,
    /// The kernel's way.
    pub window: Window2dParams,
}

/// Parameters of DepthwiseConv2d in half precision: the same, with float16 weights `[kernel height, kernel width, c]`.
pub type DepthwiseConv2dHalfParams = Conv2dHalfParams;

/// Parameters of ConvTranspose2d in half precision: the same for each phase, one behind the other, as in the integer form.
pub type ConvTranspose2dHalfParams = Conv2dHalfParams;

/// Parameters of Gate in half precision.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GateHalfParams {
    /// Multiplied last.
    pub factor: f32,
    /// 1: one factor for each row; 0: one for each channel.
    pub per_row: u32,
}

const MAX_SPAN: usize = 1 << 28;
const MAX_PHASES: usize = 64;

impl Conv2dHalfParams {
    /// The window over `x`, and the values under it.
    fn window(&self, x: &TensorRecord) -> Result<(Window2d, usize), OpError> {
        let [height, width] = self.window.kernel.map(|n| n as usize);
        let span = size(x)?[2]
            .checked_mul(width)
            .and_then(|row| row.checked_mul(height))
            .filter(|&span| span < MAX_SPAN);
        Ok((self.window.window(x), span.ok_or(OpError::BadParams)?))
    }

    fn phases(&self) -> Result<usize, OpError> {
        let [down, right] = self.window.stride.map(|n| n as usize);
        let phases = down.checked_mul(right).filter(|&n| n <= MAX_PHASES);
        phases.ok_or(OpError::BadParams)
    }

    /// Weights and biases of `phases` kernels.
    fn matrix<'a>(
        &self,
        op: &OpView<'a>,
        span: usize,
        phases: usize,
    ) -> Result<Matrix<'a>, OpError> {
        let out = op.output()?.channels();
        let packed = packed_len(out, span).saturating_mul(phases);
        Ok(Matrix {
            weights: super::packed(op, self.matrix.weights, packed)?,
            bias: op.weights(self.matrix.bias, out.saturating_mul(phases))?,
        })
    }
}

pub(super) fn check_conv(op: &OpView) -> Result<(), OpError> {
    check_tensors(op, 1)?;
    let params = op.params::<Conv2dHalfParams>()?;
    clamp(params.matrix.min, params.matrix.max)?;
    params.window.check(op.input(0)?, op.output()?)?;
    let (_, span) = params.window(op.input(0)?)?;
    params.matrix(op, span, 1)?;
    scratch(op, span).map(drop)
}

pub(super) fn run_conv(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<Conv2dHalfParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let ((window, span), from, [_, width, _]) = (params.window(x)?, size(x)?, size(y)?);
    let matrix = params.matrix(op, span, 1)?;
    let clamp = clamp(params.matrix.min, params.matrix.max)?;
    let [x, y, wide] = op.tensors(arena, [x, y, scratch(op, span)?])?;
    let (x, y, wide) = (
        image(arena::typed(x)?, from),
        arena::typed(y)?,
        arena::typed(wide)?,
    );
    kernels::conv2d(&x, &window, &matrix, clamp, wide, y, width);
    Ok(())
}

pub(super) fn check_transposed(op: &OpView) -> Result<(), OpError> {
    check_tensors(op, 1)?;
    let params = op.params::<ConvTranspose2dHalfParams>()?;
    clamp(params.matrix.min, params.matrix.max)?;
    params.window.check_ranges()?;
    size(op.output()?)?;
    let (_, span) = params.window(op.input(0)?)?;
    params.matrix(op, span, params.phases()?)?;
    scratch(op, span).map(drop)
}

pub(super) fn run_transposed(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<ConvTranspose2dHalfParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let ((window, span), from, [_, width, out]) = (params.window(x)?, size(x)?, size(y)?);
    let matrix = params.matrix(op, span, params.phases()?)?;
    let clamp = clamp(params.matrix.min, params.matrix.max)?;
    let [x, y, wide] = op.tensors(arena, [x, y, scratch(op, span)?])?;
    let (x, y, wide) = (
        image(arena::typed(x)?, from),
        arena::typed(y)?,
        arena::typed(wide)?,
    );
    kernels::conv_transpose2d(&x, &window, &matrix, clamp, wide, y, [width, out]);
    Ok(())
}

pub(super) fn check_depthwise(op: &OpView) -> Result<(), OpError> {
    check_tensors(op, 1)?;
    let (x, y) = (op.input(0)?, op.output()?);
    let params = op.params::<DepthwiseConv2dHalfParams>()?;
    clamp(params.matrix.min, params.matrix.max)?;
    params.window.check(x, y)?;
    require(x.channels() == y.channels(), OpError::WrongShape)?;
    let (_, span) = params.window(x)?;
    op.weights::<f16>(params.matrix.weights, span)?;
    op.weights::<f32>(params.matrix.bias, x.channels())
        .map(drop)
}

pub(super) fn run_depthwise(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<DepthwiseConv2dHalfParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let ((window, span), from, [_, width, c]) = (params.window(x)?, size(x)?, size(y)?);
    let weights = op.weights(params.matrix.weights, span)?;
    let bias = op.weights(params.matrix.bias, c)?;
    let clamp = clamp(params.matrix.min, params.matrix.max)?;
    let [x, y] = op.tensors(arena, [x, y])?;
    let (x, y) = (image(arena::typed(x)?, from), arena::typed(y)?);
    kernels::depthwise_conv2d(&x, &window, weights, bias, clamp, y, width);
    Ok(())
}

/// MaxPool2d and AveragePool2d: the window alone.
pub(super) fn check_pool(op: &OpView) -> Result<(), OpError> {
    check_tensors(op, 1)?;
    let (x, y) = (op.input(0)?, op.output()?);
    let window = op.params::<Window2dParams>()?;
    window.check(x, y)?;
    window.check_padding()?;
    require(x.channels() == y.channels(), OpError::WrongShape)
}

pub(super) fn run_pool(op: &OpView, arena: &mut [u8], max: bool) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let (from, [_, width, _]) = (size(x)?, size(y)?);
    let window = op.params::<Window2dParams>()?.window(x);
    let [x, y] = op.tensors(arena, [x, y])?;
    let (x, y) = (image(arena::typed(x)?, from), arena::typed(y)?);
    if max {
        kernels::max_pool2d(&x, &window, y, width);
    } else {
        kernels::average_pool2d(&x, &window, y, width);
    }
    Ok(())
}

/// MaxChannels and MeanChannels.
pub(super) fn check_channels(op: &OpView) -> Result<(), OpError> {
    check_tensors(op, 1)?;
    let fits = op.input(0)?.rows() == op.output()?.len();
    require(fits, OpError::WrongShape)?;
    op.params::<[u8; 0]>().map(drop)
}

pub(super) fn run_channels(op: &OpView, arena: &mut [u8], max: bool) -> Result<(), OpError> {
    let x = op.input(0)?;
    let channels = x.channels();
    let [x, y] = op.tensors(arena, [x, op.output()?])?;
    let (x, y) = (arena::typed(x)?, arena::typed(y)?);
    if max {
        kernels::max_channels(x, channels, y);
    } else {
        kernels::mean_channels(x, channels, y);
    }
    Ok(())
}

pub(super) fn check_gate(op: &OpView) -> Result<(), OpError> {
    check_tensors(op, 2)?;
    let (x, gate, y) = (op.input(0)?, op.input(1)?, op.output()?);
    let params = op.params::<GateHalfParams>()?;
    let factors = match params.per_row {
        0 => x.channels(),
        1 => x.rows(),
        _ => return Err(OpError::BadParams),
    };
    let fits = gate.len() == factors && x.len() == y.len();
    require(fits, OpError::WrongShape)
}

pub(super) fn run_gate(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<GateHalfParams>()?;
    let x = op.input(0)?;
    let channels = x.channels();
    let [x, gate, y] = op.tensors(arena, [x, op.input(1)?, op.output()?])?;
    let (x, gate, y) = (arena::typed(x)?, arena::typed(gate)?, arena::typed(y)?);
    kernels::gate(x, gate, channels, params.per_row == 1, params.factor, y);
    Ok(())
}

//! Linear, Conv1d and DepthwiseConv1d in half precision: shapes and tensors as in the integer forms.

use super::{OpError, OpView};
use super::{arena, check_tensors, clamp, packed, require, scratch};
use crate::f16;
use crate::format::TensorRecord;
use crate::kernels::half::conv::{Window, conv1d, depthwise_conv1d};
use crate::kernels::half::linear::{Matrix, linear};
use crate::kernels::half::packed_len;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Linear in half precision, and of the matrix inside a convolution. Offsets count in the weights section.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LinearHalfParams {
    /// float16 `[out, in]`, packed as [`crate::kernels::half::packed_len`] says.
    pub weights: u32,
    /// f32 `[out]`.
    pub bias: u32,
    /// Smallest result, at least -65504.
    pub min: f32,
    /// Largest result, at most 65504.
    pub max: f32,
}

impl LinearHalfParams {
    pub(super) fn matrix<'a>(
        &self,
        op: &OpView<'a>,
        out: usize,
        k: usize,
    ) -> Result<Matrix<'a>, OpError> {
        Ok(Matrix {
            weights: packed(op, self.weights, packed_len(out, k))?,
            bias: op.weights(self.bias, out)?,
        })
    }
}

pub(super) fn check_linear(op: &OpView) -> Result<(), OpError> {
    check_tensors(op, 1)?;
    let (x, y) = (op.input(0)?, op.output()?);
    require(x.rows() == y.rows(), OpError::WrongShape)?;
    let params = op.params::<LinearHalfParams>()?;
    clamp(params.min, params.max)?;
    params.matrix(op, y.channels(), x.channels())?;
    scratch(op, x.channels()).map(drop)
}

pub(super) fn run_linear(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<LinearHalfParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let k = x.channels();
    let matrix = params.matrix(op, y.channels(), k)?;
    let clamp = clamp(params.min, params.max)?;
    let [x, y, wide] = op.tensors(arena, [x, y, scratch(op, k)?])?;
    let wide = arena::typed::<f32>(wide)?;
    linear(arena::typed(x)?, k, &matrix, clamp, wide, arena::typed(y)?);
    Ok(())
}

/// Parameters of Conv1d in half precision. Weights are packed `[out, kernel * c]`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Conv1dHalfParams {
    /// Weights and limits.
    pub matrix: LinearHalfParams,
    /// Rows under the kernel.
    pub kernel: u32,
    /// Rows from one position to the next.
    pub stride: u32,
    /// Rows of zeros before the input, at most `kernel`.
    pub pad_before: u32,
    /// Rows of zeros behind the input, at most `kernel`.
    pub pad_after: u32,
}

/// Parameters of DepthwiseConv1d in half precision: the same, with float16 weights `[kernel, c]` as they are.
pub type DepthwiseConv1dHalfParams = Conv1dHalfParams;

const MAX_ROWS: u32 = 1 << 20;
const MAX_SPAN: usize = 1 << 28;

impl Conv1dHalfParams {
    fn check(&self, x: &TensorRecord, y: &TensorRecord) -> Result<(), OpError> {
        let all = [self.kernel, self.stride, self.pad_before, self.pad_after];
        let pads = self.pad_before <= self.kernel && self.pad_after <= self.kernel;
        require(
            all.iter().all(|&n| n <= MAX_ROWS) && self.kernel > 0 && self.stride > 0 && pads,
            OpError::BadParams,
        )?;
        let padding = self.pad_before as usize + self.pad_after as usize;
        let steps = x
            .rows()
            .saturating_add(padding)
            .checked_sub(self.kernel as usize)
            .ok_or(OpError::WrongShape)?;
        let rows = steps
            .checked_div(self.stride as usize)
            .map(|steps| steps + 1);
        require(rows == Some(y.rows()), OpError::WrongShape)
    }

    fn window(&self) -> Window {
        Window {
            kernel: self.kernel as usize,
            stride: self.stride as usize,
            pad_before: self.pad_before as usize,
        }
    }

    /// Values under the kernel.
    fn span(&self, x: &TensorRecord) -> Result<usize, OpError> {
        x.channels()
            .checked_mul(self.kernel as usize)
            .filter(|&span| span < MAX_SPAN)
            .ok_or(OpError::BadParams)
    }
}

fn check_conv(op: &OpView) -> Result<(), OpError> {
    check_tensors(op, 1)?;
    let params = op.params::<Conv1dHalfParams>()?;
    clamp(params.matrix.min, params.matrix.max)?;
    params.check(op.input(0)?, op.output()?)
}

pub(super) fn check_conv1d(op: &OpView) -> Result<(), OpError> {
    check_conv(op)?;
    let params = op.params::<Conv1dHalfParams>()?;
    let span = params.span(op.input(0)?)?;
    params.matrix.matrix(op, op.output()?.channels(), span)?;
    scratch(op, span).map(drop)
}

pub(super) fn run_conv1d(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<Conv1dHalfParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let (c, span) = (x.channels(), params.span(x)?);
    let matrix = params.matrix.matrix(op, y.channels(), span)?;
    let (clamp, window) = (
        clamp(params.matrix.min, params.matrix.max)?,
        params.window(),
    );
    let [x, y, wide] = op.tensors(arena, [x, y, scratch(op, span)?])?;
    let (x, y, wide) = (
        arena::typed(x)?,
        arena::typed(y)?,
        arena::typed::<f32>(wide)?,
    );
    conv1d(x, c, &window, &matrix, clamp, wide, y);
    Ok(())
}

pub(super) fn check_depthwise(op: &OpView) -> Result<(), OpError> {
    check_conv(op)?;
    let params = op.params::<DepthwiseConv1dHalfParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    require(x.channels() == y.channels(), OpError::WrongShape)?;
    op.weights::<f16>(params.matrix.weights, params.span(x)?)?;
    op.weights::<f32>(params.matrix.bias, x.channels())
        .map(drop)
}

pub(super) fn run_depthwise(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<DepthwiseConv1dHalfParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let c = x.channels();
    let weights = op.weights(params.matrix.weights, params.span(x)?)?;
    let bias = op.weights(params.matrix.bias, c)?;
    let (clamp, window) = (
        clamp(params.matrix.min, params.matrix.max)?,
        params.window(),
    );
    let [x, y] = op.tensors(arena, [x, y])?;
    let (x, y) = (arena::typed(x)?, arena::typed(y)?);
    depthwise_conv1d(x, c, &window, weights, bias, clamp, y);
    Ok(())
}

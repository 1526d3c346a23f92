//! Linear: input `[rows, in]` int8 or int16, output `[rows, out]` int8 or int16, scratch int16 `[in]` in pair order.

use super::arena::{self, Values, ValuesMut};
use super::{OpError, OpView, require};
use crate::format::{DType, TensorRecord};
use crate::kernels::dot::{packed_len, pairs_len};
use crate::kernels::linear::{Matrix, linear};
use crate::kernels::requantize::Output;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Linear, and of the matrix inside a convolution.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LinearParams {
    /// Packed int8 weights `[out, in]`; offset in the weights section, as all that follow.
    pub weights: u32,
    /// int32 `[out]`.
    pub bias: u32,
    /// int32 `[out]`.
    pub multipliers: u32,
    /// Left shift of the requantization, 0 to 31.
    pub left_shift: u32,
    /// Smallest result.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

impl LinearParams {
    pub(super) fn matrix<'a>(
        &self,
        op: &OpView<'a>,
        out: usize,
        packed: usize,
    ) -> Result<Matrix<'a>, OpError> {
        Ok(Matrix {
            weights: op.weights(self.weights, packed)?,
            bias: op.weights(self.bias, out)?,
        })
    }

    pub(super) fn output<'a>(
        &self,
        op: &OpView<'a>,
        tensor: &TensorRecord,
    ) -> Result<Output<'a>, OpError> {
        Ok(Output {
            multipliers: op.weights(self.multipliers, tensor.channels())?,
            left_shift: self.left_shift,
            zero_point: tensor.zero_point,
            min: self.min,
            max: self.max,
        })
    }

    pub(super) fn check(&self, op: &OpView, packed: usize) -> Result<(), OpError> {
        let output = op.output()?;
        self.matrix(op, output.channels(), packed)?;
        self.output(op, output)?;
        check_clamp(output.dtype(), self.min, self.max)?;
        require(
            self.left_shift < 32 && self.weights.is_multiple_of(4),
            OpError::BadParams,
        )
    }
}

/// Results must fit the output's type.
pub(super) fn check_clamp(dtype: DType, min: i32, max: i32) -> Result<(), OpError> {
    let (low, high): (i32, i32) = match dtype {
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::I32 | DType::F16 => return Err(OpError::WrongType),
    };
    require(low <= min && min <= max && max <= high, OpError::BadParams)
}

/// Input and output of an operator that reads and writes activations of either width.
pub(super) fn check_activations(op: &OpView) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    require(
        x.dtype() != DType::I32 && y.dtype() != DType::I32,
        OpError::WrongType,
    )
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    check_activations(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
    op.require_disjoint(&[x, y])?;
    require(x.rows() == y.rows(), OpError::WrongShape)?;
    op.scratch(DType::I16, pairs_len(x.channels()))?;
    op.params::<LinearParams>()?
        .check(op, packed_len(y.channels(), x.channels()))
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<LinearParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let k = x.channels();
    let scratch = op.scratch(DType::I16, pairs_len(k))?;
    let matrix = params.matrix(op, y.channels(), packed_len(y.channels(), k))?;
    let output = params.output(op, y)?;
    let [x_bytes, y_bytes, scratch] = op.tensors(arena, [x, y, scratch])?;
    let pairs = arena::first::<i16>(scratch, pairs_len(k))?;
    match (arena::values(x_bytes, x)?, arena::values_mut(y_bytes, y)?) {
        (Values::I8(x), ValuesMut::I8(y)) => linear(x, k, &matrix, &output, pairs, y),
        (Values::I8(x), ValuesMut::I16(y)) => linear(x, k, &matrix, &output, pairs, y),
        (Values::I16(x), ValuesMut::I8(y)) => linear(x, k, &matrix, &output, pairs, y),
        (Values::I16(x), ValuesMut::I16(y)) => linear(x, k, &matrix, &output, pairs, y),
    }
    Ok(())
}

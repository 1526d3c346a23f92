//! Add, Mul, AddConstant. Add and Mul take two inputs of the output's length; AddConstant takes one, and with a counter adds
//! the rows that belong to its position on a stream. No scratch.

use super::activations::{check_activations, check_clamp};
use super::arena::{Values, by_width};
use super::rescale::RequantizeParams;
use super::state::{check_position, next_position};
use super::{OpError, OpView, centred, require};
use crate::format::{DType, TensorRecord};
use crate::kernels::geometry::MAX_POSITIONS;
use crate::kernels::int::elementwise::{ConstantSum, Sum, add, add_constant, mul};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Add. Zero points are the tensors'.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddParams {
    /// For each input: input scale / output scale * 2^16.
    pub factors: [i32; 2],
    /// Smallest result.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

/// Parameters of AddConstant. Zero points are the tensors'.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddConstantParams {
    /// int32 in the weights section, `[positions, channels]`: constant / output scale * 2^16.
    pub constant: u32,
    /// Rows of the constant, 1 to 2^20: those of the input, or with a counter (state int32 `[1]`, input 1) at least as many.
    /// The first row of the input then stands at the counter, which moves on; behind the last position it stays there.
    pub positions: u32,
    /// Input scale / output scale * 2^16.
    pub factor: i32,
    /// Smallest result.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

/// Parameters of Mul: the multiplier is the product of both input scales / output scale * 2^(32 - left_shift).
pub type MulParams = RequantizeParams;

/// Two inputs and an output of the same length, of either width, all apart.
fn check_pair(op: &OpView) -> Result<(), OpError> {
    check_activations(op)?;
    let (a, b, y) = (op.input(0)?, op.input(1)?, op.output()?);
    require(b.dtype() != DType::I32, OpError::WrongType)?;
    let same = a.len() == y.len() && b.len() == y.len() && op.input_count() == 2;
    require(same, OpError::WrongShape)?;
    op.require_disjoint(&[a, b, y])
}

pub(super) fn check_add(op: &OpView) -> Result<(), OpError> {
    check_pair(op)?;
    let params = op.params::<AddParams>()?;
    check_clamp(op.output()?.dtype(), params.min, params.max)
}

pub(super) fn run_add<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (a, b, y) = (op.input(0)?, op.input(1)?, op.output()?);
    let params = op.params::<AddParams>()?;
    let sum = Sum {
        inputs: [
            (a.zero_point, params.factors[0]),
            (b.zero_point, params.factors[1]),
        ],
        zero_point: y.zero_point,
        min: params.min,
        max: params.max,
    };
    let [a, b, y] = op.values(arena, [a, b, y])?;
    by_width!(USES; a, b, y => add(a, b, &sum, y));
    Ok(())
}

pub(super) fn check_mul(op: &OpView) -> Result<(), OpError> {
    check_pair(op)?;
    let [a, b] = [op.input(0)?, op.input(1)?].map(centred);
    op.params::<MulParams>()?
        .check_sum(op.output()?, a as usize, b.into())
}

pub(super) fn run_mul<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (a, b, y) = (op.input(0)?, op.input(1)?, op.output()?);
    let by = op.params::<MulParams>()?.rescale(a, y);
    let (zero, b_zero) = (a.zero_point, b.zero_point);
    let [a, b, y] = op.values(arena, [a, b, y])?;
    by_width!(USES; a, b, y => mul((a, zero), (b, b_zero), &by, y));
    Ok(())
}

impl AddConstantParams {
    fn sum<'a>(
        &self,
        op: &OpView<'a>,
        x: &TensorRecord,
        y: &TensorRecord,
        first: usize,
    ) -> Result<ConstantSum<'a>, OpError> {
        Ok(ConstantSum {
            input_zero_point: x.zero_point,
            factor: self.factor,
            constant: positioned(op, self.constant, self.positions, first)?,
            zero_point: y.zero_point,
            min: self.min,
            max: self.max,
        })
    }
}

/// The constant of AddConstant, `[positions, channels]` at `offset` of the weights section, from the row on that belongs to
/// position `first`.
fn positioned<'a, T: FromBytes + Immutable + KnownLayout>(
    op: &OpView<'a>,
    offset: u32,
    positions: u32,
    first: usize,
) -> Result<&'a [T], OpError> {
    let (x, positions) = (op.input(0)?, positions as usize);
    let in_range = (1..=MAX_POSITIONS as usize).contains(&positions);
    require(in_range, OpError::BadParams)?;
    let fits = match op.input_count() {
        1 => x.rows() == positions,
        _ => x.rows() <= positions,
    };
    require(fits, OpError::WrongShape)?;
    let len = positions.checked_mul(x.channels());
    let all = op.weights(offset, len.ok_or(OpError::BadParams)?)?;
    let first = first.min(positions - x.rows());
    all.get(first * x.channels()..).ok_or(OpError::WrongShape)
}

pub(super) fn check_add_constant(op: &OpView) -> Result<(), OpError> {
    let [x, y] = check_activations(op)?;
    op.require_disjoint(&[x, y])?;
    check_position(op)?;
    require(x.len() == y.len(), OpError::WrongShape)?;
    let params = op.params::<AddConstantParams>()?;
    check_clamp(y.dtype(), params.min, params.max)?;
    params.sum(op, x, y, 0).map(drop)
}

pub(super) fn run_add_constant<const USES: u8>(
    op: &OpView,
    arena: &mut [u8],
) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let first = next_position(op, arena)?;
    let sum = op.params::<AddConstantParams>()?.sum(op, x, y, first)?;
    let [x, y] = op.values(arena, [x, y])?;
    by_width!(USES; x, y => add_constant(x, &sum, y));
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::{check_halves, check_same, clamp};
    use super::*;
    use crate::f16;
    use crate::kernels::half::elementwise::{add, mul};

    /// Parameters of Add in half precision.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct AddHalfParams {
        /// Smallest result, at least -65504.
        pub min: f32,
        /// Largest result, at most 65504.
        pub max: f32,
    }

    /// Parameters of AddConstant in half precision.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct AddConstantHalfParams {
        /// float16 in the weights section, `[positions, channels]`.
        pub constant: u32,
        /// Rows of the constant, as in [`AddConstantParams`].
        pub positions: u32,
        /// Smallest result, at least -65504.
        pub min: f32,
        /// Largest result, at most 65504.
        pub max: f32,
    }

    /// Parameters of Mul in half precision.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct MulHalfParams {
        /// Factor on the product; finite.
        pub factor: f32,
    }

    /// Two inputs and an output of the same length, all apart.
    fn check_pair(op: &OpView) -> Result<(), OpError> {
        check_same(op, 2)?;
        op.require_disjoint(&[op.input(0)?, op.input(1)?])
    }

    /// What [`check_pair`] checks.
    fn pair<'t>(op: &OpView, arena: &'t mut [u8]) -> Result<[&'t mut [f16]; 3], OpError> {
        op.typed(arena, [op.input(0)?, op.input(1)?, op.output()?])
    }

    pub(in crate::ops) fn check_add(op: &OpView) -> Result<(), OpError> {
        check_pair(op)?;
        let params = op.params::<AddHalfParams>()?;
        clamp(params.min, params.max).map(drop)
    }

    pub(in crate::ops) fn run_add(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let params = op.params::<AddHalfParams>()?;
        let clamp = clamp(params.min, params.max)?;
        let [a, b, y] = pair(op, arena)?;
        add(a, b, clamp, y);
        Ok(())
    }

    pub(in crate::ops) fn check_add_constant(op: &OpView) -> Result<(), OpError> {
        let [x, y] = check_halves(op)?;
        op.require_disjoint(&[x, y])?;
        check_position(op)?;
        require(x.len() == y.len(), OpError::WrongShape)?;
        let params = op.params::<AddConstantHalfParams>()?;
        clamp(params.min, params.max)?;
        positioned::<f16>(op, params.constant, params.positions, 0).map(drop)
    }

    pub(in crate::ops) fn run_add_constant(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let params = op.params::<AddConstantHalfParams>()?;
        let clamp = clamp(params.min, params.max)?;
        let first = next_position(op, arena)?;
        let constant = positioned(op, params.constant, params.positions, first)?;
        let [x, y] = op.typed(arena, [op.input(0)?, op.output()?])?;
        add(x, constant, clamp, y);
        Ok(())
    }

    pub(in crate::ops) fn check_mul(op: &OpView) -> Result<(), OpError> {
        check_pair(op)?;
        let finite = op.params::<MulHalfParams>()?.factor.is_finite();
        require(finite, OpError::BadParams)
    }

    pub(in crate::ops) fn run_mul(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let factor = op.params::<MulHalfParams>()?.factor;
        let [a, b, y] = pair(op, arena)?;
        mul(a, b, factor, y);
        Ok(())
    }
}

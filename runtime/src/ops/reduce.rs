//! Reduce: one number for the elements along an axis: `[outer, n, inner]` to `[outer, inner]`, each tensor of any shape with as many elements.
//! Sum and mean are rescaled; of the largest and the smallest element type, scale and zero point stay. ArgMax: the place of the largest,
//! as int32. No scratch.

use super::arena::{self, Values, by_width};
use super::rescale::RequantizeParams;
use super::{OpError, OpView, centred, require};
use crate::format::{DType, TensorRecord};
use crate::kernels::base::arg_max;
use crate::kernels::int::reduce::{Reduction, reduce};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What is reduced, for any encoding.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReduceGeometry {
    /// 0: sum or mean, 1: largest, 2: smallest.
    pub kind: u32,
    /// Elements that become one.
    pub n: u32,
    /// Elements from one of them to the next.
    pub inner: u32,
}

/// Parameters of Reduce. The multiplier is input scale / output scale * 2^(32 - left_shift), for a mean divided by `n`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReduceParams {
    /// Change of scale of a sum.
    pub by: RequantizeParams,
    /// What is reduced.
    pub over: ReduceGeometry,
}

/// Most elements that become one, so that sums stay within 32 bits.
const MAX_N: u32 = 1 << 15;

impl ReduceGeometry {
    fn kind(&self) -> Result<Reduction, OpError> {
        match self.kind {
            0 => Ok(Reduction::Sum),
            1 => Ok(Reduction::Max),
            2 => Ok(Reduction::Min),
            _ => Err(OpError::BadParams),
        }
    }

    fn check(&self, x: &TensorRecord, y: &TensorRecord) -> Result<(), OpError> {
        let block = self.n.checked_mul(self.inner).unwrap_or(0) as usize;
        let sized = (1..=MAX_N).contains(&self.n) && block > 0 && x.len().is_multiple_of(block);
        let fits = sized && x.len() / (self.n as usize).max(1) == y.len();
        let fixed = x.rows_rule == 0 && y.rows_rule == 0;
        require(fits && fixed, OpError::WrongShape)
    }
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    require(op.input_count() == 1, OpError::MissingTensor)?;
    require(
        x.dtype() != DType::I32 && y.dtype() != DType::I32,
        OpError::WrongType,
    )?;
    op.require_disjoint(&[x, y])?;
    let params = op.params::<ReduceParams>()?;
    params.over.check(x, y)?;
    if params.over.kind()? != Reduction::Sum {
        let same = x.dtype() == y.dtype() && x.zero_point == y.zero_point;
        return require(same, OpError::WrongType);
    }
    params
        .by
        .check_sum(y, params.over.n as usize, centred(x).into())
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let params = op.params::<ReduceParams>()?;
    let (by, kind) = (params.by.rescale(x, y), params.over.kind()?);
    let (n, inner) = (params.over.n as usize, params.over.inner as usize);
    let [x, y] = op.values(arena, [x, y])?;
    by_width!(x, y => reduce(x, kind, [n, inner], &by, y));
    Ok(())
}

/// Shapes of ArgMax: an output of i32, `kind` 0 for the first of equals and 1 for the last.
fn check_places(op: &OpView) -> Result<ReduceGeometry, OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    require(op.input_count() == 1, OpError::MissingTensor)?;
    require(
        x.dtype() != DType::I32 && y.dtype() == DType::I32,
        OpError::WrongType,
    )?;
    op.require_disjoint(&[x, y])?;
    let over = op.params::<ReduceGeometry>()?;
    require(over.kind <= 1, OpError::BadParams)?;
    over.check(x, y)?;
    Ok(over)
}

pub(super) fn check_arg_max(op: &OpView) -> Result<(), OpError> {
    require(op.input(0)?.dtype() != DType::F16, OpError::WrongType)?;
    check_places(op).map(drop)
}

pub(super) fn run_arg_max(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let over = op.params::<ReduceGeometry>()?;
    let (axes, last) = ([over.n as usize, over.inner as usize], over.kind == 1);
    let [x_bytes, y] = op.tensors(arena, [x, y])?;
    let (x, y) = (arena::values(x_bytes, x)?, arena::typed(y)?);
    by_width!(x => arg_max(x, axes, last, y));
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::check_tensors;
    use super::*;
    use crate::f16;
    use crate::kernels::half::reduce::reduce;

    /// Parameters of Reduce in half precision.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct ReduceHalfParams {
        /// Factor of a sum: 1, or 1 / `n` for a mean.
        pub factor: f32,
        /// What is reduced.
        pub over: ReduceGeometry,
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        check_tensors(op, 1)?;
        let params = op.params::<ReduceHalfParams>()?;
        params.over.kind()?;
        params.over.check(op.input(0)?, op.output()?)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let params = op.params::<ReduceHalfParams>()?;
        let (n, inner) = (params.over.n as usize, params.over.inner as usize);
        let [x, y] = op.typed::<f16, 2>(arena, [op.input(0)?, op.output()?])?;
        reduce(x, params.over.kind()?, [n, inner], params.factor, y);
        Ok(())
    }

    pub(in crate::ops) fn check_arg_max(op: &OpView) -> Result<(), OpError> {
        require(op.input(0)?.dtype() == DType::F16, OpError::WrongType)?;
        check_places(op).map(drop)
    }

    pub(in crate::ops) fn run_arg_max(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let over = op.params::<ReduceGeometry>()?;
        let (axes, last) = ([over.n as usize, over.inner as usize], over.kind == 1);
        let [x, y] = op.tensors(arena, [op.input(0)?, op.output()?])?;
        arg_max(arena::typed::<f16>(x)?, axes, last, arena::typed(y)?);
        Ok(())
    }
}

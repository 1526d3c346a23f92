//! Rotary and WeightedRows in half precision: tensors as in the integer forms, but float16 throughout.

use super::super::state::{MAX_POSITIONS, advance_position, check_position};
use super::{OpError, OpView, arena, check_tensors, half, require, scratch};
use crate::f16;
use crate::kernels::half::additive::mean;
use crate::kernels::half::rotary::{Rotation, rotate};
use crate::kernels::half::widen;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Rotary in half precision.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RotaryHalfParams {
    /// float16 `[positions, pairs, 2]` in the weights section: cosine and sine.
    pub table: u32,
    /// Positions that the table has, 1 to 2^20.
    pub positions: u32,
    /// Channels of a head; a divisor of the rows' channels.
    pub head_dim: u32,
    /// Pairs of channels that are turned, at least 1; `2 * pairs` is at most `head_dim`.
    pub pairs: u32,
    /// 1: pairs are neighbours; 0: halves of the turned channels.
    pub interleaved: u32,
}

impl RotaryHalfParams {
    fn rotation<'a>(&self, op: &OpView<'a>) -> Result<Rotation<'a>, OpError> {
        let len = (self.positions as usize)
            .checked_mul(self.pairs as usize)
            .and_then(|len| len.checked_mul(2));
        Ok(Rotation {
            head_dim: self.head_dim as usize,
            pairs: self.pairs as usize,
            interleaved: self.interleaved == 1,
            table: op.weights::<f16>(self.table, len.ok_or(OpError::BadParams)?)?,
        })
    }
}

pub(super) fn check_rotary(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<RotaryHalfParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    half(x)?;
    half(y)?;
    let in_range = (1..=MAX_POSITIONS).contains(&params.positions)
        && params.pairs >= 1
        && params.pairs <= params.head_dim / 2
        && params.interleaved <= 1;
    require(in_range, OpError::BadParams)?;
    let same = x.channels() == y.channels() && x.rows() == y.rows();
    let heads = x.channels().is_multiple_of(params.head_dim as usize);
    require(same && heads, OpError::WrongShape)?;
    op.require_disjoint(&[x, y])?;
    check_position(op)?;
    params.rotation(op).map(drop)
}

pub(super) fn run_rotary(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let rotation = op.params::<RotaryHalfParams>()?.rotation(op)?;
    let first = match op.input_count() {
        1 => 0,
        _ => advance_position(op, arena)?,
    };
    let channels = x.channels();
    let [x, y] = op.tensors(arena, [x, y])?;
    rotate(
        arena::typed(x)?,
        channels,
        first,
        &rotation,
        arena::typed(y)?,
    );
    Ok(())
}

pub(super) fn check_weighted(op: &OpView) -> Result<(), OpError> {
    check_tensors(op, 2)?;
    let (w, x, y) = (op.input(0)?, op.input(1)?, op.output()?);
    op.require_disjoint(&[w, x])?;
    let fits = w.channels() == x.rows() && w.rows() == y.rows() && x.channels() == y.channels();
    require(fits, OpError::WrongShape)?;
    op.params::<[u8; 0]>()?;
    scratch(op, w.channels()).map(drop)
}

pub(super) fn run_weighted(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
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

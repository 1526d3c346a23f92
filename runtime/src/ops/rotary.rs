//! Rotary: input `[rows, heads * head_dim]` int8 or int16, output of the same shape in either width; no scratch.
//!
//! Row `i` stands at position `i`, or, with a counter (state int32 `[1]`, input 1), at `counter + i`; the counter then
//! moves on by `rows`. Positions beyond the table are taken as its last one.

use super::arena::{self, Values, ValuesMut};
use super::elementwise::RequantizeParams;
use super::linear::check_activations;
use super::{OpError, OpView, require};
use crate::format::{DType, Storage, TensorRecord};
use crate::kernels::rotary::{Rotation, rotate};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Rotary.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RotaryParams {
    /// int16 `[positions, pairs, 2]` in the weights section: cosine and sine, Q14.
    pub table: u32,
    /// Positions that the table has, 1 to 2^20.
    pub positions: u32,
    /// Channels of a head; a divisor of the rows' channels.
    pub head_dim: u32,
    /// Pairs of channels that are turned, at least 1; `2 * pairs` is at most `head_dim`.
    pub pairs: u32,
    /// 1: pairs are neighbours; 0: halves of the turned channels.
    pub interleaved: u32,
    /// Input scale / output scale * 2^(32 - 14 - left_shift), and limits.
    pub by: RequantizeParams,
}

/// Bound of positions, and of the counter.
pub(super) const MAX_POSITIONS: u32 = 1 << 20;

impl RotaryParams {
    fn rotation<'a>(
        &self,
        op: &OpView<'a>,
        x: &TensorRecord,
        y: &TensorRecord,
    ) -> Result<Rotation<'a>, OpError> {
        let len = (self.positions as usize)
            .checked_mul(self.pairs as usize)
            .ok_or(OpError::BadParams)?;
        Ok(Rotation {
            head_dim: self.head_dim as usize,
            pairs: self.pairs as usize,
            interleaved: self.interleaved == 1,
            table: op.weights(self.table, len)?,
            by: self.by.rescale(x, y),
        })
    }
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    check_activations(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
    let params = op.params::<RotaryParams>()?;
    let in_range = (1..=MAX_POSITIONS).contains(&params.positions)
        && params.pairs >= 1
        && params.pairs <= params.head_dim / 2
        && params.interleaved <= 1;
    require(in_range, OpError::BadParams)?;
    let same = x.channels() == y.channels() && x.rows() == y.rows();
    let heads = x.channels().is_multiple_of(params.head_dim as usize);
    require(same && heads, OpError::WrongShape)?;
    op.require_disjoint(&[x, y])?;
    check_counter(op)?;
    params.by.check(y)?;
    params.rotation(op, x, y).map(drop)
}

/// The counter of a stream, input 1, if there is one.
pub(super) fn check_counter(op: &OpView) -> Result<(), OpError> {
    if op.input_count() == 1 {
        return Ok(());
    }
    require(op.input_count() == 2, OpError::WrongShape)?;
    let counter = op.input(1)?;
    let kept = counter.storage() == Storage::State && counter.dtype() == DType::I32;
    require(kept, OpError::WrongStorage)?;
    require(
        counter.len() == 1 && counter.zero_point == 0,
        OpError::WrongShape,
    )?;
    op.require_disjoint(&[op.input(0)?, counter, op.output()?])
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let rotation = op.params::<RotaryParams>()?.rotation(op, x, y)?;
    let first = match op.input_count() {
        1 => 0,
        _ => advance(op, arena)?,
    };
    let channels = x.channels();
    let [x_bytes, y_bytes] = op.tensors(arena, [x, y])?;
    match (arena::values(x_bytes, x)?, arena::values_mut(y_bytes, y)?) {
        (Values::I8(x), ValuesMut::I8(y)) => rotate(x, channels, first, &rotation, y),
        (Values::I8(x), ValuesMut::I16(y)) => rotate(x, channels, first, &rotation, y),
        (Values::I16(x), ValuesMut::I8(y)) => rotate(x, channels, first, &rotation, y),
        (Values::I16(x), ValuesMut::I16(y)) => rotate(x, channels, first, &rotation, y),
    }
    Ok(())
}

/// Moves the counter on by the rows in use, up to its bound; gives the position of the first row.
pub(super) fn advance(op: &OpView, arena: &mut [u8]) -> Result<usize, OpError> {
    let x = op.input(0)?;
    let [x_bytes, counter] = op.tensors(arena, [x, op.input(1)?])?;
    let row = (x.channels() * x.dtype().size()).max(1);
    let rows = x_bytes.len() / row;
    let [position] = arena::typed::<i32>(counter)? else {
        return Err(OpError::WrongShape);
    };
    let first = (*position).clamp(0, MAX_POSITIONS as i32) as usize;
    *position = first.saturating_add(rows).min(MAX_POSITIONS as usize) as i32;
    Ok(first)
}

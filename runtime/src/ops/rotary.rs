//! Rotary: input `[rows, heads * head_dim]` int8 or int16, output of the same shape in either width; no scratch.
//!
//! Row `i` stands at position `i`, or, with a counter (state int32 `[1]`, input 1), at `counter + i`; the counter then
//! moves on by `rows`. Positions beyond the table are taken as its last one.

use super::arena::{self, Values, ValuesMut};
use super::elementwise::RequantizeParams;
use super::linear::check_activations;
use super::state::{MAX_POSITIONS, advance_position, check_position};
use super::{OpError, OpView, require};
use crate::format::TensorRecord;
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
    check_position(op)?;
    params.by.check(y)?;
    params.rotation(op, x, y).map(drop)
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let rotation = op.params::<RotaryParams>()?.rotation(op, x, y)?;
    let first = match op.input_count() {
        1 => 0,
        _ => advance_position(op, arena)?,
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

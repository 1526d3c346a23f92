//! Rotary: input `[rows, heads * head_dim]`, output the same shape, int8 or int16 each, or half. No scratch.
//!
//! Row `i` has position `i`, or `counter + i` with a counter (state int32 `[1]`, input 1), which then moves on by `rows`.
//! Positions beyond the table are taken as its last one.

use super::activations::check_activations;
use super::arena::{Values, by_width};
use super::rescale::RequantizeParams;
use super::state::{check_position, next_position};
use super::{OpError, OpView, centred, require, require_fits};
use crate::format::TensorRecord;
use crate::kernels::geometry::{MAX_POSITIONS, Turns};
use crate::kernels::int::rotary::{Rotation, rotate};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which channels Rotary turns at which positions, in every encoding.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RotaryGeometry {
    /// Positions that the table has, 1 to 2^20.
    pub positions: u32,
    /// Channels of a head; a divisor of the rows' channels.
    pub head_dim: u32,
    /// Pairs of channels that are turned, at least 1; `2 * pairs` is at most `head_dim`.
    pub pairs: u32,
    /// 1: pairs are neighbours; 0: halves of the turned channels.
    pub interleaved: u32,
}

impl RotaryGeometry {
    /// The turns by the table at `offset` of the weights section.
    fn turns<'a, A: FromBytes + Immutable + KnownLayout>(
        &self,
        op: &OpView<'a>,
        offset: u32,
    ) -> Result<Turns<'a, A>, OpError> {
        let len = (self.positions as usize).checked_mul(self.pairs as usize);
        Ok(Turns {
            head_dim: self.head_dim as usize,
            pairs: self.pairs as usize,
            interleaved: self.interleaved == 1,
            table: op.weights(offset, len.ok_or(OpError::BadParams)?)?,
        })
    }

    /// Rows of whole heads, and pairs of channels within a head.
    fn check(&self, op: &OpView) -> Result<(), OpError> {
        let (x, y) = (op.input(0)?, op.output()?);
        let turned = (1..=self.head_dim / 2).contains(&self.pairs) && self.interleaved <= 1;
        let in_range = (1..=MAX_POSITIONS).contains(&self.positions) && turned;
        require(in_range, OpError::BadParams)?;
        let same = x.channels() == y.channels() && x.rows() == y.rows();
        let heads = x.channels().is_multiple_of(self.head_dim as usize);
        require(same && heads, OpError::WrongShape)?;
        op.require_disjoint(&[x, y])?;
        check_position(op)
    }
}

/// Parameters of Rotary.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RotaryParams {
    /// int16 `[positions, pairs, 2]` in the weights section: cosine and sine, Q14.
    pub table: u32,
    /// Input scale / output scale * 2^(32 - 14 - left_shift), and limits.
    pub by: RequantizeParams,
    /// Positions and pairs.
    pub turns: RotaryGeometry,
}

impl RotaryParams {
    fn rotation<'a>(
        &self,
        op: &OpView<'a>,
        x: &TensorRecord,
        y: &TensorRecord,
    ) -> Result<Rotation<'a>, OpError> {
        Ok(Rotation {
            turns: self.turns.turns(op, self.table)?,
            by: self.by.rescale(x, y),
        })
    }
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let [x, y] = check_activations(op)?;
    let params = op.params::<RotaryParams>()?;
    params.turns.check(op)?;
    // Two products with entries of the table.
    params.by.check(y)?;
    let rotation = params.rotation(op, x, y)?;
    let table = rotation.turns.table;
    op.examine(size_of_val(table))?;
    let both = |turn: &[i16; 2]| turn.iter().map(|a| u32::from(a.unsigned_abs())).sum();
    let largest: u32 = table.iter().map(both).max().unwrap_or(0);
    let sum = u64::from(centred(x)) * u64::from(largest);
    require_fits(sum, params.by.left_shift)
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let rotation = op.params::<RotaryParams>()?.rotation(op, x, y)?;
    let first = next_position(op, arena)?;
    let channels = x.channels();
    let [x, y] = op.values(arena, [x, y])?;
    by_width!(x, y => rotate(x, channels, first, &rotation, y));
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::check_halves;
    use super::*;
    use crate::kernels::half::rotary::{Rotation, rotate};

    /// Parameters of Rotary in half precision.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct RotaryHalfParams {
        /// float16 `[positions, pairs, 2]` in the weights section: cosine and sine.
        pub table: u32,
        /// Positions and pairs.
        pub turns: RotaryGeometry,
    }

    impl RotaryHalfParams {
        fn rotation<'a>(&self, op: &OpView<'a>) -> Result<Rotation<'a>, OpError> {
            self.turns.turns(op, self.table)
        }
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        let params = op.params::<RotaryHalfParams>()?;
        check_halves(op)?;
        params.turns.check(op)?;
        params.rotation(op).map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let (x, y) = (op.input(0)?, op.output()?);
        let rotation = op.params::<RotaryHalfParams>()?.rotation(op)?;
        let first = next_position(op, arena)?;
        let channels = x.channels();
        let [x, y] = op.typed(arena, [x, y])?;
        rotate(x, channels, first, &rotation, y);
        Ok(())
    }
}

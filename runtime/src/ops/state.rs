//! ShiftRows: a sliding window of rows kept in a state tensor, the history of a streamed convolution.
//!
//! Inputs: rows `[n, c]`, state `[r, c]` with `n <= r`; no output tensor: later operators read the state.

use super::{OpError, OpView, require};
use crate::format::Storage;

pub(super) fn check_shift_rows(op: &OpView) -> Result<(), OpError> {
    let (rows, state) = (op.input(0)?, op.input(1)?);
    require(op.input_count() == 2, OpError::MissingTensor)?;
    require(op.record.outputs().next().is_none(), OpError::WrongShape)?;
    require(
        state.storage() == Storage::State && rows.storage() == Storage::Arena,
        OpError::WrongStorage,
    )?;
    require(rows.dtype == state.dtype, OpError::WrongType)?;
    require(
        rows.channels() == state.channels() && rows.len() <= state.len(),
        OpError::WrongShape,
    )?;
    op.params::<[u8; 0]>().map(drop)
}

pub(super) fn run_shift_rows(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let [rows, state] = op.tensors(arena, [op.input(0)?, op.input(1)?])?;
    let kept = state
        .len()
        .checked_sub(rows.len())
        .ok_or(OpError::WrongShape)?;
    state.copy_within(rows.len().., 0);
    state
        .get_mut(kept..)
        .ok_or(OpError::WrongShape)?
        .copy_from_slice(rows);
    Ok(())
}

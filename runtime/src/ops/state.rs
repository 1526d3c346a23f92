//! ShiftRows: a sliding window of rows kept in a state tensor, the history of a streamed convolution.
//!
//! Inputs: rows `[n, c]`, state `[r, c]` with `n <= r`; no output tensor: later operators read the state.
//!
//! LastRow: the newest of rows whose number is only known at run time.

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

/// LastRow: input `[n, c]`, output `[c]` of the same type: the last row in use.
pub(super) fn check_last_row(op: &OpView) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    require(op.input_count() == 1, OpError::MissingTensor)?;
    require(x.dtype == y.dtype, OpError::WrongType)?;
    require(
        y.len() == x.channels() && y.channels() == x.channels(),
        OpError::WrongShape,
    )?;
    op.require_disjoint(&[x, y])?;
    op.params::<[u8; 0]>().map(drop)
}

pub(super) fn run_last_row(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let [x, y] = op.tensors(arena, [op.input(0)?, op.output()?])?;
    let row = x.len().checked_sub(y.len()).and_then(|at| x.get(at..));
    match row {
        Some(row) => y.iter_mut().zip(row).for_each(|(y, x)| *y = *x),
        // A sequence too short for a single row.
        None => y.fill(0),
    }
    Ok(())
}

//! Rows over time, of any element type. ShiftRows: a sliding window of rows in a state tensor, the history of a streamed
//! convolution. Inputs: rows `[n, c]`, state `[r, c]` with `n <= r`. No output tensor: later operators read the state.
//!
//! LastRow: the last of rows whose number is known at run time only.
//!
//! The position of a row on a stream, for Rotary and AddConstant: a counter, state int32 `[1]`, as input 1.

use super::{OpError, OpView, arena, require};
use crate::format::{DType, Storage};
use crate::kernels::geometry::MAX_POSITIONS;
use crate::kernels::shift::drop_first;

pub(super) fn check_shift_rows(op: &OpView) -> Result<(), OpError> {
    let (rows, state) = (op.input(0)?, op.input(1)?);
    require(op.input_count() == 2, OpError::MissingTensor)?;
    require(op.output().is_err(), OpError::WrongShape)?;
    require(
        state.storage() == Storage::State && rows.storage() == Storage::Arena,
        OpError::WrongStorage,
    )?;
    require(rows.dtype == state.dtype, OpError::WrongType)?;
    op.require_fixed(&[state])?;
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
    drop_first(state, rows.len());
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
    op.require_fixed(&[y])?;
    op.params::<[u8; 0]>().map(drop)
}

pub(super) fn run_last_row(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let [x, y] = op.tensors(arena, [op.input(0)?, op.output()?])?;
    let row = x.len().checked_sub(y.len()).and_then(|at| x.get(at..));
    match row {
        Some(row) => arena::copy(row, y),
        // A sequence too short for a single row.
        None => y.fill(0),
    }
    Ok(())
}

/// Neither operator looks at its elements.
#[cfg(attn_half)]
pub(super) mod half {
    pub(in crate::ops) use super::{
        check_last_row, check_shift_rows, run_last_row, run_shift_rows,
    };
}

/// The counter of a stream, input 1, if there is one.
pub(super) fn check_position(op: &OpView) -> Result<(), OpError> {
    if op.input_count() == 1 {
        return Ok(());
    }
    require(op.input_count() == 2, OpError::WrongShape)?;
    let counter = op.input(1)?;
    let kept = counter.storage() == Storage::State && counter.dtype() == DType::I32;
    require(kept, OpError::WrongStorage)?;
    op.require_fixed(&[counter])?;
    require(
        counter.len() == 1 && counter.zero_point == 0,
        OpError::WrongShape,
    )?;
    op.require_disjoint(&[op.input(0)?, counter, op.output()?])
}

/// Position of the first row. A counter moves on by the valid rows, up to its bound.
pub(super) fn next_position(op: &OpView, arena: &mut [u8]) -> Result<usize, OpError> {
    if op.input_count() == 1 {
        return Ok(0);
    }
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

//! Lstm: input `x: [t, in]` int8 or int16, output `y: [t, hidden]` int16 Q15, cell `c: [hidden]` int16; scratch int32: the
//! cell in Q16 as the steps use it, then input and state in pair order.
//!
//! On a stream `h: [hidden]` int16 Q15 and `c` are state tensors, inputs 1 and 2, that every run carries on. Over a whole
//! sequence `c` is a second output; the run starts from zero, or from `h` and `c` in inputs 1 and 2, and may go
//! backwards.

use super::arena::{self, Values};
use super::gru::{RecurrentSide, Start};
use super::{OpError, OpView, require};
use crate::format::{DType, Storage, TensorRecord};
use crate::kernels::dot::pairs_len;
use crate::kernels::gates::Side;
use crate::kernels::lstm::step;
use crate::kernels::requantize::{Activation, requantize};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Gates of an Lstm.
const GATES: usize = 4;

/// Parameters of Lstm.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LstmParams {
    /// Input side.
    pub input: RecurrentSide,
    /// Recurrent side.
    pub recurrent: RecurrentSide,
    /// Where a run starts from; see [`Start`].
    pub start: u32,
    /// 1: from the last row to the first; 0: forwards.
    pub reverse: u32,
    /// From the cell's steps to Q16.
    pub cell_in: CellScale,
    /// From Q16 to the cell's steps.
    pub cell_out: CellScale,
}

/// Change of scale of an Lstm's cell; see [`crate::kernels::requantize`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CellScale {
    /// Factor.
    pub multiplier: i32,
    /// Left shift, 0 to 31.
    pub left_shift: u32,
}

fn cell<'a>(op: &OpView<'a>, start: Start) -> Result<&'a TensorRecord, OpError> {
    match start {
        Start::Last => op.input(2),
        Start::Zero | Start::Given => op.output_at(1),
    }
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<LstmParams>()?;
    let start = Start::from_code(params.start)?;
    let (x, y, c) = (op.input(0)?, op.output()?, cell(op, start)?);
    let hidden = y.channels();
    let kept = start == Start::Last;
    require(params.reverse <= u32::from(!kept), OpError::BadParams)?;
    require(
        x.dtype() != DType::I32 && y.dtype() == DType::I16 && c.dtype() == DType::I16,
        OpError::WrongType,
    )?;
    require(
        y.rows() == x.rows() && c.len() == hidden && (!kept || y.rows() == 1),
        OpError::WrongShape,
    )?;
    require(
        (c.storage() == Storage::State) == kept,
        OpError::WrongStorage,
    )?;
    op.require_disjoint(&[x, y, c])?;
    match start {
        Start::Zero => require(op.input_count() == 1, OpError::MissingTensor)?,
        Start::Last | Start::Given => {
            let (h0, c0) = (op.input(1)?, op.input(2)?);
            require(
                h0.dtype() == DType::I16 && c0.dtype() == DType::I16,
                OpError::WrongType,
            )?;
            require(
                h0.len() == hidden && c0.len() == hidden,
                OpError::WrongShape,
            )?;
            require(
                !kept || h0.storage() == Storage::State,
                OpError::WrongStorage,
            )?;
            op.require_disjoint(&[x, y, h0, c0])?;
            op.require_disjoint(&[y, h0, c])?;
            if !kept {
                op.require_disjoint(&[c0, c])?;
            }
        }
    }
    params.input.side(op, GATES, x.channels(), hidden)?;
    params.recurrent.side(op, GATES, hidden, hidden)?;
    let scales = [params.cell_in, params.cell_out];
    require(
        scales.iter().all(|scale| scale.left_shift < 32),
        OpError::BadParams,
    )?;
    op.scratch(DType::I32, scratch_len(x.channels(), hidden))
        .map(drop)
}

/// int32 elements of scratch.
fn scratch_len(k: usize, hidden: usize) -> usize {
    hidden + (pairs_len(k) + pairs_len(hidden)) / 2
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<LstmParams>()?;
    let start = Start::from_code(params.start)?;
    let (x, y, c) = (op.input(0)?, op.output()?, cell(op, start)?);
    let (k, hidden) = (x.channels(), y.channels());
    let layer = Layer {
        input: params.input.side(op, GATES, k, hidden)?,
        recurrent: params.recurrent.side(op, GATES, hidden, hidden)?,
        reverse: params.reverse == 1,
        hidden,
    };
    let scratch = op.scratch(DType::I32, scratch_len(k, hidden))?;
    begin(op, start, layer.reverse, arena)?;
    let [x_bytes, y, c, scratch] = op.tensors(arena, [x, y, c, scratch])?;
    let (y, c) = (arena::typed::<i16>(y)?, arena::typed::<i16>(c)?);
    let (cell, pairs) = scratch
        .split_at_mut_checked(hidden * size_of::<i32>())
        .ok_or(OpError::ScratchTooSmall)?;
    let (cell, pairs) = (arena::typed::<i32>(cell)?, arena::typed::<i16>(pairs)?);
    let scaled =
        |value: i32, scale: CellScale| requantize(value, scale.multiplier, scale.left_shift);
    for (cell, &c) in cell.iter_mut().zip(&*c) {
        *cell = scaled(c.into(), params.cell_in);
    }
    match arena::values(x_bytes, x)? {
        Values::I8(x) => layer.run(x, k, y, cell, pairs),
        Values::I16(x) => layer.run(x, k, y, cell, pairs),
    }
    for (c, &cell) in c.iter_mut().zip(&*cell) {
        *c = scaled(cell, params.cell_out).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
    }
    if start == Start::Last {
        let [y, h] = op.tensors(arena, [op.output()?, op.input(1)?])?;
        h.iter_mut().zip(&*y).for_each(|(h, y)| *h = *y);
    }
    Ok(())
}

/// Puts the state that the run starts from where the first step looks for it: into the first row of the result and
/// into the cell.
fn begin(op: &OpView, start: Start, reverse: bool, arena: &mut [u8]) -> Result<(), OpError> {
    let (y, c) = (op.output()?, cell(op, start)?);
    let row_len = y.channels() * size_of::<i16>();
    let first = |y: &mut [u8]| {
        if reverse {
            y.len().saturating_sub(row_len)
        } else {
            0
        }
    };
    if start == Start::Zero {
        let [y, c] = op.tensors(arena, [y, c])?;
        c.fill(0);
        let at = first(y);
        y.iter_mut()
            .skip(at)
            .take(row_len)
            .for_each(|byte| *byte = 0);
        return Ok(());
    }
    if start == Start::Given {
        let [c0, c] = op.tensors(arena, [op.input(2)?, c])?;
        c.iter_mut().zip(&*c0).for_each(|(c, x)| *c = *x);
    }
    let [y, h] = op.tensors(arena, [y, op.input(1)?])?;
    let at = first(y);
    y.iter_mut().skip(at).zip(h).for_each(|(y, h)| *y = *h);
    Ok(())
}

struct Layer<'w> {
    input: Side<'w>,
    recurrent: Side<'w>,
    reverse: bool,
    hidden: usize,
}

impl Layer<'_> {
    /// Steps over the rows of `x`. The state of a step stands in the row of `y` that it computes: each step first takes
    /// over the row of the step before.
    fn run<X: Activation>(
        &self,
        x: &[X],
        k: usize,
        y: &mut [i16],
        c: &mut [i32],
        pairs: &mut [i16],
    ) {
        let hidden = self.hidden.max(1);
        let rows = y.len() / hidden;
        for at in 0..rows {
            let row = if self.reverse { rows - 1 - at } else { at };
            if at > 0 {
                let before = if self.reverse { row + 1 } else { row - 1 };
                for unit in 0..hidden {
                    let last = y.get(before * hidden + unit).copied();
                    if let (Some(slot), Some(last)) = (y.get_mut(row * hidden + unit), last) {
                        *slot = last;
                    }
                }
            }
            let x = x.get(row * k..(row + 1) * k);
            let h = y.get_mut(row * hidden..(row + 1) * hidden);
            if let (Some(x), Some(h)) = (x, h) {
                step(x, &self.input, &self.recurrent, h, c, pairs);
            }
        }
    }
}

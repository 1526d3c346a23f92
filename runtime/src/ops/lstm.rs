//! Lstm: input `x: [t, in]`, output `y: [t, hidden]`, cell `c: [hidden]`. Integer: `x` int8 or int16, `y` int16 Q15, `c` int16;
//! scratch int32: the cell in Q16, then input and state in pair order. Half: scratch f32 for input, state and cell.
//!
//! On a stream `h: [hidden]` and `c` are state tensors, inputs 1 and 2, that every run carries on. Over a whole sequence `c` is
//! a second output; the run starts from zero, or from `h` and `c` in inputs 1 and 2, and may go backwards.

use super::arena::{self, Values, by_width};
use super::recurrent::{
    RecurrentGeometry, RecurrentSide, Start, check_layer, check_sides, kept, rows,
};
use super::{OpError, OpView, Uses, require};
use crate::format::{DType, TensorRecord};
use crate::kernels::int::dot::{pairs_len, to_pairs};
use crate::kernels::int::lstm::step;
use crate::kernels::int::requantize::requantize_saturated;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const GATES: usize = 4;
/// `h` and `c`.
const STATES: usize = 2;

/// Parameters of Lstm.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LstmParams {
    /// Input side.
    pub input: RecurrentSide,
    /// Recurrent side.
    pub recurrent: RecurrentSide,
    /// From the cell's steps to Q16.
    pub cell_in: CellScale,
    /// From Q16 to the cell's steps.
    pub cell_out: CellScale,
    /// Start and direction.
    pub run: RecurrentGeometry,
}

/// Change of scale of an Lstm's cell; see [`crate::kernels::int::requantize`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CellScale {
    /// Factor.
    pub multiplier: i32,
    /// Left shift, 0 to 31.
    pub left_shift: u32,
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<LstmParams>()?;
    let start = Start::from_code(params.run.start)?;
    check_layer(op, start, params.run.reverse, STATES)?;
    let (x, y, c) = (op.input(0)?, op.output()?, kept(op, start, STATES)?);
    let known = x.dtype() != DType::I32 && y.dtype() == DType::I16 && c.dtype() == DType::I16;
    require(known, OpError::WrongType)?;
    let single = start != Start::Last || y.rows() == 1;
    require(single, OpError::WrongShape)?;
    let hidden = y.channels();
    check_sides(op, &params.input, &params.recurrent, GATES)?;
    let in_range = params.cell_in.left_shift < 32 && params.cell_out.left_shift < 32;
    require(in_range, OpError::BadParams)?;
    op.scratch(DType::I32, scratch_len(x.channels(), hidden))
        .map(drop)
}

/// int32 elements of scratch.
fn scratch_len(k: usize, hidden: usize) -> usize {
    hidden + (pairs_len(k) + pairs_len(hidden)) / 2
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    run_with::<{ Uses::ALL }, false>(op, arena)
}

/// With joined weights on the input's side.
pub(super) fn run_joined<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    run_with::<USES, true>(op, arena)
}

fn run_with<const USES: u8, const JOINED: bool>(
    op: &OpView,
    arena: &mut [u8],
) -> Result<(), OpError> {
    let params = op.params::<LstmParams>()?;
    let start = Start::from_code(params.run.start)?;
    let (x, y, c) = (op.input(0)?, op.output()?, kept(op, start, STATES)?);
    let (k, hidden) = (x.channels(), y.channels());
    let input = params.input.side::<JOINED>(op, GATES, k, hidden)?;
    let recurrent = params.recurrent.side(op, GATES, hidden, hidden)?;
    let scratch = op.scratch(DType::I32, scratch_len(k, hidden))?;
    begin(op, start, scratch, arena)?;
    let [x_bytes, y, c, scratch] = op.tensors(arena, [x, y, c, scratch])?;
    let (y, c) = (arena::typed::<i16>(y)?, arena::typed::<i16>(c)?);
    let (cell, pairs) = split(scratch, hidden)?;
    let scaled = |value: i32, scale: CellScale| {
        requantize_saturated(value, scale.multiplier, scale.left_shift)
    };
    for (cell, &c) in cell.iter_mut().zip(&*c) {
        *cell = scaled(c.into(), params.cell_in);
    }
    let x = arena::values(x_bytes, x)?;
    let reverse = params.run.reverse == 1;
    by_width!(USES; x => rows(x, y, [k, hidden], reverse, |x, h| {
        step(x, &input, &recurrent, h, cell, pairs);
    }));
    for (c, &cell) in c.iter_mut().zip(&*cell) {
        *c = scaled(cell, params.cell_out).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
    }
    if start == Start::Last {
        let [y, h] = op.tensors(arena, [op.output()?, op.input(1)?])?;
        arena::copy(y, h);
    }
    Ok(())
}

/// The parts of the scratch: the cell, then input and state in pair order.
fn split(scratch: &mut [u8], hidden: usize) -> Result<(&mut [i32], &mut [i16]), OpError> {
    let (cell, pairs) = scratch
        .split_at_mut_checked(hidden * size_of::<i32>())
        .ok_or(OpError::ScratchTooSmall)?;
    Ok((arena::typed(cell)?, arena::typed(pairs)?))
}

/// Puts the state that the run starts from where the first step reads it: into the scratch and into the cell.
fn begin(
    op: &OpView,
    start: Start,
    scratch: &TensorRecord,
    arena: &mut [u8],
) -> Result<(), OpError> {
    let c = kept(op, start, STATES)?;
    if start == Start::Zero {
        let [scratch, c] = op.tensors(arena, [scratch, c])?;
        scratch.fill(0);
        c.fill(0);
        return Ok(());
    }
    if start == Start::Given {
        let [c0, c] = op.tensors(arena, [op.input(2)?, c])?;
        arena::copy(c0, c);
    }
    let [h, scratch] = op.tensors(arena, [op.input(1)?, scratch])?;
    let (_, pairs) = split(scratch, c.len())?;
    let pairs = pairs.get_mut(pairs_len(op.input(0)?.channels())..);
    to_pairs(arena::typed::<i16>(h)?, 0, pairs.unwrap_or_default());
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::scratch;
    use super::super::gru::half::GruHalfParams;
    use super::super::recurrent::half::{begin, check_sides, check_types, sides};
    use super::*;
    use crate::kernels::half::lstm::step;
    use crate::kernels::half::{Clamp, narrow, widen};

    /// Parameters of Lstm in half precision: those of Gru.
    pub type LstmHalfParams = GruHalfParams;

    /// f32 elements of an Lstm's scratch.
    fn scratch_len(k: usize, hidden: usize) -> usize {
        k.saturating_add(hidden.saturating_mul(2))
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        let params = op.params::<LstmHalfParams>()?;
        let start = Start::from_code(params.run.start)?;
        check_layer(op, start, params.run.reverse, STATES)?;
        check_types(op, kept(op, start, STATES)?)?;
        check_sides(op, &params.input, &params.recurrent, GATES)?;
        let (k, hidden) = (op.input(0)?.channels(), op.output()?.channels());
        scratch(op, scratch_len(k, hidden)).map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let params = op.params::<LstmHalfParams>()?;
        let start = Start::from_code(params.run.start)?;
        let (x, y, c) = (op.input(0)?, op.output()?, kept(op, start, STATES)?);
        let (k, hidden) = (x.channels(), y.channels());
        let [input, recurrent] = sides(op, &params.input, &params.recurrent, GATES)?;
        let wide = scratch(op, scratch_len(k, hidden))?;
        begin(op, start, 1, wide, k, arena)?;
        begin(op, start, 2, wide, k + hidden, arena)?;
        let [x, y, c, wide_bytes] = op.tensors(arena, [x, y, c, wide])?;
        let all = arena::first::<f32>(wide_bytes, scratch_len(k, hidden))?;
        let short = OpError::ScratchTooSmall;
        let (wide_x, rest) = all.split_at_mut_checked(k).ok_or(short)?;
        let (wide_h, wide_c) = rest.split_at_mut_checked(hidden).ok_or(short)?;
        let (x, y) = (arena::typed(x)?, arena::typed(y)?);
        rows(x, y, [k, hidden], params.run.reverse == 1, |x, y| {
            widen(x, wide_x);
            step(wide_x, &input, &recurrent, wide_h, wide_c, y);
        });
        narrow(wide_c, Clamp::NONE, arena::typed(c)?);
        if start == Start::Last {
            let [h, wide] = op.tensors(arena, [op.input(1)?, wide])?;
            let wide = arena::typed::<f32>(wide)?.get(k..).unwrap_or(&[]);
            narrow(wide, Clamp::NONE, arena::typed(h)?);
        }
        Ok(())
    }
}

//! Recurrent: a recurrent layer in any form of ONNX. Input `x: [t, in]`, output `y: [t, hidden]`. Integer: `x` int8 or int16, `y`
//! int16; scratch int32: the cell in Q16, the state, then input and state in pair order. Half: scratch f32 for input, state and cell.
//!
//! States and second output are those of Lstm for the cells that keep one, else those of Gru. Those two are faster in the forms that
//! they have.

use super::arena::{self, Values, by_width};
use super::lstm::CellScale;
use super::recurrent::{
    RecurrentGeometry, RecurrentSide, Start, check_layer, check_sides, kept, rows,
};
use super::{OpError, OpView, require};
use crate::format::{DType, TensorRecord};
use crate::kernels::geometry::Cell;
use crate::kernels::int::cell::{Layer, Memory};
use crate::kernels::int::curve::Curve;
use crate::kernels::int::dot::pairs_len;
use crate::kernels::int::requantize::requantize_saturated;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// No peepholes.
const NONE: u32 = u32::MAX;
/// Most entries of the table of an activation.
const MAX_ENTRIES: usize = 1 << 14;

/// Parameters of Recurrent.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecurrentParams {
    /// Input side.
    pub input: RecurrentSide,
    /// Recurrent side.
    pub recurrent: RecurrentSide,
    /// The cell, see [`Cell`].
    pub cell: u32,
    /// The state's bits behind the point, 0 to 15.
    pub state_bits: u32,
    /// int32 Q16 `[3, hidden]`, for gates i, o and f of an LSTM; `0xffffffff` for none.
    pub peepholes: u32,
    /// Activations f, g and h; those that the cell does not use are as valid as the others.
    pub curves: [CurveParams; 3],
    /// From the cell's steps to Q16.
    pub cell_in: CellScale,
    /// From Q16 to the cell's steps.
    pub cell_out: CellScale,
    /// Start and direction.
    pub run: RecurrentGeometry,
}

/// A function of a pre-activation; see [`Curve`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CurveParams {
    /// int32 Q16 `[((high - low) >> step_bits) + 2]` in the weights section.
    pub table: u32,
    /// Where the table begins, Q16.
    pub low: i32,
    /// Where it ends.
    pub high: i32,
    /// 0 to 16.
    pub step_bits: u32,
    /// Below the table, Q24.
    pub slope_below: i32,
    /// Above it.
    pub slope_above: i32,
}

impl CurveParams {
    fn curve<'a>(&self, op: &OpView<'a>) -> Result<Curve<'a>, OpError> {
        let valid = self.low <= self.high && self.step_bits <= 16;
        require(valid, OpError::BadParams)?;
        let entries = Curve::entries(self.low, self.high, self.step_bits);
        require(entries <= MAX_ENTRIES, OpError::BadParams)?;
        Ok(Curve {
            table: op.weights(self.table, entries)?,
            low: self.low,
            high: self.high,
            step_bits: self.step_bits,
            slopes: [self.slope_below, self.slope_above],
        })
    }
}

/// `h` of every cell, and `c` of an LSTM.
const fn states(cell: Cell) -> usize {
    if cell.is_lstm() { 2 } else { 1 }
}

/// The cell, where it starts from and the tensor that it leaves behind.
fn form<'a>(
    op: &OpView<'a>,
    cell: u32,
    run: RecurrentGeometry,
) -> Result<(Cell, Start, &'a TensorRecord), OpError> {
    let cell = Cell::from_code(cell).ok_or(OpError::BadParams)?;
    let start = Start::from_code(run.start)?;
    Ok((cell, start, kept(op, start, states(cell))?))
}

/// Checks the tensors, all but their types.
fn check_tensors(
    op: &OpView,
    cell: Cell,
    start: Start,
    run: RecurrentGeometry,
) -> Result<(), OpError> {
    check_layer(op, start, run.reverse, states(cell))?;
    let single = start != Start::Last || op.output()?.rows() == 1;
    require(single, OpError::WrongShape)
}

/// Peepholes for three gates.
fn peepholes<'a, T: FromBytes + Immutable + KnownLayout>(
    op: &OpView<'a>,
    offset: u32,
    cell: Cell,
    hidden: usize,
) -> Result<&'a [T], OpError> {
    if offset == NONE {
        return Ok(&[]);
    }
    require(cell.is_lstm(), OpError::BadParams)?;
    op.weights(offset, hidden.saturating_mul(3))
}

impl RecurrentParams {
    fn layer<'a>(&self, op: &OpView<'a>, cell: Cell) -> Result<Layer<'a>, OpError> {
        let (k, hidden) = (op.input(0)?.channels(), op.output()?.channels());
        let shifts = self.cell_in.left_shift < 32 && self.cell_out.left_shift < 32;
        require(shifts && self.state_bits < 16, OpError::BadParams)?;
        let [f, g, h] = &self.curves;
        Ok(Layer {
            cell,
            input: self.input.side(op, cell.gates(), k, hidden)?,
            recurrent: self.recurrent.side(op, cell.gates(), hidden, hidden)?,
            curves: [f.curve(op)?, g.curve(op)?, h.curve(op)?],
            peepholes: peepholes(op, self.peepholes, cell, hidden)?,
            state_bits: self.state_bits,
        })
    }
}

/// int32 elements of the cell, and int16 elements of state, input, state in pairs, and state times reset gate.
fn parts(cell: Cell, k: usize, hidden: usize) -> (usize, [usize; 4]) {
    let (cells, units) = (if cell.is_lstm() { hidden } else { 0 }, pairs_len(hidden));
    let reset = if cell == Cell::GruResetBefore {
        units
    } else {
        0
    };
    (cells, [units, pairs_len(k), units, reset])
}

/// int32 elements of scratch.
fn scratch_len(cell: Cell, k: usize, hidden: usize) -> usize {
    let (cells, shorts) = parts(cell, k, hidden);
    shorts
        .iter()
        .fold(cells, |sum, len| sum.saturating_add(len / 2))
}

/// The parts of the scratch.
fn memory(scratch: &mut [u8], cell: Cell, k: usize, hidden: usize) -> Result<Memory<'_>, OpError> {
    let (cells, [units, inputs, ..]) = parts(cell, k, hidden);
    let short = OpError::ScratchTooSmall;
    let split = scratch.split_at_mut_checked(cells * size_of::<i32>());
    let (c, rest) = split.ok_or(short)?;
    let (h, rest) = arena::typed::<i16>(rest)?
        .split_at_mut_checked(units)
        .ok_or(short)?;
    let (x_pairs, rest) = rest.split_at_mut_checked(inputs).ok_or(short)?;
    let (h_pairs, rest) = rest.split_at_mut_checked(units).ok_or(short)?;
    let reset = if cell == Cell::GruResetBefore {
        units
    } else {
        0
    };
    Ok(Memory {
        h: h.get_mut(..hidden).ok_or(short)?,
        c: arena::typed(c)?,
        x_pairs,
        h_pairs,
        reset: rest.get_mut(..reset).ok_or(short)?,
    })
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<RecurrentParams>()?;
    let (cell, start, kept) = form(op, params.cell, params.run)?;
    check_tensors(op, cell, start, params.run)?;
    let (x, y) = (op.input(0)?, op.output()?);
    let known = x.dtype() != DType::I32 && y.dtype() == DType::I16 && kept.dtype() == DType::I16;
    require(known, OpError::WrongType)?;
    params.layer(op, cell)?;
    check_sides(op, &params.input, &params.recurrent, cell.gates())?;
    op.scratch(DType::I32, scratch_len(cell, x.channels(), y.channels()))
        .map(drop)
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<RecurrentParams>()?;
    let (cell, start, kept) = form(op, params.cell, params.run)?;
    let layer = params.layer(op, cell)?;
    let (x, y) = (op.input(0)?, op.output()?);
    let (k, hidden) = (x.channels(), y.channels());
    let scratch = op.scratch(DType::I32, scratch_len(cell, k, hidden))?;
    let scaled =
        |value: i32, to: CellScale| requantize_saturated(value, to.multiplier, to.left_shift);
    if start == Start::Zero {
        let [scratch] = op.tensors(arena, [scratch])?;
        scratch.fill(0);
    } else {
        let [h, scratch] = op.tensors(arena, [op.input(1)?, scratch])?;
        let memory = memory(scratch, cell, k, hidden)?;
        memory
            .h
            .iter_mut()
            .zip(arena::typed::<i16>(h)?)
            .for_each(|(to, h)| *to = *h);
    }
    if start != Start::Zero && cell.is_lstm() {
        let [c, scratch] = op.tensors(arena, [op.input(2)?, scratch])?;
        let memory = memory(scratch, cell, k, hidden)?;
        for (to, &mut c) in memory.c.iter_mut().zip(arena::typed::<i16>(c)?) {
            *to = scaled(c.into(), params.cell_in);
        }
    }
    let [x_bytes, y, kept, scratch] = op.tensors(arena, [x, y, kept, scratch])?;
    let mut memory = memory(scratch, cell, k, hidden)?;
    let (x, y) = (arena::values(x_bytes, x)?, arena::typed::<i16>(y)?);
    by_width!(x => rows(x, y, [k, hidden], params.run.reverse == 1, |x, y| {
        layer.step(x, &mut memory);
        y.iter_mut().zip(&*memory.h).for_each(|(y, h)| *y = *h);
    }));
    let kept = arena::typed::<i16>(kept)?;
    if cell.is_lstm() {
        for (kept, &c) in kept.iter_mut().zip(&*memory.c) {
            *kept = scaled(c, params.cell_out).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        }
    } else {
        kept.iter_mut()
            .zip(&*memory.h)
            .for_each(|(kept, h)| *kept = *h);
    }
    if start == Start::Last && cell.is_lstm() {
        let [y, h] = op.tensors(arena, [op.output()?, op.input(1)?])?;
        arena::copy(y, h);
    }
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::scratch;
    use super::super::recurrent::half::{
        RecurrentHalfSide, begin, check_sides, check_types, sides,
    };
    use super::*;
    use crate::kernels::half::cell::{Curve, Layer, Memory};
    use crate::kernels::half::{Clamp, narrow, widen};

    /// Parameters of Recurrent in half precision.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct RecurrentHalfParams {
        /// Input side.
        pub input: RecurrentHalfSide,
        /// Recurrent side.
        pub recurrent: RecurrentHalfSide,
        /// The cell, see [`Cell`].
        pub cell: u32,
        /// f32 `[3, hidden]`, for gates i, o and f of an LSTM; `0xffffffff` for none.
        pub peepholes: u32,
        /// Activations f, g and h; those that the cell does not use are as valid as the others.
        pub curves: [CurveHalfParams; 3],
        /// Start and direction.
        pub run: RecurrentGeometry,
    }

    /// A function of a pre-activation; see [`Curve`].
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct CurveHalfParams {
        /// f32 `[entries]` in the weights section.
        pub table: u32,
        /// 2 to 2^14.
        pub entries: u32,
        /// Where the table begins: finite.
        pub low: f32,
        /// Where it ends: finite, at least `low`.
        pub high: f32,
        /// 1 / the distance of two entries: finite, above 0.
        pub inverse_step: f32,
        /// Below the table: finite.
        pub slope_below: f32,
        /// Above it: finite.
        pub slope_above: f32,
    }

    impl CurveHalfParams {
        fn curve<'a>(&self, op: &OpView<'a>) -> Result<Curve<'a>, OpError> {
            let slopes = [self.slope_below, self.slope_above];
            let mut all = [self.low, self.high, self.inverse_step]
                .into_iter()
                .chain(slopes);
            let valid = all.all(f32::is_finite) && self.inverse_step > 0.0;
            require(valid && self.low <= self.high, OpError::BadParams)?;
            let entries = self.entries as usize;
            require((2..=MAX_ENTRIES).contains(&entries), OpError::BadParams)?;
            Ok(Curve {
                table: op.weights(self.table, entries)?,
                low: self.low,
                high: self.high,
                inverse_step: self.inverse_step,
                slopes,
            })
        }
    }

    impl RecurrentHalfParams {
        fn layer<'a>(&self, op: &OpView<'a>, cell: Cell) -> Result<Layer<'a>, OpError> {
            let [input, recurrent] = sides(op, &self.input, &self.recurrent, cell.gates())?;
            let [f, g, h] = &self.curves;
            Ok(Layer {
                cell,
                input,
                recurrent,
                curves: [f.curve(op)?, g.curve(op)?, h.curve(op)?],
                peepholes: peepholes(op, self.peepholes, cell, op.output()?.channels())?,
            })
        }
    }

    /// f32 elements of input, state, cell, and state times reset gate.
    fn parts(cell: Cell, k: usize, hidden: usize) -> [usize; 4] {
        let cells = if cell.is_lstm() { hidden } else { 0 };
        let reset = if cell == Cell::GruResetBefore {
            hidden
        } else {
            0
        };
        [k, hidden, cells, reset]
    }

    fn scratch_len(cell: Cell, k: usize, hidden: usize) -> usize {
        parts(cell, k, hidden)
            .iter()
            .fold(0, |sum, len| sum.saturating_add(*len))
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        let params = op.params::<RecurrentHalfParams>()?;
        let (cell, start, kept) = form(op, params.cell, params.run)?;
        check_tensors(op, cell, start, params.run)?;
        check_types(op, kept)?;
        params.layer(op, cell)?;
        check_sides(op, &params.input, &params.recurrent, cell.gates())?;
        let (k, hidden) = (op.input(0)?.channels(), op.output()?.channels());
        scratch(op, scratch_len(cell, k, hidden)).map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let params = op.params::<RecurrentHalfParams>()?;
        let (cell, start, kept) = form(op, params.cell, params.run)?;
        let layer = params.layer(op, cell)?;
        let (x, y) = (op.input(0)?, op.output()?);
        let (k, hidden) = (x.channels(), y.channels());
        let wide = scratch(op, scratch_len(cell, k, hidden))?;
        begin(op, start, 1, wide, k, arena)?;
        if cell.is_lstm() {
            begin(op, start, 2, wide, k + hidden, arena)?;
        }
        let [x, y, kept, wide_bytes] = op.tensors(arena, [x, y, kept, wide])?;
        let [_, _, cells, reset] = parts(cell, k, hidden);
        let short = OpError::ScratchTooSmall;
        let all = arena::first::<f32>(wide_bytes, scratch_len(cell, k, hidden))?;
        let (wide_x, rest) = all.split_at_mut_checked(k).ok_or(short)?;
        let (h, rest) = rest.split_at_mut_checked(hidden).ok_or(short)?;
        let (c, rest) = rest.split_at_mut_checked(cells).ok_or(short)?;
        let reset = rest.get_mut(..reset).ok_or(short)?;
        let mut memory = Memory { h, c, reset };
        let (x, y) = (arena::typed(x)?, arena::typed(y)?);
        rows(x, y, [k, hidden], params.run.reverse == 1, |x, y| {
            widen(x, wide_x);
            layer.step(wide_x, &mut memory, y);
        });
        let last = if cell.is_lstm() {
            &*memory.c
        } else {
            &*memory.h
        };
        narrow(last, Clamp::NONE, arena::typed(kept)?);
        if start == Start::Last && cell.is_lstm() {
            let [y, h] = op.tensors(arena, [op.output()?, op.input(1)?])?;
            arena::copy(y, h);
        }
        Ok(())
    }
}

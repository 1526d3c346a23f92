//! Gru and Lstm in half precision: tensors as in the integer forms, but float16 throughout. Scratch is f32: input, state,
//! and the cell of an Lstm.

use super::super::gru::Start;
use super::{OpError, OpView, arena, half, packed, require, scratch};
use crate::f16;
use crate::format::{Storage, TensorRecord};
use crate::kernels::half::gates::{Side, side_len};
use crate::kernels::half::{Clamp, LANES, gru, lstm, narrow, widen};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const GRU_GATES: usize = 3;
const LSTM_GATES: usize = 4;

/// Weights of one side of a recurrent layer in half precision; offsets in the weights section.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecurrentHalfSide {
    /// Packed float16 `[hidden, in]` for each gate: z, r, n of a Gru; i, o, f, g of an Lstm.
    pub weights: u32,
    /// f32, `hidden` rounded up to a multiple of 4, for each gate.
    pub bias: u32,
}

/// Parameters of Gru in half precision.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GruHalfParams {
    /// Input side.
    pub input: RecurrentHalfSide,
    /// Recurrent side.
    pub recurrent: RecurrentHalfSide,
    /// Where a run starts from; see [`Start`].
    pub start: u32,
    /// 1: from the last row to the first; 0: forwards.
    pub reverse: u32,
}

/// Parameters of Lstm in half precision: the same.
pub type LstmHalfParams = GruHalfParams;

impl RecurrentHalfSide {
    fn side<'a>(
        &self,
        op: &OpView<'a>,
        gates: usize,
        k: usize,
        hidden: usize,
    ) -> Result<Side<'a>, OpError> {
        Ok(Side {
            weights: packed(op, self.weights, side_len(gates, hidden, k))?,
            bias: op.weights(self.bias, gates * hidden.div_ceil(LANES))?,
        })
    }
}

impl GruHalfParams {
    fn sides<'a>(&self, op: &OpView<'a>, gates: usize) -> Result<[Side<'a>; 2], OpError> {
        let (k, hidden) = (op.input(0)?.channels(), op.output()?.channels());
        Ok([
            self.input.side(op, gates, k, hidden)?,
            self.recurrent.side(op, gates, hidden, hidden)?,
        ])
    }

    /// What both layers demand of `x`, `y`, the weights and the start; `kept` is what is carried on, or the second
    /// output.
    fn check(&self, op: &OpView, gates: usize, kept: &TensorRecord) -> Result<Start, OpError> {
        let start = Start::from_code(self.start)?;
        let (x, y) = (op.input(0)?, op.output()?);
        for tensor in [x, y, kept] {
            half(tensor)?;
        }
        let streamed = start == Start::Last;
        require(self.reverse <= u32::from(!streamed), OpError::BadParams)?;
        let fits = y.rows() == x.rows() && kept.len() == y.channels();
        require(fits, OpError::WrongShape)?;
        require(
            !streamed || kept.storage() == Storage::State,
            OpError::WrongStorage,
        )?;
        op.require_disjoint(&[x, y, kept])?;
        self.sides(op, gates)?;
        Ok(start)
    }
}

/// The tensor of the list that is carried on when streaming; else the second output.
fn kept<'a>(op: &OpView<'a>, start: u32, slot: usize) -> Result<&'a TensorRecord, OpError> {
    match Start::from_code(start)? {
        Start::Last => op.input(slot),
        Start::Zero | Start::Given => op.output_at(1),
    }
}

/// A state that is given, input `slot`.
fn check_given<'a>(op: &OpView<'a>, slot: usize) -> Result<&'a TensorRecord, OpError> {
    let (given, y) = (op.input(slot)?, op.output()?);
    half(given)?;
    require(given.len() == y.channels(), OpError::WrongShape)?;
    op.require_disjoint(&[given, y])?;
    Ok(given)
}

/// `len` elements of scratch from element `at` on.
fn place(wide: &mut [u8], at: usize, len: usize) -> Result<&mut [f32], OpError> {
    arena::typed(wide)?
        .get_mut(at..at + len)
        .ok_or(OpError::ScratchTooSmall)
}

/// Fills the elements of `wide` from `at` on with input `slot`, or with zeros.
fn begin(
    op: &OpView,
    start: Start,
    slot: usize,
    wide: &TensorRecord,
    at: usize,
    arena: &mut [u8],
) -> Result<(), OpError> {
    let hidden = op.output()?.channels();
    if start == Start::Zero {
        let [wide] = op.tensors(arena, [wide])?;
        place(wide, at, hidden)?.fill(0.0);
        return Ok(());
    }
    let [given, wide] = op.tensors(arena, [op.input(slot)?, wide])?;
    widen(arena::typed(given)?, place(wide, at, hidden)?);
    Ok(())
}

/// Calls `step` with every row of `x` and `y`, from the end if `reverse`; input is widened into `wide_x`.
fn rows(
    x: &[f16],
    y: &mut [f16],
    [k, hidden]: [usize; 2],
    reverse: bool,
    wide_x: &mut [f32],
    mut step: impl FnMut(&[f32], &mut [f16]),
) {
    let (k, hidden) = (k.max(1), hidden.max(1));
    let count = (x.len() / k).min(y.len() / hidden);
    for i in 0..count {
        let row = if reverse { count - 1 - i } else { i };
        let x = x.get(row * k..(row + 1) * k);
        let y = y.get_mut(row * hidden..(row + 1) * hidden);
        if let (Some(x), Some(y)) = (x, y) {
            widen(x, wide_x);
            step(wide_x, y);
        }
    }
}

pub(super) fn check_gru(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<GruHalfParams>()?;
    let h = kept(op, params.start, 1)?;
    let start = params.check(op, GRU_GATES, h)?;
    let inputs = if start == Start::Zero { 1 } else { 2 };
    require(op.input_count() == inputs, OpError::MissingTensor)?;
    if start == Start::Given {
        op.require_disjoint(&[check_given(op, 1)?, h])?;
    }
    let hidden = op.output()?.channels();
    scratch(op, op.input(0)?.channels().saturating_add(hidden)).map(drop)
}

pub(super) fn run_gru(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<GruHalfParams>()?;
    let (x, y, h) = (op.input(0)?, op.output()?, kept(op, params.start, 1)?);
    let (k, hidden) = (x.channels(), y.channels());
    let [input, recurrent] = params.sides(op, GRU_GATES)?;
    let wide = scratch(op, k.saturating_add(hidden))?;
    begin(op, Start::from_code(params.start)?, 1, wide, k, arena)?;
    let [x, y, h, wide] = op.tensors(arena, [x, y, h, wide])?;
    let (wide_x, wide_h) = arena::first::<f32>(wide, k + hidden)?
        .split_at_mut_checked(k)
        .ok_or(OpError::ScratchTooSmall)?;
    let (x, y) = (arena::typed(x)?, arena::typed(y)?);
    rows(x, y, [k, hidden], params.reverse == 1, wide_x, |x, y| {
        gru::step(x, &input, &recurrent, wide_h, y);
    });
    narrow(wide_h, Clamp::NONE, arena::typed(h)?);
    Ok(())
}

/// f32 elements of an Lstm's scratch.
fn lstm_scratch(k: usize, hidden: usize) -> usize {
    k.saturating_add(hidden.saturating_mul(2))
}

pub(super) fn check_lstm(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<LstmHalfParams>()?;
    let c = kept(op, params.start, 2)?;
    let start = params.check(op, LSTM_GATES, c)?;
    let inputs = if start == Start::Zero { 1 } else { 3 };
    require(op.input_count() == inputs, OpError::MissingTensor)?;
    if start != Start::Zero {
        let (h0, c0) = (check_given(op, 1)?, check_given(op, 2)?);
        op.require_disjoint(&[h0, c])?;
        if start == Start::Given {
            op.require_disjoint(&[c0, c])?;
        } else {
            require(h0.storage() == Storage::State, OpError::WrongStorage)?;
            op.require_disjoint(&[op.input(0)?, h0])?;
        }
    }
    let hidden = op.output()?.channels();
    scratch(op, lstm_scratch(op.input(0)?.channels(), hidden)).map(drop)
}

pub(super) fn run_lstm(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<LstmHalfParams>()?;
    let start = Start::from_code(params.start)?;
    let (x, y, c) = (op.input(0)?, op.output()?, kept(op, params.start, 2)?);
    let (k, hidden) = (x.channels(), y.channels());
    let [input, recurrent] = params.sides(op, LSTM_GATES)?;
    let wide = scratch(op, lstm_scratch(k, hidden))?;
    begin(op, start, 1, wide, k, arena)?;
    begin(op, start, 2, wide, k + hidden, arena)?;
    let [x, y, c, wide_bytes] = op.tensors(arena, [x, y, c, wide])?;
    let all = arena::first::<f32>(wide_bytes, lstm_scratch(k, hidden))?;
    let short = OpError::ScratchTooSmall;
    let (wide_x, rest) = all.split_at_mut_checked(k).ok_or(short)?;
    let (wide_h, wide_c) = rest.split_at_mut_checked(hidden).ok_or(short)?;
    let (x, y) = (arena::typed(x)?, arena::typed(y)?);
    rows(x, y, [k, hidden], params.reverse == 1, wide_x, |x, y| {
        lstm::step(x, &input, &recurrent, wide_h, wide_c, y);
    });
    narrow(wide_c, Clamp::NONE, arena::typed(c)?);
    if start == Start::Last {
        let [h, wide] = op.tensors(arena, [op.input(1)?, wide])?;
        let wide = arena::typed::<f32>(wide)?.get(k..).unwrap_or(&[]);
        narrow(wide, Clamp::NONE, arena::typed(h)?);
    }
    Ok(())
}

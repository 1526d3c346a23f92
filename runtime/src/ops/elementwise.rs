//! Lut, Add, AddConstant, Concat, MeanRows, Mul, Requantize, Softmax.
//!
//! Lut and Requantize take one input, Add and Mul two of the same shape, Concat any number with equal rows, joined along
//! channels. Lut maps int8 to int8 or int16 to int16 (in place if the output covers the input). Softmax gives int16 Q15 probabilities
//! over channels. MeanRows takes `[rows, c]` to `[c]`. None needs scratch.

use super::arena::{self, Values, ValuesMut};
use super::linear::{check_activations, check_clamp};
use super::state::{MAX_POSITIONS, advance_position, check_position};
use super::{ALL, OpError, OpView, in_place, require};
use crate::format::{DType, TensorRecord};
use crate::kernels::elementwise::{
    ConstantSum, Rescale, Sum, add, add_constant, interpolate, join, lut, mean_rows, mul, rescale,
};
use crate::kernels::requantize::Activation;
use crate::kernels::softmax::{ScoreMultiplier, probabilities_q15};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const TABLE_LEN: usize = 256;

/// Parameters of Lut from int8 to int8.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LutParams {
    /// int8 `[256]` in the weights section; entry 0 is the result for -128.
    pub table: u32,
}

/// Parameters of Lut from int16 to int16.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WideLutParams {
    /// int16 `[2^(16 - step_bits) + 1]` in the weights section: the results for -32768, `2^step_bits` more and so on, the
    /// last for 32768. Between them results are interpolated linearly.
    pub table: u32,
    /// 0 to 15.
    pub step_bits: u32,
}

/// Parameters of Requantize, and of each input of Concat. Zero points are the tensors'.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RequantizeParams {
    /// Input scale / output scale * 2^(32 - left_shift).
    pub multiplier: i32,
    /// 0 to 15.
    pub left_shift: u32,
    /// Smallest result.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

/// Parameters of Concat: one for each input.
pub type ConcatParams = [RequantizeParams];

/// Parameters of Add. Zero points are the tensors'.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddParams {
    /// For each input: input scale / output scale * 2^16.
    pub factors: [i32; 2],
    /// Smallest result.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

/// Parameters of AddConstant. Zero points are the tensors'.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddConstantParams {
    /// int32 in the weights section, `[positions, channels]`: constant / output scale * 2^16.
    pub constant: u32,
    /// Rows of the constant, 1 to 2^20: those of the input, or with a counter (state int32 `[1]`, input 1) at least as many.
    /// The first row of the input then stands at the counter, which moves on; behind the last position it stays there.
    pub positions: u32,
    /// Input scale / output scale * 2^16.
    pub factor: i32,
    /// Smallest result.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

/// Parameters of MeanRows: the multiplier also divides by the number of rows.
pub type MeanRowsParams = RequantizeParams;

/// Parameters of Mul: the multiplier is the product of both input scales / output scale * 2^(32 - left_shift).
pub type MulParams = RequantizeParams;

/// Parameters of Softmax.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SoftmaxParams {
    /// Input scale * log2(e) * 2^32.
    pub score_multiplier: u32,
}

impl RequantizeParams {
    pub(super) fn check(&self, y: &TensorRecord) -> Result<(), OpError> {
        require(self.left_shift <= 15, OpError::BadParams)?;
        check_clamp(y.dtype(), self.min, self.max)
    }

    pub(super) fn rescale(&self, x: &TensorRecord, y: &TensorRecord) -> Rescale {
        Rescale {
            input_zero_point: x.zero_point,
            multiplier: self.multiplier,
            left_shift: self.left_shift,
            zero_point: y.zero_point,
            min: self.min,
            max: self.max,
        }
    }
}

pub(super) fn check_lut(op: &OpView) -> Result<(), OpError> {
    check_activations(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
    require(
        x.dtype() == y.dtype() && (ALL || x.dtype() == DType::I8),
        OpError::WrongType,
    )?;
    require(
        x.len() == y.len() && op.input_count() == 1,
        OpError::WrongShape,
    )?;
    if x.dtype() == DType::I16 {
        return wide_table(op).map(drop);
    }
    op.weights::<i8>(op.params::<LutParams>()?.table, TABLE_LEN)
        .map(drop)
}

/// Table and bits of a step of a Lut over int16.
fn wide_table<'a>(op: &OpView<'a>) -> Result<(&'a [i16], u32), OpError> {
    let params = op.params::<WideLutParams>()?;
    require(params.step_bits < 16, OpError::BadParams)?;
    let entries = (1usize << (16 - params.step_bits)) + 1;
    Ok((op.weights(params.table, entries)?, params.step_bits))
}

pub(super) fn run_lut(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    if !in_place(x, y) {
        let [x, y] = op.tensors(arena, [x, y])?;
        y.iter_mut().zip(&*x).for_each(|(y, x)| *y = *x);
    }
    let [bytes] = op.tensors(arena, [y])?;
    if y.dtype() == DType::I16 && ALL {
        let (table, step_bits) = wide_table(op)?;
        interpolate(table, step_bits, arena::typed(bytes)?);
    } else {
        let table = op.weights::<i8>(op.params::<LutParams>()?.table, TABLE_LEN)?;
        lut(table, arena::typed(bytes)?);
    }
    Ok(())
}

pub(super) fn check_requantize(op: &OpView) -> Result<(), OpError> {
    check_activations(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
    require(
        x.len() == y.len() && op.input_count() == 1,
        OpError::WrongShape,
    )?;
    op.require_disjoint(&[x, y])?;
    op.params::<RequantizeParams>()?.check(y)
}

pub(super) fn run_requantize(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let by = op.params::<RequantizeParams>()?.rescale(x, y);
    let [x_bytes, y_bytes] = op.tensors(arena, [x, y])?;
    match (arena::values(x_bytes, x)?, arena::values_mut(y_bytes, y)?) {
        (Values::I8(x), ValuesMut::I8(y)) => rescale(x, &by, y),
        (Values::I8(x), ValuesMut::I16(y)) => rescale(x, &by, y),
        (Values::I16(x), ValuesMut::I8(y)) => rescale(x, &by, y),
        (Values::I16(x), ValuesMut::I16(y)) => rescale(x, &by, y),
    }
    Ok(())
}

pub(super) fn check_concat(op: &OpView) -> Result<(), OpError> {
    check_activations(op)?;
    let y = op.output()?;
    let params = op.params::<ConcatParams>()?;
    require(params.len() == op.input_count(), OpError::BadParams)?;
    let mut channels = 0usize;
    for (slot, params) in params.iter().enumerate() {
        let x = op.input(slot)?;
        require(x.dtype() != DType::I32, OpError::WrongType)?;
        require(x.rows() == y.rows(), OpError::WrongShape)?;
        op.require_disjoint(&[x, y])?;
        params.check(y)?;
        channels = channels.saturating_add(x.channels());
    }
    require(channels == y.channels(), OpError::WrongShape)
}

pub(super) fn run_concat(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let y = op.output()?;
    let mut at = 0;
    for (slot, params) in op.params::<ConcatParams>()?.iter().enumerate() {
        let x = op.input(slot)?;
        let by = params.rescale(x, y);
        let (channels, row_len) = (x.channels(), y.channels());
        let [x_bytes, y_bytes] = op.tensors(arena, [x, y])?;
        match (arena::values(x_bytes, x)?, arena::values_mut(y_bytes, y)?) {
            (Values::I8(x), ValuesMut::I8(y)) => join(x, channels, &by, y, row_len, at),
            (Values::I8(x), ValuesMut::I16(y)) => join(x, channels, &by, y, row_len, at),
            (Values::I16(x), ValuesMut::I8(y)) => join(x, channels, &by, y, row_len, at),
            (Values::I16(x), ValuesMut::I16(y)) => join(x, channels, &by, y, row_len, at),
        }
        at += channels;
    }
    Ok(())
}

/// Two inputs and an output of the same length, of either width, all apart.
fn check_pair(op: &OpView) -> Result<(), OpError> {
    check_activations(op)?;
    let (a, b, y) = (op.input(0)?, op.input(1)?, op.output()?);
    require(b.dtype() != DType::I32, OpError::WrongType)?;
    let same = a.len() == y.len() && b.len() == y.len() && op.input_count() == 2;
    require(same, OpError::WrongShape)?;
    op.require_disjoint(&[a, b, y])
}

pub(super) fn check_add(op: &OpView) -> Result<(), OpError> {
    check_pair(op)?;
    let params = op.params::<AddParams>()?;
    check_clamp(op.output()?.dtype(), params.min, params.max)
}

pub(super) fn run_add(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (a, b, y) = (op.input(0)?, op.input(1)?, op.output()?);
    let params = op.params::<AddParams>()?;
    let sum = Sum {
        inputs: [
            (a.zero_point, params.factors[0]),
            (b.zero_point, params.factors[1]),
        ],
        zero_point: y.zero_point,
        min: params.min,
        max: params.max,
    };
    let [a_bytes, b_bytes, y_bytes] = op.tensors(arena, [a, b, y])?;
    match (arena::values(a_bytes, a)?, arena::values(b_bytes, b)?) {
        (Values::I8(a), Values::I8(b)) => add_into(a, b, &sum, arena::values_mut(y_bytes, y)?),
        (Values::I8(a), Values::I16(b)) => add_into(a, b, &sum, arena::values_mut(y_bytes, y)?),
        (Values::I16(a), Values::I8(b)) => add_into(a, b, &sum, arena::values_mut(y_bytes, y)?),
        (Values::I16(a), Values::I16(b)) => add_into(a, b, &sum, arena::values_mut(y_bytes, y)?),
    }
    Ok(())
}

fn add_into<A: Activation, B: Activation>(a: &[A], b: &[B], sum: &Sum, y: ValuesMut) {
    match y {
        ValuesMut::I8(y) => add(a, b, sum, y),
        ValuesMut::I16(y) => add(a, b, sum, y),
    }
}

pub(super) fn check_softmax(op: &OpView) -> Result<(), OpError> {
    check_activations(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
    require(y.dtype() == DType::I16, OpError::WrongType)?;
    require(
        x.len() == y.len() && x.channels() == y.channels() && op.input_count() == 1,
        OpError::WrongShape,
    )?;
    // Sums of Q15 weights stay within 32 bits, products with 32767 as well.
    require(x.channels() <= 1 << 17, OpError::WrongShape)?;
    op.require_disjoint(&[x, y])?;
    op.params::<SoftmaxParams>().map(drop)
}

pub(super) fn run_softmax(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let multiplier = op.params::<SoftmaxParams>()?.score_multiplier;
    let channels = x.channels().max(1);
    let [x_bytes, y] = op.tensors(arena, [x, y])?;
    let y = arena::typed::<i16>(y)?;
    match arena::values(x_bytes, x)? {
        Values::I8(x) => softmax_rows(x, channels, multiplier, y),
        Values::I16(x) => softmax_rows(x, channels, multiplier, y),
    }
    Ok(())
}

fn softmax_rows<X: Activation>(
    x: &[X],
    channels: usize,
    multiplier: ScoreMultiplier,
    y: &mut [i16],
) {
    // Not zipped: that would divide by the length of a row, which the compiler does not know to be above 0.
    let (mut x, mut y) = (
        x.chunks_exact(channels.max(1)),
        y.chunks_exact_mut(channels.max(1)),
    );
    while let (Some(x), Some(y)) = (x.next(), y.next()) {
        probabilities_q15(x, multiplier, y);
    }
}

pub(super) fn check_mul(op: &OpView) -> Result<(), OpError> {
    check_pair(op)?;
    op.params::<MulParams>()?.check(op.output()?)
}

pub(super) fn run_mul(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (a, b, y) = (op.input(0)?, op.input(1)?, op.output()?);
    let by = op.params::<MulParams>()?.rescale(a, y);
    let [a_bytes, b_bytes, y_bytes] = op.tensors(arena, [a, b, y])?;
    let y = arena::values_mut(y_bytes, y)?;
    match (arena::values(a_bytes, a)?, arena::values(b_bytes, b)?) {
        (Values::I8(x), Values::I8(z)) => mul_into((x, a.zero_point), (z, b.zero_point), &by, y),
        (Values::I8(x), Values::I16(z)) => mul_into((x, a.zero_point), (z, b.zero_point), &by, y),
        (Values::I16(x), Values::I8(z)) => mul_into((x, a.zero_point), (z, b.zero_point), &by, y),
        (Values::I16(x), Values::I16(z)) => mul_into((x, a.zero_point), (z, b.zero_point), &by, y),
    }
    Ok(())
}

fn mul_into<A: Activation, B: Activation>(
    a: (&[A], i32),
    b: (&[B], i32),
    by: &Rescale,
    y: ValuesMut,
) {
    match y {
        ValuesMut::I8(y) => mul(a, b, by, y),
        ValuesMut::I16(y) => mul(a, b, by, y),
    }
}

/// Rows of int16 whose sum stays within 32 bits.
const MAX_MEAN_ROWS: usize = 1 << 15;

pub(super) fn check_mean_rows(op: &OpView) -> Result<(), OpError> {
    check_activations(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
    op.require_disjoint(&[x, y])?;
    let fits = x.channels() == y.len() && x.rows() <= MAX_MEAN_ROWS && op.input_count() == 1;
    require(fits, OpError::WrongShape)?;
    op.params::<MeanRowsParams>()?.check(y)
}

pub(super) fn run_mean_rows(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let by = op.params::<MeanRowsParams>()?.rescale(x, y);
    let [x_bytes, y_bytes] = op.tensors(arena, [x, y])?;
    match (arena::values(x_bytes, x)?, arena::values_mut(y_bytes, y)?) {
        (Values::I8(x), ValuesMut::I8(y)) => mean_rows(x, &by, y),
        (Values::I8(x), ValuesMut::I16(y)) => mean_rows(x, &by, y),
        (Values::I16(x), ValuesMut::I8(y)) => mean_rows(x, &by, y),
        (Values::I16(x), ValuesMut::I16(y)) => mean_rows(x, &by, y),
    }
    Ok(())
}

impl AddConstantParams {
    fn sum<'a>(
        &self,
        op: &OpView<'a>,
        x: &TensorRecord,
        y: &TensorRecord,
        first: usize,
    ) -> Result<ConstantSum<'a>, OpError> {
        Ok(ConstantSum {
            input_zero_point: x.zero_point,
            factor: self.factor,
            constant: positioned(op, self.constant, self.positions, first)?,
            zero_point: y.zero_point,
            min: self.min,
            max: self.max,
        })
    }
}

/// The constant of AddConstant, `[positions, channels]` at `offset` of the weights section, from the row on that belongs to
/// position `first`.
pub(super) fn positioned<'a, T: FromBytes + Immutable + KnownLayout>(
    op: &OpView<'a>,
    offset: u32,
    positions: u32,
    first: usize,
) -> Result<&'a [T], OpError> {
    let (x, positions) = (op.input(0)?, positions as usize);
    let in_range = (1..=MAX_POSITIONS as usize).contains(&positions);
    require(in_range, OpError::BadParams)?;
    let fits = match op.input_count() {
        1 => x.rows() == positions,
        _ => x.rows() <= positions,
    };
    require(fits, OpError::WrongShape)?;
    let len = positions.checked_mul(x.channels());
    let all = op.weights(offset, len.ok_or(OpError::BadParams)?)?;
    let first = first.min(positions - x.rows());
    all.get(first * x.channels()..).ok_or(OpError::WrongShape)
}

/// Position of the first row that AddConstant is given; a counter moves on.
pub(super) fn next_position(op: &OpView, arena: &mut [u8]) -> Result<usize, OpError> {
    match op.input_count() {
        1 => Ok(0),
        _ => advance_position(op, arena),
    }
}

pub(super) fn check_add_constant(op: &OpView) -> Result<(), OpError> {
    check_activations(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
    op.require_disjoint(&[x, y])?;
    check_position(op)?;
    require(x.len() == y.len(), OpError::WrongShape)?;
    let params = op.params::<AddConstantParams>()?;
    check_clamp(y.dtype(), params.min, params.max)?;
    params.sum(op, x, y, 0).map(drop)
}

pub(super) fn run_add_constant(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let first = next_position(op, arena)?;
    let sum = op.params::<AddConstantParams>()?.sum(op, x, y, first)?;
    let [x_bytes, y_bytes] = op.tensors(arena, [x, y])?;
    match (arena::values(x_bytes, x)?, arena::values_mut(y_bytes, y)?) {
        (Values::I8(x), ValuesMut::I8(y)) => add_constant(x, &sum, y),
        (Values::I8(x), ValuesMut::I16(y)) => add_constant(x, &sum, y),
        (Values::I16(x), ValuesMut::I8(y)) => add_constant(x, &sum, y),
        (Values::I16(x), ValuesMut::I16(y)) => add_constant(x, &sum, y),
    }
    Ok(())
}

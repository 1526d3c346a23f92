//! Lut, Add, AddConstant, Concat, Embedding, LayerNorm, MeanRows, Mul, Requantize and Softmax in half
//! precision.

use super::super::elementwise::{next_position, positioned};
use super::super::state::check_position;
use super::{OpError, OpView, arena, check_tensors, clamp, half, in_place, require};
use crate::f16;
use crate::format::DType;
use crate::kernels::half::elementwise::{add, join, look_up, mean_rows, mul};
use crate::kernels::half::function::{Table, apply};
use crate::kernels::half::layer_norm::{LayerNorm, layer_norm};
use crate::kernels::half::softmax::softmax;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Lut in half precision: a function as parabolas between equally spaced knots, see
/// [`crate::kernels::half::function::Table`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LutHalfParams {
    /// f32 `[negative + positive, 3]` in the weights section: from 0 downwards, then from 0 upwards.
    pub table: u32,
    /// Parabolas below 0, 1 to 2^16.
    pub negative: u32,
    /// Parabolas above 0, 1 to 2^16.
    pub positive: u32,
    /// 1 / the distance of knots: finite, above 0.
    pub inverse_step: f32,
}

const MAX_PARABOLAS: u32 = 1 << 16;

impl LutHalfParams {
    fn table<'a>(&self, op: &OpView<'a>) -> Result<Table<'a>, OpError> {
        let in_range = |n: u32| (1..=MAX_PARABOLAS).contains(&n);
        let valid = in_range(self.negative) && in_range(self.positive);
        let scaled = self.inverse_step.is_finite() && self.inverse_step > 0.0;
        require(valid && scaled, OpError::BadParams)?;
        let count = (self.negative + self.positive) as usize;
        let (negative, positive) = op
            .weights(self.table, count)?
            .split_at_checked(self.negative as usize)
            .ok_or(OpError::BadParams)?;
        Ok(Table {
            inverse_step: self.inverse_step,
            negative,
            positive,
        })
    }
}

pub(super) fn check_lut(op: &OpView) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    half(x)?;
    half(y)?;
    require(
        x.len() == y.len() && op.input_count() == 1,
        OpError::WrongShape,
    )?;
    op.params::<LutHalfParams>()?.table(op).map(drop)
}

pub(super) fn run_lut(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let table = op.params::<LutHalfParams>()?.table(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
    if !in_place(x, y) {
        let [x, y] = op.tensors(arena, [x, y])?;
        y.iter_mut().zip(&*x).for_each(|(y, x)| *y = *x);
    }
    let [y] = op.tensors(arena, [y])?;
    apply(&table, arena::typed(y)?);
    Ok(())
}

/// Parameters of Add in half precision.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddHalfParams {
    /// Smallest result, at least -65504.
    pub min: f32,
    /// Largest result, at most 65504.
    pub max: f32,
}

/// Parameters of AddConstant in half precision.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddConstantHalfParams {
    /// float16 in the weights section, `[positions, channels]`.
    pub constant: u32,
    /// Rows of the constant, as in [`AddConstantParams`](crate::ops::AddConstantParams).
    pub positions: u32,
    /// Smallest result, at least -65504.
    pub min: f32,
    /// Largest result, at most 65504.
    pub max: f32,
}

/// Parameters of Mul in half precision.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MulHalfParams {
    /// Factor on the product; finite.
    pub factor: f32,
}

/// `inputs` tensors with as many elements as the output.
fn check_same(op: &OpView, inputs: usize) -> Result<(), OpError> {
    check_tensors(op, inputs)?;
    for slot in 0..inputs {
        require(
            op.input(slot)?.len() == op.output()?.len(),
            OpError::WrongShape,
        )?;
    }
    Ok(())
}

/// Requantize has no scale to change here: it copies.
pub(super) fn check_copy(op: &OpView) -> Result<(), OpError> {
    check_same(op, 1)?;
    op.params::<[u8; 0]>().map(drop)
}

pub(super) fn run_copy(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let [x, y] = op.tensors(arena, [op.input(0)?, op.output()?])?;
    y.iter_mut().zip(&*x).for_each(|(y, x)| *y = *x);
    Ok(())
}

pub(super) fn check_add(op: &OpView) -> Result<(), OpError> {
    check_same(op, 2)?;
    op.require_disjoint(&[op.input(0)?, op.input(1)?])?;
    let params = op.params::<AddHalfParams>()?;
    clamp(params.min, params.max).map(drop)
}

pub(super) fn run_add(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<AddHalfParams>()?;
    let clamp = clamp(params.min, params.max)?;
    let [a, b, y] = op.tensors(arena, [op.input(0)?, op.input(1)?, op.output()?])?;
    add(arena::typed(a)?, arena::typed(b)?, clamp, arena::typed(y)?);
    Ok(())
}

pub(super) fn check_add_constant(op: &OpView) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    half(x)?;
    half(y)?;
    op.require_disjoint(&[x, y])?;
    check_position(op)?;
    require(x.len() == y.len(), OpError::WrongShape)?;
    let params = op.params::<AddConstantHalfParams>()?;
    clamp(params.min, params.max)?;
    positioned::<f16>(op, params.constant, params.positions, 0).map(drop)
}

pub(super) fn run_add_constant(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<AddConstantHalfParams>()?;
    let clamp = clamp(params.min, params.max)?;
    let first = next_position(op, arena)?;
    let constant = positioned(op, params.constant, params.positions, first)?;
    let [x, y] = op.tensors(arena, [op.input(0)?, op.output()?])?;
    add(arena::typed(x)?, constant, clamp, arena::typed(y)?);
    Ok(())
}

pub(super) fn check_mul(op: &OpView) -> Result<(), OpError> {
    check_same(op, 2)?;
    op.require_disjoint(&[op.input(0)?, op.input(1)?])?;
    let finite = op.params::<MulHalfParams>()?.factor.is_finite();
    require(finite, OpError::BadParams)
}

pub(super) fn run_mul(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let factor = op.params::<MulHalfParams>()?.factor;
    let [a, b, y] = op.tensors(arena, [op.input(0)?, op.input(1)?, op.output()?])?;
    mul(arena::typed(a)?, arena::typed(b)?, factor, arena::typed(y)?);
    Ok(())
}

pub(super) fn check_concat(op: &OpView) -> Result<(), OpError> {
    check_tensors(op, op.input_count())?;
    let y = op.output()?;
    let mut channels = 0usize;
    for slot in 0..op.input_count() {
        let x = op.input(slot)?;
        require(x.rows() == y.rows(), OpError::WrongShape)?;
        channels = channels.saturating_add(x.channels());
    }
    require(channels == y.channels(), OpError::WrongShape)?;
    op.params::<[u8; 0]>().map(drop)
}

pub(super) fn run_concat(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let y = op.output()?;
    let mut at = 0;
    for slot in 0..op.input_count() {
        let x = op.input(slot)?;
        let [x_bytes, y_bytes] = op.tensors(arena, [x, y])?;
        let (values, joined) = (arena::typed::<f16>(x_bytes)?, arena::typed(y_bytes)?);
        join(values, x.channels(), joined, y.channels(), at);
        at += x.channels();
    }
    Ok(())
}

pub(super) fn check_softmax(op: &OpView) -> Result<(), OpError> {
    check_same(op, 1)?;
    let same = op.input(0)?.channels() == op.output()?.channels();
    require(same, OpError::WrongShape)?;
    op.params::<[u8; 0]>().map(drop)
}

pub(super) fn run_softmax(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let channels = op.output()?.channels().max(1);
    let [x, y] = op.tensors(arena, [op.input(0)?, op.output()?])?;
    let mut rows = arena::typed::<f16>(x)?.chunks_exact(channels);
    let mut results = arena::typed::<f16>(y)?.chunks_exact_mut(channels);
    while let (Some(x), Some(y)) = (rows.next(), results.next()) {
        softmax(x, y);
    }
    Ok(())
}

/// Parameters of LayerNorm in half precision; offsets in the weights section.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LayerNormHalfParams {
    /// f32 `[n]`.
    pub gamma: u32,
    /// f32 `[n]`.
    pub beta: u32,
    /// Added to the variance; finite, not below 0.
    pub epsilon: f32,
    /// 1: subtract the row's mean (LayerNorm); 0: do not (RmsNorm).
    pub centre: u32,
}

impl LayerNormHalfParams {
    fn norm<'a>(&self, op: &OpView<'a>) -> Result<LayerNorm<'a>, OpError> {
        let channels = op.output()?.channels();
        require(
            self.centre <= 1 && self.epsilon.is_finite() && self.epsilon >= 0.0,
            OpError::BadParams,
        )?;
        Ok(LayerNorm {
            gamma: op.weights(self.gamma, channels)?,
            beta: op.weights(self.beta, channels)?,
            epsilon: self.epsilon,
            centre: self.centre == 1,
        })
    }
}

pub(super) fn check_layer_norm(op: &OpView) -> Result<(), OpError> {
    check_same(op, 1)?;
    let same = op.input(0)?.channels() == op.output()?.channels();
    require(same, OpError::WrongShape)?;
    op.params::<LayerNormHalfParams>()?.norm(op).map(drop)
}

pub(super) fn run_layer_norm(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let norm = op.params::<LayerNormHalfParams>()?.norm(op)?;
    let [x, y] = op.tensors(arena, [op.input(0)?, op.output()?])?;
    layer_norm(arena::typed(x)?, &norm, arena::typed(y)?);
    Ok(())
}

pub(super) fn check_mean_rows(op: &OpView) -> Result<(), OpError> {
    check_tensors(op, 1)?;
    let (x, y) = (op.input(0)?, op.output()?);
    require(x.channels() == y.len(), OpError::WrongShape)?;
    op.params::<[u8; 0]>().map(drop)
}

pub(super) fn run_mean_rows(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let [x, y] = op.tensors(arena, [op.input(0)?, op.output()?])?;
    mean_rows(arena::typed(x)?, arena::typed(y)?);
    Ok(())
}

/// Parameters of Embedding in half precision.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EmbeddingHalfParams {
    /// float16 `[tokens, channels]`; offset in the weights section.
    pub table: u32,
    /// Number of rows in the table.
    pub tokens: u32,
}

impl EmbeddingHalfParams {
    fn table<'a>(&self, op: &OpView<'a>) -> Result<&'a [f16], OpError> {
        let len = op.output()?.channels().checked_mul(self.tokens as usize);
        op.weights(self.table, len.ok_or(OpError::BadParams)?)
    }
}

pub(super) fn check_embedding(op: &OpView) -> Result<(), OpError> {
    let (tokens, y) = (op.input(0)?, op.output()?);
    require(op.input_count() == 1, OpError::MissingTensor)?;
    require(tokens.dtype() == DType::I32, OpError::WrongType)?;
    half(y)?;
    let fits = tokens.channels() == 1 && tokens.rows() == y.rows();
    require(fits, OpError::WrongShape)?;
    op.require_disjoint(&[tokens, y])?;
    op.params::<EmbeddingHalfParams>()?.table(op).map(drop)
}

pub(super) fn run_embedding(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let channels = op.output()?.channels();
    let table = op.params::<EmbeddingHalfParams>()?.table(op)?;
    let [tokens, y] = op.tensors(arena, [op.input(0)?, op.output()?])?;
    look_up(arena::typed(tokens)?, table, channels, arena::typed(y)?);
    Ok(())
}

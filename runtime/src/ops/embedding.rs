//! Embedding: tokens `[n, 1]` int32, output `[n, channels]` int8 or int16: rows of a table of int8 weights, each with a
//! scale of its own. A number that the table does not have gives a row of zeros.

use super::arena::{self, ValuesMut};
use super::linear::check_clamp;
use super::{OpError, OpView, require};
use crate::format::{DType, TensorRecord};
use crate::kernels::embedding::{Table, look_up};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Embedding.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EmbeddingParams {
    /// int8 `[tokens, channels]`; offset in the weights section.
    pub table: u32,
    /// int32 `[tokens]`, factors from a row's steps to the output's; offset in the weights section.
    pub multipliers: u32,
    /// Number of rows in the table.
    pub tokens: u32,
    /// Left shift of the requantization, 0 to 31.
    pub left_shift: u32,
    /// Smallest result.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

impl EmbeddingParams {
    fn table<'a>(&self, op: &OpView<'a>, y: &TensorRecord) -> Result<Table<'a>, OpError> {
        let (tokens, channels) = (self.tokens as usize, y.channels());
        let len = tokens.checked_mul(channels).ok_or(OpError::BadParams)?;
        Ok(Table {
            rows: op.weights(self.table, len)?,
            channels,
            multipliers: op.weights(self.multipliers, tokens)?,
            left_shift: self.left_shift,
            zero_point: y.zero_point,
            min: self.min,
            max: self.max,
        })
    }
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<EmbeddingParams>()?;
    let (tokens, y) = (op.input(0)?, op.output()?);
    require(op.input_count() == 1, OpError::MissingTensor)?;
    require(tokens.dtype() == DType::I32, OpError::WrongType)?;
    check_clamp(y.dtype(), params.min, params.max)?;
    require(
        tokens.channels() == 1 && tokens.rows() == y.rows(),
        OpError::WrongShape,
    )?;
    op.require_disjoint(&[tokens, y])?;
    require(params.left_shift < 32, OpError::BadParams)?;
    params.table(op, y).map(drop)
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (tokens, y) = (op.input(0)?, op.output()?);
    let table = op.params::<EmbeddingParams>()?.table(op, y)?;
    let [tokens, y_bytes] = op.tensors(arena, [tokens, y])?;
    let tokens = arena::typed::<i32>(tokens)?;
    match arena::values_mut(y_bytes, y)? {
        ValuesMut::I8(y) => look_up(tokens, &table, y),
        ValuesMut::I16(y) => look_up(tokens, &table, y),
    }
    Ok(())
}

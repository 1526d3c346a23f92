//! Embedding: tokens `[n, 1]` int32, output `[n, channels]` int8, int16 or half: rows of a table. An integer table has int8
//! weights and a scale for each row. A token that the table does not have gives a row of zeros.

use super::activations::check_clamp;
use super::arena::{self, Values, by_width};
use super::{OpError, OpView, require, require_fits};
use crate::format::{DType, TensorRecord};
use crate::kernels::int::embedding::{Table, look_up};
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

/// One token for each row of the output, which is returned.
fn check_tokens<'a>(op: &OpView<'a>) -> Result<&'a TensorRecord, OpError> {
    let (tokens, y) = (op.input(0)?, op.output()?);
    require(op.input_count() == 1, OpError::MissingTensor)?;
    require(tokens.dtype() == DType::I32, OpError::WrongType)?;
    let fits = tokens.channels() == 1 && tokens.rows() == y.rows();
    require(fits, OpError::WrongShape)?;
    op.require_disjoint(&[tokens, y])?;
    Ok(y)
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<EmbeddingParams>()?;
    let y = check_tokens(op)?;
    check_clamp(y.dtype(), params.min, params.max)?;
    require(params.left_shift < 32, OpError::BadParams)?;
    // -128, shifted, may be the least number of 32 bits.
    require_fits(127, params.left_shift)?;
    params.table(op, y).map(drop)
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (tokens, y) = (op.input(0)?, op.output()?);
    let table = op.params::<EmbeddingParams>()?.table(op, y)?;
    let [tokens, y_bytes] = op.tensors(arena, [tokens, y])?;
    let tokens = arena::typed::<i32>(tokens)?;
    let y = arena::values(y_bytes, y)?;
    by_width!(y => look_up(tokens, &table, y));
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::check_half;
    use super::*;
    use crate::f16;
    use crate::kernels::half::elementwise::look_up;

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

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        check_half(check_tokens(op)?)?;
        op.params::<EmbeddingHalfParams>()?.table(op).map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let channels = op.output()?.channels();
        let table = op.params::<EmbeddingHalfParams>()?.table(op)?;
        let [tokens, y] = op.tensors(arena, [op.input(0)?, op.output()?])?;
        look_up(arena::typed(tokens)?, table, channels, arena::typed(y)?);
        Ok(())
    }
}

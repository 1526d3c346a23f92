//! TopK: the output layer of a decoder fused with the choice of the next token. Input `[1, in]` int8 or int16, outputs
//! the best tokens and their log-probabilities in Q16 nats, int32 `[k]` each, best first; scratch int16 `[in]` in pair
//! order. The logits are those of a Linear with int16 outputs, but they never exist as a row.

use super::arena::{self, Values};
use super::linear::{LinearParams, check_clamp};
use super::{OpError, OpView, require};
use crate::format::{DType, MAX_CANDIDATES, MAX_TOKENS, Storage, TensorRecord};
use crate::kernels::dot::{packed_len, pairs_len, to_pairs};
use crate::kernels::linear::Matrix;
use crate::kernels::requantize::Output;
use crate::kernels::top_k::linear_top_k;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of TopK.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TopKParams {
    /// The layer, for `tokens` outputs of int16 with zero point 0.
    pub matrix: LinearParams,
    /// Number of tokens, at least `k`.
    pub tokens: u32,
    /// Real value of one step of a logit times `log2(e)`, Q32.
    pub score_multiplier: u32,
}

impl TopKParams {
    fn layer<'a>(
        &self,
        op: &OpView<'a>,
        x: &TensorRecord,
    ) -> Result<(Matrix<'a>, Output<'a>), OpError> {
        let (tokens, matrix) = (self.tokens as usize, &self.matrix);
        let output = Output {
            multipliers: op.weights(matrix.multipliers, tokens)?,
            left_shift: matrix.left_shift,
            zero_point: 0,
            min: matrix.min,
            max: matrix.max,
        };
        let packed = packed_len(tokens, x.channels());
        Ok((matrix.matrix(op, tokens, packed)?, output))
    }
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<TopKParams>()?;
    let (x, tokens, scores) = (op.input(0)?, op.output_at(0)?, op.output_at(1)?);
    require(op.input_count() == 1, OpError::MissingTensor)?;
    require(
        matches!(x.dtype(), DType::I8 | DType::I16)
            && tokens.dtype() == DType::I32
            && scores.dtype() == DType::I32,
        OpError::WrongType,
    )?;
    let k = tokens.len();
    let count = params.tokens as usize;
    require(
        x.rows() == 1
            && [x, tokens, scores].iter().all(|t| t.rows_rule == 0)
            && scores.len() == k
            && k <= MAX_CANDIDATES.min(count),
        OpError::WrongShape,
    )?;
    require(
        [tokens, scores]
            .iter()
            .all(|t| t.storage() == Storage::Arena),
        OpError::WrongStorage,
    )?;
    op.require_disjoint(&[x, tokens, scores])?;
    op.scratch(DType::I16, pairs_len(x.channels()))?;
    let matrix = &params.matrix;
    check_clamp(DType::I16, matrix.min, matrix.max)?;
    require(
        count <= MAX_TOKENS && matrix.left_shift < 32 && matrix.weights.is_multiple_of(4),
        OpError::BadParams,
    )?;
    params.layer(op, x).map(drop)
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<TopKParams>()?;
    let x = op.input(0)?;
    let (matrix, output) = params.layer(op, x)?;
    let pairs = pairs_len(x.channels());
    let scratch = op.scratch(DType::I16, pairs)?;
    let [x_bytes, tokens, scores, scratch] =
        op.tensors(arena, [x, op.output_at(0)?, op.output_at(1)?, scratch])?;
    let pairs = arena::first::<i16>(scratch, pairs)?;
    match arena::values(x_bytes, x)? {
        Values::I8(x) => to_pairs(x, 0, pairs),
        Values::I16(x) => to_pairs(x, 0, pairs),
    }
    let (tokens, scores) = (arena::typed(tokens)?, arena::typed(scores)?);
    let multiplier = params.score_multiplier;
    linear_top_k(pairs, &matrix, &output, multiplier, tokens, scores);
    Ok(())
}

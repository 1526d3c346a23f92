//! TopK: the output layer of a decoder fused with the choice of the next token. Input `[1, in]`, outputs the best tokens and
//! their log-probabilities in Q16 nats, int32 `[k]` each, best first. The logits never exist as a row. Integer: those of a
//! Linear with int16 outputs, scratch int16 `[in]` in pair order. Half: scratch f32 `[in]`.

use super::arena::{self, Values, by_width};
use super::linear::LinearParams;
use super::{OpError, OpView, require};
use crate::format::{DType, MAX_CANDIDATES, MAX_TOKENS, Storage, TensorRecord};
use crate::kernels::int::dot::{packed_len, pairs_len, to_pairs};
use crate::kernels::int::linear::Matrix;
use crate::kernels::int::requantize::Output;
use crate::kernels::int::top_k::linear_top_k;
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
        let output = matrix.output(op, tokens, 0)?;
        let packed = packed_len(tokens, x.channels());
        Ok((matrix.matrix(op, tokens, packed)?, output))
    }
}

/// One row in, `k` tokens and scores out of `count`; all but the input's type.
fn check_best(op: &OpView, count: u32) -> Result<(), OpError> {
    let (x, tokens, scores) = (op.input(0)?, op.output_at(0)?, op.output_at(1)?);
    require(op.input_count() == 1, OpError::MissingTensor)?;
    let numbers = tokens.dtype() == DType::I32 && scores.dtype() == DType::I32;
    require(numbers, OpError::WrongType)?;
    let (k, count) = (tokens.len(), count as usize);
    let fixed = [x, tokens, scores].iter().all(|t| t.rows_rule == 0);
    let fits = x.rows() == 1 && scores.len() == k && k <= MAX_CANDIDATES.min(count);
    require(fixed && fits, OpError::WrongShape)?;
    let kept = [tokens, scores]
        .iter()
        .all(|t| t.storage() == Storage::Arena);
    require(kept, OpError::WrongStorage)?;
    op.require_disjoint(&[x, tokens, scores])?;
    require(count <= MAX_TOKENS, OpError::BadParams)
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<TopKParams>()?;
    check_best(op, params.tokens)?;
    let x = op.input(0)?;
    let known = matches!(x.dtype(), DType::I8 | DType::I16);
    require(known, OpError::WrongType)?;
    op.scratch(DType::I16, pairs_len(x.channels()))?;
    params.matrix.check_ranges(DType::I16)?;
    params.layer(op, x)?;
    let (tokens, k) = (params.tokens as usize, x.channels());
    params
        .matrix
        .check_sums(op, tokens, (packed_len(tokens, k), k), 1)
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
    let x = arena::values(x_bytes, x)?;
    by_width!(x => to_pairs(x, 0, pairs));
    let (tokens, scores) = (arena::typed(tokens)?, arena::typed(scores)?);
    let multiplier = params.score_multiplier;
    linear_top_k(pairs, &matrix, &output, multiplier, tokens, scores);
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::{check_half, scratch};
    use super::super::linear::half::LinearHalfParams;
    use super::*;
    use crate::f16;
    use crate::kernels::half::linear::Matrix;
    use crate::kernels::half::top_k::linear_top_k;
    use crate::kernels::half::widen;

    /// Parameters of TopK in half precision.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct TopKHalfParams {
        /// The layer, for `tokens` outputs; its limits are not looked at but must be in range.
        pub matrix: LinearHalfParams,
        /// Number of tokens, at least as many as are put out.
        pub tokens: u32,
    }

    impl TopKHalfParams {
        fn layer<'a>(&self, op: &OpView<'a>, x: &TensorRecord) -> Result<Matrix<'a>, OpError> {
            self.matrix.matrix(op, self.tokens as usize, x.channels())
        }
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        let params = op.params::<TopKHalfParams>()?;
        check_best(op, params.tokens)?;
        let x = op.input(0)?;
        check_half(x)?;
        params.matrix.clamp()?;
        params.layer(op, x)?;
        op.count_macs(params.tokens as usize, x.channels());
        scratch(op, x.channels()).map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let params = op.params::<TopKHalfParams>()?;
        let x = op.input(0)?;
        let matrix = params.layer(op, x)?;
        let (tokens, scores) = (op.output_at(0)?, op.output_at(1)?);
        let wide = scratch(op, x.channels())?;
        let count = x.channels();
        let [x, tokens, scores, wide] = op.tensors(arena, [x, tokens, scores, wide])?;
        let wide = arena::first::<f32>(wide, count)?;
        widen(arena::typed::<f16>(x)?, wide);
        linear_top_k(wide, &matrix, arena::typed(tokens)?, arena::typed(scores)?);
        Ok(())
    }
}

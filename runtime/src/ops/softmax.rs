//! Softmax over channels: input `[rows, c]`, output the same shape. Integer: int8 or int16 to int16 Q15. No scratch.

use super::activations::check_activations;
use super::arena::{self, Values, by_width};
use super::{OpError, OpView, require};
use crate::format::DType;
use crate::kernels::int::requantize::Activation;
use crate::kernels::int::softmax::{ScoreMultiplier, softmax_q15};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Softmax.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SoftmaxParams {
    /// Input scale * log2(e) * 2^32.
    pub score_multiplier: u32,
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let [x, y] = check_activations(op)?;
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

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let multiplier = op.params::<SoftmaxParams>()?.score_multiplier;
    let channels = x.channels().max(1);
    let [x_bytes, y] = op.tensors(arena, [x, y])?;
    let y = arena::typed::<i16>(y)?;
    let x = arena::values(x_bytes, x)?;
    by_width!(x => softmax_rows(x, channels, multiplier, y));
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
        softmax_q15(x, multiplier, y);
    }
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::check_same;
    use super::*;
    use crate::f16;
    use crate::kernels::half::softmax::softmax;

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        check_same(op, 1)?;
        let same = op.input(0)?.channels() == op.output()?.channels();
        require(same, OpError::WrongShape)?;
        op.params::<[u8; 0]>().map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let channels = op.output()?.channels().max(1);
        let [x, y] = op.typed::<f16, 2>(arena, [op.input(0)?, op.output()?])?;
        let (mut rows, mut results) = (x.chunks_exact(channels), y.chunks_exact_mut(channels));
        while let (Some(x), Some(y)) = (rows.next(), results.next()) {
            softmax(x, y);
        }
        Ok(())
    }
}

//! LayerNorm and RmsNorm: input `[rows, n]`, output the same shape, int8 or int16 each, or half. No scratch.

use super::activations::{check_activations, check_clamp};
use super::arena::{Values, by_width};
use super::{OpError, OpView, require};
use crate::format::TensorRecord;
use crate::kernels::int::layer_norm::{LayerNorm, MAX_CHANNELS, MAX_MULTIPLIER_BITS, layer_norm};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of LayerNorm; offsets in the weights section.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LayerNormParams {
    /// int32 `[n]`: gamma * sqrt(n) / output scale * 2^multiplier_bits.
    pub multipliers: u32,
    /// 0 to 16.
    pub multiplier_bits: u32,
    /// int32 `[n]`: beta / output scale * 2^16.
    pub bias: u32,
    /// epsilon * n^3 / input scale^2: low and high word.
    pub epsilon: [u32; 2],
    /// 1: subtract the row's mean (LayerNorm); 0: do not (RmsNorm).
    pub centre: u32,
    /// Smallest result.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

impl LayerNormParams {
    fn norm<'a>(
        &self,
        op: &OpView<'a>,
        x: &TensorRecord,
        y: &TensorRecord,
    ) -> Result<LayerNorm<'a>, OpError> {
        let [low, high] = self.epsilon;
        Ok(LayerNorm {
            multipliers: op.weights(self.multipliers, y.channels())?,
            multiplier_bits: self.multiplier_bits,
            bias: op.weights(self.bias, y.channels())?,
            epsilon: u64::from(high) << 32 | u64::from(low),
            centre: self.centre == 1,
            input_zero_point: x.zero_point,
            zero_point: y.zero_point,
            min: self.min,
            max: self.max,
        })
    }
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let [x, y] = check_activations(op)?;
    op.require_disjoint(&[x, y])?;
    let same = x.channels() == y.channels() && x.rows() == y.rows() && op.input_count() == 1;
    require(same && x.channels() <= MAX_CHANNELS, OpError::WrongShape)?;
    let params = op.params::<LayerNormParams>()?;
    let in_range = params.centre <= 1 && params.multiplier_bits <= MAX_MULTIPLIER_BITS;
    require(in_range, OpError::BadParams)?;
    check_clamp(y.dtype(), params.min, params.max)?;
    params.norm(op, x, y).map(drop)
}

pub(super) fn run<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let norm = op.params::<LayerNormParams>()?.norm(op, x, y)?;
    let [x, y] = op.values(arena, [x, y])?;
    by_width!(USES; x, y => layer_norm(x, &norm, y));
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::check_same;
    use super::*;
    use crate::kernels::half::layer_norm::{LayerNorm, layer_norm};

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

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        check_same(op, 1)?;
        let same = op.input(0)?.channels() == op.output()?.channels();
        require(same, OpError::WrongShape)?;
        op.params::<LayerNormHalfParams>()?.norm(op).map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let norm = op.params::<LayerNormHalfParams>()?.norm(op)?;
        let [x, y] = op.typed(arena, [op.input(0)?, op.output()?])?;
        layer_norm(x, &norm, y);
        Ok(())
    }
}

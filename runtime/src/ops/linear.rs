//! Linear: input `[rows, in]`, output `[rows, out]`. Integer: int8 or int16 each, scratch int16 `[in]` in pair order. Half:
//! scratch f32 `[in]`.

use super::activations::{check_activations, check_clamp};
use super::arena::{Values, by_width};
use super::{OpError, OpView, Order, Sums, Uses, magnitude, require};
use crate::format::DType;
use crate::kernels::int::dot::{packed_len, pairs_len};
use crate::kernels::int::linear::{Matrix, linear};
use crate::kernels::int::requantize::Output;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of Linear, and of the matrix inside a convolution.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LinearParams {
    /// Packed int8 weights `[out, in]`; offset in the weights section, as all that follow.
    pub weights: u32,
    /// int32 `[out]`.
    pub bias: u32,
    /// int32 `[out]`.
    pub multipliers: u32,
    /// Left shift of the requantization, 0 to 31.
    pub left_shift: u32,
    /// Smallest result.
    pub min: i32,
    /// Largest result.
    pub max: i32,
}

impl LinearParams {
    pub(super) fn matrix<'a, const JOINED: bool>(
        &self,
        op: &OpView<'a>,
        out: usize,
        packed: usize,
    ) -> Result<Matrix<'a, JOINED>, OpError> {
        Ok(Matrix {
            weights: op.weights(self.weights, packed)?,
            bias: op.weights(self.bias, out)?,
        })
    }

    pub(super) fn output<'a>(
        &self,
        op: &OpView<'a>,
        channels: usize,
        zero_point: i32,
    ) -> Result<Output<'a>, OpError> {
        Ok(Output {
            multipliers: op.weights(self.multipliers, channels)?,
            left_shift: self.left_shift,
            zero_point,
            min: self.min,
            max: self.max,
        })
    }

    /// `packed`: bytes of the weights, one multiplication of each for every row of the output; `inputs` of each sum.
    pub(super) fn check(&self, op: &OpView, packed: usize, inputs: usize) -> Result<(), OpError> {
        let y = op.output()?;
        self.check_ranges(y.dtype())?;
        self.check_sums(op, y.channels(), (packed, inputs), y.rows())
    }

    /// Of a depthwise convolution, with `taps` weights for each channel.
    pub(super) fn check_apart(&self, op: &OpView, taps: usize) -> Result<(), OpError> {
        let y = op.output()?;
        let channels = y.channels();
        self.check_ranges(y.dtype())?;
        let packed = taps.checked_mul(channels).ok_or(OpError::BadParams)?;
        op.count_macs(y.rows(), packed);
        let sums = Sums {
            inputs: taps,
            order: Order::Plain,
            ..self.sums(op, channels, packed)?
        };
        self.prove(op, &sums)
    }

    /// Counts and proves the sums of `out` outputs for each of `rows`.
    pub(super) fn check_sums(
        &self,
        op: &OpView,
        out: usize,
        (packed, inputs): (usize, usize),
        rows: usize,
    ) -> Result<(), OpError> {
        op.count_macs(rows, packed);
        let sums = Sums {
            inputs,
            ..self.sums(op, out, packed)?
        };
        self.prove(op, &sums)
    }

    /// Proves the sums of one of the matrices `[out, inputs]`, of `packed` bytes each, that a transposed convolution has.
    pub(super) fn check_phase(
        &self,
        op: &OpView,
        phase: usize,
        out: usize,
        (packed, inputs): (usize, usize),
    ) -> Result<(), OpError> {
        let behind = |offset: u32, each: usize| {
            let bytes = phase.checked_mul(each).and_then(|n| u32::try_from(n).ok());
            let offset = bytes.and_then(|bytes| offset.checked_add(bytes));
            offset.ok_or(OpError::WeightsOutOfBounds)
        };
        let words = out.saturating_mul(size_of::<i32>());
        let part = Self {
            weights: behind(self.weights, packed)?,
            bias: behind(self.bias, words)?,
            multipliers: behind(self.multipliers, words)?,
            ..*self
        };
        part.check_sums(op, out, (packed, inputs), 0)
    }

    fn sums<'a>(&self, op: &OpView<'a>, out: usize, packed: usize) -> Result<Sums<'a>, OpError> {
        let Matrix::<false> { weights, bias } = self.matrix(op, out, packed)?;
        Ok(Sums {
            weights,
            bias,
            multipliers: op.weights(self.multipliers, out)?,
            left_shift: self.left_shift,
            inputs: 0,
            order: Order::of(op),
        })
    }

    fn prove(&self, op: &OpView, sums: &Sums) -> Result<(), OpError> {
        let offsets = [self.weights, self.bias, self.multipliers];
        op.prove(offsets, sums, magnitude(op.input(0)?)).map(drop)
    }

    pub(super) fn check_ranges(&self, dtype: DType) -> Result<(), OpError> {
        check_clamp(dtype, self.min, self.max)?;
        require(
            self.left_shift < 32 && self.weights.is_multiple_of(4),
            OpError::BadParams,
        )
    }
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let [x, y] = check_activations(op)?;
    op.require_disjoint(&[x, y])?;
    require(x.rows() == y.rows(), OpError::WrongShape)?;
    op.scratch(DType::I16, pairs_len(x.channels()))?;
    op.params::<LinearParams>()?
        .check(op, packed_len(y.channels(), x.channels()), x.channels())
}

pub(super) fn run<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    run_with::<USES, false>(op, arena)
}

pub(super) fn run_joined<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    run_with::<USES, true>(op, arena)
}

fn run_with<const USES: u8, const JOINED: bool>(
    op: &OpView,
    arena: &mut [u8],
) -> Result<(), OpError> {
    let params = op.params::<LinearParams>()?;
    let (x, y) = (op.input(0)?, op.output()?);
    let k = x.channels();
    let matrix = params.matrix::<JOINED>(op, y.channels(), packed_len(y.channels(), k))?;
    let output = params.output(op, y.channels(), y.zero_point)?;
    let (x, y, pairs) = op.with_pairs(arena, pairs_len(k))?;
    if USES & Uses::ROWS != 0 {
        by_width!(USES; x, y => linear::<_, _, true, JOINED>(x, k, &matrix, &output, pairs, y));
    } else {
        by_width!(USES; x, y => linear::<_, _, false, JOINED>(x, k, &matrix, &output, pairs, y));
    }
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::{check_tensors, clamp, packed, scratch, with_wide};
    use super::*;
    use crate::f16;
    use crate::kernels::half::Clamp;
    use crate::kernels::half::linear::{Matrix, linear};
    use crate::kernels::half::packed_len;

    /// Parameters of Linear in half precision, and of the matrix inside a convolution. Offsets count in the weights section.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct LinearHalfParams {
        /// float16 `[out, in]`, packed as [`crate::kernels::half::packed_len`] says.
        pub weights: u32,
        /// f32 `[out]`.
        pub bias: u32,
        /// Smallest result, at least -65504.
        pub min: f32,
        /// Largest result, at most 65504.
        pub max: f32,
    }

    impl LinearHalfParams {
        pub(in crate::ops) fn matrix<'a>(
            &self,
            op: &OpView<'a>,
            out: usize,
            k: usize,
        ) -> Result<Matrix<'a>, OpError> {
            Ok(Matrix {
                weights: packed(op, self.weights, packed_len(out, k))?,
                bias: op.weights(self.bias, out)?,
            })
        }

        /// Weights and biases of a depthwise convolution with `span` weights.
        pub(in crate::ops) fn apart<'a>(
            &self,
            op: &OpView<'a>,
            span: usize,
        ) -> Result<(&'a [f16], &'a [f32]), OpError> {
            let weights = op.weights(self.weights, span)?;
            Ok((weights, op.weights(self.bias, op.input(0)?.channels())?))
        }

        /// Limits of the results.
        pub(in crate::ops) fn clamp(&self) -> Result<Clamp, OpError> {
            clamp(self.min, self.max)
        }
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        check_tensors(op, 1)?;
        let (x, y) = (op.input(0)?, op.output()?);
        require(x.rows() == y.rows(), OpError::WrongShape)?;
        let params = op.params::<LinearHalfParams>()?;
        params.clamp()?;
        params.matrix(op, y.channels(), x.channels())?;
        op.count_macs(y.len(), x.channels());
        scratch(op, x.channels()).map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let params = op.params::<LinearHalfParams>()?;
        let (x, y) = (op.input(0)?, op.output()?);
        let k = x.channels();
        let matrix = params.matrix(op, y.channels(), k)?;
        let (x, y, wide) = with_wide(op, arena, k)?;
        linear(x, k, &matrix, params.clamp()?, wide, y);
        Ok(())
    }
}

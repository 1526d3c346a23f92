//! Channel and spatial attention, without the convolutions: MaxChannels and MeanChannels reduce `[rows, c]` to one value for
//! each row, Gate multiplies `[rows, c]` with one factor for each channel or each row. No scratch.

use super::activations::check_activations;
use super::arena::{Values, by_width};
use super::rescale::RequantizeParams;
use super::{OpError, OpView, centred, require};
use crate::format::DType;
use crate::kernels::int::pool::{gate_channels, gate_rows, max_channels, mean_channels};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of MeanChannels: the multiplier also divides by the number of channels.
pub type MeanChannelsParams = RequantizeParams;

/// Parameters of Gate.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GateParams {
    /// As for Mul: the product of both input scales / output scale.
    pub rescale: RequantizeParams,
    /// 1: one factor for each row; 0: one for each channel.
    pub per_row: u32,
}

/// Values of int16 whose sum stays within 32 bits.
const MAX_MEAN_CHANNELS: usize = 1 << 15;

fn check_rows(op: &OpView) -> Result<(), OpError> {
    let [x, y] = check_activations(op)?;
    op.require_disjoint(&[x, y])?;
    let fits = x.rows() == y.len() && op.input_count() == 1;
    require(fits, OpError::WrongShape)
}

pub(super) fn check_max_channels(op: &OpView) -> Result<(), OpError> {
    check_rows(op)?;
    op.params::<[u8; 0]>()?;
    let same = op.input(0)?.dtype() == op.output()?.dtype();
    require(same, OpError::WrongType)
}

pub(super) fn run_max_channels(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let channels = x.channels();
    match op.values(arena, [x, y])? {
        [Values::I8(x), Values::I8(y)] => max_channels(x, channels, y),
        [Values::I16(x), Values::I16(y)] => max_channels(x, channels, y),
        _ => return Err(OpError::WrongType),
    }
    Ok(())
}

pub(super) fn check_mean_channels(op: &OpView) -> Result<(), OpError> {
    check_rows(op)?;
    let short = op.input(0)?.channels() <= MAX_MEAN_CHANNELS;
    require(short, OpError::WrongShape)?;
    let x = op.input(0)?;
    op.params::<MeanChannelsParams>()?
        .check_sum(op.output()?, x.channels(), centred(x).into())
}

pub(super) fn run_mean_channels(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let by = op.params::<MeanChannelsParams>()?.rescale(x, y);
    let channels = x.channels();
    let [x, y] = op.values(arena, [x, y])?;
    by_width!(x, y => mean_channels(x, channels, &by, y));
    Ok(())
}

/// One factor for each row or each channel.
fn check_factors(op: &OpView, per_row: u32) -> Result<(), OpError> {
    let (x, gate, y) = (op.input(0)?, op.input(1)?, op.output()?);
    let factors = match per_row {
        0 => x.channels(),
        1 => x.rows(),
        _ => return Err(OpError::BadParams),
    };
    let fits = gate.len() == factors && x.len() == y.len() && op.input_count() == 2;
    require(fits, OpError::WrongShape)?;
    if per_row == 0 {
        op.require_fixed(&[gate])?;
    }
    Ok(())
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    check_activations(op)?;
    let (x, gate, y) = (op.input(0)?, op.input(1)?, op.output()?);
    op.require_disjoint(&[x, gate, y])?;
    require(gate.dtype() != DType::I32, OpError::WrongType)?;
    let params = op.params::<GateParams>()?;
    check_factors(op, params.per_row)?;
    params
        .rescale
        .check_sum(y, centred(x) as usize, centred(gate).into())
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<GateParams>()?;
    let (x, gate, y) = (op.input(0)?, op.input(1)?, op.output()?);
    let by = params.rescale.rescale(x, y);
    let (zero, gate_zero, channels) = (x.zero_point, gate.zero_point, x.channels());
    let [x, gate, y] = op.values(arena, [x, gate, y])?;
    if params.per_row == 1 {
        by_width!(x, gate, y => gate_rows((x, zero), (gate, gate_zero), channels, &by, y));
    } else {
        by_width!(x, gate, y => gate_channels((x, zero), (gate, gate_zero), &by, y));
    }
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::check_tensors;
    use super::*;
    use crate::f16;
    use crate::kernels::half::image::{gate, max_channels, mean_channels};

    /// Parameters of Gate in half precision.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct GateHalfParams {
        /// Multiplied last.
        pub factor: f32,
        /// 1: one factor for each row; 0: one for each channel.
        pub per_row: u32,
    }

    pub(in crate::ops) use check_max_channels as check_mean_channels;

    pub(in crate::ops) fn check_max_channels(op: &OpView) -> Result<(), OpError> {
        check_tensors(op, 1)?;
        let fits = op.input(0)?.rows() == op.output()?.len();
        require(fits, OpError::WrongShape)?;
        op.params::<[u8; 0]>().map(drop)
    }

    /// The rows and the result.
    fn operands<'t>(op: &OpView, arena: &'t mut [u8]) -> Result<[&'t mut [f16]; 2], OpError> {
        op.typed(arena, [op.input(0)?, op.output()?])
    }

    pub(in crate::ops) fn run_max_channels(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let [x, y] = operands(op, arena)?;
        max_channels(x, op.input(0)?.channels(), y);
        Ok(())
    }

    pub(in crate::ops) fn run_mean_channels(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let [x, y] = operands(op, arena)?;
        mean_channels(x, op.input(0)?.channels(), y);
        Ok(())
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        check_tensors(op, 2)?;
        check_factors(op, op.params::<GateHalfParams>()?.per_row)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let params = op.params::<GateHalfParams>()?;
        let x = op.input(0)?;
        let channels = x.channels();
        let [x, factors, y] = op.typed(arena, [x, op.input(1)?, op.output()?])?;
        gate(x, factors, channels, params.per_row == 1, params.factor, y);
        Ok(())
    }
}

//! What channel and spatial attention need besides convolutions: MaxChannels and MeanChannels take `[rows, c]` to one value
//! for each row, Gate multiplies `[rows, c]` with one factor for each channel or each row. int8 or int16, no scratch.

use super::arena::{self, Values, ValuesMut};
use super::elementwise::RequantizeParams;
use super::linear::check_activations;
use super::{OpError, OpView, require};
use crate::format::{DType, TensorRecord};
use crate::kernels::elementwise::Rescale;
use crate::kernels::pool::{gate_channels, gate_rows, max_channels, mean_channels};
use crate::kernels::requantize::Activation;
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
    check_activations(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
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
    let [x_bytes, y_bytes] = op.tensors(arena, [x, y])?;
    match (arena::values(x_bytes, x)?, arena::values_mut(y_bytes, y)?) {
        (Values::I8(x), ValuesMut::I8(y)) => max_channels(x, channels, y),
        (Values::I16(x), ValuesMut::I16(y)) => max_channels(x, channels, y),
        _ => return Err(OpError::WrongType),
    }
    Ok(())
}

pub(super) fn check_mean_channels(op: &OpView) -> Result<(), OpError> {
    check_rows(op)?;
    let short = op.input(0)?.channels() <= MAX_MEAN_CHANNELS;
    require(short, OpError::WrongShape)?;
    op.params::<MeanChannelsParams>()?.check(op.output()?)
}

pub(super) fn run_mean_channels(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let (channels, by) = (
        x.channels(),
        op.params::<MeanChannelsParams>()?.rescale(x, y),
    );
    let [x_bytes, y_bytes] = op.tensors(arena, [x, y])?;
    match (arena::values(x_bytes, x)?, arena::values_mut(y_bytes, y)?) {
        (Values::I8(x), ValuesMut::I8(y)) => mean_channels(x, channels, &by, y),
        (Values::I8(x), ValuesMut::I16(y)) => mean_channels(x, channels, &by, y),
        (Values::I16(x), ValuesMut::I8(y)) => mean_channels(x, channels, &by, y),
        (Values::I16(x), ValuesMut::I16(y)) => mean_channels(x, channels, &by, y),
    }
    Ok(())
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    check_activations(op)?;
    let (x, gate, y) = (op.input(0)?, op.input(1)?, op.output()?);
    op.require_disjoint(&[x, gate, y])?;
    require(gate.dtype() != DType::I32, OpError::WrongType)?;
    let params = op.params::<GateParams>()?;
    let factors = match params.per_row {
        0 => x.channels(),
        1 => x.rows(),
        _ => return Err(OpError::BadParams),
    };
    let fits = gate.len() == factors && x.len() == y.len() && op.input_count() == 2;
    require(fits, OpError::WrongShape)?;
    params.rescale.check(y)
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<GateParams>()?;
    let (x, gate, y) = (op.input(0)?, op.input(1)?, op.output()?);
    let product = Product {
        zero_points: [x.zero_point, gate.zero_point],
        rows_of: (params.per_row == 1).then_some(x.channels()),
        by: params.rescale.rescale(x, y),
    };
    let [x_bytes, gate_bytes, y_bytes] = op.tensors(arena, [x, gate, y])?;
    let x_values = arena::values(x_bytes, x)?;
    match (x_values, arena::values(gate_bytes, gate)?) {
        (Values::I8(x), Values::I8(gate)) => product.run(x, gate, y_bytes, y),
        (Values::I8(x), Values::I16(gate)) => product.run(x, gate, y_bytes, y),
        (Values::I16(x), Values::I8(gate)) => product.run(x, gate, y_bytes, y),
        (Values::I16(x), Values::I16(gate)) => product.run(x, gate, y_bytes, y),
    }
}

struct Product {
    zero_points: [i32; 2],
    /// Channels of a row, where each row has its own factor.
    rows_of: Option<usize>,
    by: Rescale,
}

impl Product {
    fn run<X: Activation, G: Activation>(
        &self,
        x: &[X],
        gate: &[G],
        y_bytes: &mut [u8],
        y: &TensorRecord,
    ) -> Result<(), OpError> {
        match arena::values_mut(y_bytes, y)? {
            ValuesMut::I8(y) => self.multiply(x, gate, y),
            ValuesMut::I16(y) => self.multiply(x, gate, y),
        }
        Ok(())
    }

    fn multiply<X: Activation, G: Activation, Y: Activation>(
        &self,
        x: &[X],
        gate: &[G],
        y: &mut [Y],
    ) {
        let [zero, gate_zero] = self.zero_points;
        match self.rows_of {
            Some(channels) => gate_rows((x, zero), (gate, gate_zero), channels, &self.by, y),
            None => gate_channels((x, zero), (gate, gate_zero), &self.by, y),
        }
    }
}

//! MaxPool2d and AveragePool2d: input `[h, w, c]` int8 or int16, output `[h_out, w_out, c]`. No scratch. MaxPool2d passes values
//! on as they are, so its output has the input's type (and is meant to have its scale). Padding is smaller than the window, so
//! that some pixel is always under it; it never is the largest value, and counts as 0.0 in an average.

use super::arena::{self, Values, ValuesMut};
use super::conv2d::{Window2dParams, image, size};
use super::elementwise::RequantizeParams;
use super::linear::check_activations;
use super::{OpError, OpView, require};
use crate::kernels::pool::{average_pool2d, max_pool2d};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Parameters of MaxPool2d.
pub type MaxPool2dParams = Window2dParams;

/// Parameters of AveragePool2d.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AveragePool2dParams {
    /// The window's way.
    pub window: Window2dParams,
    /// The multiplier also divides by the size of the window.
    pub rescale: RequantizeParams,
}

/// Pixels of int16 whose sum stays within 32 bits.
const MAX_MEAN_PIXELS: u64 = 1 << 15;

fn check(op: &OpView, window: &Window2dParams) -> Result<(), OpError> {
    check_activations(op)?;
    let (x, y) = (op.input(0)?, op.output()?);
    op.require_disjoint(&[x, y])?;
    window.check(x, y)?;
    window.check_padding()?;
    let same = x.channels() == y.channels() && op.input_count() == 1;
    require(same, OpError::WrongShape)
}

pub(super) fn check_max(op: &OpView) -> Result<(), OpError> {
    check(op, op.params::<MaxPool2dParams>()?)?;
    let same = op.input(0)?.dtype() == op.output()?.dtype();
    require(same, OpError::WrongType)
}

pub(super) fn run_max(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let (from, [_, width, _]) = (size(x)?, size(y)?);
    let window = op.params::<MaxPool2dParams>()?.window(x);
    let [x_bytes, y_bytes] = op.tensors(arena, [x, y])?;
    match (arena::values(x_bytes, x)?, arena::values_mut(y_bytes, y)?) {
        (Values::I8(x), ValuesMut::I8(y)) => max_pool2d(&image(x, from), &window, y, width),
        (Values::I16(x), ValuesMut::I16(y)) => max_pool2d(&image(x, from), &window, y, width),
        _ => return Err(OpError::WrongType),
    }
    Ok(())
}

pub(super) fn check_average(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<AveragePool2dParams>()?;
    check(op, &params.window)?;
    let [height, width] = params.window.kernel.map(u64::from);
    require(height * width <= MAX_MEAN_PIXELS, OpError::BadParams)?;
    params.rescale.check(op.output()?)
}

pub(super) fn run_average(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let (from, [_, width, _]) = (size(x)?, size(y)?);
    let params = op.params::<AveragePool2dParams>()?;
    let (window, by) = (&params.window.window(x), &params.rescale.rescale(x, y));
    let [x_bytes, y_bytes] = op.tensors(arena, [x, y])?;
    match (arena::values(x_bytes, x)?, arena::values_mut(y_bytes, y)?) {
        (Values::I8(x), ValuesMut::I8(y)) => average_pool2d(&image(x, from), window, by, y, width),
        (Values::I8(x), ValuesMut::I16(y)) => average_pool2d(&image(x, from), window, by, y, width),
        (Values::I16(x), ValuesMut::I8(y)) => average_pool2d(&image(x, from), window, by, y, width),
        (Values::I16(x), ValuesMut::I16(y)) => {
            average_pool2d(&image(x, from), window, by, y, width);
        }
    }
    Ok(())
}

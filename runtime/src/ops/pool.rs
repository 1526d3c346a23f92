//! MaxPool2d and AveragePool2d: input `[h, w, c]`, output `[h_out, w_out, c]`. No scratch. MaxPool2d copies values, so its
//! output has the input's type and scale. Padding is smaller than the window: some pixel is always under it. Padding is
//! never the largest value, and counts as 0.0 in an average.

use super::activations::check_activations;
use super::arena::{Values, by_width};
use super::conv2d::{Window2dParams, image, size};
use super::rescale::RequantizeParams;
use super::{OpError, OpView, centred, require};
use crate::format::TensorRecord;
use crate::kernels::int::pool::{average_pool2d, max_pool2d};
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

/// The window of a pool: without gaps, and with less padding than pixels.
fn check_window(
    window: &Window2dParams,
    x: &TensorRecord,
    y: &TensorRecord,
) -> Result<(), OpError> {
    window.check(x, y)?;
    window.check_padding()?;
    window.check_dense()
}

fn check(op: &OpView, window: &Window2dParams) -> Result<(), OpError> {
    let [x, y] = check_activations(op)?;
    op.require_disjoint(&[x, y])?;
    check_window(window, x, y)?;
    let same = x.channels() == y.channels() && op.input_count() == 1;
    require(same, OpError::WrongShape)?;
    window.count(op)
}

pub(super) fn check_max(op: &OpView) -> Result<(), OpError> {
    check(op, &op.params::<MaxPool2dParams>()?)?;
    let same = op.input(0)?.dtype() == op.output()?.dtype();
    require(same, OpError::WrongType)
}

pub(super) fn run_max(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let (from, [_, width, _]) = (size(x)?, size(y)?);
    let window = op.params::<MaxPool2dParams>()?.window(x);
    match op.values(arena, [x, y])? {
        [Values::I8(x), Values::I8(y)] => max_pool2d(&image(x, from), &window, y, width),
        [Values::I16(x), Values::I16(y)] => max_pool2d(&image(x, from), &window, y, width),
        _ => return Err(OpError::WrongType),
    }
    Ok(())
}

pub(super) fn check_average(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<AveragePool2dParams>()?;
    check(op, &params.window)?;
    let [height, width] = params.window.kernel.map(u64::from);
    require(height * width <= MAX_MEAN_PIXELS, OpError::BadParams)?;
    params.rescale.check_sum(
        op.output()?,
        (height * width) as usize,
        centred(op.input(0)?).into(),
    )
}

pub(super) fn run_average(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let (from, [_, width, _]) = (size(x)?, size(y)?);
    let params = op.params::<AveragePool2dParams>()?;
    let (window, by) = (&params.window.window(x), &params.rescale.rescale(x, y));
    let [x, y] = op.values(arena, [x, y])?;
    by_width!(x, y => average_pool2d(&image(x, from), window, by, y, width));
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::check_tensors;
    use super::*;
    use crate::f16;
    use crate::kernels::geometry::{Image, Window2d};
    use crate::kernels::half::image::{average_pool2d, max_pool2d};

    pub(in crate::ops) use check_max as check_average;

    /// Either operator; its parameters are the window alone.
    pub(in crate::ops) fn check_max(op: &OpView) -> Result<(), OpError> {
        check_tensors(op, 1)?;
        let (x, y) = (op.input(0)?, op.output()?);
        check_window(&op.params::<Window2dParams>()?, x, y)?;
        require(x.channels() == y.channels(), OpError::WrongShape)?;
        op.params::<Window2dParams>()?.count(op)
    }

    /// The image, its window, the result and the result's width.
    fn operands<'t>(op: &OpView, arena: &'t mut [u8]) -> Result<Operands<'t>, OpError> {
        let (x, y) = (op.input(0)?, op.output()?);
        let (from, [_, width, _]) = (size(x)?, size(y)?);
        let window = op.params::<Window2dParams>()?.window(x);
        let [x, y] = op.typed(arena, [x, y])?;
        Ok((image(x, from), window, y, width))
    }

    type Operands<'t> = (Image<'t, f16>, Window2d, &'t mut [f16], usize);

    pub(in crate::ops) fn run_max(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let (x, window, y, width) = operands(op, arena)?;
        max_pool2d(&x, &window, y, width);
        Ok(())
    }

    pub(in crate::ops) fn run_average(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let (x, window, y, width) = operands(op, arena)?;
        average_pool2d(&x, &window, y, width);
        Ok(())
    }
}

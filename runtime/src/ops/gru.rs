//! Gru: input `x: [t, in]`, output `[t, hidden]`, state `h: [hidden]`. Integer: `x` int8 or int16, the rest int16 Q15, scratch
//! int16 `[in] + [hidden]` in pair order. Half: scratch f32 `[in] + [hidden]`.
//!
//! On a stream `h` is a state tensor, input 1, that every run carries on. Over a whole sequence `h` is a second output,
//! which starts from zero or from input 1; it may run backwards.

use super::arena::{self, Values, by_width};
use super::recurrent::{
    RecurrentGeometry, RecurrentSide, Start, check_layer, check_sides, kept, rows,
};
use super::{OpError, OpView, Uses, require};
use crate::format::{DType, OpFacts};
use crate::kernels::int::dot::pairs_len;
use crate::kernels::int::gru::step;
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const GATES: usize = 3;
/// `h`.
const STATES: usize = 1;

/// Parameters of Gru.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GruParams {
    /// Input side.
    pub input: RecurrentSide,
    /// Recurrent side.
    pub recurrent: RecurrentSide,
    /// Start and direction.
    pub run: RecurrentGeometry,
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<GruParams>()?;
    let start = Start::from_code(params.run.start)?;
    check_layer(op, start, params.run.reverse, STATES)?;
    let (x, h, y) = (op.input(0)?, kept(op, start, STATES)?, op.output()?);
    let known = x.dtype() != DType::I32 && h.dtype() == DType::I16 && y.dtype() == DType::I16;
    require(known, OpError::WrongType)?;
    let hidden = h.len();
    check_sides(op, &params.input, &params.recurrent, GATES)?;
    op.scratch(DType::I16, pairs_len(x.channels()) + pairs_len(hidden))
        .map(drop)
}

/// Beyond the plain form: a layer that runs backwards.
pub(super) const fn has_extras(op: &OpFacts) -> bool {
    op.param(offset_of!(GruParams, run.reverse)) != 0
}

pub(super) fn run<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    run_with::<USES, false>(op, arena)
}

/// With joined weights on the input's side.
pub(super) fn run_joined<const USES: u8>(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    run_with::<USES, true>(op, arena)
}

fn run_with<const USES: u8, const JOINED: bool>(
    op: &OpView,
    arena: &mut [u8],
) -> Result<(), OpError> {
    let params = op.params::<GruParams>()?;
    let start = Start::from_code(params.run.start)?;
    let (x, h, y) = (op.input(0)?, kept(op, start, STATES)?, op.output()?);
    let (k, hidden) = (x.channels(), h.len());
    let input = params.input.side::<JOINED>(op, GATES, k, hidden)?;
    let recurrent = params.recurrent.side(op, GATES, hidden, hidden)?;
    let scratch = op.scratch(DType::I16, pairs_len(k) + pairs_len(hidden))?;
    match start {
        Start::Last => {}
        Start::Zero => {
            let [h] = op.tensors(arena, [h])?;
            h.fill(0);
        }
        Start::Given => {
            let [h0, h] = op.tensors(arena, [op.input(1)?, h])?;
            arena::copy(h0, h);
        }
    }
    let [x_bytes, h, y, scratch] = op.tensors(arena, [x, h, y, scratch])?;
    let (h, pairs) = (arena::typed::<i16>(h)?, arena::typed::<i16>(scratch)?);
    let (x, y) = (arena::values(x_bytes, x)?, arena::typed::<i16>(y)?);
    let reverse = USES & Uses::EXTRAS != 0 && params.run.reverse == 1;
    by_width!(USES; x => rows(x, y, [k, hidden], reverse, |x, y| {
        step(x, &input, &recurrent, h, pairs);
        y.iter_mut().zip(&*h).for_each(|(y, h)| *y = *h);
    }));
    Ok(())
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::scratch;
    use super::super::recurrent::half::{
        RecurrentHalfSide, begin, check_sides, check_types, sides,
    };
    use super::*;
    use crate::kernels::half::gru::step;
    use crate::kernels::half::{Clamp, narrow, widen};

    /// Parameters of Gru in half precision.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct GruHalfParams {
        /// Input side.
        pub input: RecurrentHalfSide,
        /// Recurrent side.
        pub recurrent: RecurrentHalfSide,
        /// Start and direction.
        pub run: RecurrentGeometry,
    }

    pub(in crate::ops) fn check(op: &OpView) -> Result<(), OpError> {
        let params = op.params::<GruHalfParams>()?;
        let start = Start::from_code(params.run.start)?;
        check_layer(op, start, params.run.reverse, STATES)?;
        check_types(op, kept(op, start, STATES)?)?;
        check_sides(op, &params.input, &params.recurrent, GATES)?;
        let (k, hidden) = (op.input(0)?.channels(), op.output()?.channels());
        scratch(op, k.saturating_add(hidden)).map(drop)
    }

    pub(in crate::ops) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
        let params = op.params::<GruHalfParams>()?;
        let start = Start::from_code(params.run.start)?;
        let (x, y, h) = (op.input(0)?, op.output()?, kept(op, start, STATES)?);
        let (k, hidden) = (x.channels(), y.channels());
        let [input, recurrent] = sides(op, &params.input, &params.recurrent, GATES)?;
        let wide = scratch(op, k.saturating_add(hidden))?;
        begin(op, start, 1, wide, k, arena)?;
        let [x, y, h, wide] = op.tensors(arena, [x, y, h, wide])?;
        let (wide_x, wide_h) = arena::first::<f32>(wide, k + hidden)?
            .split_at_mut_checked(k)
            .ok_or(OpError::ScratchTooSmall)?;
        let (x, y) = (arena::typed(x)?, arena::typed(y)?);
        rows(x, y, [k, hidden], params.run.reverse == 1, |x, y| {
            widen(x, wide_x);
            step(wide_x, &input, &recurrent, wide_h, y);
        });
        narrow(wide_h, Clamp::NONE, arena::typed(h)?);
        Ok(())
    }
}

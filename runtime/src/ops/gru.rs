//! Gru: inputs `x: [t, in]` int8 or int16 and the state `h: [hidden]` int16 Q15; output `[t, hidden]` int16 Q15;
//! scratch int16 `[in] + [hidden]` in pair order.
//!
//! Over a whole window (`restart`) every run starts from zero: `h` is then a second output instead of an input.

use super::arena::{self, Values};
use super::{OpError, OpView, require};
use crate::format::{DType, Storage, TensorRecord};
use crate::kernels::dot::pairs_len;
use crate::kernels::gru::{Side, step};
use crate::kernels::requantize::Activation;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Weights of one side of a Gru; offsets in the weights section.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GruSide {
    /// Packed int8 `[hidden, in]` for gates z, r, n.
    pub weights: u32,
    /// int32, `hidden` rounded up to a multiple of 4, for gates z, r, n.
    pub bias: u32,
    /// int32 factors to Q16, as many.
    pub multipliers: u32,
    /// Left shift of the requantization, 0 to 31.
    pub left_shift: u32,
}

/// Parameters of Gru.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GruParams {
    /// Input side.
    pub input: GruSide,
    /// Recurrent side.
    pub recurrent: GruSide,
    /// 1: start every run from zero; 0: carry on from the last run.
    pub restart: u32,
}

impl GruParams {
    /// The tensor that holds `h`.
    fn state<'a>(&self, op: &OpView<'a>) -> Result<&'a TensorRecord, OpError> {
        if self.restart == 1 {
            op.output_at(1)
        } else {
            op.input(1)
        }
    }
}

impl GruSide {
    fn side<'a>(&self, op: &OpView<'a>, k: usize, hidden: usize) -> Result<Side<'a>, OpError> {
        let units = 3 * pairs_len(hidden);
        let packed = units.checked_mul(pairs_len(k)).ok_or(OpError::WrongShape)?;
        require(
            self.left_shift < 32 && self.weights.is_multiple_of(4),
            OpError::BadParams,
        )?;
        Ok(Side {
            weights: op.weights(self.weights, packed)?,
            bias: op.weights(self.bias, units)?,
            multipliers: op.weights(self.multipliers, units)?,
            left_shift: self.left_shift,
        })
    }
}

pub(super) fn check(op: &OpView) -> Result<(), OpError> {
    let params = op.params::<GruParams>()?;
    require(params.restart <= 1, OpError::BadParams)?;
    let (x, h, y) = (op.input(0)?, params.state(op)?, op.output()?);
    let hidden = h.len();
    require(
        x.dtype() != DType::I32 && h.dtype() == DType::I16 && y.dtype() == DType::I16,
        OpError::WrongType,
    )?;
    require(
        y.channels() == hidden && y.rows() == x.rows(),
        OpError::WrongShape,
    )?;
    let kept = params.restart == 0;
    require(
        (h.storage() == Storage::State) == kept && y.storage() == Storage::Arena,
        OpError::WrongStorage,
    )?;
    op.require_disjoint(&[x, h, y])?;
    params.input.side(op, x.channels(), hidden)?;
    params.recurrent.side(op, hidden, hidden)?;
    op.scratch(DType::I16, pairs_len(x.channels()) + pairs_len(hidden))
        .map(drop)
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<GruParams>()?;
    let (x, h, y) = (op.input(0)?, params.state(op)?, op.output()?);
    let (k, hidden) = (x.channels(), h.len());
    let input = params.input.side(op, k, hidden)?;
    let recurrent = params.recurrent.side(op, hidden, hidden)?;
    let scratch = op.scratch(DType::I16, pairs_len(k) + pairs_len(hidden))?;
    let [x_bytes, h, y, scratch] = op.tensors(arena, [x, h, y, scratch])?;
    let (h, pairs) = (arena::typed::<i16>(h)?, arena::typed::<i16>(scratch)?);
    if params.restart == 1 {
        h.fill(0);
    }
    let rows = arena::typed::<i16>(y)?.chunks_exact_mut(hidden.max(1));
    match arena::values(x_bytes, x)? {
        Values::I8(x) => steps(x, k, rows, &input, &recurrent, h, pairs),
        Values::I16(x) => steps(x, k, rows, &input, &recurrent, h, pairs),
    }
    Ok(())
}

fn steps<'y, X: Activation>(
    x: &[X],
    k: usize,
    mut rows: impl Iterator<Item = &'y mut [i16]>,
    input: &Side,
    recurrent: &Side,
    h: &mut [i16],
    pairs: &mut [i16],
) {
    // Not zipped: that would divide by the length of a row, which the compiler does not know to be above 0.
    let mut inputs = x.chunks_exact(k.max(1));
    while let (Some(x), Some(y)) = (inputs.next(), rows.next()) {
        step(x, input, recurrent, h, pairs);
        y.iter_mut().zip(&*h).for_each(|(y, h)| *y = *h);
    }
}

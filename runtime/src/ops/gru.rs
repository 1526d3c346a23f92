//! Gru: input `x: [t, in]` int8 or int16, output `[t, hidden]` int16 Q15, state `h: [hidden]` int16 Q15; scratch int16
//! `[in] + [hidden]` in pair order.
//!
//! On a stream `h` is a state tensor, input 1, that every run carries on. Over a whole sequence `h` is a second output,
//! which starts from zero or from input 1; it may run backwards.

use super::arena::{self, Values};
use super::{ALL, OpError, OpView, require};
use crate::format::{DType, Storage, TensorRecord};
use crate::kernels::dot::pairs_len;
use crate::kernels::gates::Side;
use crate::kernels::gru::step;
use crate::kernels::requantize::Activation;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Gates of a Gru.
const GATES: usize = 3;

/// Weights of one side of a recurrent layer; offsets in the weights section.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecurrentSide {
    /// Packed int8 `[hidden, in]` for each gate: z, r, n of a Gru; i, o, f, g of an Lstm.
    pub weights: u32,
    /// int32, `hidden` rounded up to a multiple of 4, for each gate.
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
    pub input: RecurrentSide,
    /// Recurrent side.
    pub recurrent: RecurrentSide,
    /// Where a run starts from; see [`Start`].
    pub start: u32,
    /// 1: from the last row to the first; 0: forwards.
    pub reverse: u32,
}

/// Where a recurrent layer's run starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Start {
    /// From where the last run ended: on a stream.
    Last = 0,
    /// From zero.
    Zero = 1,
    /// From a tensor, an input of the operator.
    Given = 2,
}

impl Start {
    pub(super) fn from_code(code: u32) -> Result<Self, OpError> {
        match code {
            0 => Ok(Self::Last),
            1 => Ok(Self::Zero),
            2 => Ok(Self::Given),
            _ => Err(OpError::BadParams),
        }
    }
}

impl GruParams {
    /// The tensor that holds `h`.
    fn state<'a>(&self, op: &OpView<'a>) -> Result<&'a TensorRecord, OpError> {
        match Start::from_code(self.start)? {
            Start::Last => op.input(1),
            Start::Zero | Start::Given => op.output_at(1),
        }
    }
}

impl RecurrentSide {
    /// The weights of a layer with so many gates.
    pub(super) fn side<'a>(
        &self,
        op: &OpView<'a>,
        gates: usize,
        k: usize,
        hidden: usize,
    ) -> Result<Side<'a>, OpError> {
        let units = gates * pairs_len(hidden);
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
    require(params.reverse <= 1, OpError::BadParams)?;
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
    let start = Start::from_code(params.start)?;
    let kept = start == Start::Last;
    require(!kept || params.reverse == 0, OpError::BadParams)?;
    let inputs = if start == Start::Zero { 1 } else { 2 };
    require(op.input_count() == inputs, OpError::MissingTensor)?;
    if start == Start::Given {
        let h0 = op.input(1)?;
        require(h0.dtype() == DType::I16, OpError::WrongType)?;
        require(h0.len() == hidden, OpError::WrongShape)?;
        op.require_disjoint(&[h0, h, y])?;
    }
    require(
        (h.storage() == Storage::State) == kept,
        OpError::WrongStorage,
    )?;
    op.require_disjoint(&[x, h, y])?;
    params.input.side(op, GATES, x.channels(), hidden)?;
    params.recurrent.side(op, GATES, hidden, hidden)?;
    op.scratch(DType::I16, pairs_len(x.channels()) + pairs_len(hidden))
        .map(drop)
}

pub(super) fn run(op: &OpView, arena: &mut [u8]) -> Result<(), OpError> {
    let params = op.params::<GruParams>()?;
    let (x, h, y) = (op.input(0)?, params.state(op)?, op.output()?);
    let (k, hidden) = (x.channels(), h.len());
    let input = params.input.side(op, GATES, k, hidden)?;
    let recurrent = params.recurrent.side(op, GATES, hidden, hidden)?;
    let scratch = op.scratch(DType::I16, pairs_len(k) + pairs_len(hidden))?;
    match Start::from_code(params.start)? {
        Start::Last => {}
        Start::Zero => op
            .tensors(arena, [h])?
            .into_iter()
            .flatten()
            .for_each(|byte| *byte = 0),
        Start::Given => {
            let [h0, h] = op.tensors(arena, [op.input(1)?, h])?;
            h.iter_mut().zip(&*h0).for_each(|(h, x)| *h = *x);
        }
    }
    let [x_bytes, h, y, scratch] = op.tensors(arena, [x, h, y, scratch])?;
    let (h, pairs) = (arena::typed::<i16>(h)?, arena::typed::<i16>(scratch)?);
    let rows = arena::typed::<i16>(y)?.chunks_exact_mut(hidden.max(1));
    let reverse = ALL && params.reverse == 1;
    match arena::values(x_bytes, x)? {
        Values::I8(x) if reverse => {
            steps(
                x.chunks_exact(k.max(1)).rev(),
                rows.rev(),
                &input,
                &recurrent,
                h,
                pairs,
            );
        }
        Values::I16(x) if reverse => {
            steps(
                x.chunks_exact(k.max(1)).rev(),
                rows.rev(),
                &input,
                &recurrent,
                h,
                pairs,
            );
        }
        Values::I8(x) => steps(x.chunks_exact(k.max(1)), rows, &input, &recurrent, h, pairs),
        Values::I16(x) => steps(x.chunks_exact(k.max(1)), rows, &input, &recurrent, h, pairs),
    }
    Ok(())
}

fn steps<'x, 'y, X: Activation + 'x>(
    mut inputs: impl Iterator<Item = &'x [X]>,
    mut rows: impl Iterator<Item = &'y mut [i16]>,
    input: &Side,
    recurrent: &Side,
    h: &mut [i16],
    pairs: &mut [i16],
) {
    // Not zipped: that would divide by the length of a row, which the compiler does not know to be above 0.
    while let (Some(x), Some(y)) = (inputs.next(), rows.next()) {
        step(x, input, recurrent, h, pairs);
        y.iter_mut().zip(&*h).for_each(|(y, h)| *y = *h);
    }
}

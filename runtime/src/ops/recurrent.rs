//! What Gru and Lstm share: the weights of a side, where a run starts from, and the demands on the tensors.

use super::{OpError, OpView, Order, Sums, magnitude, require};
use crate::format::{Storage, TensorRecord};
use crate::kernels::int::dot::pairs_len;
use crate::kernels::int::gates::Side;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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

/// How a recurrent layer runs, in every encoding.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecurrentGeometry {
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

impl RecurrentSide {
    /// The weights of a layer with so many gates.
    pub(super) fn side<'a, const JOINED: bool>(
        &self,
        op: &OpView<'a>,
        gates: usize,
        k: usize,
        hidden: usize,
    ) -> Result<Side<'a, JOINED>, OpError> {
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

    /// The largest magnitude of a pre-activation, Q16, of inputs up to `magnitude`.
    fn prove(
        &self,
        op: &OpView,
        gates: usize,
        k: usize,
        hidden: usize,
        magnitude: u32,
        order: Order,
    ) -> Result<i32, OpError> {
        let side = self.side::<false>(op, gates, k, hidden)?;
        op.count_macs(op.output()?.rows(), side.weights.len());
        let sums = Sums {
            weights: side.weights,
            bias: side.bias,
            multipliers: side.multipliers,
            left_shift: side.left_shift,
            inputs: k,
            order,
        };
        let offsets = [self.weights, self.bias, self.multipliers];
        op.prove(offsets, &sums, magnitude)
    }
}

/// Both sides of a layer, and that their sums fit 32 bits.
pub(super) fn check_sides(
    op: &OpView,
    input: &RecurrentSide,
    recurrent: &RecurrentSide,
    gates: usize,
) -> Result<(), OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let (k, hidden) = (x.channels(), y.channels());
    let input = input.prove(op, gates, k, hidden, magnitude(x), Order::of(op))?;
    let recurrent = recurrent.prove(op, gates, hidden, hidden, magnitude(y), Order::Packed)?;
    let sum = input.checked_add(recurrent);
    require(sum.is_some_and(|sum| sum < i32::MAX), OpError::MayOverflow)
}

/// The state that a layer of `states` states leaves behind: on a stream the last of them, which is carried on, else the second
/// output.
pub(super) fn kept<'a>(
    op: &OpView<'a>,
    start: Start,
    states: usize,
) -> Result<&'a TensorRecord, OpError> {
    match start {
        Start::Last => op.input(states),
        Start::Zero | Start::Given => op.output_at(1),
    }
}

/// Checks `x: [t, in]`, `y: [t, hidden]` and the states `[hidden]`, all but the types of `x`, `y` and the state that is kept.
pub(super) fn check_layer(
    op: &OpView,
    start: Start,
    reverse: u32,
    states: usize,
) -> Result<(), OpError> {
    let (x, y, kept) = (op.input(0)?, op.output()?, kept(op, start, states)?);
    let streamed = start == Start::Last;
    require(reverse <= u32::from(!streamed), OpError::BadParams)?;
    let fits = y.rows() == x.rows() && kept.len() == y.channels();
    require(fits, OpError::WrongShape)?;
    let stored = (kept.storage() == Storage::State) == streamed;
    require(stored, OpError::WrongStorage)?;
    op.require_disjoint(&[x, y, kept])?;
    op.require_fixed(&[kept])?;
    let inputs = if start == Start::Zero { 1 } else { 1 + states };
    require(op.input_count() == inputs, OpError::MissingTensor)?;
    for slot in 1..inputs {
        let given = op.input(slot)?;
        op.require_fixed(&[given])?;
        require(given.dtype() == kept.dtype(), OpError::WrongType)?;
        require(given.len() == y.channels(), OpError::WrongShape)?;
        op.require_disjoint(&[given, y])?;
        if streamed {
            require(given.storage() == Storage::State, OpError::WrongStorage)?;
            op.require_disjoint(&[x, given])?;
        }
        if !streamed || slot < states {
            op.require_disjoint(&[given, kept])?;
        }
    }
    Ok(())
}

/// Calls `step` with every row of `x` and `y`, from the end if `reverse`.
pub(super) fn rows<X, Y>(
    x: &[X],
    y: &mut [Y],
    [k, hidden]: [usize; 2],
    reverse: bool,
    mut step: impl FnMut(&[X], &mut [Y]),
) {
    let (k, hidden) = (k.max(1), hidden.max(1));
    let count = (x.len() / k).min(y.len() / hidden);
    for i in 0..count {
        let row = if reverse { count - 1 - i } else { i };
        let x = x.get(row * k..(row + 1) * k);
        let y = y.get_mut(row * hidden..(row + 1) * hidden);
        if let (Some(x), Some(y)) = (x, y) {
            step(x, y);
        }
    }
}

#[cfg(attn_half)]
pub(super) mod half {
    use super::super::activations::half::{check_half, packed};
    use super::super::arena;
    use super::*;
    use crate::kernels::half::gates::{Side, side_len};
    use crate::kernels::half::{LANES, widen};

    /// Weights of one side of a recurrent layer in half precision; offsets in the weights section.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct RecurrentHalfSide {
        /// Packed float16 `[hidden, in]` for each gate: z, r, n of a Gru; i, o, f, g of an Lstm.
        pub weights: u32,
        /// f32, `hidden` rounded up to a multiple of 4, for each gate.
        pub bias: u32,
    }

    impl RecurrentHalfSide {
        fn side<'a>(
            &self,
            op: &OpView<'a>,
            gates: usize,
            k: usize,
            hidden: usize,
        ) -> Result<Side<'a>, OpError> {
            Ok(Side {
                weights: packed(op, self.weights, side_len(gates, hidden, k))?,
                bias: op.weights(self.bias, gates * hidden.div_ceil(LANES))?,
            })
        }
    }

    /// Both sides of a layer with so many gates.
    pub(in crate::ops) fn sides<'a>(
        op: &OpView<'a>,
        input: &RecurrentHalfSide,
        recurrent: &RecurrentHalfSide,
        gates: usize,
    ) -> Result<[Side<'a>; 2], OpError> {
        let (k, hidden) = (op.input(0)?.channels(), op.output()?.channels());
        Ok([
            input.side(op, gates, k, hidden)?,
            recurrent.side(op, gates, hidden, hidden)?,
        ])
    }

    /// The same, in a check: counted.
    pub(in crate::ops) fn check_sides(
        op: &OpView,
        input: &RecurrentHalfSide,
        recurrent: &RecurrentHalfSide,
        gates: usize,
    ) -> Result<(), OpError> {
        let (k, y) = (op.input(0)?.channels(), op.output()?);
        let inputs = k.saturating_add(y.channels());
        op.count_macs(y.len().saturating_mul(gates), inputs);
        sides(op, input, recurrent, gates).map(drop)
    }

    /// `x`, `y` and the state that is kept must be float16.
    pub(in crate::ops) fn check_types(op: &OpView, kept: &TensorRecord) -> Result<(), OpError> {
        for tensor in [op.input(0)?, op.output()?, kept] {
            check_half(tensor)?;
        }
        Ok(())
    }

    /// `len` elements of scratch from element `at` on.
    fn place(wide: &mut [u8], at: usize, len: usize) -> Result<&mut [f32], OpError> {
        arena::typed(wide)?
            .get_mut(at..at + len)
            .ok_or(OpError::ScratchTooSmall)
    }

    /// Fills the elements of `wide` from `at` on with input `slot`, or with zeros.
    pub(in crate::ops) fn begin(
        op: &OpView,
        start: Start,
        slot: usize,
        wide: &TensorRecord,
        at: usize,
        arena: &mut [u8],
    ) -> Result<(), OpError> {
        let hidden = op.output()?.channels();
        if start == Start::Zero {
            let [wide] = op.tensors(arena, [wide])?;
            place(wide, at, hidden)?.fill(0.0);
            return Ok(());
        }
        let [given, wide] = op.tensors(arena, [op.input(slot)?, wide])?;
        widen(arena::typed(given)?, place(wide, at, hidden)?);
        Ok(())
    }
}

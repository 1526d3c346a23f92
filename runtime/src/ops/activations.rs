//! What most operators demand of the tensors that hold activations, and of the limits of their results.

use super::{OpError, OpView, require};
use crate::format::{DType, TensorRecord};

/// First input and output of an operator that takes int8 and int16 alike.
pub(super) fn check_activations<'a>(op: &OpView<'a>) -> Result<[&'a TensorRecord; 2], OpError> {
    let (x, y) = (op.input(0)?, op.output()?);
    let known = x.dtype() != DType::I32 && y.dtype() != DType::I32;
    require(known, OpError::WrongType)?;
    Ok([x, y])
}

/// Results must fit the output's type.
pub(super) fn check_clamp(dtype: DType, min: i32, max: i32) -> Result<(), OpError> {
    let (low, high): (i32, i32) = match dtype {
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::I32 | DType::F16 => return Err(OpError::WrongType),
    };
    require(low <= min && min <= max && max <= high, OpError::BadParams)
}

/// The same in half precision. Scratch is int32 in the file and f32 in use.
#[cfg(attn_half)]
pub(super) mod half {
    use super::super::arena;
    use super::{DType, OpError, OpView, TensorRecord, require};
    use crate::f16;
    use crate::kernels::half::{Clamp, LANES, MAX};

    /// `inputs` float16 inputs and one float16 output that shares no bytes with them.
    pub(in crate::ops) fn check_tensors(op: &OpView, inputs: usize) -> Result<(), OpError> {
        let y = op.output()?;
        let complete = op.input_count() == inputs && op.output_at(1).is_err();
        require(complete, OpError::MissingTensor)?;
        check_half(y)?;
        for slot in 0..inputs {
            let x = op.input(slot)?;
            check_half(x)?;
            op.require_disjoint(&[x, y])?;
        }
        Ok(())
    }

    /// The same, and every input has the length of the output.
    pub(in crate::ops) fn check_same(op: &OpView, inputs: usize) -> Result<(), OpError> {
        check_tensors(op, inputs)?;
        for slot in 0..inputs {
            let same = op.input(slot)?.len() == op.output()?.len();
            require(same, OpError::WrongShape)?;
        }
        Ok(())
    }

    /// First input and output, both half.
    pub(in crate::ops) fn check_halves<'a>(
        op: &OpView<'a>,
    ) -> Result<[&'a TensorRecord; 2], OpError> {
        let (x, y) = (op.input(0)?, op.output()?);
        check_half(x)?;
        check_half(y)?;
        Ok([x, y])
    }

    pub(in crate::ops) fn check_half(tensor: &TensorRecord) -> Result<(), OpError> {
        require(tensor.dtype() == DType::F16, OpError::WrongType)
    }

    /// Limits of an operator's results: finite halves.
    pub(in crate::ops) fn clamp(min: f32, max: f32) -> Result<Clamp, OpError> {
        // Written so that a NaN is refused, too.
        require(-MAX <= min && min <= max && max <= MAX, OpError::BadParams)?;
        Ok(Clamp { min, max })
    }

    /// `groups` groups of packed weights at byte `offset`, which must be a multiple of 4.
    pub(in crate::ops) fn packed<'a>(
        op: &OpView<'a>,
        offset: u32,
        groups: usize,
    ) -> Result<&'a [[f16; LANES]], OpError> {
        require(offset.is_multiple_of(4), OpError::BadParams)?;
        op.weights(offset, groups)
    }

    type WithWide<'t> = (&'t mut [f16], &'t mut [f16], &'t mut [f32]);

    /// The first input, the output, and scratch of at least `len` f32.
    pub(in crate::ops) fn with_wide<'t>(
        op: &OpView,
        arena: &'t mut [u8],
        len: usize,
    ) -> Result<WithWide<'t>, OpError> {
        let tensors = [op.input(0)?, op.output()?, scratch(op, len)?];
        let [x, y, wide] = op.tensors(arena, tensors)?;
        Ok((arena::typed(x)?, arena::typed(y)?, arena::typed(wide)?))
    }

    /// Scratch of `len` f32.
    pub(in crate::ops) fn scratch<'a>(
        op: &OpView<'a>,
        len: usize,
    ) -> Result<&'a TensorRecord, OpError> {
        op.scratch(DType::I32, len)
    }
}

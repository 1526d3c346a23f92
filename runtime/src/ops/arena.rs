//! Typed views of tensors in the arena, borrowed side by side. No arithmetic, no policy.

use super::OpError;
use crate::format::{DType, TensorRecord};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `bytes` as elements of type `T`.
pub(super) fn typed<T: FromBytes + IntoBytes + Immutable + KnownLayout>(
    bytes: &mut [u8],
) -> Result<&mut [T], OpError> {
    <[T]>::mut_from_bytes(bytes).map_err(|_| OpError::WrongType)
}

/// The first `len` elements of type `T` in `bytes`.
pub(super) fn first<T: FromBytes + IntoBytes + Immutable + KnownLayout>(
    bytes: &mut [u8],
    len: usize,
) -> Result<&mut [T], OpError> {
    typed::<T>(bytes)?
        .get_mut(..len)
        .ok_or(OpError::ScratchTooSmall)
}

/// Activations of either width, to read.
#[derive(Clone, Copy)]
pub(super) enum Values<'t> {
    /// int8 elements.
    I8(&'t [i8]),
    /// int16 elements.
    I16(&'t [i16]),
}

/// Activations of either width, to write.
pub(super) enum ValuesMut<'t> {
    /// int8 elements.
    I8(&'t mut [i8]),
    /// int16 elements.
    I16(&'t mut [i16]),
}

pub(super) fn values<'t>(
    bytes: &'t mut [u8],
    tensor: &TensorRecord,
) -> Result<Values<'t>, OpError> {
    Ok(match values_mut(bytes, tensor)? {
        ValuesMut::I8(values) => Values::I8(values),
        ValuesMut::I16(values) => Values::I16(values),
    })
}

pub(super) fn values_mut<'t>(
    bytes: &'t mut [u8],
    tensor: &TensorRecord,
) -> Result<ValuesMut<'t>, OpError> {
    match tensor.dtype() {
        DType::I8 => Ok(ValuesMut::I8(typed(bytes)?)),
        DType::I16 => Ok(ValuesMut::I16(typed(bytes)?)),
        DType::I32 | DType::F16 => Err(OpError::WrongType),
    }
}

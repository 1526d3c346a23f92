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

/// [`typed`] of bytes that are only read.
pub(super) fn typed_ref<T: FromBytes + Immutable + KnownLayout>(
    bytes: &[u8],
) -> Result<&[T], OpError> {
    <[T]>::ref_from_bytes(bytes).map_err(|_| OpError::WrongType)
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

/// `each` of all `items`, or the last error.
pub(super) fn try_map<A, B: Default, const N: usize>(
    items: [A; N],
    mut each: impl FnMut(A) -> Result<B, OpError>,
) -> Result<[B; N], OpError> {
    let mut failed = None;
    let mapped = items.map(|item| {
        each(item).unwrap_or_else(|error| {
            failed = Some(error);
            B::default()
        })
    });
    failed.map_or(Ok(mapped), Err)
}

/// Copies bytes as far as both slices reach.
#[inline(never)]
pub(super) fn copy(from: &[u8], to: &mut [u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

/// Integer activations of either width.
pub(super) enum Values<'t> {
    /// int8 elements.
    I8(&'t mut [i8]),
    /// int16 elements.
    I16(&'t mut [i16]),
}

impl Default for Values<'_> {
    fn default() -> Self {
        Self::I8(&mut [])
    }
}

/// The elements of a tensor of either width.
pub(super) fn values<'t>(
    bytes: &'t mut [u8],
    tensor: &TensorRecord,
) -> Result<Values<'t>, OpError> {
    match tensor.dtype() {
        DType::I8 => Ok(Values::I8(typed(bytes)?)),
        DType::I16 => Ok(Values::I16(typed(bytes)?)),
        DType::I32 | DType::F16 => Err(OpError::WrongType),
    }
}

/// Evaluates `$call`, in which each of the named [`Values`] is a slice of its own element type.
macro_rules! by_width {
    // With the [`super::Uses`] of a family that exists in variants: what it is not used for is not in the program.
    ($uses:ident; $x:ident => $call:expr) => {
        match $x {
            Values::I8($x) if $uses & crate::ops::Uses::X8 != 0 => $call,
            Values::I16($x) if $uses & crate::ops::Uses::X16 != 0 => $call,
            _ => return Err(OpError::NotLinked),
        }
    };
    ($uses:ident; $x:ident, $y:ident => $call:expr) => {
        match $y {
            Values::I8($y) if $uses & crate::ops::Uses::Y8 != 0 => by_width!($uses; $x => $call),
            Values::I16($y) if $uses & crate::ops::Uses::Y16 != 0 => by_width!($uses; $x => $call),
            _ => return Err(OpError::NotLinked),
        }
    };
    // The second of three may be of either width.
    ($uses:ident; $x:ident, $second:ident, $y:ident => $call:expr) => {
        match $second {
            Values::I8($second) => by_width!($uses; $x, $y => $call),
            Values::I16($second) => by_width!($uses; $x, $y => $call),
        }
    };
    ($x:ident => $call:expr) => {
        match $x {
            Values::I8($x) => $call,
            Values::I16($x) => $call,
        }
    };
    ($x:ident, $($rest:ident),+ => $call:expr) => {
        match $x {
            Values::I8($x) => by_width!($($rest),+ => $call),
            Values::I16($x) => by_width!($($rest),+ => $call),
        }
    };
}
pub(super) use by_width;

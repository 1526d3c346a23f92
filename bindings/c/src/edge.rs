//! Plain data between C and Rust: slices, strings, results.

use crate::error::{AttnCode, AttnError};
use core::ffi::{CStr, c_char};
use core::slice;

/// Bytes of text in a model's file. There is no NUL behind them: print with `"%.*s", (int)text.len, text.bytes`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct AttnText {
    /// UTF-8; never null.
    pub bytes: *const c_char,
    /// Number of bytes.
    pub len: usize,
}

impl From<&'static str> for AttnText {
    fn from(text: &'static str) -> Self {
        Self {
            bytes: text.as_ptr().cast(),
            len: text.len(),
        }
    }
}

/// `count` elements of C.
///
/// # Safety
/// Null, or so many elements that stay as they are for `'s`.
pub(crate) unsafe fn elements<'s, T>(first: *const T, count: usize) -> Result<&'s [T], AttnError> {
    check(first, count)?;
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: not null, aligned, no longer than memory; the caller says that they are there.
    Ok(unsafe { slice::from_raw_parts(first, count) })
}

/// `count` elements of C that are written.
///
/// # Safety
/// Null, or so many elements that nothing else uses for `'s`.
pub(crate) unsafe fn elements_mut<'s, T>(
    first: *mut T,
    count: usize,
) -> Result<&'s mut [T], AttnError> {
    check(first, count)?;
    if count == 0 {
        return Ok(&mut []);
    }
    // SAFETY: as in `elements`.
    Ok(unsafe { slice::from_raw_parts_mut(first, count) })
}

fn check<T>(first: *const T, count: usize) -> Result<(), AttnError> {
    let bytes = count.checked_mul(size_of::<T>());
    if first.is_null() && count > 0 {
        return Err(AttnCode::NullPointer.into());
    }
    if !first.is_aligned() {
        return Err(AttnCode::ElementsMisaligned.into());
    }
    match bytes {
        Some(bytes) if bytes <= isize::MAX as usize => Ok(()),
        _ => Err(AttnCode::TooLong.into()),
    }
}

/// Memory for a model or a beam: the first `needed` bytes are zeroed, so that they have a value in Rust, too.
///
/// # Safety
/// As [`elements_mut`].
pub(crate) unsafe fn memory<'s>(
    first: *mut u8,
    len: usize,
    needed: usize,
) -> Result<&'s mut [u8], AttnError> {
    check(first, len)?;
    if first.is_null() {
        return Err(AttnCode::NullPointer.into());
    }
    // SAFETY: the bytes are there, says the caller.
    unsafe {
        first.write_bytes(0, needed.min(len));
        elements_mut(first, len)
    }
}

/// A string of C.
///
/// # Safety
/// Null, or a string that ends with a NUL and stays as it is for `'s`.
pub(crate) unsafe fn string<'s>(text: *const c_char) -> Result<&'s str, AttnError> {
    if text.is_null() {
        return Err(AttnCode::NullPointer.into());
    }
    // SAFETY: the caller says so.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| AttnCode::NotUtf8.into())
}

/// A place of C that is written.
///
/// # Safety
/// Null, or a `T` that can be written.
pub(crate) unsafe fn write<T>(place: *mut T, value: T) -> Result<(), AttnError> {
    if place.is_null() {
        return Err(AttnCode::NullPointer.into());
    }
    if !place.is_aligned() {
        return Err(AttnCode::StructMisaligned.into());
    }
    // SAFETY: not null, aligned, and the caller's to write.
    unsafe { place.write(value) };
    Ok(())
}

/// Ends a function: the code, and if the caller wants it, the error with its data.
///
/// # Safety
/// `error` is null or can be written.
pub(crate) unsafe fn finish(
    error: *mut AttnError,
    body: impl FnOnce() -> Result<(), AttnError>,
) -> AttnCode {
    let found = body().err().unwrap_or(AttnCode::Ok.into());
    let code = found.code;
    // SAFETY: as the caller says. Without a place for it, the code has to do.
    let _ = unsafe { write(error, found) };
    code
}

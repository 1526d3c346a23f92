//! Objects in the caller's memory: a mark that says what is there, and behind it the Rust value. Pointers of C become references here and in
//! `edge`, nowhere else.

use crate::error::{AttnCode, AttnError};
use core::mem::MaybeUninit;

/// A C struct that holds a Rust value.
///
/// # Safety
/// The struct is at least as large as `Slot<Self::Value>`, aligned as that is, and any bits are valid in it. [`holds`] checks this.
pub(crate) unsafe trait Object: Sized {
    /// What it holds.
    type Value: 'static;
    /// Tells objects of this type from others.
    const MARK: u32;
}

/// The contents of an object.
#[repr(C)]
pub(crate) struct Slot<V> {
    /// [`Object::MARK`] mixed with the object's address, and with [`LENT`] while something else uses the value. Zeros are no object.
    mark: u32,
    value: MaybeUninit<V>,
}

/// Mixed into the mark of an object that is in use.
const LENT: u32 = 1 << 31;

/// Implements [`Object`] for a C struct. Does not compile where the struct is smaller than what it holds, or less aligned.
macro_rules! holds {
    ($object:ident, $value:ty, $mark:literal) => {
        // SAFETY: the assertions are what the trait asks for; the struct is an array of integers that may be uninitialised.
        unsafe impl crate::slot::Object for $object {
            type Value = $value;
            const MARK: u32 = $mark;
        }
        const _: () = {
            use core::mem::{align_of, size_of};
            type Held = crate::slot::Slot<$value>;
            assert!(
                size_of::<Held>() <= size_of::<$object>(),
                concat!(stringify!($object), " is too small: give it more words")
            );
            assert!(
                size_of::<$object>() - size_of::<Held>() < 16,
                concat!(stringify!($object), " is too large: give it fewer words")
            );
            assert!(align_of::<Held>() <= align_of::<$object>());
        };
    };
}
pub(crate) use holds;

/// The slot of an object, if the pointer can be one.
fn slot<O: Object>(object: *const O) -> Result<*mut Slot<O::Value>, AttnError> {
    if object.is_null() {
        return Err(AttnCode::NullPointer.into());
    }
    if !object.is_aligned() {
        return Err(AttnCode::StructMisaligned.into());
    }
    Ok(object.cast_mut().cast())
}

/// The mark of an object at this address while nothing else uses it.
fn mark<O: Object>(slot: *mut Slot<O::Value>) -> u32 {
    (O::MARK ^ (slot.addr() as u32).rotate_left(8)) & !LENT
}

/// The slot of an object that was initialised and is not lent.
///
/// # Safety
/// `object` is null or points to memory of this struct that can be read.
unsafe fn idle<O: Object>(object: *const O) -> Result<*mut Slot<O::Value>, AttnError> {
    let slot = slot(object)?;
    // SAFETY: it is aligned and, says the caller, can be read. What C did not initialise has some value, too.
    let found = unsafe { (*slot).mark };
    let mark = mark::<O>(slot);
    if found == mark | LENT {
        return Err(AttnCode::InUse.into());
    }
    if found != mark {
        return Err(AttnCode::NotInitialized.into());
    }
    Ok(slot)
}

/// Puts a value that was made into an object, whatever is there, but for a value that is in use. It takes the result as it is: each `?` on the way
/// would be one more copy of 5 KB on the stack.
///
/// # Safety
/// `object` is null or points to memory of this struct that nothing else uses.
pub(crate) unsafe fn put<O: Object, E: Into<AttnError>>(
    object: *mut O,
    made: Result<O::Value, E>,
) -> Result<(), AttnError> {
    // SAFETY: as the caller says.
    unsafe { vacant(object) }?;
    let slot = slot(object)?;
    match made {
        // SAFETY: the struct is large enough and aligned; nothing that is dropped is overwritten, because no value needs it.
        Ok(value) => unsafe {
            (*slot).value.write(value);
            (*slot).mark = mark::<O>(slot);
            Ok(())
        },
        Err(error) => Err(error.into()),
    }
}

/// An error if a value cannot be put there.
///
/// # Safety
/// As [`put`].
pub(crate) unsafe fn vacant<O: Object>(object: *mut O) -> Result<(), AttnError> {
    // SAFETY: as the caller says.
    match unsafe { idle(object) } {
        Err(error) if error.code != AttnCode::NotInitialized => Err(error),
        _ => Ok(()),
    }
}

/// The value of an object.
///
/// # Safety
/// `object` is null or points to memory of this struct. Its value is used by one function of this library at a time, and what it was made from is
/// still there.
pub(crate) unsafe fn get<'o, O: Object>(object: *const O) -> Result<&'o mut O::Value, AttnError> {
    // SAFETY: the mark says that a value was put there; the caller, that nothing else uses it.
    unsafe { Ok((*idle(object)?).value.assume_init_mut()) }
}

/// The value of an object that refuses all other use until [`give_back`].
///
/// # Safety
/// As [`get`].
pub(crate) unsafe fn lend<'o, O: Object>(object: *mut O) -> Result<&'o mut O::Value, AttnError> {
    // SAFETY: as in `get`. Until the value is given back, `idle` reads the mark alone.
    unsafe {
        let slot = idle(object)?;
        (*slot).mark |= LENT;
        Ok((*slot).value.assume_init_mut())
    }
}

/// Ends what [`lend`] began. Does nothing to an object that is not lent.
///
/// # Safety
/// As [`get`]; the value that was lent is used no more.
pub(crate) unsafe fn give_back<O: Object>(object: *mut O) {
    let Ok(slot) = slot(object) else {
        return;
    };
    // SAFETY: as the caller says.
    unsafe {
        if (*slot).mark == mark::<O>(slot) | LENT {
            (*slot).mark &= !LENT;
        }
    }
}

/// Makes an object one that is not initialised.
///
/// # Safety
/// As [`get`].
pub(crate) unsafe fn forget<O: Object>(object: *mut O) {
    if let Ok(slot) = slot(object) {
        // SAFETY: as the caller says.
        unsafe { (*slot).mark = 0 };
    }
}

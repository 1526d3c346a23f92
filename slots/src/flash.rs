//! What is asked of flash, and the check that a region is fit to be a slot.

use crate::error::OpenError;
use crate::record::{PAIRS, Place};
use embedded_storage::nor_flash::NorFlash;

/// Most bytes that are written by one call of the flash; its write size must divide it.
pub const CHUNK: usize = 128;
/// Alignment of a model in memory.
const ALIGN: usize = 16;

/// One slot's region of NOR flash, which the processor can read in place.
///
/// Offsets count from the start of the region. Both traits' promises are relied on: what [`NorFlash`] says about losses of power, and that
/// `bytes` shows what was written as soon as `write` and `erase` return. A driver on a chip with a data cache invalidates it there.
pub trait MappedFlash: NorFlash {
    /// All bytes of the region: [`capacity`](embedded_storage::nor_flash::ReadNorFlash::capacity) many, from an address that is a
    /// multiple of 16.
    fn bytes(&self) -> &[u8];
}

/// Bytes at the end of a slot that hold records.
pub(crate) const fn records_len<F: NorFlash>() -> usize {
    2 * PAIRS * Place::len(F::WRITE_SIZE)
}

/// Whether the region can be a slot.
pub(crate) fn check<F: MappedFlash>(flash: &F) -> Result<(), OpenError> {
    let divides = |size: usize, of: usize| size != 0 && of.is_multiple_of(size);
    let (capacity, bytes) = (flash.capacity(), flash.bytes());
    if !divides(F::WRITE_SIZE, CHUNK) {
        return Err(OpenError::WriteSize {
            found: F::WRITE_SIZE,
        });
    }
    // A record's place is read at once.
    if !divides(F::READ_SIZE, Place::len(F::WRITE_SIZE)) {
        return Err(OpenError::ReadSize {
            found: F::READ_SIZE,
        });
    }
    if !divides(CHUNK, F::ERASE_SIZE) {
        return Err(OpenError::EraseSize {
            found: F::ERASE_SIZE,
        });
    }
    let whole = divides(F::ERASE_SIZE, capacity) && u32::try_from(capacity).is_ok();
    if !whole || capacity < records_len::<F>() + CHUNK {
        return Err(OpenError::Capacity { found: capacity });
    }
    if bytes.len() != capacity {
        return Err(OpenError::Mapped {
            found: bytes.len(),
            capacity,
        });
    }
    if !bytes.as_ptr().addr().is_multiple_of(ALIGN) {
        return Err(OpenError::Misaligned);
    }
    Ok(())
}

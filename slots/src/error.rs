//! Why slots cannot be opened, or a model not be received.

use crate::flash::CHUNK;
use attn_runtime::ModelError;
use core::fmt;

/// Why two regions of flash cannot be slots. Each is a mistake of the program, not of the contents of flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OpenError {
    /// The write size does not divide [`CHUNK`].
    WriteSize {
        /// Bytes.
        found: usize,
    },
    /// The read size does not divide 32, nor a write size that is greater.
    ReadSize {
        /// Bytes.
        found: usize,
    },
    /// The erase size is no multiple of [`CHUNK`].
    EraseSize {
        /// Bytes.
        found: usize,
    },
    /// The capacity is not a number of erase blocks that fits 32 bits and leaves room for a model.
    Capacity {
        /// Bytes.
        found: usize,
    },
    /// The two regions have different capacities.
    Unequal {
        /// Bytes of each.
        capacities: [usize; 2],
    },
    /// [`MappedFlash::bytes`](crate::MappedFlash::bytes) has another length than the region.
    Mapped {
        /// Bytes that it shows.
        found: usize,
        /// Bytes of the region.
        capacity: usize,
    },
    /// [`MappedFlash::bytes`](crate::MappedFlash::bytes) does not start at a multiple of 16.
    Misaligned,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteSize { found } => write!(f, "write size {found}: it must divide {CHUNK}"),
            Self::ReadSize { found } => {
                write!(
                    f,
                    "read size {found}: it must divide 32 or a greater write size"
                )
            }
            Self::EraseSize { found } => {
                write!(f, "erase size {found}: it must be a multiple of {CHUNK}")
            }
            Self::Capacity { found } => write!(
                f,
                "capacity {found}: a slot is whole erase blocks, with room for a model and its records"
            ),
            Self::Unequal {
                capacities: [one, other],
            } => write!(
                f,
                "capacities {one} and {other}: give both slots the same number of erase blocks"
            ),
            Self::Mapped { found, capacity } => write!(
                f,
                "{found} bytes are mapped of a slot of {capacity}: map all of it"
            ),
            Self::Misaligned => f.write_str("a slot must be mapped at a multiple of 16"),
        }
    }
}

impl core::error::Error for OpenError {}

/// Why a model was not received. `E` is the flash's error, `R` that of the [`Policy`](crate::Policy). The model in use stays in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum UpdateError<E, R> {
    /// The flash failed.
    Flash(E),
    /// The first bytes are not those of a model that this runtime reads. Nothing was erased.
    Header(ModelError),
    /// The model does not fit a slot. Nothing was erased.
    TooLong {
        /// Bytes of the model, as its header states.
        len: usize,
        /// Bytes that a slot has for a model.
        room: usize,
    },
    /// More bytes came than the header states.
    Surplus {
        /// Bytes of the model, as its header states.
        len: usize,
    },
    /// Fewer bytes came than the header states, or not even a header.
    Incomplete {
        /// Bytes that came.
        received: usize,
        /// Bytes of the model, if its header came.
        len: Option<usize>,
    },
    /// The model is complete, and the policy refuses it.
    Refused(R),
    /// The flash reads otherwise than it was written.
    NotKept {
        /// Offset in the slot.
        offset: u32,
    },
    /// Power was lost in each attempt to secure the record of the model in use, so nothing may be erased beside it.
    Unsecured,
    /// An earlier piece was an error: begin again with [`Slots::receive`](crate::Slots::receive).
    Failed,
}

impl<E: fmt::Debug, R: fmt::Display> fmt::Display for UpdateError<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(error) => write!(f, "flash: {error:?}"),
            Self::Header(error) => error.fmt(f),
            Self::TooLong { len, room } => write!(
                f,
                "the model has {len} bytes, a slot room for {room}: make the slots larger or the model smaller"
            ),
            Self::Surplus { len } => write!(f, "more came than the {len} bytes of the model"),
            Self::Incomplete {
                received,
                len: Some(len),
            } => write!(f, "{received} of {len} bytes came: send all of them"),
            Self::Incomplete {
                received,
                len: None,
            } => write!(f, "{received} bytes came, which is less than a header"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::NotKept { offset } => write!(
                f,
                "the flash does not keep what is written at {offset}: it may be worn out"
            ),
            Self::Unsecured => f.write_str(
                "the record of the model in use cannot be secured: write a slot anew with a programmer",
            ),
            Self::Failed => f.write_str("an earlier piece failed: begin the update again"),
        }
    }
}

impl<E: fmt::Debug, R: fmt::Debug + fmt::Display> core::error::Error for UpdateError<E, R> {}

//! Two slots of flash for a model. A new model is received into the slot that is not in use, checked there, and switched to by one record:
//! whenever power is lost, the old model or the new one works.
//!
//! `no_std`, no allocator, no `unsafe`. [`Slots`] is the start; [`MappedFlash`] is what a board provides. The guide is
//! `docs/guide/update.md`. Transports (radio, serial port) and the choice of the moment to switch are the application's.
//!
//! # In flash
//!
//! A slot is a region of its own of whole erase blocks: the `.attn` file from its first byte on, and records at its end. A record
//! holds a sequence number, the first 16 bytes of the file (its length and checksum are among them), the oldest version that is still
//! accepted, and a CRC. The model in use is the one whose record has the greater sequence number, if it passes the [`Policy`]; otherwise the other.
//!
//! 1. The first 80 bytes of a new model are looked at before anything is erased.
//! 2. The other slot's last block is erased, and with it its records. The remaining blocks are erased when the model reaches them.
//! 3. The whole file is written, then judged by the policy where it lies.
//! 4. Its record is written, and then a second time. Power lost within the first leaves a record that does not count, or one that
//!    does: the old model, or the new one, which is complete.
//!
//! A word that was being written when power was lost may read as complete today and not tomorrow. So the old model must
//! not be erased on the strength of such a record. The second copy is begun only when the first is complete, so a second copy, however
//! torn, proves the first. [`Slots::receive`] writes another pair where that proof is missing, before it lets anything be erased.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(test)]
extern crate std;

mod error;
mod flash;
mod policy;
mod record;
mod slot;
mod update;

pub use error::{OpenError, UpdateError};
pub use flash::{CHUNK, MappedFlash};
#[cfg(feature = "signed")]
pub use policy::Signed;
pub use policy::{Policy, Unsigned};
pub use slot::{Installed, Slots};
pub use update::Update;

#[cfg(all(doctest, feature = "signed"))]
#[doc = include_str!("../../docs/guide/update.md")]
struct Guide;

//! An update: a model that is being received into the slot that is not in use.

use crate::error::UpdateError;
use crate::flash::{CHUNK, MappedFlash};
use crate::policy::Policy;
use crate::record::Record;
use crate::slot::{Accepted, Installed, Slot};
use attn_runtime::{Model, ModelError};

/// A model that is being received; see [`Slots::receive`](crate::Slots::receive).
#[derive(Debug)]
pub struct Update<'s, F, P> {
    target: &'s mut Slot<F>,
    /// The slot in use and its number.
    beside: Option<(&'s Slot<F>, usize)>,
    policy: &'s P,
    accepted: Accepted,
    /// Bytes that are not in flash yet.
    buffer: [u8; CHUNK],
    /// Bytes that came.
    received: usize,
    /// Bytes of the model, once its header has come.
    len: Option<usize>,
    failed: bool,
}

impl<'s, F: MappedFlash, P: Policy> Update<'s, F, P> {
    pub(crate) fn new(
        target: &'s mut Slot<F>,
        beside: Option<(&'s Slot<F>, usize)>,
        policy: &'s P,
        accepted: Accepted,
    ) -> Self {
        Self {
            target,
            beside,
            policy,
            accepted,
            buffer: [0xff; CHUNK],
            received: 0,
            len: None,
            failed: false,
        }
    }

    /// The model in use, to run while the new one comes; none if no slot holds one. The slots' policy has just accepted it, so a cheaper one will
    /// do, such as [`Unsigned`](crate::Unsigned).
    pub fn in_use<Q: Policy>(&self, policy: &Q) -> Option<Installed<'s>> {
        let (slot, index) = self.beside?;
        slot.installed(index, policy)
    }

    /// Bytes that came so far.
    pub fn received(&self) -> usize {
        self.received
    }

    /// Bytes of the whole new model, once its first 80 have come.
    pub fn expected(&self) -> Option<usize> {
        self.len
    }

    /// Takes the next bytes of the new model, as many as there are. Whenever [`CHUNK`] bytes are complete they are written to flash;
    /// a call that reaches an erase block erases it first, so its time is bounded by its bytes: one erasure at most for each erase block that they touch,
    /// and two for the first.
    ///
    /// # Errors
    /// [`UpdateError::Header`], [`UpdateError::TooLong`], [`UpdateError::Surplus`], [`UpdateError::Flash`]; after one of them
    /// [`UpdateError::Failed`].
    pub fn push(&mut self, piece: &[u8]) -> Result<(), UpdateError<F::Error, P::Refusal>> {
        if self.failed {
            return Err(UpdateError::Failed);
        }
        let result = self.take(piece);
        self.failed = result.is_err();
        result
    }

    fn take(&mut self, mut piece: &[u8]) -> Result<(), UpdateError<F::Error, P::Refusal>> {
        while !piece.is_empty() {
            if let Some(len) = self.len.filter(|len| self.received >= *len) {
                return Err(UpdateError::Surplus { len });
            }
            let filled = self.received % CHUNK;
            // Not beyond the end of the model.
            let left = self.len.map_or(CHUNK, |len| len - self.received);
            let now = (CHUNK - filled).min(left).min(piece.len());
            let Some((bytes, rest)) = piece.split_at_checked(now) else {
                break;
            };
            let free = self.buffer.iter_mut().skip(filled);
            free.zip(bytes).for_each(|(to, from)| *to = *from);
            (piece, self.received) = (rest, self.received + now);
            if self.len.is_none() {
                self.read_header()?;
            }
            let complete = self.len.is_some_and(|len| self.received >= len);
            if self.received.is_multiple_of(CHUNK) || complete {
                self.write()?;
            }
        }
        Ok(())
    }

    /// Looks at the header if it is there, and erases the records of the slot if the model is one that fits.
    fn read_header(&mut self) -> Result<(), UpdateError<F::Error, P::Refusal>> {
        let start = self.buffer.get(..self.received).unwrap_or(&self.buffer);
        let len = match Model::file_len(start) {
            Ok(len) => len,
            Err(ModelError::TooShort { .. }) => return Ok(()),
            Err(error) => return Err(UpdateError::Header(error)),
        };
        let room = self.target.room();
        if len > room {
            return Err(UpdateError::TooLong { len, room });
        }
        if self.received > len {
            return Err(UpdateError::Surplus { len });
        }
        self.len = Some(len);
        self.target.erase_records().map_err(UpdateError::Flash)
    }

    /// Writes the last bytes that came, up to [`CHUNK`].
    fn write(&mut self) -> Result<(), UpdateError<F::Error, P::Refusal>> {
        let filled = (self.received - 1) % CHUNK + 1;
        let offset = (self.received - filled) as u32;
        let begins = offset.checked_rem(F::ERASE_SIZE as u32) == Some(0);
        let flash = &mut self.target;
        if begins && offset < flash.records_block() {
            let end = offset.saturating_add(F::ERASE_SIZE as u32);
            flash.flash.erase(offset, end).map_err(UpdateError::Flash)?;
        }
        let words = filled.next_multiple_of(F::WRITE_SIZE);
        let bytes = self.buffer.get(..words).unwrap_or(&self.buffer);
        let written = flash.flash.write(offset, bytes);
        self.buffer = [0xff; CHUNK];
        written.map_err(UpdateError::Flash)
    }

    /// Ends the update: checks the whole model where it lies, by the policy, and makes it the one in use. If power is lost in this call, the old or the
    /// new model is in use; when it has returned, the new one is. A session that runs the old model goes on with it;
    /// [`Slots::current`](crate::Slots::current) gives the new one.
    ///
    /// # Errors
    /// [`UpdateError::Incomplete`], [`UpdateError::Refused`], [`UpdateError::Flash`], [`UpdateError::NotKept`],
    /// [`UpdateError::Failed`]. The old model stays in use.
    pub fn finish(self) -> Result<(), UpdateError<F::Error, P::Refusal>> {
        if self.failed {
            return Err(UpdateError::Failed);
        }
        let incomplete = UpdateError::Incomplete {
            received: self.received,
            len: self.len,
        };
        if self.len != Some(self.received) {
            return Err(incomplete);
        }
        let Accepted { sequence, oldest } = self.accepted;
        // Its header came whole, so what is missing now is the flash's doing.
        let not_kept = UpdateError::NotKept { offset: 0 };
        let Some(file) = self
            .target
            .file()
            .filter(|file| file.len() == self.received)
        else {
            return Err(not_kept);
        };
        let model = self
            .policy
            .check(file, oldest)
            .map_err(UpdateError::Refused)?;
        let oldest = oldest.max(self.policy.version(&model));
        let Some(record) = Record::new(file, sequence, oldest) else {
            return Err(not_kept);
        };
        self.target.write_record(record)
    }
}

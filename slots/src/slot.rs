//! The two slots: which model is in use, and the beginning of an update. A slot's records are read and written here.

use crate::error::{OpenError, UpdateError};
use crate::flash::{self, CHUNK, MappedFlash};
use crate::policy::Policy;
use crate::record::{PAIRS, Place, Record};
use crate::update::Update;
use attn_runtime::Model;

/// Two slots of flash, of which one holds the model in use.
#[derive(Debug)]
pub struct Slots<F> {
    slots: [Slot<F>; 2],
}

/// A model in a slot that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Installed<'s> {
    /// The model, in place.
    pub model: Model<'s>,
    /// Which slot it is in, 0 or 1.
    pub slot: usize,
    /// How many updates there were, with this one.
    pub sequence: u32,
}

impl<F: MappedFlash> Slots<F> {
    /// Looks at two regions of flash of the same size, both blank in a new product. Nothing is written.
    ///
    /// # Errors
    /// [`OpenError`], which tells of regions that cannot be slots. Their contents are never an error.
    pub fn open(regions: [F; 2]) -> Result<Self, OpenError> {
        regions.iter().try_for_each(flash::check)?;
        let slots = regions.map(Slot::open);
        let [one, other] = &slots;
        let capacities = [one, other].map(|slot| slot.flash.capacity());
        if capacities[0] != capacities[1] {
            return Err(OpenError::Unequal { capacities });
        }
        Ok(Self { slots })
    }

    /// Most bytes of a model.
    pub fn room(&self) -> usize {
        self.slots[0].room()
    }

    /// The model in use: the newest that was accepted and that `policy` still accepts where it lies. None in a new product, or if both
    /// are damaged: a program that must work then has a model compiled in.
    ///
    /// Takes the time of one [`Policy::check`], or of two if the newest is damaged. The versions of earlier models don't count here: where
    /// the newest is damaged, the one before it is in use.
    pub fn current<P: Policy>(&self, policy: &P) -> Option<Installed<'_>> {
        let [one, other] = &self.slots;
        installed(one, other, policy)
    }

    /// The oldest version that may still come, as far as the slots know: the greatest that was ever accepted. A policy may ask for more.
    pub fn oldest(&self) -> u32 {
        let records = self.slots.iter().filter_map(Slot::record);
        records.map(|record| record.oldest).max().unwrap_or(0)
    }

    /// Begins an update, which receives a model into the slot that is not in use. [`Update::in_use`] gives the model in use meanwhile.
    ///
    /// Takes the time of one [`Policy::check`], or of two if the newest model is damaged. Nothing is erased before the first bytes of the new
    /// model have come. An update that is dropped, or that loses its power, leaves the model in use as it is; receive the new one again from its
    /// first byte.
    ///
    /// # Errors
    /// [`UpdateError::Unsecured`], [`UpdateError::Flash`] and [`UpdateError::NotKept`], from securing a record that power may have
    /// left in doubt.
    pub fn receive<'s, P: Policy>(
        &'s mut self,
        policy: &'s P,
    ) -> Result<Update<'s, F, P>, UpdateError<F::Error, P::Refusal>> {
        let [one, other] = &self.slots;
        let in_use = installed(one, other, policy).map(|installed| installed.slot);
        let records = self.slots.iter().filter_map(Slot::record);
        let last = records.map(|record| record.sequence).max().unwrap_or(0);
        let accepted = Accepted {
            sequence: last.saturating_add(1),
            oldest: self.oldest(),
        };
        let [one, other] = &mut self.slots;
        let (target, beside) = match in_use {
            Some(0) => (other, Some((one, 0))),
            Some(_) => (one, Some((other, 1))),
            None if newer(one, other) => (other, None),
            None => (one, None),
        };
        let beside = match beside {
            Some((slot, index)) => {
                slot.secure(accepted.oldest)?;
                Some((&*slot, index))
            }
            None => None,
        };
        Ok(Update::new(target, beside, policy, accepted))
    }

    /// The regions of flash.
    pub fn release(self) -> [F; 2] {
        self.slots.map(|slot| slot.flash)
    }
}

/// What the slots know of the models that were accepted so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    /// The sequence number of the next.
    pub sequence: u32,
    /// The oldest version that may come.
    pub oldest: u32,
}

/// Whether the first of two slots has the greater sequence number.
fn newer<F>(one: &Slot<F>, other: &Slot<F>) -> bool {
    let sequence = |slot: &Slot<F>| slot.record.map(|record| record.sequence);
    sequence(one) > sequence(other)
}

fn installed<'s, F: MappedFlash, P: Policy>(
    one: &'s Slot<F>,
    other: &'s Slot<F>,
    policy: &P,
) -> Option<Installed<'s>> {
    let mut order = [(0, one), (1, other)];
    if !newer(one, other) {
        order.reverse();
    }
    let mut found = order.into_iter();
    found.find_map(|(index, slot)| slot.installed(index, policy))
}

/// A slot: its flash, and what its records say.
#[derive(Debug)]
pub(crate) struct Slot<F> {
    pub flash: F,
    record: Option<Record>,
    /// The pair of places for the next copies of the record; [`PAIRS`] if all are used.
    pair: usize,
    /// Whether a copy of the record is known to be complete.
    secured: bool,
}

impl<F: MappedFlash> Slot<F> {
    fn open(flash: F) -> Self {
        let mut slot = Self {
            flash,
            record: None,
            pair: 0,
            secured: false,
        };
        for pair in 0..PAIRS {
            let [first, second] = [0, 1].map(|copy| slot.place(2 * pair + copy));
            if let Some(record) = second.record().or(first.record()) {
                slot.record = Some(record);
                // A second copy is begun when the first is complete.
                slot.secured = second != Place::Blank;
            }
            if first != Place::Blank || second != Place::Blank {
                slot.pair = pair + 1;
            }
        }
        slot
    }

    /// A copy's place; one that cannot be read, as flash that corrects errors may report of a torn word, is spoilt.
    fn place(&mut self, number: usize) -> Place {
        let mut place = [0; CHUNK];
        let offset = self.place_at(number);
        let Some(bytes) = place.get_mut(..Place::len(F::WRITE_SIZE)) else {
            return Place::Spoilt;
        };
        match self.flash.read(offset, bytes) {
            Ok(()) => Place::read(bytes),
            Err(_) => Place::Spoilt,
        }
    }

    fn place_at(&self, number: usize) -> u32 {
        (self.room() + number * Place::len(F::WRITE_SIZE)) as u32
    }

    pub fn record(&self) -> Option<Record> {
        self.record
    }

    /// Most bytes of a model.
    pub fn room(&self) -> usize {
        self.flash
            .capacity()
            .saturating_sub(flash::records_len::<F>())
    }

    /// The file in the slot, of the length that its header states.
    pub fn file(&self) -> Option<&[u8]> {
        let bytes = self.flash.bytes();
        let len = Model::file_len(bytes).ok()?;
        bytes.get(..len).filter(|_| len <= self.room())
    }

    /// The model, if the slot has a record for it and the policy accepts it.
    pub fn installed<P: Policy>(&self, slot: usize, policy: &P) -> Option<Installed<'_>> {
        let record = self.record?;
        let file = self.file().filter(|file| record.is_of(file))?;
        // It was accepted before, so versions that came later don't count.
        let model = policy.check(file, 0).ok()?;
        Some(Installed {
            model,
            slot,
            sequence: record.sequence,
        })
    }

    /// Erases the records, and with them the end of the room for a model. No record may count from here on.
    pub fn erase_records(&mut self) -> Result<(), F::Error> {
        (self.record, self.pair, self.secured) = (None, 0, false);
        let from = self.records_block();
        self.flash.erase(from, self.flash.capacity() as u32)
    }

    /// Where the first erase block begins that holds records.
    pub fn records_block(&self) -> u32 {
        let room = self.room();
        room.saturating_sub(room.checked_rem(F::ERASE_SIZE).unwrap_or(0)) as u32
    }

    /// Writes the record, twice. From the end of the first copy on, it counts.
    pub fn write_record<R>(&mut self, record: Record) -> Result<(), UpdateError<F::Error, R>> {
        let first = 2 * self.pair;
        if self.pair >= PAIRS {
            return Err(UpdateError::Unsecured);
        }
        // Whatever comes of it, these places are not written again.
        self.pair += 1;
        let place = record.place();
        for number in [first, first + 1] {
            let offset = self.place_at(number);
            let bytes = place.get(..Place::len(F::WRITE_SIZE)).unwrap_or(&place);
            self.flash
                .write(offset, bytes)
                .map_err(UpdateError::Flash)?;
            if self.place(number) != Place::Valid(record) {
                return Err(UpdateError::NotKept { offset });
            }
            self.record = Some(record);
        }
        self.secured = true;
        Ok(())
    }

    /// Writes the record again where it may be torn and read as complete by luck, or does not know of the oldest version that may come.
    fn secure<R>(&mut self, oldest: u32) -> Result<(), UpdateError<F::Error, R>> {
        match self.record {
            Some(record) if !self.secured || record.oldest < oldest => {
                self.write_record(record.with_oldest(oldest))
            }
            _ => Ok(()),
        }
    }
}

//! Updates without a loss of power: what is refused, when, and what is in use after it.

use crate::flash::{CAPACITY, Flash, Power, PowerLost};
use crate::models::{Refusal, Versions, model, sealed, unsigned};
use attn_runtime::{Aligned, Arena, ModelError, Session};
use attn_slots::{MappedFlash, OpenError, Policy, Slots, UpdateError};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use proptest::prelude::*;

type Region = Flash<4, 512>;
type Error = UpdateError<PowerLost, Refusal>;

fn new_slots() -> Slots<Region> {
    let power = Power::new();
    Slots::open([0xff, 0xff].map(|fill| Flash::new(&power, fill))).unwrap()
}

fn receive(slots: &mut Slots<Region>, file: &[u8], piece: usize) -> Result<(), Error> {
    let mut update = slots.receive(&Versions)?;
    for piece in file.chunks(piece) {
        update.push(piece)?;
    }
    update.finish()
}

/// Version in use, its slot and its number.
fn in_use(slots: &Slots<Region>) -> Option<(u8, usize, u32)> {
    let installed = slots.current(&Versions)?;
    let version = Versions.version(&installed.model) as u8;
    Some((version, installed.slot, installed.sequence))
}

/// Slots with `b` in use.
fn used_slots() -> Slots<Region> {
    let mut slots = new_slots();
    receive(&mut slots, &model(b'b'), 64).unwrap();
    slots
}

#[test]
fn a_new_product_has_no_model_and_takes_the_first() {
    let mut slots = new_slots();
    assert_eq!((in_use(&slots), slots.oldest()), (None, 0));
    assert_eq!(slots.room(), CAPACITY - 256);
    receive(&mut slots, &model(b'b'), 870).unwrap();
    assert_eq!(in_use(&slots), Some((b'b', 0, 1)));
}

#[test]
fn updates_change_slots_and_are_found_again() {
    let mut slots = new_slots();
    for (number, version) in (b'a'..=b'k').enumerate() {
        receive(&mut slots, &model(version), 33).unwrap();
        let expected = Some((version, number % 2, number as u32 + 1));
        assert_eq!(in_use(&slots), expected);
        slots = Slots::open(slots.release()).unwrap();
        assert_eq!(in_use(&slots), expected);
        assert_eq!(slots.oldest(), version.into());
    }
}

#[test]
fn updates_that_are_given_up_wear_nothing() {
    let power = Power::new();
    let mut slots = Slots::open([0, 0].map(|fill| Region::new(&power, fill))).unwrap();
    receive(&mut slots, &model(b'a'), 64).unwrap();
    power.start(None);
    for _ in 0..100 {
        slots = Slots::open(slots.release()).unwrap();
        let mut update = slots.receive(&Versions).unwrap();
        update.push(&model(b'b')[..79]).unwrap();
    }
    assert_eq!(power.done.get(), 0, "words and blocks");
}

#[test]
fn the_model_in_use_runs_while_the_next_one_comes() {
    let mut slots = used_slots();
    let mut update = slots.receive(&Versions).unwrap();
    let running = update.in_use(&unsigned()).unwrap();
    let mut arena = Arena::<4096>::new();
    let mut session = Session::new(running.model, arena.as_mut_slice()).unwrap();
    let file = model(b'c');
    update.push(&file[..400]).unwrap();
    assert_eq!((update.received(), update.expected()), (400, Some(870)));
    session.run(0).unwrap();
    update.push(&file[400..]).unwrap();
    session.run(0).unwrap();
    assert_eq!(Versions.version(&session.model()), b'b'.into());
    update.finish().unwrap();
    assert_eq!(in_use(&slots), Some((b'c', 1, 2)));
}

/// What is refused leaves the model in use, and the next update is taken.
fn refused(file: &[u8], matches: impl Fn(&Error) -> bool) {
    for piece in [1, 100, 4096] {
        let mut slots = used_slots();
        let error = receive(&mut slots, file, piece).unwrap_err();
        assert!(matches(&error), "{error}");
        assert_eq!(in_use(&slots), Some((b'b', 0, 1)), "{error}");
        let mut slots = Slots::open(slots.release()).unwrap();
        assert_eq!(in_use(&slots), Some((b'b', 0, 1)), "{error}");
        receive(&mut slots, &model(b'c'), piece).unwrap();
        assert_eq!(in_use(&slots), Some((b'c', 1, 2)), "{error}");
    }
}

#[test]
fn what_is_no_model_is_refused() {
    let header = |error| move |found: &Error| *found == UpdateError::Header(error);
    refused(&[0x5a; 300], header(ModelError::BadMagic));
    let mut other = model(b'c');
    other[4] = 99;
    refused(&other, header(ModelError::UnsupportedVersion { found: 99 }));
    let mut turned = model(b'c');
    turned[700] ^= 1;
    let checksum = |error: &Error| {
        matches!(
            error,
            UpdateError::Refused(Refusal::Model(ModelError::BadChecksum { .. }))
        )
    };
    refused(&turned, checksum);
}

#[test]
fn an_older_model_is_refused_and_the_same_version_taken() {
    refused(&model(b'a'), |error| {
        *error == UpdateError::Refused(Refusal::Older)
    });
    let mut slots = used_slots();
    receive(&mut slots, &model(b'b'), 64).unwrap();
    assert_eq!(in_use(&slots), Some((b'b', 1, 2)));
}

#[test]
fn too_few_and_too_many_bytes_are_refused() {
    let file = model(b'c');
    for len in [0, 1, 79, 80, 128, 869] {
        let incomplete = UpdateError::Incomplete {
            received: len,
            len: (len >= 80).then_some(870),
        };
        refused(&file[..len], |error| *error == incomplete);
    }
    let longer = [&file[..], &[0]].concat();
    refused(&longer, |error| *error == UpdateError::Surplus { len: 870 });
    let mut short = file;
    short[8..12].copy_from_slice(&40u32.to_le_bytes());
    refused(&short, |error| *error == UpdateError::Surplus { len: 40 });
}

#[test]
fn a_model_that_does_not_fit_is_refused_before_anything_is_erased() {
    let mut slots = used_slots();
    receive(&mut slots, &model(b'c'), 64).unwrap();
    let mut long = model(b'd');
    let (len, room) = (slots.room() + 1, slots.room());
    long[8..12].copy_from_slice(&(len as u32).to_le_bytes());
    for file in [long, vec![0x5a; 300]] {
        let error = receive(&mut slots, &file, 64).unwrap_err();
        let early = matches!(error, UpdateError::TooLong { len: l, room: r } if (l, r) == (len, room))
            || matches!(error, UpdateError::Header(_));
        assert!(early, "{error}");
    }
    // The model before is still in its slot: damage to the one in use brings it back.
    let mut regions = slots.release();
    regions[1].damage(500);
    let slots = Slots::open(regions).unwrap();
    assert_eq!(in_use(&slots), Some((b'b', 0, 1)));
}

#[test]
fn after_an_error_no_piece_is_taken() {
    let mut slots = used_slots();
    let mut update = slots.receive(&Versions).unwrap();
    assert!(update.push(&[0; 80]).is_err());
    assert_eq!(update.push(&model(b'c')), Err(UpdateError::Failed));
    assert_eq!(update.finish(), Err(UpdateError::Failed));
}

#[test]
fn a_model_of_the_length_of_the_room_fits() {
    let mut slots = used_slots();
    let mut file = model(b'c');
    file.resize(slots.room(), 7);
    let len = file.len() as u32;
    file[8..12].copy_from_slice(&len.to_le_bytes());
    let file = sealed(file);
    receive(&mut slots, &file, 500).unwrap();
    assert_eq!(in_use(&slots), Some((b'c', 1, 2)));
}

proptest! {
    #[test]
    fn pieces_may_have_any_length(lengths in proptest::collection::vec(1usize..300, 1..60)) {
        let mut slots = used_slots();
        let mut update = slots.receive(&Versions).unwrap();
        let file = model(b'c');
        let mut left = &file[..];
        for len in lengths.into_iter().cycle() {
            let (piece, rest) = left.split_at(len.min(left.len()));
            update.push(piece).unwrap();
            left = rest;
            if left.is_empty() {
                break;
            }
        }
        update.finish().unwrap();
        prop_assert_eq!(in_use(&slots), Some((b'c', 1, 2)));
    }
}

/// A region of other sizes than a slot can have.
#[derive(Debug)]
struct Odd<const READ: usize, const WRITE: usize, const ERASE: usize> {
    memory: Box<Aligned<[u8; 1025]>>,
    from: usize,
    capacity: usize,
    mapped: usize,
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> Odd<READ, WRITE, ERASE> {
    fn new(capacity: usize) -> Self {
        let memory = Box::new(Aligned([0xff; 1025]));
        let (from, mapped) = (0, capacity);
        Self {
            memory,
            from,
            capacity,
            mapped,
        }
    }
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> ErrorType
    for Odd<READ, WRITE, ERASE>
{
    type Error = NorFlashErrorKind;
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> ReadNorFlash
    for Odd<READ, WRITE, ERASE>
{
    const READ_SIZE: usize = READ;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        bytes.copy_from_slice(&self.memory.0[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> NorFlash
    for Odd<READ, WRITE, ERASE>
{
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, _: u32, _: u32) -> Result<(), NorFlashErrorKind> {
        Err(NorFlashErrorKind::Other)
    }

    fn write(&mut self, _: u32, _: &[u8]) -> Result<(), NorFlashErrorKind> {
        Err(NorFlashErrorKind::Other)
    }
}

impl<const READ: usize, const WRITE: usize, const ERASE: usize> MappedFlash
    for Odd<READ, WRITE, ERASE>
{
    fn bytes(&self) -> &[u8] {
        &self.memory.0[self.from..][..self.mapped]
    }
}

fn opened<const READ: usize, const WRITE: usize, const ERASE: usize>(
    change: impl Fn(&mut Odd<READ, WRITE, ERASE>, usize),
) -> Option<OpenError> {
    let mut regions = [Odd::new(1024), Odd::new(1024)];
    regions
        .iter_mut()
        .enumerate()
        .for_each(|(index, region)| change(region, index));
    Slots::open(regions).err()
}

#[test]
fn regions_that_cannot_be_slots_are_refused_by_name() {
    assert_eq!(opened::<1, 4, 256>(|_, _| ()), None);
    let (found, capacity) = (3, 1024);
    assert_eq!(
        opened::<1, 3, 256>(|_, _| ()),
        Some(OpenError::WriteSize { found })
    );
    assert_eq!(
        opened::<3, 4, 256>(|_, _| ()),
        Some(OpenError::ReadSize { found })
    );
    let found = 64;
    assert_eq!(
        opened::<1, 4, 64>(|_, _| ()),
        Some(OpenError::EraseSize { found })
    );
    let found = 256;
    let small = opened::<1, 4, 256>(|region, _| (region.capacity, region.mapped) = (256, 256));
    assert_eq!(small, Some(OpenError::Capacity { found }));
    let found = 1000;
    let broken = opened::<1, 4, 256>(|region, _| region.capacity = 1000);
    assert_eq!(broken, Some(OpenError::Capacity { found }));
    let found = 1000;
    let mapped = opened::<1, 4, 256>(|region, _| region.mapped = 1000);
    assert_eq!(mapped, Some(OpenError::Mapped { found, capacity }));
    let misaligned = opened::<1, 4, 256>(|region, _| region.from = 1);
    assert_eq!(misaligned, Some(OpenError::Misaligned));
    let capacities = [1024, 768];
    let unequal = opened::<1, 4, 256>(|region, index| {
        (region.capacity, region.mapped) = (capacities[index], capacities[index]);
    });
    assert_eq!(unequal, Some(OpenError::Unequal { capacities }));
}

#[test]
fn a_flash_that_fails_is_told() {
    let mut slots = Slots::open([Odd::<1, 4, 256>::new(1024), Odd::new(1024)]).unwrap();
    let mut update = slots.receive(&Versions).unwrap();
    let mut file = model(b'a');
    file[8..12].copy_from_slice(&500u32.to_le_bytes());
    let error = update.push(&file[..80]);
    assert_eq!(error, Err(UpdateError::Flash(NorFlashErrorKind::Other)));
}

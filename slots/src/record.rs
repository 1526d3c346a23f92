//! The record of a slot, and where its copies are.

use crate::flash::CHUNK;
use core::mem::offset_of;
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Pairs of copies. The first is written with the model, the others where a loss of power left the first in doubt.
pub(crate) const PAIRS: usize = 4;
/// Bytes of the file's start in a record.
const START: usize = 16;
const MAGIC: [u8; 4] = *b"ATSL";

/// Says that a slot holds a model that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Record {
    magic: [u8; 4],
    /// That of the model before, plus 1. Flash wears out long before it ends.
    pub sequence: u32,
    /// The oldest version that may still come.
    pub oldest: u32,
    /// The first bytes of the file: its length and checksum are among them.
    start: [u8; START],
    /// Of all before it.
    crc: u32,
}

/// What a place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing was written since the last erasure.
    Blank,
    /// Something else: torn, or from elsewhere.
    Spoilt,
    /// A record.
    Valid(Record),
}

impl Record {
    /// The record for this file; none for one that is shorter than a header.
    pub fn new(file: &[u8], sequence: u32, oldest: u32) -> Option<Self> {
        let record = Self {
            magic: MAGIC,
            sequence,
            oldest,
            start: *file.first_chunk()?,
            crc: 0,
        };
        Some(record.with_oldest(oldest))
    }

    /// The same record with another oldest version.
    pub fn with_oldest(self, oldest: u32) -> Self {
        let mut record = Self { oldest, ..self };
        record.crc = record.sum();
        record
    }

    /// Whether the file is the one that the record was written for, as far as its header says.
    pub fn is_of(&self, file: &[u8]) -> bool {
        file.starts_with(&self.start)
    }

    fn sum(&self) -> u32 {
        let (covered, _) = self.as_bytes().split_at(offset_of!(Self, crc));
        // A table of 1 kB for 28 bytes would be dear.
        Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC).checksum(covered)
    }

    /// The bytes of a place that holds the record, and as many blank ones as there can be behind it.
    pub fn place(&self) -> [u8; CHUNK] {
        let mut place = [0xff; CHUNK];
        let bytes = place.iter_mut().zip(self.as_bytes());
        bytes.for_each(|(to, from)| *to = *from);
        place
    }
}

impl Place {
    /// Bytes of a place in flash of this write size, which divides [`CHUNK`].
    pub const fn len(write_size: usize) -> usize {
        if write_size > size_of::<Record>() {
            write_size
        } else {
            size_of::<Record>()
        }
    }

    pub fn read(bytes: &[u8]) -> Self {
        if bytes.iter().all(|byte| *byte == 0xff) {
            return Self::Blank;
        }
        match Record::read_from_prefix(bytes) {
            Ok((record, _)) if record.magic == MAGIC && record.crc == record.sum() => {
                Self::Valid(record)
            }
            _ => Self::Spoilt,
        }
    }

    pub fn record(&self) -> Option<Record> {
        match self {
            Self::Valid(record) => Some(*record),
            Self::Blank | Self::Spoilt => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_no_bit_of_it_may_turn() {
        let record = Record::new(&[7; 80], 3, 9).unwrap();
        let place = record.place();
        assert_eq!(Place::read(&place), Place::Valid(record));
        for bit in 0..8 * size_of::<Record>() {
            let mut turned = place;
            turned[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Place::read(&turned), Place::Spoilt, "bit {bit}");
        }
        assert_eq!(Place::read(&[0xff; CHUNK]), Place::Blank);
        assert_eq!(Place::read(&[0; CHUNK]), Place::Spoilt);
        assert!(Record::new(&[7; 15], 3, 9).is_none());
    }

    #[test]
    fn a_place_is_whole_words() {
        for write_size in [1, 2, 4, 8, 16, 32, 64, 128] {
            let len = Place::len(write_size);
            assert!(len.is_multiple_of(write_size) && len >= size_of::<Record>() && len <= CHUNK);
        }
    }
}

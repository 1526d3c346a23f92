//! Mutations of `.attn` files that know their records: a file is taken apart, fields are changed, and it is put together again with
//! the right length and checksum.

use crate::random::Random;
use attn_runtime::format::{
    EntryRecord, HEADER_LEN, MAGIC, MetaRecord, OpKind, OpRecord, TensorRecord, VERSION, checksum,
};

/// Sections in the order of the header.
const TENSORS: usize = 0;
const OPS: usize = 1;
const ENTRIES: usize = 2;
const META: usize = 3;
const PARAMS: usize = 4;
const WEIGHTS: usize = 5;
const SECTIONS: usize = 7;
/// Where the header lists the sections, and the lengths of arena and state.
const LIST_AT: usize = 24;
const ARENA_AT: usize = 16;
/// A file that has grown beyond this is not made longer.
const LONG: usize = 1 << 15;

/// Bytes of a record of a section.
const fn record_len(section: usize) -> usize {
    match section {
        TENSORS => size_of::<TensorRecord>(),
        OPS => size_of::<OpRecord>(),
        ENTRIES => size_of::<EntryRecord>(),
        META => size_of::<MetaRecord>(),
        _ => 1,
    }
}

/// Place and width of the fields of a record; some more than once, to be changed more often.
fn fields(section: usize) -> &'static [(usize, usize)] {
    match section {
        TENSORS => &[
            (0, 1),
            (1, 1),
            (2, 1),
            (3, 1),
            (3, 1),
            (4, 4),
            (4, 4),
            (8, 4),
            (12, 4),
            (16, 4),
            (20, 4),
            (24, 4),
            (28, 4),
            (28, 4),
            (32, 4),
            (36, 4),
            (40, 4),
        ],
        OPS => &[
            (0, 2),
            (0, 2),
            (2, 2),
            (4, 2),
            (6, 2),
            (8, 2),
            (10, 2),
            (12, 2),
            (14, 2),
            (16, 2),
            (18, 2),
            (20, 4),
            (24, 4),
            (28, 4),
        ],
        ENTRIES => &[
            (0, 4),
            (4, 4),
            (8, 4),
            (12, 2),
            (14, 2),
            (16, 2),
            (28, 2),
            (30, 2),
            (44, 4),
        ],
        _ => &[(0, 2), (2, 2), (4, 4), (8, 4)],
    }
}

fn get(bytes: &[u8], at: usize, width: usize) -> u32 {
    let mut word = [0; 4];
    if let Some(field) = bytes.get(at..at.saturating_add(width)) {
        word[..width].copy_from_slice(field);
    }
    u32::from_le_bytes(word)
}

fn put(bytes: &mut [u8], at: usize, width: usize, value: u32) {
    if let Some(field) = bytes.get_mut(at..at.saturating_add(width)) {
        field.copy_from_slice(&value.to_le_bytes()[..width]);
    }
}

/// A file taken apart.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Lengths of arena and state.
    lens: [u32; 2],
    sections: [Vec<u8>; SECTIONS],
    /// A false place and count of one section.
    misplaced: Option<(usize, u32, u32)>,
}

impl Parts {
    /// Takes a file apart; what is not in it is left out.
    pub fn of(file: &[u8]) -> Self {
        let word = |at: usize| get(file, at, 4) as usize;
        let sections = core::array::from_fn(|section| {
            let at = LIST_AT + 8 * section;
            let len = word(at + 4).saturating_mul(record_len(section));
            let end = word(at).saturating_add(len).min(file.len());
            let bytes = file.get(word(at)..end).unwrap_or(&[]);
            bytes[..bytes.len() / record_len(section) * record_len(section)].to_vec()
        });
        Self {
            lens: [0, 4].map(|at| get(file, ARENA_AT + at, 4)),
            sections,
            misplaced: None,
        }
    }

    /// The file, with its length and checksum.
    pub fn file(&self) -> Vec<u8> {
        let mut file = vec![0; HEADER_LEN];
        file[..4].copy_from_slice(&MAGIC);
        put(&mut file, 4, 2, VERSION.into());
        put(&mut file, ARENA_AT, 4, self.lens[0]);
        put(&mut file, ARENA_AT + 4, 4, self.lens[1]);
        for (section, bytes) in self.sections.iter().enumerate() {
            file.resize(file.len().next_multiple_of(16), 0);
            let place = [
                file.len() as u32,
                (bytes.len() / record_len(section)) as u32,
            ];
            file.extend(bytes);
            let place = match self.misplaced {
                Some((which, offset, count)) if which == section => [offset, count],
                _ => place,
            };
            put(&mut file, LIST_AT + 8 * section, 4, place[0]);
            put(&mut file, LIST_AT + 8 * section + 4, 4, place[1]);
        }
        let len = file.len() as u32;
        put(&mut file, 8, 4, len);
        let sum = checksum(&file);
        put(&mut file, 12, 4, sum);
        file
    }

    /// Changes one to three things; `other` may give a section.
    pub fn mutate(&mut self, other: &Self, random: &mut Random) {
        if random.once_in(8) {
            let section = random.below(SECTIONS);
            self.sections[section].clone_from(&other.sections[section]);
        }
        for _ in 0..1 + random.below(3) {
            match random.below(100) {
                0..=39 => self.change_field(random),
                40..=61 => self.change_parameter(random),
                62..=66 => {
                    let which = random.below(2);
                    self.lens[which] = self.nasty(self.lens[which], random);
                }
                67..=69 => self.lens[0] = self.lens[0].wrapping_add(1 << random.below(15)),
                70..=79 => self.rearrange(random),
                80..=84 => self.resize(random),
                85..=93 => self.change_weights(random),
                94..=98 => self.change_sizes(random),
                _ => {
                    let section = random.below(SECTIONS);
                    let len = self.sections[section].len() as u32;
                    let (offset, count) = (self.nasty(80, random) & !15, self.nasty(len, random));
                    self.misplaced = Some((section, offset, count));
                }
            }
        }
    }

    fn count(&self, section: usize) -> usize {
        self.sections[section].len() / record_len(section)
    }

    fn nasty(&self, old: u32, random: &mut Random) -> u32 {
        match random.below(8) {
            0 => self.sections[PARAMS + random.below(3)].len() as u32,
            1 => self.lens[random.below(2)],
            2 => 4 * random.below(17) as u32,
            _ => random.nasty(old.into(), 32) as u32,
        }
    }

    fn change_field(&mut self, random: &mut Random) {
        let section = *random.one_of(&[TENSORS, TENSORS, TENSORS, OPS, OPS, ENTRIES, META]);
        let count = self.count(section);
        let (field, width) = *random.one_of(fields(section));
        let (record, other) = (random.below(count), random.below(count));
        let at = record * record_len(section) + field;
        let old = get(&self.sections[section], at, width);
        let tensor = random.below(self.count(TENSORS) + 1) as u32;
        let value = match random.below(4) {
            0 => get(
                &self.sections[section],
                other * record_len(section) + field,
                width,
            ),
            1 if section == OPS && field == 0 => *random.one_of(OpKind::ALL) as u32,
            1 if section == OPS && width == 2 => tensor,
            1 if section == ENTRIES && width == 2 => {
                if random.once_in(3) {
                    0xffff
                } else {
                    tensor
                }
            }
            1 if width == 1 => random.below(5) as u32,
            _ => self.nasty(old, random),
        };
        put(&mut self.sections[section], at, width, value);
    }

    /// A word of the parameters of an operator, or of metadata.
    fn change_parameter(&mut self, random: &mut Random) {
        let record = random.below(self.count(OPS)) * record_len(OPS);
        let [at, len] = [24, 28].map(|field| get(&self.sections[OPS], record + field, 4) as usize);
        let (at, len) = match random.once_in(4) {
            true => (0, self.sections[PARAMS].len()),
            false => (at, len),
        };
        let at = at.saturating_add(4 * random.below(len / 4));
        let old = get(&self.sections[PARAMS], at, 4);
        let value = self.nasty(old, random);
        put(&mut self.sections[PARAMS], at, 4, value);
    }

    /// Doubles a record, takes one out or exchanges two.
    fn rearrange(&mut self, random: &mut Random) {
        let section = random.below(4);
        let (count, len) = (self.count(section), record_len(section));
        if count == 0 {
            return;
        }
        let (at, to) = (random.below(count) * len, random.below(count) * len);
        let bytes = &mut self.sections[section];
        match random.below(3) {
            0 if bytes.len() < LONG => {
                let record = bytes[at..at + len].to_vec();
                bytes.splice(to..to, record);
                if section == OPS {
                    // It belongs to an entry point.
                    let entry = random.below(self.count(ENTRIES)) * record_len(ENTRIES);
                    let ops = get(&self.sections[ENTRIES], entry + 8, 4);
                    put(
                        &mut self.sections[ENTRIES],
                        entry + 8,
                        4,
                        ops.wrapping_add(1),
                    );
                }
            }
            1 => drop(bytes.drain(at..at + len)),
            _ => (0..len).for_each(|i| bytes.swap(at + i, to + i)),
        }
    }

    fn resize(&mut self, random: &mut Random) {
        let bytes = &mut self.sections[PARAMS + random.below(3)];
        if bytes.len() < LONG && random.once_in(2) {
            let len = bytes.len() + (4 << random.below(12));
            bytes.resize(len, *random.one_of(&[0, 0x7f, 0x80, 0xff]));
        } else {
            bytes.truncate(random.below(bytes.len()));
        }
    }

    fn change_weights(&mut self, random: &mut Random) {
        let bytes = &mut self.sections[WEIGHTS + random.below(2)];
        if bytes.len() < 4 {
            return;
        }
        let at = random.below(bytes.len() - 3);
        if random.once_in(3) {
            let width = *random.one_of(&[1, 2, 4]);
            let value = random.nasty(get(bytes, at, 4).into(), 32) as u32;
            put(bytes, at, width, value);
        } else {
            let len = (1 << random.below(12)).min(bytes.len() - at);
            bytes[at..at + len].fill(*random.one_of(&[0, 0x7f, 0x80, 0xff, 1]));
        }
    }

    /// One dimension of all tensors that have the same, or of one; or one type of all.
    fn change_sizes(&mut self, random: &mut Random) {
        let len = record_len(TENSORS);
        let some = random.below(self.count(TENSORS)) * len;
        let tensors = &mut self.sections[TENSORS];
        let (field, width, value) = match random.once_in(4) {
            true => (0, 1, 1 + random.below(4) as u32),
            false => (4 + 4 * random.below(3), 4, 1 + random.below(40) as u32),
        };
        let old = get(tensors, some + field, width);
        let alone = random.once_in(3);
        for at in (0..tensors.len()).step_by(len) {
            if at == some || !alone && get(tensors, at + field, width) == old {
                put(tensors, at + field, width, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attn_runtime::format::Encoding;
    use attn_test_support::tiny_model::tiny_model;

    #[test]
    fn a_file_is_put_together_as_it_was() {
        for encoding in [Encoding::Int8, Encoding::Half, Encoding::Joined] {
            let file = tiny_model(encoding);
            assert_eq!(Parts::of(&file).file(), file);
        }
    }
}

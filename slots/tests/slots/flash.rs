//! NOR flash whose power can be lost in any word that is written and any block that is erased. It panics where a rule of NOR flash is
//! broken: a word written twice, an address that is not aligned.

use attn_runtime::Aligned;
use attn_slots::MappedFlash;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use std::cell::Cell;
use std::rc::Rc;

/// Bytes of a region.
pub const CAPACITY: usize = 2048;

/// What a word or block holds in which power was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// What it held before.
    Untouched,
    /// What it was to hold.
    Complete,
    /// Its first half is done.
    Half,
    /// Of the bits that were to change, some have.
    Partly,
    /// Anything.
    Anything,
    /// What it was to hold, at the next start; anything at the starts after that.
    Fading,
    /// What it held before, at the next start; anything at the starts after that.
    Returning,
}

impl Torn {
    pub const ALL: [Self; 7] = [
        Self::Untouched,
        Self::Complete,
        Self::Half,
        Self::Partly,
        Self::Anything,
        Self::Fading,
        Self::Returning,
    ];
}

/// The supply of both regions: counts words and blocks, and fails at one of them.
#[derive(Debug)]
pub struct Power {
    /// Words written and blocks erased since the start.
    pub done: Cell<usize>,
    /// The one at which power is lost, and how.
    pub cut: Cell<Option<(usize, Torn)>>,
    pub lost: Cell<bool>,
    random: Cell<u32>,
}

impl Power {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            done: Cell::new(0),
            cut: Cell::new(None),
            lost: Cell::new(false),
            random: Cell::new(0x2545_f491),
        })
    }

    /// A start, after which power is lost at the word or block of this number, if at any.
    pub fn start(&self, cut: Option<(usize, Torn)>) {
        self.done.set(0);
        self.lost.set(false);
        self.cut.set(cut);
    }

    /// Another word or block; how it is torn if power is lost in it.
    fn next(&self) -> Result<Option<Torn>, PowerLost> {
        if self.lost.get() {
            return Err(PowerLost);
        }
        let number = self.done.replace(self.done.get() + 1);
        let cut = self.cut.get().filter(|(at, _)| *at == number);
        self.lost.set(cut.is_some());
        Ok(cut.map(|(_, torn)| torn))
    }

    /// xorshift32 (Marsaglia 2003).
    fn byte(&self) -> u8 {
        let mut bits = self.random.get();
        bits ^= bits << 13;
        bits ^= bits >> 17;
        bits ^= bits << 5;
        self.random.set(bits);
        (bits >> 8) as u8
    }
}

/// Power was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerLost;

impl NorFlashError for PowerLost {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

#[derive(Debug)]
struct Memory(Box<Aligned<[u8; CAPACITY]>>);

impl Clone for Memory {
    fn clone(&self) -> Self {
        Self(Box::new(Aligned(self.0.0)))
    }
}

/// A region with words of `WRITE` bytes and blocks of `ERASE`.
#[derive(Clone, Debug)]
pub struct Flash<const WRITE: usize, const ERASE: usize> {
    memory: Memory,
    /// Whether each word was erased and not written since.
    erased: Vec<bool>,
    /// Words that read as something else from the next start but one on.
    fading: Vec<usize>,
    starts: usize,
    power: Rc<Power>,
}

impl<const WRITE: usize, const ERASE: usize> Flash<WRITE, ERASE> {
    /// A region that was never written, or not as a slot.
    pub fn new(power: &Rc<Power>, fill: u8) -> Self {
        Self {
            memory: Memory(Box::new(Aligned([fill; CAPACITY]))),
            erased: vec![false; CAPACITY / WRITE],
            fading: Vec::new(),
            starts: 0,
            power: power.clone(),
        }
    }

    /// Power comes back.
    pub fn start(&mut self) {
        self.starts += 1;
        if self.starts >= 2 {
            for word in std::mem::take(&mut self.fading) {
                self.scramble(word);
            }
        }
    }

    /// Turns a bit, as wear does.
    pub fn damage(&mut self, offset: usize) {
        self.memory.0.0[offset] ^= 4;
    }

    fn word(&mut self, word: usize) -> &mut [u8] {
        &mut self.memory.0.0[word * WRITE..][..WRITE]
    }

    fn scramble(&mut self, word: usize) {
        let power = self.power.clone();
        self.word(word).fill_with(|| power.byte());
    }

    /// Tears words on their way to the bytes of `to`.
    fn tear(&mut self, words: std::ops::Range<usize>, to: &[u8], torn: Torn) {
        let half = words.len() * WRITE / 2;
        let start = words.start * WRITE;
        let power = self.power.clone();
        let cells = &mut self.memory.0.0[start..][..to.len()];
        for (at, (cell, to)) in cells.iter_mut().zip(to).enumerate() {
            *cell = match torn {
                Torn::Untouched | Torn::Returning => *cell,
                Torn::Complete | Torn::Fading => *to,
                Torn::Half if at < half => *to,
                Torn::Half => *cell,
                Torn::Partly => *cell ^ ((*cell ^ *to) & power.byte()),
                Torn::Anything => power.byte(),
            };
        }
        if matches!(torn, Torn::Fading | Torn::Returning) {
            self.starts = 0;
            self.fading.extend(words);
        }
    }
}

impl<const WRITE: usize, const ERASE: usize> ErrorType for Flash<WRITE, ERASE> {
    type Error = PowerLost;
}

impl<const WRITE: usize, const ERASE: usize> ReadNorFlash for Flash<WRITE, ERASE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), PowerLost> {
        if self.power.lost.get() {
            return Err(PowerLost);
        }
        bytes.copy_from_slice(&self.memory.0.0[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl<const WRITE: usize, const ERASE: usize> NorFlash for Flash<WRITE, ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), PowerLost> {
        let (from, to) = (from as usize, to as usize);
        assert!(from < to && to <= CAPACITY, "{from}..{to}");
        assert!(from.is_multiple_of(ERASE) && to.is_multiple_of(ERASE));
        for block in (from..to).step_by(ERASE) {
            let words = block / WRITE..(block + ERASE) / WRITE;
            self.fading.retain(|word| !words.contains(word));
            self.erased[words.clone()].fill(false);
            if let Some(torn) = self.power.next()? {
                self.tear(words, &[0xff; ERASE], torn);
                return Err(PowerLost);
            }
            self.memory.0.0[block..block + ERASE].fill(0xff);
            self.erased[words].fill(true);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), PowerLost> {
        let offset = offset as usize;
        assert!(offset.is_multiple_of(WRITE) && bytes.len().is_multiple_of(WRITE));
        for (word, bytes) in (offset / WRITE..).zip(bytes.chunks(WRITE)) {
            // A word whose writing had no effect at all cannot be told from one that was never written.
            let blank = self.word(word).iter().all(|byte| *byte == 0xff);
            assert!(self.erased[word] && blank, "word {word} is written twice");
            if let Some(torn) = self.power.next()? {
                self.tear(word..word + 1, bytes, torn);
                let blank = self.word(word).iter().all(|byte| *byte == 0xff);
                self.erased[word] = blank;
                return Err(PowerLost);
            }
            self.word(word).copy_from_slice(bytes);
            self.erased[word] = false;
        }
        Ok(())
    }
}

impl<const WRITE: usize, const ERASE: usize> MappedFlash for Flash<WRITE, ERASE> {
    fn bytes(&self) -> &[u8] {
        &self.memory.0.0
    }
}

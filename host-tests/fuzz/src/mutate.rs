//! Mutations of bytes and text that know little about them.

use crate::random::Random;

/// Changes some bytes, numbers or runs of bytes, or the length.
pub fn bytes(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            bytes.push(random.number() as u8);
            continue;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.number() as u8,
            2 => number(bytes, at, random),
            3 => {
                let len = (1 << random.below(10)).min(bytes.len() - at);
                bytes[at..at + len].fill(*random.one_of(&[0, 0x7f, 0x80, 0xff]));
            }
            4 => bytes.truncate(at),
            _ => {
                let len = (1 << random.below(8)).min(bytes.len() - at);
                let part = bytes[at..at + len].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, part);
            }
        }
    }
}

/// Replaces a little-endian number of 1, 2, 4 or 8 bytes.
fn number(bytes: &mut [u8], at: usize, random: &mut Random) {
    let width = *random.one_of(&[1, 2, 4, 8]);
    let at = at / width * width;
    let Some(slot) = bytes.get_mut(at..at + width) else {
        return;
    };
    let mut old = [0; 8];
    old[..width].copy_from_slice(slot);
    let new = random.nasty(u64::from_le_bytes(old), 8 * width as u32);
    slot.copy_from_slice(&new.to_le_bytes()[..width]);
}

/// Pieces that texts of this project stumble over.
const PIECES: [&str; 24] = [
    "0",
    "-1",
    "1e9",
    "4294967296",
    "18446744073709551615",
    "nan",
    "\"\"",
    "\"/etc/passwd\"",
    "\"../../x\"",
    "\"\\u0000\"",
    "\u{1b}[31m",
    "[",
    "]",
    "{}",
    "=",
    ".",
    ",",
    "\n",
    "true",
    "\"encode.y\"",
    "\"step.h\"",
    "(1000000000000,)",
    "'<f8'",
    "'|O'",
];

/// Changes words of a text: takes some out, doubles or exchanges them, or puts others in their place.
pub fn text(text: &str, random: &mut Random) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut of_word = false;
    for c in text.chars() {
        let inside = c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '"');
        match words.last_mut().filter(|_| inside && of_word) {
            Some(word) => word.push(c),
            None => words.push(c.into()),
        }
        of_word = inside;
    }
    for _ in 0..1 + random.below(3) {
        if words.is_empty() {
            break;
        }
        let (at, other) = (random.below(words.len()), random.below(words.len()));
        match random.below(5) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, words[other].clone()),
            2 => words.swap(at, other),
            3 => words[at] = words[other].clone(),
            _ => words[at] = (*random.one_of(&PIECES)).into(),
        }
    }
    words.concat()
}

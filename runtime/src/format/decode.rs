//! The metadata record of decoding: which entry points make a sequence, and how they are called.

use super::{Header, MetaKey, MetaRecord};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// "None" in a [`DecodeMeta`].
pub const NONE: u32 = u32::MAX;
/// Most candidates that a step returns instead of logits, and most hypotheses of a beam.
pub const MAX_CANDIDATES: usize = 16;
/// Most output tokens, and most tokens of one decoded sequence.
pub const MAX_TOKENS: usize = 65_535;

/// How a model makes a sequence of tokens: `encode` runs once for each input, `step` once for each token.
///
/// A step's output is either a row of logits or, from operator TopK, the best tokens with their log-probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DecodeMeta {
    /// Number of the entry point that reads the input; [`NONE`]: there is none (a language model).
    pub encode: u32,
    /// Number of the entry point that takes one token and rates the next.
    pub step: u32,
    /// Which input of `encode` takes the sequence; ignored without `encode`.
    pub input: u32,
    /// Which input of `step` takes the token: int32 `[1]`.
    pub token: u32,
    /// Which output of `step` rates the tokens: logits `[tokens]`, or with `scores` the best tokens, int32 `[k]`.
    pub logits: u32,
    /// Which output of `step` holds the log-probabilities of the best tokens, int32 `[k]`, Q16 nats, best first;
    /// [`NONE`]: `logits` is a row of logits.
    pub scores: u32,
    /// Which output of `step` holds attention weights over the input; [`NONE`]: there is none.
    pub weights: u32,
    /// Number of output tokens, 1 to [`MAX_TOKENS`].
    pub tokens: u32,
    /// Token that the first step takes.
    pub start: u32,
    /// Token that ends a sequence.
    pub end: u32,
    /// Most tokens of a sequence, the end token included; 1 to [`MAX_TOKENS`].
    pub max_tokens: u32,
    /// Bytes at the start of the arena that belong to one hypothesis: the state that a step changes. A multiple of 4.
    /// The rest of the state is shared by all hypotheses of a beam.
    pub hypothesis_len: u32,
    /// Symbol that is appended to every input; [`NONE`]: nothing is.
    pub end_symbol: u32,
    /// Offset in the strings section of the separator between two tokens in a text.
    pub separator: u32,
    /// Padding of a fixed-size input after a shorter sequence: number of the symbol, or 0 for features; [`NONE`]: the caller fills
    /// every row. Ignored where the input's rows vary.
    pub pad: u32,
}

impl DecodeMeta {
    /// An index or number of this record that may be [`NONE`].
    pub fn optional(value: u32) -> Option<usize> {
        (value != NONE).then_some(value as usize)
    }
}

/// Bytes of memory that a beam of `width` hypotheses needs; see [`crate::seq2seq::Beam`].
pub(crate) const fn beam_memory(hypothesis_len: u32, max_tokens: u32, width: usize) -> usize {
    // For each: its state; for each of its tokens 4 bytes while it grows and 2 when it is found.
    let each = (hypothesis_len as usize).saturating_add((max_tokens as usize).saturating_mul(6));
    match each.saturating_mul(width).checked_next_multiple_of(4) {
        Some(len) => len,
        None => usize::MAX,
    }
}

/// Bytes of memory that a beam of `width` hypotheses needs for the model in `file`, readable at compile time.
///
/// Used by [`include_model!`](crate::include_model). Returns 0 where the file has no decoding metadata;
/// [`crate::seq2seq::Beam::new`] then says so.
pub const fn beam_len(file: &[u8], width: usize) -> usize {
    let params = word(file, PARAMS_AT) as usize;
    let (first, count) = (word(file, META_AT) as usize, word(file, META_AT + 4));
    let mut id = 0;
    while id < count {
        let record = first.saturating_add((id as usize).saturating_mul(size_of::<MetaRecord>()));
        if record >= file.len() {
            return 0;
        }
        if word(file, record) & 0xffff == MetaKey::Decode as u32 {
            let payload = params.saturating_add(word(file, record + 4) as usize);
            let hypothesis_len = word(file, payload.saturating_add(HYPOTHESIS_LEN_AT));
            let max_tokens = word(file, payload.saturating_add(MAX_TOKENS_AT));
            return beam_memory(hypothesis_len, max_tokens, width);
        }
        id += 1;
    }
    0
}

const META_AT: usize = core::mem::offset_of!(Header, meta);
const PARAMS_AT: usize = core::mem::offset_of!(Header, params);
const HYPOTHESIS_LEN_AT: usize = core::mem::offset_of!(DecodeMeta, hypothesis_len);
const MAX_TOKENS_AT: usize = core::mem::offset_of!(DecodeMeta, max_tokens);

/// The word at byte `at`; 0 outside the file.
const fn word(file: &[u8], at: usize) -> u32 {
    if at >= file.len() || file.len() - at < 4 {
        return 0;
    }
    u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_has_the_documented_size() {
        assert_eq!(size_of::<DecodeMeta>(), 60);
    }
}

//! The metadata record of decoding: which entry points make a sequence, and how they are called.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Stands for "none" in a [`DecodeMeta`].
pub const NONE: u32 = u32::MAX;
/// Most candidates that a step hands out instead of logits, and most hypotheses of a beam.
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
    /// Which input of `encode` the sequence goes to; not looked at without `encode`.
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
    /// Offset in the strings section of what stands between two tokens in a text.
    pub separator: u32,
}

impl DecodeMeta {
    /// An index or number of this record that may be [`NONE`].
    pub fn optional(value: u32) -> Option<usize> {
        (value != NONE).then_some(value as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_has_the_documented_size() {
        assert_eq!(size_of::<DecodeMeta>(), 56);
    }
}

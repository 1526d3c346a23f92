//! Errors of decoding: in an input, a model or the memory of a decoder.

use crate::session::SessionError;
use core::fmt;

/// Why a decoder cannot do what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DecodeError {
    /// The session refused; for a parsed model only where the input has another element type than was given.
    Session(SessionError),
    /// The file does not say how its model decodes.
    NoDecode,
    /// An input for a model that reads none.
    NoEncoder,
    /// A start without input for a model that reads one.
    InputNeeded,
    /// Text for a model without a vocabulary of input symbols.
    NoSymbols,
    /// A text to be continued, for a model whose tokens have no names.
    NoTokenNames,
    /// A text to be continued that leaves no room for more.
    PromptTooLong {
        /// Most tokens that it can have.
        max: usize,
    },
    /// An input without elements.
    EmptyInput,
    /// More rows or symbols than the model takes, its end symbol included.
    InputTooLong {
        /// Rows or symbols given, with the end symbol.
        length: usize,
        /// Most that the model takes.
        max: usize,
    },
    /// Another number of rows or symbols than a model of fixed shape takes.
    WrongLength {
        /// Rows or symbols given, with the end symbol.
        length: usize,
        /// Number that the model takes.
        needed: usize,
    },
    /// Elements that do not make whole rows.
    PartialRow {
        /// Elements given.
        elements: usize,
        /// Elements of a row.
        channels: usize,
    },
    /// Text that no symbol of the vocabulary begins with.
    UnknownText {
        /// The first character that is not understood.
        character: char,
        /// Where it is, in characters from 0.
        at: usize,
    },
    /// A symbol that the vocabulary does not have.
    UnknownSymbol {
        /// The symbol.
        symbol: u16,
        /// Where it is, from 0.
        at: usize,
        /// Symbols in the vocabulary.
        symbols: usize,
    },
    /// A step before there was an input.
    NotEncoded,
    /// The model's steps return no attention weights.
    NoWeights,
    /// A beam of no hypotheses, or of more than it was compiled for.
    BadWidth {
        /// Hypotheses asked for.
        width: usize,
        /// Most that there can be.
        most: usize,
    },
    /// A beam wider than the number of tokens that a step returns.
    TooFewCandidates {
        /// Hypotheses of the beam.
        width: usize,
        /// Tokens that a step returns.
        candidates: usize,
    },
    /// The memory of a beam is too small.
    MemoryTooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes given.
        given: usize,
    },
    /// The memory of a beam does not start at a multiple of 4: use [`crate::Arena`].
    MemoryMisaligned,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Session(error) => write!(f, "{error}"),
            Self::NoDecode => f.write_str(
                "the file does not say how its model decodes: convert a bundle with a [decode] section",
            ),
            Self::NoEncoder => f.write_str("the model reads no input: call restart and then step"),
            Self::InputNeeded => f.write_str("the model reads an input: encode one before the first step"),
            Self::NoSymbols => f.write_str(
                "the model has no vocabulary to read text with: encode symbols by number, or name symbols in the bundle's \
                 [vocabulary]",
            ),
            Self::NoTokenNames => f.write_str(
                "the model's tokens have no names: prompt with tokens by number, or name tokens in the bundle's [vocabulary]",
            ),
            Self::PromptTooLong { max } => write!(
                f,
                "the text to be continued is longer than {max} tokens: the model's limit leaves no room behind it"
            ),
            Self::EmptyInput => f.write_str("the input is empty: there is nothing to decode"),
            Self::InputTooLong { length, max } => write!(
                f,
                "an input of length {length}, the model takes {max} at most: shorten it, or convert with a larger max_length"
            ),
            Self::WrongLength { length, needed } => write!(
                f,
                "an input of length {length}, the model takes exactly {needed}: pad it as in training, or export the model \
                 with a dynamic axis"
            ),
            Self::PartialRow { elements, channels } => write!(
                f,
                "{elements} elements are no whole rows: the input has {channels} in each"
            ),
            Self::UnknownText { character, at } => write!(
                f,
                "{character:?} (character {at}) is not in the vocabulary of the model"
            ),
            Self::UnknownSymbol {
                symbol,
                at,
                symbols,
            } => write!(
                f,
                "symbol {symbol} at {at}, the vocabulary has {symbols}"
            ),
            Self::NotEncoded => {
                f.write_str("no input yet: call encode, encode_symbols, encode_text or restart before step")
            }
            Self::NoWeights => f.write_str(
                "the model's steps hand out no attention weights: name that output as weights in the bundle's [decode]",
            ),
            Self::BadWidth { width, most } => write!(
                f,
                "a beam of {width} hypotheses: 1 to {most} are possible"
            ),
            Self::TooFewCandidates { width, candidates } => write!(
                f,
                "a beam of {width} hypotheses, but a step hands out {candidates} tokens: narrow the beam, or convert with \
                 more candidates"
            ),
            Self::MemoryTooSmall { needed, given } => write!(
                f,
                "the beam has {given} bytes of memory and needs {needed}: size it with Beam::memory_len or include_model!'s \
                 beam_len"
            ),
            Self::MemoryMisaligned => f.write_str(
                "the beam's memory does not start at a multiple of 4: use attn_runtime::Arena",
            ),
        }
    }
}

impl core::error::Error for DecodeError {}

impl From<SessionError> for DecodeError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

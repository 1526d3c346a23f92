//! Metadata records: what the application around the network has to know.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The kinds of metadata records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum MetaKey {
    /// Class names, in the order of the logits: `count` offsets (`u32`) into the strings section.
    Labels = 1,
    /// An [`AudioMeta`]: the model's input is the audio front end's output.
    Audio = 2,
    /// A [`SpotterMeta`], followed by one `u16` threshold (Q15) per label.
    Spotter = 3,
    /// A [`LengthMeta`], followed by `count` [`RowRule`]s: the model takes sequences of any length up to a largest.
    Length = 4,
    /// A [`super::DecodeMeta`]: the model makes sequences of tokens.
    Decode = 5,
    /// Names of the input symbols, by number: as [`MetaKey::Labels`].
    Symbols = 6,
    /// Names of the output tokens, by number: as [`MetaKey::Labels`].
    Tokens = 7,
    /// A [`SignatureMeta`]: who made the file.
    Signature = 8,
}

impl MetaKey {
    /// The key with this number in the file.
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::Labels),
            2 => Some(Self::Audio),
            3 => Some(Self::Spotter),
            4 => Some(Self::Length),
            5 => Some(Self::Decode),
            6 => Some(Self::Symbols),
            7 => Some(Self::Tokens),
            8 => Some(Self::Signature),
            _ => None,
        }
    }
}

/// One piece of metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MetaRecord {
    /// [`MetaKey`] code; unknown keys are skipped.
    pub key: u16,
    /// Number of items, where the key has items.
    pub count: u16,
    /// Offset of the payload in the params section; a multiple of 4.
    pub offset: u32,
    /// Length of the payload in bytes.
    pub len: u32,
}

/// The audio front end that a model was trained on. A runtime whose front end differs refuses the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AudioMeta {
    /// Samples per second.
    pub sample_rate: u32,
    /// Samples per frame.
    pub frame_len: u32,
    /// Samples between the starts of two frames.
    pub hop: u32,
    /// Mel bands per frame.
    pub mel_bands: u32,
}

/// How posteriors become events in [`crate::kws`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SpotterMeta {
    /// Hops over which posteriors are averaged.
    pub smoothing_hops: u32,
    /// Hops after an event in which no other is reported.
    pub refractory_hops: u32,
}

/// Which model a file is, and a signature over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SignatureMeta {
    /// The model's name: up to 16 bytes of UTF-8, zeros behind it.
    pub model: [u8; 16],
    /// Its version. A device takes none that is older than the last one that it had.
    pub version: u32,
    /// Ed25519 (RFC 8032) over all bytes of the file but the checksum and this field.
    pub signature: [u8; 64],
}

/// Sequences of variable length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LengthMeta {
    /// Longest sequence, at least 1; tensors are laid out for it.
    pub max: u32,
}

/// How many rows a tensor has for a sequence of length `n`: `(n + add) / divisor`, rounded down, at least 0.
/// `divisor` is above 1 after convolutions with a stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RowRule {
    /// Added to the length.
    pub add: i32,
    /// Divides the sum; at least 1.
    pub divisor: u32,
}

impl RowRule {
    /// Rows for a sequence of `length`.
    pub fn rows(&self, length: usize) -> usize {
        // Of 32 bits where the chip has no more: a division of 64 bits is 900 bytes of library code there.
        length.saturating_add_signed(self.add as isize) / self.divisor.max(1) as usize
    }
}

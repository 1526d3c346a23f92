//! Why a file is refused: each rule of the format that it can break, and what to do then.

use crate::format::{HEADER_LEN, VERSION};
use crate::ops::OpError;
use core::fmt;

/// Why a byte string is not a model that can run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ModelError {
    /// Shorter than a header.
    TooShort {
        /// Bytes given.
        len: usize,
    },
    /// The bytes do not start at a multiple of 16 in memory.
    Misaligned,
    /// The first four bytes are not `ATTN`.
    BadMagic,
    /// Written for another version of the format.
    UnsupportedVersion {
        /// Version in the file.
        found: u16,
    },
    /// Incompatible features that this runtime does not know.
    UnknownFlags {
        /// Bits in the header.
        found: u16,
    },
    /// The header states another length than the file has.
    WrongLength {
        /// Length in the header.
        stated: u32,
        /// Length given.
        actual: usize,
    },
    /// The bytes were changed after they were written.
    BadChecksum {
        /// Checksum in the header.
        stated: u32,
        /// Checksum of the bytes.
        actual: u32,
    },
    /// A section is misplaced.
    BadSection {
        /// Byte offset in the file that the header gives.
        offset: u32,
    },
    /// More of something than the format allows.
    TooMany {
        /// Of what.
        what: Limited,
        /// Number in the file.
        found: usize,
        /// Most that there can be.
        limit: usize,
    },
    /// A run asks for more work than the caller allows; see [`super::Limits`].
    TooMuchWork {
        /// Which kind of work.
        what: Limited,
        /// What a run of all operators takes.
        found: u64,
        /// Most that the caller allows.
        limit: u64,
    },
    /// Records share names so often that checking them would take longer than the file is long.
    NamesTooLong,
    /// A name is out of bounds, longer than 1024 bytes or not UTF-8.
    BadString {
        /// Offset in the strings section.
        offset: u32,
    },
    /// A tensor record breaks the rules of the format.
    BadTensor {
        /// Number of the tensor.
        tensor: u16,
        /// Rule broken.
        reason: TensorError,
    },
    /// An operator breaks its contract.
    BadOp {
        /// Number of the operator.
        op: u16,
        /// Rule broken.
        reason: OpError,
    },
    /// The program does not have an operator of the file, or not for these element types.
    NotLinked {
        /// Number of the operator.
        op: u16,
        /// Its name; empty where the model was parsed with the operators of another file.
        kind: &'static str,
    },
    /// The program has the operators of files without sequences of variable length, and this file has such.
    LengthsNotLinked,
    /// An operator or an entry point reads bytes of the arena that no one has written, or that were overwritten.
    StaleRead {
        /// Number of the operator; `u16::MAX` for the outputs of the entry point.
        op: u16,
        /// Number of the tensor.
        tensor: u16,
    },
    /// An entry point names operators or tensors that do not exist, has no operators or some of an earlier entry
    /// point, or inputs that overlap.
    BadEntry {
        /// Number of the entry point.
        entry: u16,
    },
    /// A metadata record is out of bounds or of the wrong length.
    BadMeta {
        /// Number of the record.
        record: u16,
    },
    /// The metadata of decoding names something that does not exist or does not fit.
    BadDecode {
        /// Field of [`crate::format::DecodeMeta`].
        field: &'static str,
    },
}

/// The items that [`ModelError::TooMany`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Limited {
    /// Operators.
    Ops,
    /// Tensors.
    Tensors,
    /// Bytes of arena.
    ArenaBytes,
    /// Bytes of all state tensors together.
    StateBytes,
    /// Metadata records.
    Metadata,
    /// Operators between the writer of a tensor and its last reader, over all tensors.
    Flow,
    /// Multiply-accumulates of a run.
    Macs,
    /// Bytes that a run reads and writes.
    BytesMoved,
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ops => "operators",
            Self::Tensors => "tensors",
            Self::ArenaBytes => "bytes of arena",
            Self::StateBytes => "bytes in state tensors",
            Self::Metadata => "metadata records",
            Self::Flow => "operators over which tensors are kept",
            Self::Macs => "multiply-accumulates",
            Self::BytesMoved => "bytes read and written",
        })
    }
}

/// Why a tensor record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TensorError {
    /// Unknown element type or storage.
    UnknownCode,
    /// Rank outside 1 to 6, a zero dimension, or a size that overflows.
    BadShape,
    /// Not inside its part of the arena, or not at a multiple of 4.
    OutOfArena,
    /// Scale not finite and positive, or zero point outside the element type.
    BadQuantization,
    /// A rule for its rows that does not exist, or that gives another number at the greatest length; or rank 1.
    BadRowRule,
    /// float16, and this runtime has no half precision: it was built without feature `fp16`, or for a chip without a
    /// floating-point unit.
    NoHalf,
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort { len } => {
                write!(
                    f,
                    "{len} bytes are no .attn file: the header alone has {HEADER_LEN}; is the file truncated?"
                )
            }
            Self::Misaligned => write!(
                f,
                "the model does not start at a multiple of 16: use include_model!"
            ),
            Self::BadMagic => write!(
                f,
                "not an .attn file: it does not start with ATTN; convert the model with `attn convert`"
            ),
            Self::UnsupportedVersion { found } => {
                write!(
                    f,
                    "format version {found}, this runtime reads version {VERSION}: convert the model again"
                )
            }
            Self::UnknownFlags { found } => write!(
                f,
                "it needs feature {} of the format, which this runtime lacks: use one at least as new as the converter",
                found.trailing_zeros()
            ),
            Self::WrongLength { stated, actual } => {
                write!(
                    f,
                    "the header states {stated} bytes, the file has {actual}: it is truncated or has bytes appended"
                )
            }
            Self::BadChecksum { stated, actual } => write!(
                f,
                "checksum {actual:#010x}, the header states {stated:#010x}: the file is damaged, convert or copy it again"
            ),
            Self::BadSection { offset } => write!(
                f,
                "the section at byte {offset} lies outside the file or is misaligned"
            ),
            Self::TooMany { what, found, limit } => {
                write!(
                    f,
                    "{found} {what}, at most {limit} are allowed: split the model"
                )
            }
            Self::TooMuchWork { what, found, limit } => write!(
                f,
                "a run takes {found} {what}, at most {limit} are allowed: use a smaller model, or raise the limit"
            ),
            Self::NamesTooLong => write!(
                f,
                "its records share names too often to be checked in time linear in the file: give each its own"
            ),
            Self::BadString { offset } => write!(
                f,
                "the name at byte {offset} of the strings is out of bounds, too long or not UTF-8"
            ),
            Self::BadTensor { tensor, reason } => write!(f, "tensor {tensor}: {reason}"),
            Self::BadOp { op, reason } => write!(f, "operator {op}: {reason}"),
            Self::NotLinked { op, kind: "" } => write!(
                f,
                "operator {op} is not linked: the model was parsed with the operators of another file; name those that it needs with \
                 attn_runtime::operators!"
            ),
            Self::LengthsNotLinked => write!(
                f,
                "sequences of variable length are not linked: the model was parsed with the operators of another file; name those \
                 that it needs with attn_runtime::operators!"
            ),
            Self::NotLinked { op, kind } => write!(
                f,
                "operator {op} is {kind}, which is not linked: add {kind} to the set of operators that the model is parsed with"
            ),
            Self::StaleRead {
                op: u16::MAX,
                tensor,
            } => {
                write!(
                    f,
                    "output tensor {tensor} is never written or overwritten before the end"
                )
            }
            Self::StaleRead { op, tensor } => {
                write!(
                    f,
                    "operator {op} reads tensor {tensor}, which is not written before it or was overwritten"
                )
            }
            Self::BadEntry { entry } => write!(
                f,
                "entry point {entry} names operators or tensors that do not exist, has no operators or those of another, or inputs that overlap"
            ),
            Self::BadMeta { record } => write!(
                f,
                "metadata record {record} is out of bounds or of the wrong length"
            ),
            Self::BadDecode { field } => write!(
                f,
                "decoding metadata: {field} is out of range, or what it names does not exist or does not fit"
            ),
        }
    }
}

impl fmt::Display for TensorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownCode => "unknown element type or storage",
            Self::BadShape => "rank outside 1 to 6, a zero dimension or a size that overflows",
            Self::OutOfArena => "outside its part of the arena or not at a multiple of 4",
            Self::BadRowRule => "its rule for rows does not exist or does not fit its shape",
            Self::BadQuantization => {
                "scale not finite and positive, or zero point outside the element type"
            }
            Self::NoHalf => {
                "float16, which this runtime was built without: enable feature fp16 on a chip with a floating-point \
                 unit, or convert the model to int8"
            }
        })
    }
}

impl core::error::Error for ModelError {}

//! The error with its data, made from the runtime's errors.

pub use crate::code::AttnCode;
use attn_runtime::audio::{AudioError, FRAME_LEN};
use attn_runtime::kws::{HISTORY_LEN, MAX_LABELS, SpotterError};
use attn_runtime::seq2seq::DecodeError;
use attn_runtime::{Limited, ModelError, OpError, SessionError, TensorError};
use core::ffi::c_char;

/// Bytes of a name in an error, its NUL included.
pub const ATTN_NAME_LEN: usize = 20;

/// An error with its data. Fields that do not belong to the code are 0.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct AttnError {
    /// What went wrong.
    pub code: AttnCode,
    /// More about it: a code from 500 on, or 0.
    pub reason: AttnCode,
    /// What was found or given.
    pub found: u64,
    /// What is needed, or the limit.
    pub expected: u64,
    /// Number of the operator, tensor, entry point, ... that it is about.
    pub at: u32,
    /// A name; ends with a NUL.
    pub name: [c_char; ATTN_NAME_LEN],
}

impl From<AttnCode> for AttnError {
    fn from(code: AttnCode) -> Self {
        Self {
            code,
            reason: AttnCode::Ok,
            found: 0,
            expected: 0,
            at: 0,
            name: [0; ATTN_NAME_LEN],
        }
    }
}

impl AttnCode {
    /// With what was found.
    pub(crate) fn found(self, found: impl TryInto<u64>) -> AttnError {
        let mut error = AttnError::from(self);
        error.found = found.try_into().unwrap_or(u64::MAX);
        error
    }

    /// With the number of what it is about.
    fn at(self, at: impl TryInto<u32>) -> AttnError {
        AttnError::from(self).about(at)
    }

    /// With a name.
    pub(crate) fn named(self, name: &[u8]) -> AttnError {
        AttnError::from(self).named(name)
    }
}

impl AttnError {
    pub(crate) fn expected(mut self, expected: impl TryInto<u64>) -> Self {
        self.expected = expected.try_into().unwrap_or(u64::MAX);
        self
    }

    pub(crate) fn about(mut self, at: impl TryInto<u32>) -> Self {
        self.at = at.try_into().unwrap_or(u32::MAX);
        self
    }

    fn because(mut self, reason: AttnCode) -> Self {
        self.reason = reason;
        self
    }

    /// Keeps what there is room for, and the NUL behind it.
    fn named(mut self, name: &[u8]) -> Self {
        let slots = self.name.iter_mut().take(ATTN_NAME_LEN - 1);
        slots
            .zip(name)
            .for_each(|(slot, byte)| *slot = *byte as c_char);
        self
    }
}

impl From<ModelError> for AttnError {
    fn from(error: ModelError) -> Self {
        use AttnCode as C;
        match error {
            ModelError::TooShort { len } => C::TooShort.found(len as u64),
            ModelError::Misaligned => C::ModelMisaligned.into(),
            ModelError::BadMagic => C::BadMagic.into(),
            ModelError::UnsupportedVersion { found } => C::UnsupportedVersion.found(found),
            ModelError::UnknownFlags { found } => C::UnknownFlags.found(found),
            ModelError::WrongLength { stated, actual } => {
                C::WrongLength.found(actual as u64).expected(stated)
            }
            ModelError::BadChecksum { stated, actual } => {
                C::BadChecksum.found(actual).expected(stated)
            }
            ModelError::BadSection { offset } => C::BadSection.found(offset),
            ModelError::TooMany { what, found, limit } => C::TooMany
                .found(found as u64)
                .expected(limit as u64)
                .because(limited(what)),
            ModelError::TooMuchWork { what, found, limit } => C::TooMuchWork
                .found(found)
                .expected(limit)
                .because(limited(what)),
            ModelError::NamesTooLong => C::NamesTooLong.into(),
            ModelError::BadString { offset } => C::BadString.found(offset),
            ModelError::BadTensor { tensor, reason } => {
                C::BadTensor.at(tensor).because(tensor_reason(reason))
            }
            ModelError::BadOp { op, reason } => C::BadOperator.at(op).because(op_reason(reason)),
            ModelError::NotLinked { op, kind } => C::NotLinked.at(op).named(kind.as_bytes()),
            ModelError::LengthsNotLinked => C::LengthsNotLinked.into(),
            ModelError::StaleRead { op, tensor } => C::StaleRead.at(op).with_found(tensor),
            ModelError::BadEntry { entry } => C::BadEntry.at(entry),
            ModelError::BadMeta { record } => C::BadMeta.at(record),
            ModelError::BadDecode { field } => C::BadDecode.named(field.as_bytes()),
            _ => C::Newer.into(),
        }
    }
}

impl AttnError {
    fn with_found(mut self, found: impl Into<u64>) -> Self {
        self.found = found.into();
        self
    }
}

fn limited(what: Limited) -> AttnCode {
    match what {
        Limited::Ops => AttnCode::Operators,
        Limited::Tensors => AttnCode::Tensors,
        Limited::ArenaBytes => AttnCode::ArenaBytes,
        Limited::StateBytes => AttnCode::StateBytes,
        Limited::Metadata => AttnCode::Metadata,
        Limited::Flow => AttnCode::Flow,
        Limited::Macs => AttnCode::Macs,
        Limited::BytesMoved => AttnCode::BytesMoved,
        _ => AttnCode::Newer,
    }
}

fn tensor_reason(reason: TensorError) -> AttnCode {
    match reason {
        TensorError::UnknownCode => AttnCode::UnknownCode,
        TensorError::BadShape => AttnCode::BadShape,
        TensorError::OutOfArena => AttnCode::OutOfArena,
        TensorError::BadQuantization => AttnCode::BadQuantization,
        TensorError::BadRowRule => AttnCode::BadRowRule,
        TensorError::NoHalf => AttnCode::NoHalf,
        _ => AttnCode::Newer,
    }
}

fn op_reason(reason: OpError) -> AttnCode {
    match reason {
        OpError::UnknownKind => AttnCode::UnknownKind,
        OpError::NotLinked => AttnCode::OperatorNotLinked,
        OpError::UnknownEncoding => AttnCode::UnknownEncoding,
        OpError::WrongEncoding => AttnCode::WrongEncoding,
        OpError::NewerParams => AttnCode::NewerParams,
        OpError::MissingTensor => AttnCode::MissingTensor,
        OpError::WrongType => AttnCode::OperandType,
        OpError::WrongShape => AttnCode::WrongShape,
        OpError::WrongStorage => AttnCode::WrongStorage,
        OpError::ScratchTooSmall => AttnCode::ScratchTooSmall,
        OpError::BadParams => AttnCode::BadParams,
        OpError::WeightsOutOfBounds => AttnCode::WeightsOutOfBounds,
        OpError::Overlap => AttnCode::Overlap,
        OpError::RowsDiffer => AttnCode::RowsDiffer,
        OpError::MayOverflow => AttnCode::MayOverflow,
        OpError::TooMuchToCheck => AttnCode::TooMuchToCheck,
        OpError::SurplusOutput => AttnCode::SurplusOutput,
        _ => AttnCode::Newer,
    }
}

impl From<SessionError> for AttnError {
    fn from(error: SessionError) -> Self {
        use AttnCode as C;
        match error {
            SessionError::ArenaTooSmall { needed, given } => {
                C::ArenaTooSmall.found(given as u64).expected(needed as u64)
            }
            SessionError::ArenaMisaligned => C::ArenaMisaligned.into(),
            SessionError::NoSuchEntry { entry } => C::NoSuchEntry.at(entry),
            SessionError::NoSuchTensor { index } => C::NoSuchTensor.at(index),
            SessionError::WrongType { found, asked } => {
                C::WrongType.found(asked as u8).expected(found as u8)
            }
            SessionError::LengthOutOfRange { length, max } => C::LengthOutOfRange
                .found(length as u64)
                .expected(max as u64),
            SessionError::NotStarted => C::NotStarted.into(),
            SessionError::Unfinished => C::Unfinished.into(),
            SessionError::NotRun { entry } => C::NotRun.at(entry),
            SessionError::Op(reason) => {
                AttnError::from(C::OperatorFailed).because(op_reason(reason))
            }
            _ => C::Newer.into(),
        }
    }
}

impl From<SpotterError> for AttnError {
    fn from(error: SpotterError) -> Self {
        use AttnCode as C;
        match error {
            SpotterError::Session(error) => error.into(),
            SpotterError::Audio(AudioError::BadHop { hop }) => {
                C::BadHop.found(hop as u64).expected(FRAME_LEN as u64)
            }
            SpotterError::NoAudio => C::NoAudio.into(),
            SpotterError::OtherFrontEnd {
                sample_rate,
                frame_len,
                mel_bands,
            } => C::OtherFrontEnd
                .found(sample_rate)
                .expected(frame_len)
                .about(mel_bands),
            SpotterError::NoSpotter => C::NoSpotter.into(),
            SpotterError::BadLabelCount { labels } => C::BadLabelCount
                .found(labels as u64)
                .expected(MAX_LABELS as u64),
            SpotterError::BadThresholdCount { labels, thresholds } => C::BadThresholdCount
                .found(thresholds as u64)
                .expected(labels as u64),
            SpotterError::BadSmoothing { hops, labels } => C::BadSmoothing
                .found(hops as u64)
                .expected(HISTORY_LEN as u64)
                .about(labels),
            SpotterError::NoSuitableEntry => C::NoSuitableEntry.into(),
            SpotterError::BadFeatureCount { needed, given } => C::BadFeatureCount
                .found(given as u64)
                .expected(needed as u64),
            SpotterError::NoSuchLabel { label, labels } => {
                C::NoSuchLabel.found(label as u64).expected(labels as u64)
            }
            _ => C::Newer.into(),
        }
    }
}

impl From<DecodeError> for AttnError {
    fn from(error: DecodeError) -> Self {
        use AttnCode as C;
        match error {
            DecodeError::Session(error) => error.into(),
            DecodeError::NoDecode => C::NoDecode.into(),
            DecodeError::NoEncoder => C::NoEncoder.into(),
            DecodeError::InputNeeded => C::InputNeeded.into(),
            DecodeError::NoSymbols => C::NoSymbols.into(),
            DecodeError::NoTokenNames => C::NoTokenNames.into(),
            DecodeError::PromptTooLong { max } => {
                AttnError::from(C::PromptTooLong).expected(max as u64)
            }
            DecodeError::EmptyInput => C::EmptyInput.into(),
            DecodeError::InputTooLong { length, max } => {
                C::InputTooLong.found(length as u64).expected(max as u64)
            }
            DecodeError::WrongLength { length, needed } => {
                C::InputLength.found(length as u64).expected(needed as u64)
            }
            DecodeError::PartialRow { elements, channels } => C::PartialRow
                .found(elements as u64)
                .expected(channels as u64),
            DecodeError::UnknownText { character, at } => {
                let mut bytes = [0; 4];
                let text = character.encode_utf8(&mut bytes);
                C::UnknownText.named(text.as_bytes()).about(at)
            }
            DecodeError::UnknownSymbol {
                symbol,
                at,
                symbols,
            } => C::UnknownSymbol
                .found(symbol)
                .expected(symbols as u64)
                .about(at),
            DecodeError::NotEncoded => C::NotEncoded.into(),
            DecodeError::NoWeights => C::NoWeights.into(),
            DecodeError::BadWidth { width, most } => {
                C::BadWidth.found(width as u64).expected(most as u64)
            }
            DecodeError::TooFewCandidates { width, candidates } => C::TooFewCandidates
                .found(width as u64)
                .expected(candidates as u64),
            DecodeError::MemoryTooSmall { needed, given } => C::MemoryTooSmall
                .found(given as u64)
                .expected(needed as u64),
            DecodeError::MemoryMisaligned => C::MemoryMisaligned.into(),
            _ => C::Newer.into(),
        }
    }
}

#[cfg(feature = "signed")]
impl From<attn_runtime::SignedError> for AttnError {
    fn from(error: attn_runtime::SignedError) -> Self {
        use AttnCode as C;
        use attn_runtime::SignedError;
        match error {
            SignedError::Model(error) => error.into(),
            SignedError::Unsigned => C::Unsigned.into(),
            SignedError::BadSignature => C::BadSignature.into(),
            SignedError::OtherModel { found } => C::OtherModel.named(&found),
            SignedError::Older { found, oldest } => C::Older.found(found).expected(oldest),
            _ => C::Newer.into(),
        }
    }
}

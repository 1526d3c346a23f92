//! What an error says: a template for each code, and the few lines that fill it in.

use crate::edge;
use crate::error::{ATTN_NAME_LEN, AttnCode, AttnError};
use core::ffi::c_char;

/// Writes what an error says, with its data, and a NUL behind it, into `buffer` of `len` bytes: as much as there is room for. Returns the length of
/// the whole text without the NUL, as `snprintf` does; 0 if `error` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_error_text(
    error: *const AttnError,
    buffer: *mut c_char,
    len: usize,
) -> usize {
    if error.is_null() || !error.is_aligned() {
        return 0;
    }
    // Codes as numbers: C may have put anything there.
    let code = |field: *const AttnCode| field.cast::<i32>().read();
    let fields = Fields {
        reason: code(&raw const (*error).reason),
        found: (*error).found,
        expected: (*error).expected,
        at: (*error).at,
        name: (*error).name.map(|byte| byte as u8),
    };
    let buffer = match edge::elements_mut(buffer.cast::<u8>(), len) {
        Ok(buffer) => buffer,
        Err(_) => &mut [],
    };
    let mut text = Text { buffer, len: 0 };
    text.fill(template(code(&raw const (*error).code)), &fields, true);
    text.end()
}

/// What stands for the names in a template.
struct Fields {
    reason: i32,
    found: u64,
    expected: u64,
    at: u32,
    name: [u8; ATTN_NAME_LEN],
}

impl Fields {
    /// The name without the NUL behind it.
    fn name(&self) -> &[u8] {
        self.name.split(|byte| *byte == 0).next().unwrap_or(&[])
    }
}

/// Text that is written as far as there is room. Without `core::fmt`, which would be 10 KB of flash.
struct Text<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl Text<'_> {
    fn fill(&mut self, text: &str, fields: &Fields, outer: bool) {
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, behind) = after.split_once('}').unwrap_or((after, ""));
            self.write(before.as_bytes());
            match field {
                "found" => self.number(fields.found),
                "expected" => self.number(fields.expected),
                "at" => self.number(fields.at.into()),
                "name" => self.write(fields.name()),
                "called" if fields.name().is_empty() => {}
                "called" => {
                    self.write(b", ");
                    self.write(fields.name());
                    self.write(b",");
                }
                // A reason has no reason.
                _ if outer => self.fill(template(fields.reason), fields, false),
                _ => {}
            }
            rest = behind;
        }
        self.write(rest.as_bytes());
    }

    fn number(&mut self, mut number: u64) {
        let (mut digits, mut first) = ([b'0'; 20], 20);
        for (at, digit) in digits.iter_mut().enumerate().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
            first = at;
            if number == 0 {
                break;
            }
        }
        self.write(digits.get(first..).unwrap_or(&[]));
    }

    fn write(&mut self, bytes: &[u8]) {
        let room = self.buffer.iter_mut().skip(self.len);
        room.zip(bytes).for_each(|(slot, byte)| *slot = *byte);
        self.len += bytes.len();
    }

    /// Writes the NUL; the length without it.
    fn end(self) -> usize {
        let last = self.buffer.len().saturating_sub(1);
        if let Some(slot) = self.buffer.get_mut(self.len.min(last)) {
            *slot = 0;
        }
        self.len
    }
}

/// The text of a code; `{found}` and the like stand for the fields of the error.
pub(crate) fn template(code: i32) -> &'static str {
    const TEXTS: &[(AttnCode, &str)] = &[
        (AttnCode::Ok, "no error"),
        (AttnCode::NullPointer, "a pointer is NULL that must not be"),
        (
            AttnCode::StructMisaligned,
            "a struct is misaligned: declare it as a variable of its own type",
        ),
        (
            AttnCode::NotInitialized,
            "the object is not initialised, was copied to another address, or is of another type: call its init function first",
        ),
        (
            AttnCode::InUse,
            "the object is in use: release the decoder that has this session, or wait until the callback has returned",
        ),
        (
            AttnCode::ElementsMisaligned,
            "an array is misaligned: its elements lie at multiples of their size",
        ),
        (AttnCode::TooLong, "an array is longer than memory"),
        (AttnCode::NotUtf8, "the text is not UTF-8"),
        (
            AttnCode::WrongCount,
            "{found} elements, the input or output has {expected}",
        ),
        (
            AttnCode::Newer,
            "an error that this version of the C interface does not know: use a newer header",
        ),
        (
            AttnCode::TooShort,
            "{found} bytes are no .attn file: is it truncated?",
        ),
        (
            AttnCode::ModelMisaligned,
            "the model does not start at a multiple of 16: declare it with ATTN_ALIGNED",
        ),
        (
            AttnCode::BadMagic,
            "not an .attn file: convert the model with `attn convert`",
        ),
        (
            AttnCode::UnsupportedVersion,
            "format version {found}, which this runtime does not read: convert the model again",
        ),
        (
            AttnCode::UnknownFlags,
            "it needs features of the format that this runtime lacks (bits {found}): use one at least as new as the converter",
        ),
        (
            AttnCode::WrongLength,
            "the header states {expected} bytes, the file has {found}: it is truncated or has bytes appended",
        ),
        (
            AttnCode::BadChecksum,
            "checksum {found}, the header states {expected}: the file is damaged, convert or copy it again",
        ),
        (
            AttnCode::BadSection,
            "the section at byte {found} lies outside the file or is misaligned",
        ),
        (
            AttnCode::TooMany,
            "{found} {reason}, at most {expected} are allowed: split the model",
        ),
        (
            AttnCode::TooMuchWork,
            "a run takes {found} {reason}, at most {expected} are allowed: use a smaller model, or raise the limit",
        ),
        (
            AttnCode::NamesTooLong,
            "its records share names too often to be checked in time linear in the file",
        ),
        (
            AttnCode::BadString,
            "the name at byte {found} of the strings is out of bounds, too long or not UTF-8",
        ),
        (AttnCode::BadTensor, "tensor {at}: {reason}"),
        (AttnCode::BadOperator, "operator {at}: {reason}"),
        (
            AttnCode::NotLinked,
            "operator {at}{called} is not linked: build the library with this file among ATTN_MODELS",
        ),
        (
            AttnCode::LengthsNotLinked,
            "sequences of variable length are not linked: build the library with this file among ATTN_MODELS",
        ),
        (
            AttnCode::StaleRead,
            "operator {at} reads tensor {found}, which is not written before it or was overwritten",
        ),
        (
            AttnCode::BadEntry,
            "entry point {at} names operators or tensors that do not exist, or those of another",
        ),
        (
            AttnCode::BadMeta,
            "metadata record {at} is out of bounds or of the wrong length",
        ),
        (
            AttnCode::BadDecode,
            "decoding metadata: {name} is out of range, or what it names does not exist or does not fit",
        ),
        (
            AttnCode::Unsigned,
            "the model is not signed: sign it with the secret key",
        ),
        (
            AttnCode::BadSignature,
            "the signature does not fit: the file was changed after it was signed, or signed with another key",
        ),
        (AttnCode::OtherModel, "it is another model: {name}"),
        (
            AttnCode::Older,
            "version {found}; {expected} is the oldest that is accepted",
        ),
        (
            AttnCode::NameTooLong,
            "a model's name of {found} bytes: 1 to {expected} are possible",
        ),
        (
            AttnCode::ArenaTooSmall,
            "the arena has {found} bytes, the model needs {expected}: attn_model_arena_len says how many",
        ),
        (
            AttnCode::ArenaMisaligned,
            "the arena does not start at a multiple of 16: declare it with ATTN_ALIGNED",
        ),
        (AttnCode::NoSuchEntry, "the model has no entry point {at}"),
        (
            AttnCode::NoSuchTensor,
            "the entry point has no input or output {at}",
        ),
        (
            AttnCode::WrongType,
            "the tensor holds elements of type {expected}, type {found} was asked for",
        ),
        (
            AttnCode::LengthOutOfRange,
            "a sequence of length {found}, the model takes 1 to {expected} (0: no axis of variable length)",
        ),
        (
            AttnCode::NotStarted,
            "run_ops without start: call attn_session_start first",
        ),
        (
            AttnCode::Unfinished,
            "a run is in progress: finish it with attn_session_run_ops, or give it up with attn_session_reset",
        ),
        (
            AttnCode::NotRun,
            "there are no outputs of entry point {at}: run it, and read them before anything else is filled, run or reset",
        ),
        (AttnCode::OperatorFailed, "an operator failed: {reason}"),
        (
            AttnCode::BadHop,
            "a hop of {found} samples: it must be 1 to {expected}",
        ),
        (
            AttnCode::NoAudio,
            "the model does not say that its input is audio: convert it with an audio hop",
        ),
        (
            AttnCode::OtherFrontEnd,
            "the model wants {found} Hz, frames of {expected} samples and {at} mel bands: train it on `attn features`",
        ),
        (
            AttnCode::NoSpotter,
            "the model does not say how posteriors become events: convert it with smoothing and a threshold",
        ),
        (
            AttnCode::BadLabelCount,
            "{found} labels, 1 to {expected} are possible: convert the model with one label for each logit",
        ),
        (
            AttnCode::BadThresholdCount,
            "{expected} labels but {found} thresholds: convert the model again",
        ),
        (
            AttnCode::BadSmoothing,
            "smoothing over {found} hops of {at} labels: 1 to {expected} posteriors can be kept",
        ),
        (
            AttnCode::NoSuitableEntry,
            "no entry point takes one frame of int8 features and gives one logit per label: convert the model for streaming",
        ),
        (
            AttnCode::BadFeatureCount,
            "{found} features, the model takes {expected} in a hop",
        ),
        (
            AttnCode::NoSuchLabel,
            "label {found} of {expected}: labels are counted from 0",
        ),
        (
            AttnCode::NoDecode,
            "the file does not say how its model decodes: convert a bundle with a [decode] section",
        ),
        (
            AttnCode::NoEncoder,
            "the model reads no input: call restart and then step",
        ),
        (
            AttnCode::InputNeeded,
            "the model reads an input: encode one before the first step",
        ),
        (
            AttnCode::NoSymbols,
            "the model has no vocabulary to read text with: encode symbols by number, or name symbols in the bundle's [vocabulary]",
        ),
        (
            AttnCode::NoTokenNames,
            "the model's tokens have no names: prompt with tokens by number, or name tokens in the bundle's [vocabulary]",
        ),
        (
            AttnCode::PromptTooLong,
            "the text to be continued is longer than {expected} tokens: the model's limit leaves no room behind it",
        ),
        (
            AttnCode::EmptyInput,
            "the input is empty: there is nothing to decode",
        ),
        (
            AttnCode::InputTooLong,
            "an input of length {found}, the model takes {expected} at most: shorten it, or convert with a larger max_length",
        ),
        (
            AttnCode::InputLength,
            "an input of length {found}, the model takes exactly {expected}: pad it as in training",
        ),
        (
            AttnCode::PartialRow,
            "{found} elements are no whole rows: the input has {expected} in each",
        ),
        (
            AttnCode::UnknownText,
            "{name} (character {at}) is not in the vocabulary of the model",
        ),
        (
            AttnCode::UnknownSymbol,
            "symbol {found} at {at}, the vocabulary has {expected}",
        ),
        (
            AttnCode::NotEncoded,
            "no input yet: encode one, or restart, before step",
        ),
        (
            AttnCode::NoWeights,
            "the model's steps return no attention weights",
        ),
        (
            AttnCode::BadWidth,
            "a beam of {found} hypotheses: 1 to {expected} are possible",
        ),
        (
            AttnCode::TooFewCandidates,
            "a beam of {found} hypotheses, but a step returns {expected} tokens: narrow the beam, or convert with more candidates",
        ),
        (
            AttnCode::MemoryTooSmall,
            "the beam has {found} bytes of memory and needs {expected}: attn_beam_memory_len says how many",
        ),
        (
            AttnCode::MemoryMisaligned,
            "the beam's memory does not start at a multiple of 4: declare it with ATTN_ALIGNED",
        ),
        (AttnCode::NoSuchHypothesis, "hypothesis {at} of {expected}"),
        (
            AttnCode::BadCandidates,
            "a token drawn among {found}: 1 to {expected} are possible",
        ),
        (
            AttnCode::UnknownKind,
            "unknown operator: use a runtime at least as new as the converter",
        ),
        (
            AttnCode::OperatorNotLinked,
            "it is not linked: build the library with this file among ATTN_MODELS",
        ),
        (
            AttnCode::UnknownEncoding,
            "unknown encoding: use a runtime at least as new as the converter, with half precision if the file has that",
        ),
        (
            AttnCode::WrongEncoding,
            "its encoding does not fit the types of its tensors",
        ),
        (
            AttnCode::NewerParams,
            "it has parameters that this runtime does not know: use one at least as new as the converter",
        ),
        (AttnCode::MissingTensor, "a tensor that it needs is missing"),
        (AttnCode::OperandType, "a tensor has the wrong element type"),
        (
            AttnCode::WrongShape,
            "shapes do not fit each other or the parameters",
        ),
        (
            AttnCode::WrongStorage,
            "a tensor is state where it must not be, or is not where it must",
        ),
        (
            AttnCode::ScratchTooSmall,
            "the scratch tensor is missing or too small",
        ),
        (
            AttnCode::BadParams,
            "its parameters are misaligned or out of range",
        ),
        (
            AttnCode::WeightsOutOfBounds,
            "its weights lie outside the weights section",
        ),
        (AttnCode::Overlap, "its tensors overlap"),
        (
            AttnCode::RowsDiffer,
            "the rows of its tensors do not vary alike with the length of the sequence",
        ),
        (
            AttnCode::MayOverflow,
            "a sum may leave 32 bits with its weights: convert the model again, with calibration data that fit it",
        ),
        (
            AttnCode::TooMuchToCheck,
            "its parameters, tables or weights are shared by too many operators to be checked",
        ),
        (
            AttnCode::SurplusOutput,
            "it names an output that such an operator does not have",
        ),
        (AttnCode::UnknownCode, "unknown element type or storage"),
        (
            AttnCode::BadShape,
            "rank outside 1 to 6, a zero dimension or a size that overflows",
        ),
        (
            AttnCode::OutOfArena,
            "outside its part of the arena or not at a multiple of 4",
        ),
        (
            AttnCode::BadQuantization,
            "scale not finite and positive, or zero point outside the element type",
        ),
        (
            AttnCode::BadRowRule,
            "its rule for rows does not exist or does not fit its shape",
        ),
        (
            AttnCode::NoHalf,
            "float16, which this library was built without: build it with feature fp16 for a chip with a floating-point unit, or convert the model to int8",
        ),
        (AttnCode::Operators, "operators"),
        (AttnCode::Tensors, "tensors"),
        (AttnCode::ArenaBytes, "bytes of arena"),
        (AttnCode::StateBytes, "bytes in state tensors"),
        (AttnCode::Metadata, "metadata records"),
        (AttnCode::Flow, "operators over which tensors are kept"),
        (AttnCode::Macs, "multiply-accumulates"),
        (AttnCode::BytesMoved, "bytes read and written"),
    ];
    let text = TEXTS.iter().find(|(known, _)| *known as i32 == code);
    text.map_or("a code that is none of attn_code", |(_, text)| text)
}

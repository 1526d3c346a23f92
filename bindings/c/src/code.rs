//! The codes of errors, and what each says. `error.rs` makes them from the runtime's errors.

/// What went wrong: 0 is success. A code's comment names the fields of `attn_error` that belong to it. Codes keep their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum AttnCode {
    /// No error.
    Ok = 0,
    /// A pointer is NULL that must not be.
    NullPointer = 1,
    /// A struct does not lie at a multiple of its alignment.
    StructMisaligned = 2,
    /// The object was not initialised, has been moved since, or is of another type.
    NotInitialized = 3,
    /// The object is in use: a session by its decoder, a spotter by its own callback.
    InUse = 4,
    /// Elements do not lie at a multiple of their size.
    ElementsMisaligned = 5,
    /// More bytes than memory can have.
    TooLong = 6,
    /// A text is not UTF-8.
    NotUtf8 = 7,
    /// An array has `found` elements, the input or output `expected`.
    WrongCount = 8,
    /// An error that this version of the interface does not know.
    Newer = 9,
    /// The file has `found` bytes, which is less than a header.
    TooShort = 100,
    /// The file does not start at a multiple of 16 in memory.
    ModelMisaligned = 101,
    /// The file does not start with ATTN.
    BadMagic = 102,
    /// The file has version `found` of the format, this runtime reads another.
    UnsupportedVersion = 103,
    /// The file needs features of the format that this runtime lacks: bits `found`.
    UnknownFlags = 104,
    /// The header states `expected` bytes, the file has `found`.
    WrongLength = 105,
    /// The bytes were changed after they were written: checksum `found`, the header states `expected`.
    BadChecksum = 106,
    /// The section at byte `found` lies outside the file or is misaligned.
    BadSection = 107,
    /// `found` of what `reason` says, at most `expected` are allowed.
    TooMany = 108,
    /// A run takes `found` of what `reason` says, the limits allow `expected`.
    TooMuchWork = 109,
    /// Records share names so often that checking them would take longer than the file is long.
    NamesTooLong = 110,
    /// The name at byte `found` of the strings is out of bounds, too long or not UTF-8.
    BadString = 111,
    /// Tensor `at` breaks the rule that `reason` names.
    BadTensor = 112,
    /// Operator `at` breaks the rule that `reason` names.
    BadOperator = 113,
    /// Operator `at`, called `name` where that is known, is not in this library.
    NotLinked = 114,
    /// Sequences of variable length are not in this library.
    LengthsNotLinked = 115,
    /// Operator `at` (65535: the end of the entry point) reads tensor `found`, which is not written before it.
    StaleRead = 116,
    /// Entry point `at` names operators or tensors that do not exist, or that are another's.
    BadEntry = 117,
    /// Metadata record `at` is out of bounds or of the wrong length.
    BadMeta = 118,
    /// Metadata of decoding: field `name` does not fit.
    BadDecode = 119,
    /// The file has no signature.
    Unsigned = 130,
    /// The signature does not fit the file and the key.
    BadSignature = 131,
    /// The file is signed as model `name`.
    OtherModel = 132,
    /// The file is signed as version `found`; `expected` is the oldest that is accepted.
    Older = 133,
    /// A model's name has `found` bytes, 1 to `expected` are possible.
    NameTooLong = 134,
    /// The arena has `found` bytes, the model needs `expected`.
    ArenaTooSmall = 200,
    /// The arena does not start at a multiple of 16.
    ArenaMisaligned = 201,
    /// The model has no entry point `at`.
    NoSuchEntry = 202,
    /// The entry point has no input or output `at`.
    NoSuchTensor = 203,
    /// The tensor holds elements of type `expected`, `found` was asked for.
    WrongType = 204,
    /// A sequence of length `found`, the model takes 1 to `expected` (0: it has no axis of variable length).
    LengthOutOfRange = 205,
    /// `attn_session_run_ops` without `attn_session_start` before it.
    NotStarted = 206,
    /// A run is in progress.
    Unfinished = 207,
    /// There are no outputs of entry point `at`.
    NotRun = 208,
    /// An operator failed as `reason` says; a parsed model never does.
    OperatorFailed = 209,
    /// The model's hop of `found` samples does not fit the front end, which takes 1 to `expected`.
    BadHop = 300,
    /// The model does not say that its input is audio.
    NoAudio = 301,
    /// The model wants `found` Hz, frames of `expected` samples and `at` mel bands; this front end has others.
    OtherFrontEnd = 302,
    /// The model does not say how posteriors become events.
    NoSpotter = 303,
    /// The model has `found` labels, 1 to `expected` are possible.
    BadLabelCount = 304,
    /// The model has `found` thresholds for `expected` labels.
    BadThresholdCount = 305,
    /// Smoothing over `found` hops of `at` labels: 1 to `expected` posteriors can be kept.
    BadSmoothing = 306,
    /// No entry point takes one frame of features and gives one logit per label.
    NoSuitableEntry = 307,
    /// `found` features, the model takes `expected` in a hop.
    BadFeatureCount = 308,
    /// Label `found` of `expected`.
    NoSuchLabel = 309,
    /// The file does not say how its model decodes.
    NoDecode = 400,
    /// An input for a model that reads none.
    NoEncoder = 401,
    /// A start without input for a model that reads one.
    InputNeeded = 402,
    /// Text for a model without a vocabulary of input symbols.
    NoSymbols = 403,
    /// A text to be continued, for a model whose tokens have no names.
    NoTokenNames = 404,
    /// A text to be continued has more than `expected` tokens.
    PromptTooLong = 405,
    /// An input without elements.
    EmptyInput = 406,
    /// `found` rows or symbols, the model takes at most `expected`.
    InputTooLong = 407,
    /// `found` rows or symbols, the model takes exactly `expected`.
    InputLength = 408,
    /// `found` elements that are no whole rows of `expected`.
    PartialRow = 409,
    /// Character `at` of the text, `name`, is not in the vocabulary.
    UnknownText = 410,
    /// Symbol `found` at place `at`, the vocabulary has `expected`.
    UnknownSymbol = 411,
    /// A step before there was an input.
    NotEncoded = 412,
    /// The model's steps return no attention weights.
    NoWeights = 413,
    /// A beam of `found` hypotheses, 1 to `expected` are possible.
    BadWidth = 414,
    /// A beam of `found` hypotheses, a step returns `expected` tokens.
    TooFewCandidates = 415,
    /// The beam has `found` bytes of memory and needs `expected`.
    MemoryTooSmall = 416,
    /// The beam's memory does not start at a multiple of 4.
    MemoryMisaligned = 417,
    /// Hypothesis `at` of `expected`.
    NoSuchHypothesis = 418,
    /// Reason: the operator is unknown.
    UnknownKind = 500,
    /// Reason: the operator is not in this library.
    OperatorNotLinked = 501,
    /// Reason: the operator's encoding is unknown, or half precision and this library has none.
    UnknownEncoding = 502,
    /// Reason: the encoding does not fit the tensors.
    WrongEncoding = 503,
    /// Reason: parameters that this runtime does not know.
    NewerParams = 504,
    /// Reason: a tensor is missing.
    MissingTensor = 505,
    /// Reason: a tensor has the wrong element type.
    OperandType = 506,
    /// Reason: shapes do not fit.
    WrongShape = 507,
    /// Reason: a tensor is state where it must not be, or the other way round.
    WrongStorage = 508,
    /// Reason: scratch memory is missing or too small.
    ScratchTooSmall = 509,
    /// Reason: parameters are misaligned or out of range.
    BadParams = 510,
    /// Reason: weights lie outside their section.
    WeightsOutOfBounds = 511,
    /// Reason: tensors overlap that must not.
    Overlap = 512,
    /// Reason: rows do not vary alike with the length of the sequence.
    RowsDiffer = 513,
    /// Reason: a sum may leave 32 bits.
    MayOverflow = 514,
    /// Reason: records that operators share too often.
    TooMuchToCheck = 515,
    /// Reason: unknown element type or storage.
    UnknownCode = 550,
    /// Reason: rank outside 1 to 6, a zero dimension, or a size that overflows.
    BadShape = 551,
    /// Reason: outside its part of the arena.
    OutOfArena = 552,
    /// Reason: scale or zero point out of range.
    BadQuantization = 553,
    /// Reason: a rule for rows that does not exist or does not fit.
    BadRowRule = 554,
    /// Reason: half precision, which this library was built without.
    NoHalf = 555,
    /// Of what: operators.
    Operators = 580,
    /// Of what: tensors.
    Tensors = 581,
    /// Of what: bytes of arena.
    ArenaBytes = 582,
    /// Of what: bytes in state tensors.
    StateBytes = 583,
    /// Of what: metadata records.
    Metadata = 584,
    /// Of what: operators over which tensors are kept.
    Flow = 585,
    /// Of what: multiply-accumulates.
    Macs = 586,
    /// Of what: bytes read and written.
    BytesMoved = 587,
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

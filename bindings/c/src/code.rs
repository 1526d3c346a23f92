//! The codes of errors. `error` makes them from the runtime's errors, `text` says what each means.

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
    /// A token drawn among `found`: 1 to `expected` are possible.
    BadCandidates = 419,
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
    /// Reason: an output that the operator does not have.
    SurplusOutput = 516,
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

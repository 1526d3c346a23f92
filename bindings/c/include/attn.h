/**
 * attn's runtime: models in `.attn` files, run from flash in memory that the caller gives. Made from bindings/c/src; not to be edited.
 *
 * What holds for every function:
 *  - None allocates, none stops the program. Each that can fail returns a code, ATTN_CODE_OK (0) for success, and writes the error with its data
 *    to `error`, unless that is NULL. Structs that it fills are then as they were, unless its comment says otherwise.
 *  - A pointer that is not NULL points to as many elements as the comment says. NULL is an error, never a crash.
 *  - Objects (attn_model, attn_session, attn_spotter, ...) are variables of the caller: zeroed (`= {0}`, or static), then initialised, then used
 *    where they are. A copy at another address is refused as not initialised. Nothing has to be freed.
 *  - Files, arenas and other memory stay as they are for as long as an object uses them, and belong to it alone. They do not overlap.
 *  - Different objects can be used at the same time; one object by one thread (or interrupt handler) at a time.
 */

#ifndef ATTN_H
#define ATTN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if UINTPTR_MAX == 0xffffffff
#define ATTN_32_BIT
#else
#define ATTN_64_BIT
#endif

/** "None" where a number is asked for or given. */
#define ATTN_NONE SIZE_MAX

/** Before a variable: makes it start where a model or an arena may: `static ATTN_ALIGNED uint8_t arena[KWS_ARENA_LEN];` */
#if defined(__GNUC__)
#define ATTN_ALIGNED __attribute__((aligned(16)))
#elif defined(__cplusplus)
#define ATTN_ALIGNED alignas(16)
#else
#define ATTN_ALIGNED _Alignas(16)
#endif


/**
 * Version of this interface. It changes when a program has to be compiled again.
 */
#define ATTN_API_VERSION 1

/**
 * Most hypotheses of a beam.
 */
#define ATTN_MAX_WIDTH 16

#if defined(ATTN_32_BIT)
/**
 * Size in units of 8 bytes.
 */
#define ATTN_BEAM_WORDS 124
#endif

#if defined(ATTN_64_BIT)
/**
 * Size in units of 8 bytes.
 */
#define ATTN_BEAM_WORDS 183
#endif

/**
 * Bytes of a name in an error, its NUL included.
 */
#define ATTN_NAME_LEN 20

#if defined(ATTN_32_BIT)
/**
 * Size in units of 8 bytes.
 */
#define ATTN_GREEDY_WORDS 5
#endif

#if defined(ATTN_64_BIT)
/**
 * Size in units of 8 bytes.
 */
#define ATTN_GREEDY_WORDS 8
#endif

/**
 * Most tokens that one is drawn among.
 */
#define ATTN_MAX_CANDIDATES 16

/**
 * Most dimensions of a tensor.
 */
#define ATTN_MAX_RANK 6

/**
 * Bytes at whose multiples a model and its arena start; `ATTN_ALIGNED` sees to that.
 */
#define ATTN_ALIGNMENT 16

#if defined(ATTN_32_BIT)
/**
 * Size in units of 8 bytes.
 */
#define ATTN_MODEL_WORDS 10
#endif

#if defined(ATTN_64_BIT)
/**
 * Size in units of 8 bytes.
 */
#define ATTN_MODEL_WORDS 20
#endif

/**
 * Size in units of 8 bytes.
 */
#define ATTN_SAMPLING_WORDS 2

#if defined(ATTN_32_BIT)
/**
 * Size in units of 8 bytes.
 */
#define ATTN_SESSION_WORDS 14
#endif

#if defined(ATTN_64_BIT)
/**
 * Size in units of 8 bytes.
 */
#define ATTN_SESSION_WORDS 27
#endif

/**
 * Samples per second that a spotter takes.
 */
#define ATTN_SAMPLE_RATE 16000

/**
 * Threshold of a label that never fires.
 */
#define ATTN_NEVER 65535

#if defined(ATTN_32_BIT)
/**
 * Size in units of 8 bytes.
 */
#define ATTN_SPOTTER_WORDS 645
#endif

#if defined(ATTN_64_BIT)
/**
 * Size in units of 8 bytes.
 */
#define ATTN_SPOTTER_WORDS 661
#endif

#if defined(ATTN_32_BIT)
/**
 * Size in units of 8 bytes.
 */
#define ATTN_FEATURE_SPOTTER_WORDS 257
#endif

#if defined(ATTN_64_BIT)
/**
 * Size in units of 8 bytes.
 */
#define ATTN_FEATURE_SPOTTER_WORDS 273
#endif

/**
 * What went wrong: 0 is success. A code's comment names the fields of `attn_error` that belong to it. Codes keep their numbers.
 */
enum attn_code
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * No error.
     */
    ATTN_CODE_OK = 0,
    /**
     * A pointer is NULL that must not be.
     */
    ATTN_CODE_NULL_POINTER = 1,
    /**
     * A struct does not lie at a multiple of its alignment.
     */
    ATTN_CODE_STRUCT_MISALIGNED = 2,
    /**
     * The object was not initialised, has been moved since, or is of another type.
     */
    ATTN_CODE_NOT_INITIALIZED = 3,
    /**
     * The object is in use: a session by its decoder, a spotter by its own callback.
     */
    ATTN_CODE_IN_USE = 4,
    /**
     * Elements do not lie at a multiple of their size.
     */
    ATTN_CODE_ELEMENTS_MISALIGNED = 5,
    /**
     * More bytes than memory can have.
     */
    ATTN_CODE_TOO_LONG = 6,
    /**
     * A text is not UTF-8.
     */
    ATTN_CODE_NOT_UTF8 = 7,
    /**
     * An array has `found` elements, the input or output `expected`.
     */
    ATTN_CODE_WRONG_COUNT = 8,
    /**
     * An error that this version of the interface does not know.
     */
    ATTN_CODE_NEWER = 9,
    /**
     * The file has `found` bytes, which is less than a header.
     */
    ATTN_CODE_TOO_SHORT = 100,
    /**
     * The file does not start at a multiple of 16 in memory.
     */
    ATTN_CODE_MODEL_MISALIGNED = 101,
    /**
     * The file does not start with ATTN.
     */
    ATTN_CODE_BAD_MAGIC = 102,
    /**
     * The file has version `found` of the format, this runtime reads another.
     */
    ATTN_CODE_UNSUPPORTED_VERSION = 103,
    /**
     * The file needs features of the format that this runtime lacks: bits `found`.
     */
    ATTN_CODE_UNKNOWN_FLAGS = 104,
    /**
     * The header states `expected` bytes, the file has `found`.
     */
    ATTN_CODE_WRONG_LENGTH = 105,
    /**
     * The bytes were changed after they were written: checksum `found`, the header states `expected`.
     */
    ATTN_CODE_BAD_CHECKSUM = 106,
    /**
     * The section at byte `found` lies outside the file or is misaligned.
     */
    ATTN_CODE_BAD_SECTION = 107,
    /**
     * `found` of what `reason` says, at most `expected` are allowed.
     */
    ATTN_CODE_TOO_MANY = 108,
    /**
     * A run takes `found` of what `reason` says, the limits allow `expected`.
     */
    ATTN_CODE_TOO_MUCH_WORK = 109,
    /**
     * Records share names so often that checking them would take longer than the file is long.
     */
    ATTN_CODE_NAMES_TOO_LONG = 110,
    /**
     * The name at byte `found` of the strings is out of bounds, too long or not UTF-8.
     */
    ATTN_CODE_BAD_STRING = 111,
    /**
     * Tensor `at` breaks the rule that `reason` names.
     */
    ATTN_CODE_BAD_TENSOR = 112,
    /**
     * Operator `at` breaks the rule that `reason` names.
     */
    ATTN_CODE_BAD_OPERATOR = 113,
    /**
     * Operator `at`, called `name` where that is known, is not in this library.
     */
    ATTN_CODE_NOT_LINKED = 114,
    /**
     * Sequences of variable length are not in this library.
     */
    ATTN_CODE_LENGTHS_NOT_LINKED = 115,
    /**
     * Operator `at` (65535: the end of the entry point) reads tensor `found`, which is not written before it.
     */
    ATTN_CODE_STALE_READ = 116,
    /**
     * Entry point `at` names operators or tensors that do not exist, or that are another's.
     */
    ATTN_CODE_BAD_ENTRY = 117,
    /**
     * Metadata record `at` is out of bounds or of the wrong length.
     */
    ATTN_CODE_BAD_META = 118,
    /**
     * Metadata of decoding: field `name` does not fit.
     */
    ATTN_CODE_BAD_DECODE = 119,
    /**
     * The file has no signature.
     */
    ATTN_CODE_UNSIGNED = 130,
    /**
     * The signature does not fit the file and the key.
     */
    ATTN_CODE_BAD_SIGNATURE = 131,
    /**
     * The file is signed as model `name`.
     */
    ATTN_CODE_OTHER_MODEL = 132,
    /**
     * The file is signed as version `found`; `expected` is the oldest that is accepted.
     */
    ATTN_CODE_OLDER = 133,
    /**
     * A model's name has `found` bytes, 1 to `expected` are possible.
     */
    ATTN_CODE_NAME_TOO_LONG = 134,
    /**
     * The arena has `found` bytes, the model needs `expected`.
     */
    ATTN_CODE_ARENA_TOO_SMALL = 200,
    /**
     * The arena does not start at a multiple of 16.
     */
    ATTN_CODE_ARENA_MISALIGNED = 201,
    /**
     * The model has no entry point `at`.
     */
    ATTN_CODE_NO_SUCH_ENTRY = 202,
    /**
     * The entry point has no input or output `at`.
     */
    ATTN_CODE_NO_SUCH_TENSOR = 203,
    /**
     * The tensor holds elements of type `expected`, `found` was asked for.
     */
    ATTN_CODE_WRONG_TYPE = 204,
    /**
     * A sequence of length `found`, the model takes 1 to `expected` (0: it has no axis of variable length).
     */
    ATTN_CODE_LENGTH_OUT_OF_RANGE = 205,
    /**
     * `attn_session_run_ops` without `attn_session_start` before it.
     */
    ATTN_CODE_NOT_STARTED = 206,
    /**
     * A run is in progress.
     */
    ATTN_CODE_UNFINISHED = 207,
    /**
     * There are no outputs of entry point `at`.
     */
    ATTN_CODE_NOT_RUN = 208,
    /**
     * An operator failed as `reason` says; a parsed model never does.
     */
    ATTN_CODE_OPERATOR_FAILED = 209,
    /**
     * The model's hop of `found` samples does not fit the front end, which takes 1 to `expected`.
     */
    ATTN_CODE_BAD_HOP = 300,
    /**
     * The model does not say that its input is audio.
     */
    ATTN_CODE_NO_AUDIO = 301,
    /**
     * The model wants `found` Hz, frames of `expected` samples and `at` mel bands; this front end has others.
     */
    ATTN_CODE_OTHER_FRONT_END = 302,
    /**
     * The model does not say how posteriors become events.
     */
    ATTN_CODE_NO_SPOTTER = 303,
    /**
     * The model has `found` labels, 1 to `expected` are possible.
     */
    ATTN_CODE_BAD_LABEL_COUNT = 304,
    /**
     * The model has `found` thresholds for `expected` labels.
     */
    ATTN_CODE_BAD_THRESHOLD_COUNT = 305,
    /**
     * Smoothing over `found` hops of `at` labels: 1 to `expected` posteriors can be kept.
     */
    ATTN_CODE_BAD_SMOOTHING = 306,
    /**
     * No entry point takes one frame of features and gives one logit per label.
     */
    ATTN_CODE_NO_SUITABLE_ENTRY = 307,
    /**
     * `found` features, the model takes `expected` in a hop.
     */
    ATTN_CODE_BAD_FEATURE_COUNT = 308,
    /**
     * Label `found` of `expected`.
     */
    ATTN_CODE_NO_SUCH_LABEL = 309,
    /**
     * The file does not say how its model decodes.
     */
    ATTN_CODE_NO_DECODE = 400,
    /**
     * An input for a model that reads none.
     */
    ATTN_CODE_NO_ENCODER = 401,
    /**
     * A start without input for a model that reads one.
     */
    ATTN_CODE_INPUT_NEEDED = 402,
    /**
     * Text for a model without a vocabulary of input symbols.
     */
    ATTN_CODE_NO_SYMBOLS = 403,
    /**
     * A text to be continued, for a model whose tokens have no names.
     */
    ATTN_CODE_NO_TOKEN_NAMES = 404,
    /**
     * A text to be continued has more than `expected` tokens.
     */
    ATTN_CODE_PROMPT_TOO_LONG = 405,
    /**
     * An input without elements.
     */
    ATTN_CODE_EMPTY_INPUT = 406,
    /**
     * `found` rows or symbols, the model takes at most `expected`.
     */
    ATTN_CODE_INPUT_TOO_LONG = 407,
    /**
     * `found` rows or symbols, the model takes exactly `expected`.
     */
    ATTN_CODE_INPUT_LENGTH = 408,
    /**
     * `found` elements that are no whole rows of `expected`.
     */
    ATTN_CODE_PARTIAL_ROW = 409,
    /**
     * Character `at` of the text, `name`, is not in the vocabulary.
     */
    ATTN_CODE_UNKNOWN_TEXT = 410,
    /**
     * Symbol `found` at place `at`, the vocabulary has `expected`.
     */
    ATTN_CODE_UNKNOWN_SYMBOL = 411,
    /**
     * A step before there was an input.
     */
    ATTN_CODE_NOT_ENCODED = 412,
    /**
     * The model's steps return no attention weights.
     */
    ATTN_CODE_NO_WEIGHTS = 413,
    /**
     * A beam of `found` hypotheses, 1 to `expected` are possible.
     */
    ATTN_CODE_BAD_WIDTH = 414,
    /**
     * A beam of `found` hypotheses, a step returns `expected` tokens.
     */
    ATTN_CODE_TOO_FEW_CANDIDATES = 415,
    /**
     * The beam has `found` bytes of memory and needs `expected`.
     */
    ATTN_CODE_MEMORY_TOO_SMALL = 416,
    /**
     * The beam's memory does not start at a multiple of 4.
     */
    ATTN_CODE_MEMORY_MISALIGNED = 417,
    /**
     * Hypothesis `at` of `expected`.
     */
    ATTN_CODE_NO_SUCH_HYPOTHESIS = 418,
    /**
     * A token drawn among `found`: 1 to `expected` are possible.
     */
    ATTN_CODE_BAD_CANDIDATES = 419,
    /**
     * Reason: the operator is unknown.
     */
    ATTN_CODE_UNKNOWN_KIND = 500,
    /**
     * Reason: the operator is not in this library.
     */
    ATTN_CODE_OPERATOR_NOT_LINKED = 501,
    /**
     * Reason: the operator's encoding is unknown, or half precision and this library has none.
     */
    ATTN_CODE_UNKNOWN_ENCODING = 502,
    /**
     * Reason: the encoding does not fit the tensors.
     */
    ATTN_CODE_WRONG_ENCODING = 503,
    /**
     * Reason: parameters that this runtime does not know.
     */
    ATTN_CODE_NEWER_PARAMS = 504,
    /**
     * Reason: a tensor is missing.
     */
    ATTN_CODE_MISSING_TENSOR = 505,
    /**
     * Reason: a tensor has the wrong element type.
     */
    ATTN_CODE_OPERAND_TYPE = 506,
    /**
     * Reason: shapes do not fit.
     */
    ATTN_CODE_WRONG_SHAPE = 507,
    /**
     * Reason: a tensor is state where it must not be, or the other way round.
     */
    ATTN_CODE_WRONG_STORAGE = 508,
    /**
     * Reason: scratch memory is missing or too small.
     */
    ATTN_CODE_SCRATCH_TOO_SMALL = 509,
    /**
     * Reason: parameters are misaligned or out of range.
     */
    ATTN_CODE_BAD_PARAMS = 510,
    /**
     * Reason: weights lie outside their section.
     */
    ATTN_CODE_WEIGHTS_OUT_OF_BOUNDS = 511,
    /**
     * Reason: tensors overlap that must not.
     */
    ATTN_CODE_OVERLAP = 512,
    /**
     * Reason: rows do not vary alike with the length of the sequence.
     */
    ATTN_CODE_ROWS_DIFFER = 513,
    /**
     * Reason: a sum may leave 32 bits.
     */
    ATTN_CODE_MAY_OVERFLOW = 514,
    /**
     * Reason: records that operators share too often.
     */
    ATTN_CODE_TOO_MUCH_TO_CHECK = 515,
    /**
     * Reason: an output that the operator does not have.
     */
    ATTN_CODE_SURPLUS_OUTPUT = 516,
    /**
     * Reason: unknown element type or storage.
     */
    ATTN_CODE_UNKNOWN_CODE = 550,
    /**
     * Reason: rank outside 1 to 6, a zero dimension, or a size that overflows.
     */
    ATTN_CODE_BAD_SHAPE = 551,
    /**
     * Reason: outside its part of the arena.
     */
    ATTN_CODE_OUT_OF_ARENA = 552,
    /**
     * Reason: scale or zero point out of range.
     */
    ATTN_CODE_BAD_QUANTIZATION = 553,
    /**
     * Reason: a rule for rows that does not exist or does not fit.
     */
    ATTN_CODE_BAD_ROW_RULE = 554,
    /**
     * Reason: half precision, which this library was built without.
     */
    ATTN_CODE_NO_HALF = 555,
    /**
     * Of what: operators.
     */
    ATTN_CODE_OPERATORS = 580,
    /**
     * Of what: tensors.
     */
    ATTN_CODE_TENSORS = 581,
    /**
     * Of what: bytes of arena.
     */
    ATTN_CODE_ARENA_BYTES = 582,
    /**
     * Of what: bytes in state tensors.
     */
    ATTN_CODE_STATE_BYTES = 583,
    /**
     * Of what: metadata records.
     */
    ATTN_CODE_METADATA = 584,
    /**
     * Of what: operators over which tensors are kept.
     */
    ATTN_CODE_FLOW = 585,
    /**
     * Of what: multiply-accumulates.
     */
    ATTN_CODE_MACS = 586,
    /**
     * Of what: bytes read and written.
     */
    ATTN_CODE_BYTES_MOVED = 587,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum attn_code attn_code;
#else
typedef int32_t attn_code;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How far a call came that does its work in slices.
 */
enum attn_poll
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * There is more to do before there is a result.
     */
    ATTN_POLL_PENDING = 0,
    /**
     * There is a result.
     */
    ATTN_POLL_READY = 1,
    /**
     * There is none, and nothing to do.
     */
    ATTN_POLL_DONE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum attn_poll attn_poll;
#else
typedef int32_t attn_poll;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Type of elements.
 */
enum attn_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * 8-bit: `real = scale * (q - zero_point)`.
     */
    ATTN_TYPE_I8 = 1,
    /**
     * 16-bit: `real = scale * q`.
     */
    ATTN_TYPE_I16 = 2,
    /**
     * 32-bit integers: numbers of tokens.
     */
    ATTN_TYPE_I32 = 3,
    /**
     * IEEE 754 half precision.
     */
    ATTN_TYPE_F16 = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum attn_type attn_type;
#else
typedef int32_t attn_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A file that was checked. It points into the file, which has to stay where it is.
 */
typedef struct attn_model {
    uint64_t opaque[ATTN_MODEL_WORDS];
} attn_model;

/**
 * A decoder that carries several hypotheses along. It has a session until it is released: the session refuses other use.
 */
typedef struct attn_beam {
    uint64_t opaque[ATTN_BEAM_WORDS];
} attn_beam;

/**
 * A model that runs in an arena. It points to the model's file and to the arena, which have to stay where they are.
 */
typedef struct attn_session {
    uint64_t opaque[ATTN_SESSION_WORDS];
} attn_session;

/**
 * An error with its data. Fields that do not belong to the code are 0.
 */
typedef struct attn_error {
    /**
     * What went wrong.
     */
    attn_code code;
    /**
     * More about it: a code from 500 on, or 0.
     */
    attn_code reason;
    /**
     * What was found or given.
     */
    uint64_t found;
    /**
     * What is needed, or the limit.
     */
    uint64_t expected;
    /**
     * Number of the operator, tensor, entry point, ... that it is about.
     */
    uint32_t at;
    /**
     * A name; ends with a NUL.
     */
    char name[ATTN_NAME_LEN];
} attn_error;

/**
 * A sequence that was found.
 */
typedef struct attn_hypothesis {
    /**
     * Its tokens, without start and end token; valid until the decoder is used again.
     */
    const uint16_t *tokens;
    /**
     * Number of its tokens.
     */
    size_t count;
    /**
     * Log-probability in Q16 nats, the end token included.
     */
    int32_t score;
    /**
     * Rank: the score divided by a power of the length.
     */
    int32_t normalized;
    /**
     * False when the limit on tokens cut it off.
     */
    bool ended;
} attn_hypothesis;

/**
 * A decoder that takes the best token of every step. It has a session until it is released: the session refuses other use.
 */
typedef struct attn_greedy {
    uint64_t opaque[ATTN_GREEDY_WORDS];
} attn_greedy;

/**
 * Random numbers that a seed fixes, and a temperature. It belongs to no decoder: several can draw from it, one after the other.
 */
typedef struct attn_sampling {
    uint64_t opaque[ATTN_SAMPLING_WORDS];
} attn_sampling;

/**
 * The most that a file may ask for. `attn_limits_default` fills it.
 */
typedef struct attn_limits {
    /**
     * Multiply-accumulates of all operators together.
     */
    uint64_t macs;
    /**
     * Bytes that they read and write.
     */
    uint64_t bytes;
    /**
     * Bytes of arena.
     */
    size_t arena;
} attn_limits;

#if defined(ATTN_SIGNED)
/**
 * Whose models are accepted, which, and from which version on.
 */
typedef struct attn_trust {
    /**
     * Public Ed25519 key: 32 bytes.
     */
    const uint8_t *key;
    /**
     * The name that the model was signed with: a string of 1 to 16 bytes.
     */
    const char *model;
    /**
     * The oldest version that is accepted.
     */
    uint32_t oldest;
} attn_trust;
#endif

/**
 * Bytes of text in a model's file. There is no NUL behind them: print with `"%.*s", (int)text.len, text.bytes`.
 */
typedef struct attn_text {
    /**
     * UTF-8; never null.
     */
    const char *bytes;
    /**
     * Number of bytes.
     */
    size_t len;
} attn_text;

/**
 * An input or output of an entry point.
 */
typedef struct attn_port {
    /**
     * Name in the original model.
     */
    struct attn_text name;
    /**
     * Type of its elements.
     */
    attn_type element_type;
    /**
     * Number of dimensions.
     */
    uint32_t rank;
    /**
     * Dimensions, channels last; those from `rank` on are 1. Where rows vary with the length of a sequence, the first is the greatest.
     */
    uint32_t dims[ATTN_MAX_RANK];
    /**
     * Number of elements: the product of the dimensions.
     */
    size_t count;
    /**
     * Real value of one step.
     */
    float scale;
    /**
     * The integer that stands for 0.0.
     */
    int32_t zero_point;
} attn_port;

/**
 * A model that listens. It points to the model's file and to the arena, which have to stay where they are.
 */
typedef struct attn_spotter {
    uint64_t opaque[ATTN_SPOTTER_WORDS];
} attn_spotter;

/**
 * A keyword that was heard.
 */
typedef struct attn_event {
    /**
     * Samples since the start up to the end of the frame that decided.
     */
    uint64_t time_samples;
    /**
     * The label.
     */
    struct attn_text label;
    /**
     * Its number.
     */
    size_t label_index;
    /**
     * Averaged posterior, Q15: 0 to 32767.
     */
    uint16_t confidence_q15;
} attn_event;

/**
 * What `attn_spotter_push` calls for each keyword, with the context that it was given. The event is valid until the function returns. It must return
 * (no `longjmp`, no exception); the spotter refuses to be used in it.
 */
typedef void (*attn_on_event)(void *context, const struct attn_event *event);

/**
 * A spotter for a front end of your own.
 */
typedef struct attn_feature_spotter {
    uint64_t opaque[ATTN_FEATURE_SPOTTER_WORDS];
} attn_feature_spotter;

/**
 * The decision of one hop.
 */
typedef struct attn_decision {
    /**
     * Number of the label that fired; `ATTN_NONE` if none did.
     */
    size_t label_index;
    /**
     * Averaged posterior, Q15: 0 to 32767.
     */
    uint16_t confidence_q15;
} attn_decision;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The `ATTN_API_VERSION` of the library that is linked: another than that of the header means that the two do not belong together.
 */
uint32_t attn_api_version(void);

/**
 * Bytes of memory that a beam of `width` hypotheses needs; 0 for what is no model that decodes.
 */
size_t attn_beam_memory_len(const struct attn_model *model, size_t width);

/**
 * Makes a decoder of `width` hypotheses (1 to `ATTN_MAX_WIDTH`) that has `session` until `attn_beam_release`. `memory`: at least
 * `attn_beam_memory_len` bytes at a multiple of 4.
 */
attn_code attn_beam_init(struct attn_beam *beam,
                         struct attn_session *session,
                         size_t width,
                         void *memory,
                         size_t memory_len,
                         struct attn_error *error);

/**
 * Gives the session back. The decoder has to be initialised before it is used again.
 */
attn_code attn_beam_release(struct attn_beam *beam, struct attn_error *error);

/**
 * Divides scores by `length^alpha` when sequences are ranked: 0 favours short ones, 1 (as long as nothing is set) ranks by the mean over tokens.
 */
attn_code attn_beam_set_length_normalization(struct attn_beam *beam,
                                             float alpha,
                                             struct attn_error *error);

/**
 * Reads text, spelled in the symbols of the model's vocabulary, and starts a new sequence. `text` ends with a NUL.
 */
attn_code attn_beam_encode_text(struct attn_beam *beam, const char *text, struct attn_error *error);

/**
 * Reads `count` symbols by number, followed by the end symbol if the model has one, and starts a new sequence.
 */
attn_code attn_beam_encode_symbols(struct attn_beam *beam,
                                   const uint16_t *symbols,
                                   size_t count,
                                   struct attn_error *error);

/**
 * Reads whole rows of 8-bit features, `count` elements in all, and starts a new sequence.
 */
attn_code attn_beam_encode_i8(struct attn_beam *beam, const int8_t *elements, size_t count, struct attn_error *error);

/**
 * Reads whole rows of 16-bit features, `count` elements in all, and starts a new sequence.
 */
attn_code attn_beam_encode_i16(struct attn_beam *beam, const int16_t *elements, size_t count, struct attn_error *error);

/**
 * Reads whole rows of features as real values, `count` elements in all, and starts a new sequence: they become elements of the input's type, half
 * precision included, as in `attn_session_set_f32`.
 */
attn_code attn_beam_encode_f32(struct attn_beam *beam,
                               const float *values,
                               size_t count,
                               struct attn_error *error);

/**
 * As `attn_beam_encode_text`, but leaves the run to `attn_beam_poll`.
 */
attn_code attn_beam_load_text(struct attn_beam *beam, const char *text, struct attn_error *error);

/**
 * As `attn_beam_encode_symbols`, but leaves the run to `attn_beam_poll`.
 */
attn_code attn_beam_load_symbols(struct attn_beam *beam,
                                 const uint16_t *symbols,
                                 size_t count,
                                 struct attn_error *error);

/**
 * As `attn_beam_encode_i8`, but leaves the run to `attn_beam_poll`.
 */
attn_code attn_beam_load_i8(struct attn_beam *beam, const int8_t *elements, size_t count, struct attn_error *error);

/**
 * As `attn_beam_encode_i16`, but leaves the run to `attn_beam_poll`.
 */
attn_code attn_beam_load_i16(struct attn_beam *beam, const int16_t *elements, size_t count, struct attn_error *error);

/**
 * As `attn_beam_encode_f32`, but leaves the run to `attn_beam_poll`.
 */
attn_code attn_beam_load_f32(struct attn_beam *beam, const float *values, size_t count, struct attn_error *error);

/**
 * Runs at most `operators` operators of the search, so that a scheduler has other work in between. `done` becomes true at the end of the search.
 */
attn_code attn_beam_poll(struct attn_beam *beam,
                         size_t operators,
                         bool *done,
                         struct attn_error *error);

/**
 * Starts a new sequence of a model that reads no input.
 */
attn_code attn_beam_restart(struct attn_beam *beam, struct attn_error *error);

/**
 * One step of every hypothesis, for a scheduler that has other work between steps. `done` becomes true at the end of the search.
 */
attn_code attn_beam_step(struct attn_beam *beam,
                         bool *done,
                         struct attn_error *error);

/**
 * Searches to the end.
 */
attn_code attn_beam_decode(struct attn_beam *beam, struct attn_error *error);

/**
 * Sequences found: at most the width of the beam, none before the search is over.
 */
size_t attn_beam_hypotheses(const struct attn_beam *beam);

/**
 * The sequence of this rank, from 0, best first.
 */
attn_code attn_beam_hypothesis(const struct attn_beam *beam,
                               size_t rank,
                               struct attn_hypothesis *hypothesis,
                               struct attn_error *error);

/**
 * Makes a decoder that has `session` until `attn_greedy_release`.
 */
attn_code attn_greedy_init(struct attn_greedy *greedy, struct attn_session *session, struct attn_error *error);

/**
 * Gives the session back. The decoder has to be initialised before it is used again.
 */
attn_code attn_greedy_release(struct attn_greedy *greedy, struct attn_error *error);

/**
 * Reads text, spelled in the symbols of the model's vocabulary, and starts a new sequence. `text` ends with a NUL.
 */
attn_code attn_greedy_encode_text(struct attn_greedy *greedy, const char *text, struct attn_error *error);

/**
 * Reads `count` symbols by number, followed by the end symbol if the model has one, and starts a new sequence.
 */
attn_code attn_greedy_encode_symbols(struct attn_greedy *greedy,
                                     const uint16_t *symbols,
                                     size_t count,
                                     struct attn_error *error);

/**
 * Reads whole rows of 8-bit features, `count` elements in all, and starts a new sequence.
 */
attn_code attn_greedy_encode_i8(struct attn_greedy *greedy,
                                const int8_t *elements,
                                size_t count,
                                struct attn_error *error);

/**
 * Reads whole rows of 16-bit features, `count` elements in all, and starts a new sequence.
 */
attn_code attn_greedy_encode_i16(struct attn_greedy *greedy,
                                 const int16_t *elements,
                                 size_t count,
                                 struct attn_error *error);

/**
 * Reads whole rows of features as real values, `count` elements in all, and starts a new sequence: they become elements of the input's type, half
 * precision included, as in `attn_session_set_f32`.
 */
attn_code attn_greedy_encode_f32(struct attn_greedy *greedy,
                                 const float *values,
                                 size_t count,
                                 struct attn_error *error);

/**
 * As `attn_greedy_encode_text`, but leaves the run to `attn_greedy_poll`.
 */
attn_code attn_greedy_load_text(struct attn_greedy *greedy, const char *text, struct attn_error *error);

/**
 * As `attn_greedy_encode_symbols`, but leaves the run to `attn_greedy_poll`.
 */
attn_code attn_greedy_load_symbols(struct attn_greedy *greedy,
                                   const uint16_t *symbols,
                                   size_t count,
                                   struct attn_error *error);

/**
 * As `attn_greedy_encode_i8`, but leaves the run to `attn_greedy_poll`.
 */
attn_code attn_greedy_load_i8(struct attn_greedy *greedy,
                              const int8_t *elements,
                              size_t count,
                              struct attn_error *error);

/**
 * As `attn_greedy_encode_i16`, but leaves the run to `attn_greedy_poll`.
 */
attn_code attn_greedy_load_i16(struct attn_greedy *greedy,
                               const int16_t *elements,
                               size_t count,
                               struct attn_error *error);

/**
 * As `attn_greedy_encode_f32`, but leaves the run to `attn_greedy_poll`.
 */
attn_code attn_greedy_load_f32(struct attn_greedy *greedy, const float *values, size_t count, struct attn_error *error);

/**
 * Runs at most `operators` operators of the sequence, so that a scheduler has other work in between. `state` becomes `ATTN_POLL_PENDING` while a token is
 * not complete, `ATTN_POLL_READY` with the next `token`, `ATTN_POLL_DONE` at the end of the sequence.
 */
attn_code attn_greedy_poll(struct attn_greedy *greedy,
                           size_t operators,
                           uint16_t *token,
                           attn_poll *state,
                           struct attn_error *error);

/**
 * Starts a new sequence of a model that reads no input.
 */
attn_code attn_greedy_restart(struct attn_greedy *greedy, struct attn_error *error);

/**
 * Follows text, spelled in the names of the model's output tokens, so that the next tokens continue it. `text` ends with a NUL.
 */
attn_code attn_greedy_prompt_text(struct attn_greedy *greedy,
                                  const char *text,
                                  struct attn_error *error);

/**
 * Follows `count` known tokens, so that the next tokens continue them.
 */
attn_code attn_greedy_prompt(struct attn_greedy *greedy,
                             const uint16_t *tokens,
                             size_t count,
                             struct attn_error *error);

/**
 * Runs a step, but continues with `token` in any case: to lead the model through a known sequence and read `attn_greedy_weights` after each step.
 * `more` becomes false at the end of the sequence.
 */
attn_code attn_greedy_follow(struct attn_greedy *greedy,
                             uint16_t token,
                             bool *more,
                             struct attn_error *error);

/**
 * The next token. `more` becomes false, and `token` 0, at the end of the sequence: after the end token, or at the model's limit on tokens.
 */
attn_code attn_greedy_step(struct attn_greedy *greedy,
                           uint16_t *token,
                           bool *more,
                           struct attn_error *error);

/**
 * The next token, drawn by `sampling` among the `candidates` best ones, 1 to `ATTN_MAX_CANDIDATES`. `more` and `token` become what they do in
 * `attn_greedy_step`.
 */
attn_code attn_greedy_step_sampled(struct attn_greedy *greedy,
                                   struct attn_sampling *sampling,
                                   size_t candidates,
                                   uint16_t *token,
                                   bool *more,
                                   struct attn_error *error);

/**
 * Copies the attention weights of the last step over the rows of the input: real values from 0 to 1, as many as there is room for. `count` becomes
 * their number; where that is more than `most`, the code is `ATTN_CODE_WRONG_COUNT`.
 */
attn_code attn_greedy_weights(const struct attn_greedy *greedy,
                              float *weights,
                              size_t most,
                              size_t *count,
                              struct attn_error *error);

/**
 * Log-probability of all tokens since the start, the end token included: Q16 nats. 0 for what is no decoder.
 */
int32_t attn_greedy_score(const struct attn_greedy *greedy);

/**
 * True after the end token; false while more tokens follow, and if the limit ended the sequence.
 */
bool attn_greedy_ended(const struct attn_greedy *greedy);

/**
 * Fills `limits` with 2^32 multiply-accumulates, 2^32 bytes moved and any arena: what holds where no limits are given.
 */
attn_code attn_limits_default(struct attn_limits *limits);

/**
 * Checks the `len` bytes of `file` from the first to the last and makes a model of them. Any bytes at all give a model or an error; a model that was
 * accepted cannot fail while it runs. `file` starts at a multiple of `ATTN_ALIGNMENT`. `limits` may be NULL.
 */
attn_code attn_model_parse(struct attn_model *model,
                           const uint8_t *file,
                           size_t len,
                           const struct attn_limits *limits,
                           struct attn_error *error);

#if defined(ATTN_SIGNED)
/**
 * As `attn_model_parse`, and checks who signed the file, for which model and as which version.
 */
attn_code attn_model_parse_signed(struct attn_model *model,
                                  const uint8_t *file,
                                  size_t len,
                                  const struct attn_trust *trust,
                                  const struct attn_limits *limits,
                                  struct attn_error *error);
#endif

/**
 * Bytes of arena that a session of the model needs; 0 for what is no model.
 */
size_t attn_model_arena_len(const struct attn_model *model);

/**
 * Longest sequence that the model takes; 0 for a model without an axis of variable length.
 */
size_t attn_model_max_length(const struct attn_model *model);

/**
 * Number of entry points.
 */
size_t attn_model_entries(const struct attn_model *model);

/**
 * Number of the entry point with this name; `ATTN_NONE` if there is none.
 */
size_t attn_model_entry(const struct attn_model *model, const char *name);

/**
 * Number of inputs of an entry point; 0 if there is no such entry point.
 */
size_t attn_model_inputs(const struct attn_model *model, size_t entry);

/**
 * Number of outputs of an entry point; 0 if there is no such entry point.
 */
size_t attn_model_outputs(const struct attn_model *model, size_t entry);

/**
 * Number of the input with this name; `ATTN_NONE` if there is none.
 */
size_t attn_model_input_named(const struct attn_model *model, size_t entry, const char *name);

/**
 * Number of the output with this name; `ATTN_NONE` if there is none.
 */
size_t attn_model_output_named(const struct attn_model *model, size_t entry, const char *name);

/**
 * Describes input number `index` of an entry point.
 */
attn_code attn_model_input(const struct attn_model *model,
                           size_t entry,
                           size_t index,
                           struct attn_port *port,
                           struct attn_error *error);

/**
 * Describes output number `index` of an entry point.
 */
attn_code attn_model_output(const struct attn_model *model,
                            size_t entry,
                            size_t index,
                            struct attn_port *port,
                            struct attn_error *error);

/**
 * Number of labels, in the order of the logits.
 */
size_t attn_model_labels(const struct attn_model *model);

/**
 * Label number `label`; empty if there is none.
 */
struct attn_text attn_model_label(const struct attn_model *model, size_t label);

/**
 * Number of the label with this name; `ATTN_NONE` if there is none.
 */
size_t attn_model_label_named(const struct attn_model *model, const char *name);

/**
 * Name of an output token; empty if it has none.
 */
struct attn_text attn_model_token(const struct attn_model *model, uint16_t token);

/**
 * What stands between the names of two tokens in a text.
 */
struct attn_text attn_model_separator(const struct attn_model *model);

/**
 * Begins to draw tokens with probabilities `softmax(score / temperature)`: low temperatures keep to the best tokens, high ones make all alike; held to
 * 0.01 to 100. The same `seed` draws the same tokens on every target.
 */
attn_code attn_sampling_init(struct attn_sampling *sampling,
                             float temperature,
                             uint32_t seed,
                             struct attn_error *error);

/**
 * Puts a model into `arena`, of at least `attn_model_arena_len` bytes at a multiple of `ATTN_ALIGNMENT`, and resets its state. The model is copied
 * into the session; its file is not.
 */
attn_code attn_session_init(struct attn_session *session,
                            const struct attn_model *model,
                            void *arena,
                            size_t arena_len,
                            struct attn_error *error);

/**
 * Resets every state to its initial value. A run in progress is given up.
 */
attn_code attn_session_reset(struct attn_session *session, struct attn_error *error);

/**
 * Sets the length of the sequence for the next runs. Inputs are filled afterwards; the outputs of earlier runs are void.
 */
attn_code attn_session_set_length(struct attn_session *session,
                                  size_t length,
                                  struct attn_error *error);

/**
 * Runs an entry point from start to end.
 */
attn_code attn_session_run(struct attn_session *session, size_t entry, struct attn_error *error);

/**
 * Begins a run that `attn_session_run_ops` carries on in slices.
 */
attn_code attn_session_start(struct attn_session *session, size_t entry, struct attn_error *error);

/**
 * Runs at most `count` operators of the run begun by `attn_session_start`. `done` becomes true when the outputs are ready.
 */
attn_code attn_session_run_ops(struct attn_session *session,
                               size_t count,
                               bool *done,
                               struct attn_error *error);

/**
 * Where the elements of an input are in the arena, to be filled in place before its entry point runs: `count` elements of the port's type. The
 * pointer is valid until the session is used again.
 */
attn_code attn_session_input(struct attn_session *session,
                             size_t entry,
                             size_t index,
                             void **elements,
                             size_t *count,
                             struct attn_error *error);

/**
 * Where the elements of an output are in the arena, after its entry point has run: `count` elements of the port's type. The pointer is valid until
 * the session is used again.
 */
attn_code attn_session_output(const struct attn_session *session,
                              size_t entry,
                              size_t index,
                              const void **elements,
                              size_t *count,
                              struct attn_error *error);

/**
 * Copies `count` elements into a 8-bit input; it has exactly so many.
 */
attn_code attn_session_set_i8(struct attn_session *session,
                              size_t entry,
                              size_t index,
                              const int8_t *elements,
                              size_t count,
                              struct attn_error *error);

/**
 * Copies a 8-bit output, which has exactly `count` elements.
 */
attn_code attn_session_read_i8(const struct attn_session *session,
                               size_t entry,
                               size_t index,
                               int8_t *elements,
                               size_t count,
                               struct attn_error *error);

/**
 * Copies `count` elements into a 16-bit input; it has exactly so many.
 */
attn_code attn_session_set_i16(struct attn_session *session,
                               size_t entry,
                               size_t index,
                               const int16_t *elements,
                               size_t count,
                               struct attn_error *error);

/**
 * Copies a 16-bit output, which has exactly `count` elements.
 */
attn_code attn_session_read_i16(const struct attn_session *session,
                                size_t entry,
                                size_t index,
                                int16_t *elements,
                                size_t count,
                                struct attn_error *error);

/**
 * Copies `count` elements into a 32-bit input; it has exactly so many.
 */
attn_code attn_session_set_i32(struct attn_session *session,
                               size_t entry,
                               size_t index,
                               const int32_t *elements,
                               size_t count,
                               struct attn_error *error);

/**
 * Copies a 32-bit output, which has exactly `count` elements.
 */
attn_code attn_session_read_i32(const struct attn_session *session,
                                size_t entry,
                                size_t index,
                                int32_t *elements,
                                size_t count,
                                struct attn_error *error);

/**
 * Fills an input of any type with `count` real values, each rounded to the nearest step and limited to the range of the type; the input has exactly
 * so many elements.
 */
attn_code attn_session_set_f32(struct attn_session *session,
                               size_t entry,
                               size_t index,
                               const float *values,
                               size_t count,
                               struct attn_error *error);

/**
 * The `count` real values of an output of any type, which has exactly so many elements.
 */
attn_code attn_session_read_f32(const struct attn_session *session,
                                size_t entry,
                                size_t index,
                                float *values,
                                size_t count,
                                struct attn_error *error);

/**
 * Puts a keyword spotter around a model into `arena`, of at least `attn_model_arena_len` bytes at a multiple of `ATTN_ALIGNMENT`.
 */
attn_code attn_spotter_init(struct attn_spotter *spotter,
                            const struct attn_model *model,
                            void *arena,
                            size_t arena_len,
                            struct attn_error *error);

/**
 * Takes any number of samples (16 kHz, mono) and reports every keyword that they complete. `on_event` may be NULL.
 */
attn_code attn_spotter_push(struct attn_spotter *spotter,
                            const int16_t *samples,
                            size_t count,
                            attn_on_event on_event,
                            void *context,
                            struct attn_error *error);

/**
 * Takes samples up to the end of the next frame and begins its run, which `attn_spotter_poll` carries on in slices; while one is in progress, it takes
 * none. `taken` becomes the number of samples that it took: the rest is given again later.
 */
attn_code attn_spotter_feed(struct attn_spotter *spotter,
                            const int16_t *samples,
                            size_t count,
                            size_t *taken,
                            struct attn_error *error);

/**
 * Runs at most `operators` operators of the frame that `attn_spotter_feed` began. `state` becomes `ATTN_POLL_PENDING` while there are more,
 * `ATTN_POLL_READY` with the `event` if a keyword was heard, else `ATTN_POLL_DONE`.
 */
attn_code attn_spotter_poll(struct attn_spotter *spotter,
                            size_t operators,
                            struct attn_event *event,
                            attn_poll *state,
                            struct attn_error *error);

/**
 * Says that `samples` were lost before the next ones. What was heard before them is forgotten; times of events go on.
 */
attn_code attn_spotter_gap(struct attn_spotter *spotter, uint64_t samples, struct attn_error *error);

/**
 * Forgets everything that was heard; time starts at 0.
 */
attn_code attn_spotter_reset(struct attn_spotter *spotter, struct attn_error *error);

/**
 * Sets the threshold of a label: Q15, 0 to 32767, or `ATTN_NEVER`.
 */
attn_code attn_spotter_set_threshold(struct attn_spotter *spotter,
                                     size_t label,
                                     uint16_t threshold_q15,
                                     struct attn_error *error);

/**
 * Samples between two runs of the model: a microphone best delivers pieces of this length. 0 for what is no spotter.
 */
size_t attn_spotter_hop(const struct attn_spotter *spotter);

/**
 * Puts a spotter for features around a model into `arena`, of at least `attn_model_arena_len` bytes at a multiple of `ATTN_ALIGNMENT`.
 */
attn_code attn_feature_spotter_init(struct attn_feature_spotter *spotter,
                                    const struct attn_model *model,
                                    void *arena,
                                    size_t arena_len,
                                    struct attn_error *error);

/**
 * Takes the `count` features of one hop, in the steps of the model's input, and gives the decision that they complete.
 */
attn_code attn_feature_spotter_push(struct attn_feature_spotter *spotter,
                                    const int8_t *features,
                                    size_t count,
                                    struct attn_decision *decision,
                                    struct attn_error *error);

/**
 * Forgets everything that was heard.
 */
attn_code attn_feature_spotter_reset(struct attn_feature_spotter *spotter, struct attn_error *error);

/**
 * Sets the threshold of a label: Q15, 0 to 32767, or `ATTN_NEVER`.
 */
attn_code attn_feature_spotter_set_threshold(struct attn_feature_spotter *spotter,
                                             size_t label,
                                             uint16_t threshold_q15,
                                             struct attn_error *error);

/**
 * Writes what an error says, with its data, and a NUL behind it, into `buffer` of `len` bytes: as much as there is room for. Returns the length of
 * the whole text without the NUL, as `snprintf` does; 0 if `error` is NULL.
 */
size_t attn_error_text(const struct attn_error *error,
                       char *buffer,
                       size_t len);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ATTN_H */

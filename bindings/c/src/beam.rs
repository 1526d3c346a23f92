//! Beam search: text, symbols or features in, the most likely sequences of tokens out.

use crate::edge;
use crate::error::{AttnCode, AttnError};
use crate::model::AttnModel;
use crate::session::AttnSession;
use crate::slot::{forget, get, give_back, holds, lend, put, vacant};
use attn_runtime::Progress;
use attn_runtime::seq2seq::Beam;
use core::ffi::{c_char, c_void};

/// Most hypotheses of a beam.
pub const ATTN_MAX_WIDTH: usize = 16;

/// Size in units of 8 bytes.
#[cfg(target_pointer_width = "32")]
pub const ATTN_BEAM_WORDS: usize = 124;
/// Size in units of 8 bytes.
#[cfg(target_pointer_width = "64")]
pub const ATTN_BEAM_WORDS: usize = 183;

/// A decoder that carries several hypotheses along. It has a session until it is released: the session refuses other use.
#[repr(C)]
pub struct AttnBeam {
    opaque: [u64; ATTN_BEAM_WORDS],
}
holds!(AttnBeam, Search, 0x6265_616d);

/// A decoder and the session that it has.
pub(crate) struct Search {
    decoder: Beam<'static, 'static, 'static, 'static, ATTN_MAX_WIDTH>,
    session: *mut AttnSession,
}

/// A sequence that was found.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct AttnHypothesis {
    /// Its tokens, without start and end token; valid until the decoder is used again.
    pub tokens: *const u16,
    /// Number of its tokens.
    pub count: usize,
    /// Log-probability in Q16 nats, the end token included.
    pub score: i32,
    /// Rank: the score divided by a power of the length.
    pub normalized: i32,
    /// False when the limit on tokens cut it off.
    pub ended: bool,
}

/// Bytes of memory that a beam of `width` hypotheses needs; 0 for what is no model that decodes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_memory_len(model: *const AttnModel, width: usize) -> usize {
    let len = get(model).map(|model| Beam::<ATTN_MAX_WIDTH>::memory_len(model, width));
    len.map_or(0, |len| len.unwrap_or(0))
}

/// Makes a decoder of `width` hypotheses (1 to `ATTN_MAX_WIDTH`) that has `session` until `attn_beam_release`. `memory`: at least
/// `attn_beam_memory_len` bytes at a multiple of 4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_init(
    beam: *mut AttnBeam,
    session: *mut AttnSession,
    width: usize,
    memory: *mut c_void,
    memory_len: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        vacant(beam)?;
        let needed = Beam::<ATTN_MAX_WIDTH>::memory_len(&get(session)?.model(), width)?;
        let memory = edge::memory(memory.cast(), memory_len, needed)?;
        let made = Beam::with_width(lend(session)?, memory, width)
            .map(|decoder| Search { decoder, session })
            .inspect_err(|_| give_back(session));
        put(beam, made)
    })
}

/// Gives the session back. The decoder has to be initialised before it is used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_release(beam: *mut AttnBeam, error: *mut AttnError) -> AttnCode {
    edge::finish(error, || {
        let session = get(beam)?.session;
        forget(beam);
        give_back(session);
        Ok(())
    })
}

/// Divides scores by `length^alpha` when sequences are ranked: 0 favours short ones, 1 (as long as nothing is set) ranks by the mean over tokens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_set_length_normalization(
    beam: *mut AttnBeam,
    alpha: f32,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        get(beam)?.decoder.set_length_normalization(alpha);
        Ok(())
    })
}

/// Reads text, spelled in the symbols of the model's vocabulary, and starts a new sequence. `text` ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_encode_text(
    beam: *mut AttnBeam,
    text: *const c_char,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        Ok(get(beam)?.decoder.encode_text(edge::string(text)?)?)
    })
}

/// Reads `count` symbols by number, followed by the end symbol if the model has one, and starts a new sequence.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_encode_symbols(
    beam: *mut AttnBeam,
    symbols: *const u16,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let symbols = edge::elements(symbols, count)?;
        Ok(get(beam)?.decoder.encode_symbols(symbols)?)
    })
}

/// Reads whole rows of 8-bit features, `count` elements in all, and starts a new sequence.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_encode_i8(
    beam: *mut AttnBeam,
    elements: *const i8,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let elements = edge::elements(elements, count)?;
        Ok(get(beam)?.decoder.encode(elements)?)
    })
}

/// Reads whole rows of 16-bit features, `count` elements in all, and starts a new sequence.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_encode_i16(
    beam: *mut AttnBeam,
    elements: *const i16,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let elements = edge::elements(elements, count)?;
        Ok(get(beam)?.decoder.encode(elements)?)
    })
}

/// Reads whole rows of features as real values, `count` elements in all, and starts a new sequence: they become elements of the input's type, half
/// precision included, as in `attn_session_set_f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_encode_f32(
    beam: *mut AttnBeam,
    values: *const f32,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let values = edge::elements(values, count)?;
        Ok(get(beam)?.decoder.encode_reals(values)?)
    })
}

/// As `attn_beam_encode_text`, but leaves the run to `attn_beam_poll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_load_text(
    beam: *mut AttnBeam,
    text: *const c_char,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        Ok(get(beam)?.decoder.load_text(edge::string(text)?)?)
    })
}

/// As `attn_beam_encode_symbols`, but leaves the run to `attn_beam_poll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_load_symbols(
    beam: *mut AttnBeam,
    symbols: *const u16,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let symbols = edge::elements(symbols, count)?;
        Ok(get(beam)?.decoder.load_symbols(symbols)?)
    })
}

/// As `attn_beam_encode_i8`, but leaves the run to `attn_beam_poll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_load_i8(
    beam: *mut AttnBeam,
    elements: *const i8,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let elements = edge::elements(elements, count)?;
        Ok(get(beam)?.decoder.load(elements)?)
    })
}

/// As `attn_beam_encode_i16`, but leaves the run to `attn_beam_poll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_load_i16(
    beam: *mut AttnBeam,
    elements: *const i16,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let elements = edge::elements(elements, count)?;
        Ok(get(beam)?.decoder.load(elements)?)
    })
}

/// As `attn_beam_encode_f32`, but leaves the run to `attn_beam_poll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_load_f32(
    beam: *mut AttnBeam,
    values: *const f32,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let values = edge::elements(values, count)?;
        Ok(get(beam)?.decoder.load_reals(values)?)
    })
}

/// Runs at most `operators` operators of the search, so that a scheduler has other work in between. `done` becomes true at the end of the search.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_poll(
    beam: *mut AttnBeam,
    operators: usize,
    done: *mut bool,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        edge::write(done, false)?;
        let progress = get(beam)?.decoder.poll(operators)?;
        edge::write(done, progress == Progress::Done)
    })
}

/// Starts a new sequence of a model that reads no input.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_restart(beam: *mut AttnBeam, error: *mut AttnError) -> AttnCode {
    edge::finish(error, || Ok(get(beam)?.decoder.restart()?))
}

/// One step of every hypothesis, for a scheduler that has other work between steps. `done` becomes true at the end of the search.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_step(
    beam: *mut AttnBeam,
    done: *mut bool,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        edge::write(done, false)?;
        let progress = get(beam)?.decoder.step()?;
        edge::write(done, progress == Progress::Done)
    })
}

/// Searches to the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_decode(beam: *mut AttnBeam, error: *mut AttnError) -> AttnCode {
    edge::finish(error, || {
        get(beam)?.decoder.decode()?;
        Ok(())
    })
}

/// Sequences found: at most the width of the beam, none before the search is over.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_hypotheses(beam: *const AttnBeam) -> usize {
    get(beam).map_or(0, |beam| beam.decoder.hypotheses().len())
}

/// The sequence of this rank, from 0, best first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_beam_hypothesis(
    beam: *const AttnBeam,
    rank: usize,
    hypothesis: *mut AttnHypothesis,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let mut found = get(beam)?.decoder.hypotheses();
        let count = found.len() as u64;
        let none = AttnError::from(AttnCode::NoSuchHypothesis).about(rank);
        let found = found.nth(rank).ok_or(none.expected(count))?;
        edge::write(
            hypothesis,
            AttnHypothesis {
                tokens: found.tokens.as_ptr(),
                count: found.tokens.len(),
                score: found.score,
                normalized: found.normalized,
                ended: found.ended,
            },
        )
    })
}

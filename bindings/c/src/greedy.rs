//! Greedy decoding: text, symbols or features in, the best token of every step out.

use crate::edge;
use crate::error::{AttnCode, AttnError};
use crate::sampling::AttnSampling;
use crate::session::{AttnPoll, AttnSession};
use crate::slot::{forget, get, give_back, holds, lend, put, vacant};
use attn_runtime::seq2seq::Greedy;
use core::ffi::c_char;
use core::task::Poll;

/// Size in units of 8 bytes.
#[cfg(target_pointer_width = "32")]
pub const ATTN_GREEDY_WORDS: usize = 5;
/// Size in units of 8 bytes.
#[cfg(target_pointer_width = "64")]
pub const ATTN_GREEDY_WORDS: usize = 8;

/// Most tokens that one is drawn among.
pub const ATTN_MAX_CANDIDATES: usize = 16;

/// A decoder that takes the best token of every step. It has a session until it is released: the session refuses other use.
#[repr(C)]
pub struct AttnGreedy {
    opaque: [u64; ATTN_GREEDY_WORDS],
}
holds!(AttnGreedy, Decoding, 0x6772_6565);

/// A decoder and the session that it has.
pub(crate) struct Decoding {
    decoder: Greedy<'static, 'static, 'static>,
    session: *mut AttnSession,
}

/// Makes a decoder that has `session` until `attn_greedy_release`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_init(
    greedy: *mut AttnGreedy,
    session: *mut AttnSession,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        vacant(greedy)?;
        let made = Greedy::new(lend(session)?)
            .map(|decoder| Decoding { decoder, session })
            .inspect_err(|_| give_back(session));
        put(greedy, made)
    })
}

/// Gives the session back. The decoder has to be initialised before it is used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_release(
    greedy: *mut AttnGreedy,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let session = get(greedy)?.session;
        forget(greedy);
        give_back(session);
        Ok(())
    })
}

/// Reads text, spelled in the symbols of the model's vocabulary, and starts a new sequence. `text` ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_encode_text(
    greedy: *mut AttnGreedy,
    text: *const c_char,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        Ok(get(greedy)?.decoder.encode_text(edge::string(text)?)?)
    })
}

/// Reads `count` symbols by number, followed by the end symbol if the model has one, and starts a new sequence.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_encode_symbols(
    greedy: *mut AttnGreedy,
    symbols: *const u16,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let symbols = edge::elements(symbols, count)?;
        Ok(get(greedy)?.decoder.encode_symbols(symbols)?)
    })
}

/// Reads whole rows of 8-bit features, `count` elements in all, and starts a new sequence.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_encode_i8(
    greedy: *mut AttnGreedy,
    elements: *const i8,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let elements = edge::elements(elements, count)?;
        Ok(get(greedy)?.decoder.encode(elements)?)
    })
}

/// Reads whole rows of 16-bit features, `count` elements in all, and starts a new sequence.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_encode_i16(
    greedy: *mut AttnGreedy,
    elements: *const i16,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let elements = edge::elements(elements, count)?;
        Ok(get(greedy)?.decoder.encode(elements)?)
    })
}

/// Reads whole rows of features as real values, `count` elements in all, and starts a new sequence: they become elements of the input's type, half
/// precision included, as in `attn_session_set_f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_encode_f32(
    greedy: *mut AttnGreedy,
    values: *const f32,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let values = edge::elements(values, count)?;
        Ok(get(greedy)?.decoder.encode_reals(values)?)
    })
}

/// As `attn_greedy_encode_text`, but leaves the run to `attn_greedy_poll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_load_text(
    greedy: *mut AttnGreedy,
    text: *const c_char,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        Ok(get(greedy)?.decoder.load_text(edge::string(text)?)?)
    })
}

/// As `attn_greedy_encode_symbols`, but leaves the run to `attn_greedy_poll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_load_symbols(
    greedy: *mut AttnGreedy,
    symbols: *const u16,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let symbols = edge::elements(symbols, count)?;
        Ok(get(greedy)?.decoder.load_symbols(symbols)?)
    })
}

/// As `attn_greedy_encode_i8`, but leaves the run to `attn_greedy_poll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_load_i8(
    greedy: *mut AttnGreedy,
    elements: *const i8,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let elements = edge::elements(elements, count)?;
        Ok(get(greedy)?.decoder.load(elements)?)
    })
}

/// As `attn_greedy_encode_i16`, but leaves the run to `attn_greedy_poll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_load_i16(
    greedy: *mut AttnGreedy,
    elements: *const i16,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let elements = edge::elements(elements, count)?;
        Ok(get(greedy)?.decoder.load(elements)?)
    })
}

/// As `attn_greedy_encode_f32`, but leaves the run to `attn_greedy_poll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_load_f32(
    greedy: *mut AttnGreedy,
    values: *const f32,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let values = edge::elements(values, count)?;
        Ok(get(greedy)?.decoder.load_reals(values)?)
    })
}

/// Runs at most `operators` operators of the sequence, so that a scheduler has other work in between. `state` becomes `ATTN_POLL_PENDING` while a token is
/// not complete, `ATTN_POLL_READY` with the next `token`, `ATTN_POLL_DONE` at the end of the sequence.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_poll(
    greedy: *mut AttnGreedy,
    operators: usize,
    token: *mut u16,
    state: *mut AttnPoll,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        edge::write(token, 0)?;
        edge::write(state, AttnPoll::Done)?;
        match get(greedy)?.decoder.poll(operators)? {
            Poll::Pending => edge::write(state, AttnPoll::Pending),
            Poll::Ready(None) => Ok(()),
            Poll::Ready(Some(next)) => {
                edge::write(token, next)?;
                edge::write(state, AttnPoll::Ready)
            }
        }
    })
}

/// Starts a new sequence of a model that reads no input.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_restart(
    greedy: *mut AttnGreedy,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || Ok(get(greedy)?.decoder.restart()?))
}

/// Follows text, spelled in the names of the model's output tokens, so that the next tokens continue it. `text` ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_prompt_text(
    greedy: *mut AttnGreedy,
    text: *const c_char,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        Ok(get(greedy)?.decoder.prompt_text(edge::string(text)?)?)
    })
}

/// Follows `count` known tokens, so that the next tokens continue them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_prompt(
    greedy: *mut AttnGreedy,
    tokens: *const u16,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let tokens = edge::elements(tokens, count)?;
        Ok(get(greedy)?.decoder.prompt(tokens)?)
    })
}

/// Runs a step, but continues with `token` in any case: to lead the model through a known sequence and read `attn_greedy_weights` after each step.
/// `more` becomes false at the end of the sequence.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_follow(
    greedy: *mut AttnGreedy,
    token: u16,
    more: *mut bool,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        edge::write(more, false)?;
        let running = get(greedy)?.decoder.follow(token)?;
        edge::write(more, running)
    })
}

/// The next token. `more` becomes false, and `token` 0, at the end of the sequence: after the end token, or at the model's limit on tokens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_step(
    greedy: *mut AttnGreedy,
    token: *mut u16,
    more: *mut bool,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        edge::write(token, 0)?;
        edge::write(more, false)?;
        if let Some(next) = get(greedy)?.decoder.step()? {
            edge::write(token, next)?;
            edge::write(more, true)?;
        }
        Ok(())
    })
}

/// The next token, drawn by `sampling` among the `candidates` best ones, 1 to `ATTN_MAX_CANDIDATES`. `more` and `token` become what they do in
/// `attn_greedy_step`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_step_sampled(
    greedy: *mut AttnGreedy,
    sampling: *mut AttnSampling,
    candidates: usize,
    token: *mut u16,
    more: *mut bool,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        edge::write(token, 0)?;
        edge::write(more, false)?;
        if candidates == 0 || candidates > ATTN_MAX_CANDIDATES {
            let wrong = AttnCode::BadCandidates.found(candidates as u64);
            return Err(wrong.expected(ATTN_MAX_CANDIDATES as u64));
        }
        let (decoder, sampling) = (&mut get(greedy)?.decoder, get(sampling)?);
        let next = decoder.step_by::<ATTN_MAX_CANDIDATES>(|found| {
            sampling.pick(found.get(..candidates).unwrap_or(found))
        })?;
        if let Some(next) = next {
            edge::write(token, next)?;
            edge::write(more, true)?;
        }
        Ok(())
    })
}

/// Copies the attention weights of the last step over the rows of the input: real values from 0 to 1, as many as there is room for. `count` becomes
/// their number; where that is more than `most`, the code is `ATTN_CODE_WRONG_COUNT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_weights(
    greedy: *const AttnGreedy,
    weights: *mut f32,
    most: usize,
    count: *mut usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        edge::write(count, 0)?;
        let weights = edge::elements_mut(weights, most)?;
        let found = get(greedy)?.decoder.read_weights(weights)?;
        edge::write(count, found)?;
        if found > most {
            let wrong = AttnCode::WrongCount.found(most as u64);
            return Err(wrong.expected(found as u64));
        }
        Ok(())
    })
}

/// Log-probability of all tokens since the start, the end token included: Q16 nats. 0 for what is no decoder.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_score(greedy: *const AttnGreedy) -> i32 {
    get(greedy).map_or(0, |greedy| greedy.decoder.score())
}

/// True after the end token; false while more tokens follow, and if the limit ended the sequence.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_greedy_ended(greedy: *const AttnGreedy) -> bool {
    get(greedy).is_ok_and(|greedy| greedy.decoder.ended())
}

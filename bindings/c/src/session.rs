//! A model in its arena: fill the inputs, run, read the outputs.

use crate::edge;
use crate::error::{AttnCode, AttnError};
use crate::model::AttnModel;
use crate::slot::{get, holds, put, vacant};
use attn_runtime::{DType, Element, Progress, Session};
use core::ffi::c_void;

/// Size in units of 8 bytes.
#[cfg(target_pointer_width = "32")]
pub const ATTN_SESSION_WORDS: usize = 14;
/// Size in units of 8 bytes.
#[cfg(target_pointer_width = "64")]
pub const ATTN_SESSION_WORDS: usize = 27;

/// How far a call came that does its work in slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum AttnPoll {
    /// There is more to do before there is a result.
    Pending = 0,
    /// There is a result.
    Ready = 1,
    /// There is none, and nothing to do.
    Done = 2,
}

/// A model that runs in an arena. It points to the model's file and to the arena, which have to stay where they are.
#[repr(C)]
pub struct AttnSession {
    opaque: [u64; ATTN_SESSION_WORDS],
}
holds!(AttnSession, Session<'static, 'static>, 0x7365_7373);

/// Evaluates `$call` with `$element` as the element type that `$dtype` stands for.
macro_rules! by_type {
    ($dtype:expr, $element:ident => $call:expr) => {
        match $dtype {
            DType::I8 => by_type!(@ i8, $element => $call),
            DType::I16 => by_type!(@ i16, $element => $call),
            DType::I32 => by_type!(@ i32, $element => $call),
            // Chips without a floating-point unit have no half precision: parsing refuses it there.
            #[cfg(all(feature = "fp16", any(not(target_os = "none"), target_abi = "eabihf")))]
            DType::F16 => by_type!(@ attn_runtime::f16, $element => $call),
            #[cfg(not(all(feature = "fp16", any(not(target_os = "none"), target_abi = "eabihf"))))]
            DType::F16 => return Err(AttnCode::NoHalf.into()),
        }
    };
    (@ $type:ty, $element:ident => $call:expr) => {{
        type $element = $type;
        $call
    }};
}

/// Puts a model into `arena`, of at least `attn_model_arena_len` bytes at a multiple of `ATTN_ALIGNMENT`, and resets its state. The model is copied
/// into the session; its file is not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_init(
    session: *mut AttnSession,
    model: *const AttnModel,
    arena: *mut c_void,
    arena_len: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        vacant(session)?;
        let model = *get(model)?;
        let arena = edge::memory(arena.cast(), arena_len, model.arena_len())?;
        put(session, Session::new(model, arena))
    })
}

/// Resets every state to its initial value. A run in progress is given up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_reset(
    session: *mut AttnSession,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        get(session)?.reset();
        Ok(())
    })
}

/// Sets the length of the sequence for the next runs. Inputs are filled afterwards; the outputs of earlier runs are void.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_set_length(
    session: *mut AttnSession,
    length: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || Ok(get(session)?.set_length(length)?))
}

/// Runs an entry point from start to end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_run(
    session: *mut AttnSession,
    entry: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || Ok(get(session)?.run(entry)?))
}

/// Begins a run that `attn_session_run_ops` carries on in slices.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_start(
    session: *mut AttnSession,
    entry: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || Ok(get(session)?.start(entry)?))
}

/// Runs at most `count` operators of the run begun by `attn_session_start`. `done` becomes true when the outputs are ready.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_run_ops(
    session: *mut AttnSession,
    count: usize,
    done: *mut bool,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        edge::write(done, false)?;
        let progress = get(session)?.run_ops(count)?;
        edge::write(done, progress == Progress::Done)
    })
}

/// Where the elements of an input are in the arena, to be filled in place before its entry point runs: `count` elements of the port's type. The
/// pointer is valid until the session is used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_input(
    session: *mut AttnSession,
    entry: usize,
    index: usize,
    elements: *mut *mut c_void,
    count: *mut usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let session = get(session)?;
        let dtype = session.input_record(entry, index)?.dtype();
        let (first, found) = by_type!(dtype, E => {
            let found = session.input::<E>(entry, index)?;
            (found.as_mut_ptr().cast(), found.len())
        });
        edge::write(elements, first)?;
        edge::write(count, found)
    })
}

/// Where the elements of an output are in the arena, after its entry point has run: `count` elements of the port's type. The pointer is valid until
/// the session is used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_output(
    session: *const AttnSession,
    entry: usize,
    index: usize,
    elements: *mut *const c_void,
    count: *mut usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let session = get(session)?;
        let dtype = session.output_record(entry, index)?.dtype();
        let (first, found) = by_type!(dtype, E => {
            let found = session.output::<E>(entry, index)?;
            (found.as_ptr().cast(), found.len())
        });
        edge::write(elements, first)?;
        edge::write(count, found)
    })
}

/// Copies `count` elements into an input of this type; the input has exactly so many.
unsafe fn set<E: Element + Copy>(
    session: *mut AttnSession,
    [entry, index]: [usize; 2],
    elements: *const E,
    count: usize,
) -> Result<(), AttnError> {
    let elements = edge::elements(elements, count)?;
    let input = get(session)?.input::<E>(entry, index)?;
    exactly(count, input.len())?;
    let pairs = input.iter_mut().zip(elements);
    pairs.for_each(|(slot, element)| *slot = *element);
    Ok(())
}

/// Copies an output of this type, which has exactly `count` elements.
unsafe fn read<E: Element + Copy>(
    session: *const AttnSession,
    [entry, index]: [usize; 2],
    elements: *mut E,
    count: usize,
) -> Result<(), AttnError> {
    let elements = edge::elements_mut(elements, count)?;
    let output = get(session)?.output::<E>(entry, index)?;
    exactly(count, output.len())?;
    let pairs = elements.iter_mut().zip(output);
    pairs.for_each(|(slot, element)| *slot = *element);
    Ok(())
}

fn exactly(given: usize, needed: usize) -> Result<(), AttnError> {
    if given == needed {
        return Ok(());
    }
    Err(AttnCode::WrongCount
        .found(given as u64)
        .expected(needed as u64))
}

/// Copies `count` elements into a 8-bit input; it has exactly so many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_set_i8(
    session: *mut AttnSession,
    entry: usize,
    index: usize,
    elements: *const i8,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || set(session, [entry, index], elements, count))
}

/// Copies a 8-bit output, which has exactly `count` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_read_i8(
    session: *const AttnSession,
    entry: usize,
    index: usize,
    elements: *mut i8,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || read(session, [entry, index], elements, count))
}

/// Copies `count` elements into a 16-bit input; it has exactly so many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_set_i16(
    session: *mut AttnSession,
    entry: usize,
    index: usize,
    elements: *const i16,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || set(session, [entry, index], elements, count))
}

/// Copies a 16-bit output, which has exactly `count` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_read_i16(
    session: *const AttnSession,
    entry: usize,
    index: usize,
    elements: *mut i16,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || read(session, [entry, index], elements, count))
}

/// Copies `count` elements into a 32-bit input; it has exactly so many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_set_i32(
    session: *mut AttnSession,
    entry: usize,
    index: usize,
    elements: *const i32,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || set(session, [entry, index], elements, count))
}

/// Copies a 32-bit output, which has exactly `count` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_read_i32(
    session: *const AttnSession,
    entry: usize,
    index: usize,
    elements: *mut i32,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || read(session, [entry, index], elements, count))
}

/// Fills an input of any type with `count` real values, each rounded to the nearest step and limited to the range of the type; the input has exactly
/// so many elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_set_f32(
    session: *mut AttnSession,
    entry: usize,
    index: usize,
    values: *const f32,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let values = edge::elements(values, count)?;
        let session = get(session)?;
        let record = session.input_record(entry, index)?;
        let (scale, zero_point) = (record.scale, record.zero_point);
        by_type!(record.dtype(), E => {
            let input = session.input::<E>(entry, index)?;
            exactly(count, input.len())?;
            for (slot, value) in input.iter_mut().zip(values) {
                *slot = E::from_real(*value, scale, zero_point);
            }
        });
        Ok(())
    })
}

/// The `count` real values of an output of any type, which has exactly so many elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_session_read_f32(
    session: *const AttnSession,
    entry: usize,
    index: usize,
    values: *mut f32,
    count: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let values = edge::elements_mut(values, count)?;
        let session = get(session)?;
        let record = session.output_record(entry, index)?;
        let (scale, zero_point) = (record.scale, record.zero_point);
        by_type!(record.dtype(), E => {
            let output = session.output::<E>(entry, index)?;
            exactly(count, output.len())?;
            for (slot, element) in values.iter_mut().zip(output) {
                *slot = element.to_real(scale, zero_point);
            }
        });
        Ok(())
    })
}

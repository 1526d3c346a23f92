//! Keyword spotting: samples or features in, keywords out.

use crate::edge::{self, AttnText};
use crate::error::{AttnCode, AttnError};
use crate::model::{ATTN_NONE, AttnModel};
use crate::session::AttnPoll;
use crate::slot::{get, give_back, holds, lend, put, vacant};
use attn_runtime::kws::{Event, FeatureSpotter, KeywordSpotter, NEVER};
use core::ffi::c_void;
use core::task::Poll;

/// Samples per second that a spotter takes.
pub const ATTN_SAMPLE_RATE: u32 = 16000;
/// Threshold of a label that never fires.
pub const ATTN_NEVER: u16 = 65535;
const _: () = assert!(ATTN_NEVER == NEVER);
const _: () = assert!(ATTN_SAMPLE_RATE == attn_runtime::audio::SAMPLE_RATE);

/// Size in units of 8 bytes.
#[cfg(target_pointer_width = "32")]
pub const ATTN_SPOTTER_WORDS: usize = 645;
/// Size in units of 8 bytes.
#[cfg(target_pointer_width = "64")]
pub const ATTN_SPOTTER_WORDS: usize = 661;

/// A model that listens. It points to the model's file and to the arena, which have to stay where they are.
#[repr(C)]
pub struct AttnSpotter {
    opaque: [u64; ATTN_SPOTTER_WORDS],
}
holds!(AttnSpotter, KeywordSpotter<'static, 'static>, 0x7370_6f74);

/// Size in units of 8 bytes.
#[cfg(target_pointer_width = "32")]
pub const ATTN_FEATURE_SPOTTER_WORDS: usize = 257;
/// Size in units of 8 bytes.
#[cfg(target_pointer_width = "64")]
pub const ATTN_FEATURE_SPOTTER_WORDS: usize = 273;

/// A spotter for a front end of your own.
#[repr(C)]
pub struct AttnFeatureSpotter {
    opaque: [u64; ATTN_FEATURE_SPOTTER_WORDS],
}
holds!(
    AttnFeatureSpotter,
    FeatureSpotter<'static, 'static>,
    0x6665_6174
);

/// A keyword that was heard.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct AttnEvent {
    /// Samples since the start up to the end of the frame that decided.
    pub time_samples: u64,
    /// The label.
    pub label: AttnText,
    /// Its number.
    pub label_index: usize,
    /// Averaged posterior, Q15: 0 to 32767.
    pub confidence_q15: u16,
}

impl From<Event<'static>> for AttnEvent {
    fn from(event: Event<'static>) -> Self {
        Self {
            time_samples: event.time_samples,
            label: event.label.into(),
            label_index: event.label_index,
            confidence_q15: event.confidence_q15,
        }
    }
}

/// The decision of one hop.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct AttnDecision {
    /// Number of the label that fired; `ATTN_NONE` if none did.
    pub label_index: usize,
    /// Averaged posterior, Q15: 0 to 32767.
    pub confidence_q15: u16,
}

/// What `attn_spotter_push` calls for each keyword, with the context that it was given. The event is valid until the function returns. It must return
/// (no `longjmp`, no exception); the spotter refuses to be used in it.
pub type AttnOnEvent = Option<unsafe extern "C" fn(context: *mut c_void, event: *const AttnEvent)>;

/// Puts a keyword spotter around a model into `arena`, of at least `attn_model_arena_len` bytes at a multiple of `ATTN_ALIGNMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_spotter_init(
    spotter: *mut AttnSpotter,
    model: *const AttnModel,
    arena: *mut c_void,
    arena_len: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        vacant(spotter)?;
        let model = *get(model)?;
        let arena = edge::memory(arena.cast(), arena_len, model.arena_len())?;
        put(spotter, KeywordSpotter::new(model, arena))
    })
}

/// Takes any number of samples (16 kHz, mono) and reports every keyword that they complete. `on_event` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_spotter_push(
    spotter: *mut AttnSpotter,
    samples: *const i16,
    count: usize,
    on_event: AttnOnEvent,
    context: *mut c_void,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let samples = edge::elements(samples, count)?;
        let listening = lend(spotter)?;
        let result = listening.push(samples, |heard| {
            let event = AttnEvent::from(heard);
            if let Some(on_event) = on_event {
                on_event(context, &raw const event);
            }
        });
        give_back(spotter);
        Ok(result?)
    })
}

/// Takes samples up to the end of the next frame and begins its run, which `attn_spotter_poll` carries on in slices; while one is in progress, it takes
/// none. `taken` becomes the number of samples that it took: the rest is given again later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_spotter_feed(
    spotter: *mut AttnSpotter,
    samples: *const i16,
    count: usize,
    taken: *mut usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        edge::write(taken, 0)?;
        let samples = edge::elements(samples, count)?;
        let rest = get(spotter)?.feed(samples)?;
        edge::write(taken, count - rest.len())
    })
}

/// Runs at most `operators` operators of the frame that `attn_spotter_feed` began. `state` becomes `ATTN_POLL_PENDING` while there are more,
/// `ATTN_POLL_READY` with the `event` if a keyword was heard, else `ATTN_POLL_DONE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_spotter_poll(
    spotter: *mut AttnSpotter,
    operators: usize,
    event: *mut AttnEvent,
    state: *mut AttnPoll,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        edge::write(state, AttnPoll::Done)?;
        match get(spotter)?.poll(operators)? {
            Poll::Pending => edge::write(state, AttnPoll::Pending),
            Poll::Ready(None) => Ok(()),
            Poll::Ready(Some(heard)) => {
                edge::write(event, heard.into())?;
                edge::write(state, AttnPoll::Ready)
            }
        }
    })
}

/// Says that `samples` were lost before the next ones. What was heard before them is forgotten; times of events go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_spotter_gap(
    spotter: *mut AttnSpotter,
    samples: u64,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        get(spotter)?.gap(samples);
        Ok(())
    })
}

/// Forgets everything that was heard; time starts at 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_spotter_reset(
    spotter: *mut AttnSpotter,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        get(spotter)?.reset();
        Ok(())
    })
}

/// Sets the threshold of a label: Q15, 0 to 32767, or `ATTN_NEVER`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_spotter_set_threshold(
    spotter: *mut AttnSpotter,
    label: usize,
    threshold_q15: u16,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        Ok(get(spotter)?.set_threshold(label, threshold_q15)?)
    })
}

/// Samples between two runs of the model: a microphone best delivers pieces of this length. 0 for what is no spotter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_spotter_hop(spotter: *const AttnSpotter) -> usize {
    get(spotter).map_or(0, |spotter| spotter.hop())
}

/// Puts a spotter for features around a model into `arena`, of at least `attn_model_arena_len` bytes at a multiple of `ATTN_ALIGNMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_feature_spotter_init(
    spotter: *mut AttnFeatureSpotter,
    model: *const AttnModel,
    arena: *mut c_void,
    arena_len: usize,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        vacant(spotter)?;
        let model = *get(model)?;
        let arena = edge::memory(arena.cast(), arena_len, model.arena_len())?;
        put(spotter, FeatureSpotter::new(model, arena))
    })
}

/// Takes the `count` features of one hop, in the steps of the model's input, and gives the decision that they complete.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_feature_spotter_push(
    spotter: *mut AttnFeatureSpotter,
    features: *const i8,
    count: usize,
    decision: *mut AttnDecision,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        let mut decided = AttnDecision {
            label_index: ATTN_NONE,
            confidence_q15: 0,
        };
        edge::write(decision, decided)?;
        let features = edge::elements(features, count)?;
        if let Some(fired) = get(spotter)?.push_features(features)? {
            decided = AttnDecision {
                label_index: fired.label,
                confidence_q15: fired.confidence_q15,
            };
        }
        edge::write(decision, decided)
    })
}

/// Forgets everything that was heard.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_feature_spotter_reset(
    spotter: *mut AttnFeatureSpotter,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        get(spotter)?.reset();
        Ok(())
    })
}

/// Sets the threshold of a label: Q15, 0 to 32767, or `ATTN_NEVER`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn attn_feature_spotter_set_threshold(
    spotter: *mut AttnFeatureSpotter,
    label: usize,
    threshold_q15: u16,
    error: *mut AttnError,
) -> AttnCode {
    edge::finish(error, || {
        Ok(get(spotter)?.set_threshold(label, threshold_q15)?)
    })
}

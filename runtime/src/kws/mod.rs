//! Keyword spotting: PCM in, keyword events out.
//!
//! Here are the chain `audio → session → decision` ([`KeywordSpotter`]), its part behind the front end ([`FeatureSpotter`]) and the
//! decision rule ([`Decoder`]); [`crate::audio`] computes features, the model computes logits. `training/attn_training/words/spot.py` has the same rule: posteriors are averaged
//! over the last hops, and the keyword with the highest average fires when it reaches its threshold.

mod decoder;
mod feature;
#[cfg(test)]
mod tests;

pub use decoder::{Decision, Decoder};
pub use feature::FeatureSpotter;

use crate::audio::{AudioError, FEATURE_SCALE, FRAME_LEN, FrontEnd, MEL_BANDS, SAMPLE_RATE};
use crate::format::TensorRecord;
use crate::model::Model;
use crate::session::{Progress, SessionError};
use core::fmt;
use core::task::Poll;

/// Most labels of a spotter.
pub const MAX_LABELS: usize = 64;
/// Most posteriors that are kept for smoothing: labels times hops.
pub const HISTORY_LEN: usize = 768;
/// Threshold of a label that means "no keyword" and never fires, whatever it is called; so does every threshold above 32767.
pub const NEVER: u16 = u16::MAX;

/// Why a model is no keyword spotter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SpotterError {
    /// The session cannot be made.
    Session(SessionError),
    /// The model's hop does not fit the front end.
    Audio(AudioError),
    /// The model does not say that its input is audio.
    NoAudio,
    /// The model was made for another front end.
    OtherFrontEnd {
        /// Samples per second that the model wants.
        sample_rate: u32,
        /// Samples per frame that the model wants.
        frame_len: u32,
        /// Mel bands that the model wants.
        mel_bands: u32,
    },
    /// The model has no parameters for the decision rule.
    NoSpotter,
    /// The model has no labels, or more than [`MAX_LABELS`].
    BadLabelCount {
        /// Labels in the file.
        labels: usize,
    },
    /// Labels and thresholds are not the same number.
    BadThresholdCount {
        /// Labels in the file.
        labels: usize,
        /// Thresholds in the file.
        thresholds: usize,
    },
    /// No hops to average over, or more posteriors than [`HISTORY_LEN`].
    BadSmoothing {
        /// Hops to average over.
        hops: usize,
        /// Labels per hop.
        labels: usize,
    },
    /// No entry point takes one frame of features and gives one logit per label.
    NoSuitableEntry,
    /// A hop has another number of features than the model takes.
    BadFeatureCount {
        /// Features that the model takes.
        needed: usize,
        /// Features that were given.
        given: usize,
    },
    /// The model has no label of this number.
    NoSuchLabel {
        /// The number, from 0.
        label: usize,
        /// Labels of the model.
        labels: usize,
    },
}

impl fmt::Display for SpotterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Session(error) => write!(f, "{error}"),
            Self::Audio(error) => write!(f, "{error}"),
            Self::NoAudio => f.write_str(
                "the model does not say that its input is audio: convert it with an audio hop",
            ),
            Self::OtherFrontEnd {
                sample_rate,
                frame_len,
                mel_bands,
            } => write!(
                f,
                "the model wants {sample_rate} Hz, frames of {frame_len} samples and {mel_bands} mel bands; \
                 this front end has {SAMPLE_RATE} Hz, {FRAME_LEN} and {MEL_BANDS}: train it on `attn features`"
            ),
            Self::NoSpotter => f.write_str(
                "the model does not say how posteriors become events: convert it with smoothing and a threshold",
            ),
            Self::BadLabelCount { labels } => write!(
                f,
                "{labels} labels, 1 to {MAX_LABELS} are possible: convert the model with one label for each logit"
            ),
            Self::BadThresholdCount { labels, thresholds } => {
                write!(f, "{labels} labels but {thresholds} thresholds: convert the model again")
            }
            Self::BadSmoothing { hops, labels } => write!(
                f,
                "smoothing over {hops} hops of {labels} labels: 1 to {HISTORY_LEN} posteriors can be kept"
            ),
            Self::NoSuitableEntry => write!(
                f,
                "no entry point takes int8 features [1, {MEL_BANDS}] at scale 1/32 and gives one int8 or int16 logit \
                 per label: convert the model for streaming"
            ),
            Self::BadFeatureCount { needed, given } => {
                write!(f, "{given} features, the model takes {needed} in a hop")
            }
            Self::NoSuchLabel { label, labels } => {
                write!(f, "label {label} of {labels}: labels are counted from 0")
            }
        }
    }
}

impl core::error::Error for SpotterError {}

impl From<SessionError> for SpotterError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<AudioError> for SpotterError {
    fn from(error: AudioError) -> Self {
        Self::Audio(error)
    }
}

/// A keyword that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Event<'m> {
    /// Samples since the start (or [`KeywordSpotter::reset`]) up to the end of the frame that decided.
    pub time_samples: u64,
    /// Number of the label.
    pub label_index: usize,
    /// The label.
    pub label: &'m str,
    /// Averaged posterior, Q15: 0 to 32767.
    pub confidence_q15: u16,
}

impl Event<'_> {
    /// [`Event::time_samples`] in milliseconds, rounded down.
    pub fn time_ms(&self) -> u64 {
        self.time_samples / const { (SAMPLE_RATE / 1000) as u64 }
    }
}

/// A model that listens: takes PCM in pieces of any length and reports keywords.
#[derive(Debug)]
pub struct KeywordSpotter<'m, 'a> {
    front_end: FrontEnd,
    spotter: FeatureSpotter<'m, 'a>,
    hop: u64,
    /// Samples up to the end of the next frame.
    frame_end: u64,
}

impl<'m, 'a> KeywordSpotter<'m, 'a> {
    /// Puts a streaming model into `arena` (see [`crate::Session::new`]).
    ///
    /// # Errors
    /// [`SpotterError`]: the model lacks what a spotter needs, or does not fit the arena or the front end.
    pub fn new(model: Model<'m>, arena: &'a mut [u8]) -> Result<Self, SpotterError> {
        let hop = front_end_hop(&model)?;
        let spotter = FeatureSpotter::for_input(model, arena, is_front_end_frame)?;
        Ok(Self {
            front_end: FrontEnd::new(hop)?,
            spotter,
            hop: hop as u64,
            frame_end: FRAME_LEN as u64,
        })
    }

    /// Takes any number of samples (16 kHz) and reports every keyword that they complete.
    ///
    /// # Errors
    /// [`SessionError::Unfinished`] while a hop of [`Self::feed`] is half-way; otherwise never for a parsed model.
    pub fn push(
        &mut self,
        mut pcm: &[i16],
        mut on_event: impl FnMut(Event<'m>),
    ) -> Result<(), SessionError> {
        while let Some((features, rest)) = self.front_end.push_frame(pcm) {
            pcm = rest;
            if let Some(decision) = self.spotter.take(features)? {
                on_event(self.event(decision, self.frame_end));
            }
            self.frame_end += self.hop;
        }
        Ok(())
    }

    /// Takes samples up to the end of the next frame and computes its features; [`Self::poll`] runs the network on them. Returns the
    /// samples that are left: all of them as long as a hop is half-way.
    ///
    /// ```no_run
    /// # fn listen(spotter: &mut attn_runtime::kws::KeywordSpotter, pcm: &[i16]) -> Result<(), attn_runtime::SessionError> {
    /// use core::task::Poll;
    ///
    /// let mut rest = pcm;
    /// while !rest.is_empty() {
    ///     rest = spotter.feed(rest)?;
    ///     loop {
    ///         match spotter.poll(1)? {
    ///             Poll::Pending => { /* something else */ }
    ///             Poll::Ready(Some(event)) => { /* event.label was heard */ break }
    ///             Poll::Ready(None) => break,
    ///         }
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionError`]; never for a parsed model.
    pub fn feed<'p>(&mut self, pcm: &'p [i16]) -> Result<&'p [i16], SessionError> {
        if self.spotter.session.is_running() {
            return Ok(pcm);
        }
        let Some((features, rest)) = self.front_end.push_frame(pcm) else {
            return Ok(&[]);
        };
        self.spotter.begin(features)?;
        self.frame_end += self.hop;
        Ok(rest)
    }

    /// Runs at most `operators` operators, and at least one, of the hop that [`Self::feed`] began, so that a cooperative scheduler can do other
    /// work in between: `Pending` while there are more, then the keyword, if one was heard. `Ready(None)` if no hop was begun.
    ///
    /// # Errors
    /// [`SessionError`]; never for a parsed model.
    pub fn poll(&mut self, operators: usize) -> Result<Poll<Option<Event<'m>>>, SessionError> {
        let session = &mut self.spotter.session;
        if !session.is_running() {
            return Ok(Poll::Ready(None));
        }
        if session.run_ops(operators.max(1))? == Progress::More {
            return Ok(Poll::Pending);
        }
        let end = self.frame_end.saturating_sub(self.hop);
        let decision = self.spotter.decide()?;
        let event = decision.map(|decision| self.event(decision, end));
        Ok(Poll::Ready(event))
    }

    fn event(&self, decision: Decision, time_samples: u64) -> Event<'m> {
        let mut labels = self.spotter.session.model().labels();
        Event {
            time_samples,
            label_index: decision.label,
            label: labels.nth(decision.label).unwrap_or(""),
            confidence_q15: decision.confidence_q15,
        }
    }

    /// Sets the threshold of a label, as [`Decoder::set_threshold`]. The file keeps its own.
    ///
    /// # Errors
    /// [`SpotterError::NoSuchLabel`].
    pub fn set_threshold(&mut self, label: usize, threshold_q15: u16) -> Result<(), SpotterError> {
        self.spotter.set_threshold(label, threshold_q15)
    }

    /// Forgets everything that was heard.
    pub fn reset(&mut self) {
        self.front_end.reset();
        self.spotter.reset();
        self.frame_end = FRAME_LEN as u64;
    }

    /// Reports that `samples` were lost before the next piece, for example in an overrun of the microphone's buffer. What was
    /// heard before them is forgotten, since it does not go with what comes; times of events go on.
    pub fn gap(&mut self, samples: u64) {
        if samples == 0 {
            return;
        }
        let missing = self.front_end.samples_to_next_frame() as u64;
        let heard = self.frame_end.saturating_sub(missing);
        self.reset();
        self.frame_end = self.frame_end.saturating_add(heard).saturating_add(samples);
    }

    /// Read access to the decision rule with its averages.
    pub fn decoder(&self) -> &Decoder {
        self.spotter.decoder()
    }

    /// Samples between two frames; a microphone best delivers pieces of this length.
    pub fn hop(&self) -> usize {
        self.hop as usize
    }
}

/// The model's hop in samples, if it was made for this front end.
fn front_end_hop(model: &Model<'_>) -> Result<usize, SpotterError> {
    let audio = model.audio().ok_or(SpotterError::NoAudio)?;
    let wanted = (audio.sample_rate, audio.frame_len, audio.mel_bands);
    if wanted != (SAMPLE_RATE, FRAME_LEN as u32, MEL_BANDS as u32) {
        return Err(SpotterError::OtherFrontEnd {
            sample_rate: audio.sample_rate,
            frame_len: audio.frame_len,
            mel_bands: audio.mel_bands,
        });
    }
    Ok(audio.hop as usize)
}

/// Whether an input is one frame of this front end's features.
fn is_front_end_frame(input: &TensorRecord) -> bool {
    input.len() == MEL_BANDS && (input.scale, input.zero_point) == (FEATURE_SCALE, 0)
}

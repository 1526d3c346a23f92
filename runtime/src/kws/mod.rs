//! Keyword spotting: PCM in, keyword events out.
//!
//! Here are the chain `audio → session → decision` ([`KeywordSpotter`]) and the decision rule ([`Decoder`]); [`crate::audio`]
//! computes features, the model computes logits. `training/attn_training/words/spot.py` has the same rule: posteriors are averaged
//! over the last hops, and the keyword with the highest average fires when it reaches its threshold.

mod decoder;
#[cfg(test)]
mod tests;

pub use decoder::{Decision, Decoder};

use crate::audio::{AudioError, FEATURE_SCALE, FRAME_LEN, FrontEnd, MEL_BANDS, SAMPLE_RATE};
use crate::format::{DType, EntryRecord};
use crate::model::Model;
use crate::session::{Session, SessionError};
use core::fmt;

/// Most labels of a spotter.
pub const MAX_LABELS: usize = 64;
/// Most posteriors that are kept for smoothing: labels times hops.
pub const HISTORY_LEN: usize = 768;
/// Threshold of a label that never fires; so does every threshold above 32767.
pub const NEVER: u16 = u16::MAX;
/// Labels that mean "no keyword": they never fire, at any threshold.
pub const BACKGROUND_LABELS: [&str; 2] = ["unknown", "noise"];

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
    session: Session<'m, 'a>,
    decoder: Decoder,
    /// Entry point of one hop.
    entry: usize,
    hop: u64,
    /// Samples up to the end of the next frame.
    frame_end: u64,
}

impl<'m, 'a> KeywordSpotter<'m, 'a> {
    /// Puts a streaming model into `arena` (see [`Session::new`]).
    ///
    /// # Errors
    /// [`SpotterError`]: the model lacks what a spotter needs, or does not fit the arena or the front end.
    pub fn new(model: Model<'m>, arena: &'a mut [u8]) -> Result<Self, SpotterError> {
        let hop = front_end_hop(&model)?;
        let (spotter, thresholds) = model.spotter().ok_or(SpotterError::NoSpotter)?;
        let labels = model.labels().len();
        if labels != thresholds.len() {
            return Err(SpotterError::BadThresholdCount {
                labels,
                thresholds: thresholds.len(),
            });
        }
        let mut firing = [NEVER; MAX_LABELS];
        let firing = firing
            .get_mut(..labels)
            .ok_or(SpotterError::BadLabelCount { labels })?;
        for ((slot, &threshold), label) in firing.iter_mut().zip(thresholds).zip(model.labels()) {
            if !BACKGROUND_LABELS.contains(&label) {
                *slot = threshold;
            }
        }
        let (entry, scale) = step_entry(&model, labels).ok_or(SpotterError::NoSuitableEntry)?;
        let smoothing = spotter.smoothing_hops as usize;
        Ok(Self {
            front_end: FrontEnd::new(hop)?,
            session: Session::new(model, arena)?,
            decoder: Decoder::new(firing, smoothing, spotter.refractory_hops, scale)?,
            entry,
            hop: hop as u64,
            frame_end: FRAME_LEN as u64,
        })
    }

    /// Takes any number of samples (16 kHz) and reports every keyword that they complete.
    ///
    /// # Errors
    /// [`SessionError`]; never for a parsed model.
    pub fn push(
        &mut self,
        mut pcm: &[i16],
        mut on_event: impl FnMut(Event<'m>),
    ) -> Result<(), SessionError> {
        while let Some((features, rest)) = self.front_end.push_frame(pcm) {
            pcm = rest;
            let input = self.session.input::<i8>(self.entry, 0)?;
            input
                .iter_mut()
                .zip(features)
                .for_each(|(slot, x)| *slot = x);
            self.session.run(self.entry)?;
            if let Some(decision) = self.decide()? {
                on_event(Event {
                    time_samples: self.frame_end,
                    label_index: decision.label,
                    label: self
                        .session
                        .model()
                        .labels()
                        .nth(decision.label)
                        .unwrap_or(""),
                    confidence_q15: decision.confidence_q15,
                });
            }
            self.frame_end += self.hop;
        }
        Ok(())
    }

    /// Forgets everything that was heard.
    pub fn reset(&mut self) {
        self.front_end.reset();
        self.session.reset();
        self.decoder.reset();
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
        &self.decoder
    }

    /// Samples between two frames; a microphone best delivers pieces of this length.
    pub fn hop(&self) -> usize {
        self.hop as usize
    }

    fn decide(&mut self) -> Result<Option<Decision>, SessionError> {
        let logits = self.session.output_record(self.entry, 0)?;
        Ok(match logits.dtype() {
            DType::I16 => self
                .decoder
                .push(self.session.output::<i16>(self.entry, 0)?),
            _ => self.decoder.push(self.session.output::<i8>(self.entry, 0)?),
        })
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

/// The first entry point that maps one frame of features to one logit per label, and the scale of its logits.
fn step_entry(model: &Model<'_>, labels: usize) -> Option<(usize, f32)> {
    let scale = |entry: &EntryRecord| {
        let (mut inputs, mut outputs) = (entry.inputs(), entry.outputs());
        let (input, output) = (
            model.tensor(inputs.next()?)?,
            model.tensor(outputs.next()?)?,
        );
        let alone = inputs.next().is_none() && outputs.next().is_none();
        let features = input.dtype() == DType::I8
            && input.len() == MEL_BANDS
            && (input.scale, input.zero_point) == (FEATURE_SCALE, 0);
        let logits = matches!(output.dtype(), DType::I8 | DType::I16) && output.len() == labels;
        (alone && features && logits).then_some(output.scale)
    };
    let mut entries = model.entries().iter().enumerate();
    entries.find_map(|(id, entry)| Some((id, scale(entry)?)))
}

//! A keyword spotter on a recording, as the chip hears it: events, and the highest score of each label. Reading recordings is in
//! `attn_recordings`, choosing thresholds in [`crate::tune`].

use crate::runner::AlignedBytes;
use attn_recordings::RecordingError;
use attn_runtime::audio::SAMPLE_RATE;
use attn_runtime::kws::{KeywordSpotter, SpotterError};
use attn_runtime::{Model, SessionError};
use serde_json::{Value, json};
use thiserror::Error;

/// Why a recording cannot be listened to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpotError {
    /// The model is no keyword spotter.
    #[error(transparent)]
    Spotter(#[from] SpotterError),
    /// The recording cannot be read to its end.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The runtime refuses to run the model.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// A keyword that was heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Time from the start of the recording to the end of the hop.
    pub seconds: f64,
    /// The keyword.
    pub label: String,
    /// Its averaged posterior, 0 to 1.
    pub confidence: f64,
}

/// The highest averaged posterior of a label.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Highest {
    /// The posterior, Q15.
    pub score_q15: u16,
    /// When it was that.
    pub seconds: f64,
}

/// What a recording gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Keywords, in order.
    pub heard: Vec<Heard>,
    /// Of every label, in the order of the labels; empty unless asked for.
    pub highest: Vec<Highest>,
    /// Averaged posteriors, Q15, `[hop, label]`; empty unless asked for.
    pub scores: Vec<Vec<u16>>,
}

/// What is noted beside the keywords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// The highest score of every label.
    pub highest: bool,
    /// The scores of every hop.
    pub scores: bool,
}

/// Plays a recording (16 kHz, in pieces of any length) to the spotter from a reset on. `thresholds_q15` has one for each label. `hear` gets each keyword as it is heard.
///
/// # Errors
/// [`SpotError`].
pub fn listen(
    model: Model,
    thresholds_q15: &[u16],
    noted: Noted,
    pieces: impl Iterator<Item = Result<Vec<i16>, RecordingError>>,
    mut hear: impl FnMut(&Heard),
) -> Result<Report, SpotError> {
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut spotter = KeywordSpotter::new(model, arena.as_mut_slice())?;
    for (label, &threshold) in thresholds_q15.iter().enumerate() {
        spotter.set_threshold(label, threshold)?;
    }
    let mut report = Report::default();
    if noted.highest {
        report.highest = vec![Highest::default(); thresholds_q15.len()];
    }
    let mut samples = 0;
    for piece in pieces {
        // No longer than a hop, a piece completes one at most, and no score is passed over.
        for hop in piece?.chunks(spotter.hop()) {
            spotter.push(hop, |event| {
                let heard = Heard {
                    seconds: event.time_ms() as f64 / 1000.0,
                    label: event.label.to_owned(),
                    confidence: share(event.confidence_q15),
                };
                hear(&heard);
                report.heard.push(heard);
            })?;
            samples += hop.len();
            let seconds = samples as f64 / f64::from(SAMPLE_RATE);
            let averages = spotter.decoder().averages_q15();
            for (highest, score_q15) in report.highest.iter_mut().zip(averages) {
                if score_q15 > highest.score_q15 {
                    *highest = Highest { score_q15, seconds };
                }
            }
            if noted.scores {
                let averages = spotter.decoder().averages_q15();
                report.scores.push(averages.collect());
            }
        }
    }
    Ok(report)
}

impl Report {
    /// The report as JSON, with the names of the model's labels.
    pub fn json(&self, labels: &[&str]) -> Value {
        let event = |heard: &Heard| json!({"seconds": heard.seconds, "label": heard.label, "confidence": heard.confidence});
        let mut value = json!({"events": self.heard.iter().map(event).collect::<Vec<_>>()});
        if !self.highest.is_empty() {
            let scores = labels.iter().zip(&self.highest).map(|(label, highest)| {
                json!({"label": label, "highest": share(highest.score_q15), "seconds": highest.seconds})
            });
            value["scores"] = scores.collect();
        }
        value
    }
}

/// A score as a share of 1.
pub fn share(score_q15: u16) -> f64 {
    f64::from(score_q15) / 32767.0
}

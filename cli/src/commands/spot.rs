//! `attn spot`: the chip's keyword spotter on recordings.

use super::{CommandResult, table};
use crate::shown::say;
use crate::sound;
use crate::thresholds::{self, Threshold, changed, shown};
use attn_converter::runner::{AlignedBytes, ModelFile};
use attn_runtime::Model;
use attn_runtime::audio::SAMPLE_RATE;
use attn_runtime::kws::KeywordSpotter;
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Listens to recordings as the chip would, and prints the keywords that it hears.
#[derive(Args)]
pub struct Spot {
    /// The .attn file of a keyword spotter.
    model: PathBuf,
    /// Recordings: WAV or FLAC of any sampling rate and number of channels, each heard from a reset on. `-` is standard input,
    /// whose keywords are printed as they are heard.
    #[arg(required = true)]
    recordings: Vec<PathBuf>,
    /// Thresholds in place of the file's: a number from 0 to 1 for every label that is reported, `LABEL=NUMBER` for one,
    /// `LABEL=never` for one that is not to be reported. Several are separated by commas.
    #[arg(long, value_name = "LABEL=VALUE", value_delimiter = ',')]
    threshold: Vec<Threshold>,
    /// Also print the highest score of every label, and when it had it: what a threshold has to be for it to be reported.
    #[arg(long)]
    scores: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// One keyword heard.
struct Heard {
    seconds: f64,
    label: String,
    confidence: f64,
}

/// The highest averaged posterior of a label.
#[derive(Clone, Copy, Default)]
struct Highest {
    score_q15: u16,
    seconds: f64,
}

/// What a recording gave.
#[derive(Default)]
struct Report {
    heard: Vec<Heard>,
    /// Of every label; empty unless asked for.
    highest: Vec<Highest>,
}

impl Spot {
    pub fn run(&self) -> CommandResult {
        let file = ModelFile::load(&self.model)?;
        let model = file.model();
        let labels: Vec<&str> = model.labels().collect();
        let present: Vec<u16> = thresholds::of(model).map(|(_, value)| value).collect();
        let values = changed("--threshold", &self.threshold, &labels, &present)?;
        let mut all = Vec::new();
        for recording in &self.recordings {
            all.push((
                sound::name(recording),
                self.listen(model, &values, recording)?,
            ));
        }
        if self.json {
            let files = all
                .iter()
                .map(|(path, report)| report.to_json(path, &labels));
            say!("{:#}", files.collect::<Value>());
            return Ok(());
        }
        for (path, report) in all {
            report.print(path, &labels, &values);
        }
        Ok(())
    }

    /// Plays a recording to the spotter, piece by piece. What standard input holds is printed as it is heard.
    fn listen(
        &self,
        model: Model,
        thresholds_q15: &[u16],
        recording: &Path,
    ) -> Result<Report, Box<dyn std::error::Error>> {
        let pieces = sound::open(recording)?;
        let mut arena = AlignedBytes::zeroed(model.arena_len());
        let mut spotter = KeywordSpotter::new(model, arena.as_mut_slice())?;
        for (label, &threshold) in thresholds_q15.iter().enumerate() {
            spotter.set_threshold(label, threshold)?;
        }
        let live = sound::is_stdin(recording) && !self.json;
        let mut report = Report::default();
        if self.scores {
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
                    if live {
                        say!(
                            "{:.2} s: {} ({:.2})",
                            heard.seconds,
                            heard.label,
                            heard.confidence
                        );
                    }
                    report.heard.push(heard);
                })?;
                samples += hop.len();
                let seconds = samples as f64 / f64::from(SAMPLE_RATE);
                let scores = report
                    .highest
                    .iter_mut()
                    .zip(spotter.decoder().averages_q15());
                for (highest, score_q15) in
                    scores.filter(|(highest, score)| *score > highest.score_q15)
                {
                    *highest = Highest { score_q15, seconds };
                }
            }
        }
        Ok(report)
    }
}

impl Report {
    fn print(&self, path: &Path, labels: &[&str], thresholds_q15: &[u16]) {
        say!("{}: {} keyword(s)", path.display(), self.heard.len());
        let mut events = table(&["seconds", "keyword", "confidence"]);
        for event in &self.heard {
            events.add_row([
                format!("{:.2}", event.seconds),
                event.label.clone(),
                format!("{:.2}", event.confidence),
            ]);
        }
        if !self.heard.is_empty() {
            say!("{events}");
        }
        let mut scores = table(&["label", "highest score", "at second", "threshold"]);
        for ((label, highest), threshold) in labels.iter().zip(&self.highest).zip(thresholds_q15) {
            scores.add_row([
                label.to_string(),
                format!("{:.3}", share(highest.score_q15)),
                format!("{:.2}", highest.seconds),
                shown(*threshold),
            ]);
        }
        if !self.highest.is_empty() {
            say!("{scores}");
        }
    }

    fn to_json(&self, path: &Path, labels: &[&str]) -> Value {
        let event = |heard: &Heard| json!({"seconds": heard.seconds, "label": heard.label, "confidence": heard.confidence});
        let mut value =
            json!({"file": path, "events": self.heard.iter().map(event).collect::<Vec<_>>()});
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
fn share(score_q15: u16) -> f64 {
    f64::from(score_q15) / 32767.0
}

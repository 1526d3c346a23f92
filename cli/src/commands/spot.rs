//! `attn spot`: the chip's keyword spotter on recordings.

use super::{CommandResult, check_output, table};
use crate::flags::FlagError;
use crate::plot::{self, Scores};
use crate::shown::say;
use crate::sound::{self, Pieces};
use crate::thresholds::{self, Threshold, changed, is_reported, shown};
use attn_converter::runner::{AlignedBytes, ModelFile};
use attn_runtime::Model;
use attn_runtime::audio::SAMPLE_RATE;
use attn_runtime::kws::{Event, KeywordSpotter};
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
    #[arg(required_unless_present = "mic")]
    recordings: Vec<PathBuf>,
    /// Listen to the microphone and print keywords as they are heard, until it is interrupted.
    #[arg(long, conflicts_with = "recordings")]
    mic: bool,
    /// End after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u32>,
    /// Thresholds in place of the file's: a number from 0 to 1 for every label that is reported, `LABEL=NUMBER` for one,
    /// `LABEL=never` for one that is not to be reported. Several are separated by commas.
    #[arg(long, value_name = "LABEL=VALUE", value_delimiter = ',')]
    threshold: Vec<Threshold>,
    /// Also print the highest score of every label, and when it had it: what a threshold has to be for it to be reported.
    #[arg(long)]
    scores: bool,
    /// Draw the scores of the labels that are reported, their thresholds and events over time into this PNG file; takes one recording.
    #[arg(long, value_name = "PNG")]
    plot: Option<PathBuf>,
    /// Print as JSON, at the end.
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
    /// Averaged posteriors, Q15, `[hop, label]`; empty unless asked for.
    scores: Vec<Vec<u16>>,
}

impl Spot {
    pub fn run(&self) -> CommandResult {
        let file = ModelFile::load(&self.model)?;
        let model = file.model();
        let labels: Vec<&str> = model.labels().collect();
        let present: Vec<u16> = thresholds::of(model).map(|(_, value)| value).collect();
        let values = changed("--threshold", &self.threshold, &labels, &present)?;
        self.check()?;
        let mut all = Vec::new();
        if self.mic {
            let report = self.listen(model, &values, sound::microphone()?, true)?;
            all.push((Path::new("microphone"), report));
        }
        for recording in &self.recordings {
            let pieces = Box::new(sound::open(recording)?);
            let report = self.listen(model, &values, pieces, sound::is_stdin(recording))?;
            all.push((sound::name(recording), report));
        }
        if let (Some(path), [(_, report)]) = (&self.plot, &all[..]) {
            report.plot(path, model, &labels, &values)?;
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

    /// Looks at flags that do not go together, before anything is heard.
    fn check(&self) -> CommandResult {
        let endless = self.mic && self.seconds.is_none();
        for (given, flag, what) in [
            (self.json, "--json", "is printed"),
            (self.scores, "--scores", "is printed"),
            (self.plot.is_some(), "--plot", "is drawn"),
        ] {
            if given && endless {
                let reason =
                    format!("{what} at the end, and the microphone has none: give --seconds");
                return Err(FlagError::new(flag, reason).into());
            }
        }
        if let Some(path) = &self.plot {
            if self.recordings.len() > 1 {
                let reason = format!(
                    "{} recordings do not fit one picture",
                    self.recordings.len()
                );
                return Err(FlagError::new("--plot", reason).into());
            }
            check_output(path, self.recordings.iter().chain([&self.model]))?;
        }
        Ok(())
    }

    /// Plays sound to the spotter, piece by piece. If it is `live`, keywords are printed as they are heard.
    fn listen(
        &self,
        model: Model,
        thresholds_q15: &[u16],
        pieces: Pieces,
        live: bool,
    ) -> Result<Report, Box<dyn std::error::Error>> {
        let mut arena = AlignedBytes::zeroed(model.arena_len());
        let mut spotter = KeywordSpotter::new(model, arena.as_mut_slice())?;
        for (label, &threshold) in thresholds_q15.iter().enumerate() {
            spotter.set_threshold(label, threshold)?;
        }
        let mut report = Report::default();
        if self.scores {
            report.highest = vec![Highest::default(); thresholds_q15.len()];
        }
        let most = self.seconds.map_or(usize::MAX, |seconds| {
            seconds as usize * SAMPLE_RATE as usize
        });
        let mut samples = 0;
        for piece in pieces {
            // No longer than a hop, a piece completes one at most, and no score is passed over.
            for hop in piece?.chunks(spotter.hop()) {
                spotter.push(hop, |event| report.note(event, live && !self.json))?;
                samples += hop.len();
                let seconds = samples as f64 / f64::from(SAMPLE_RATE);
                let averages = spotter.decoder().averages_q15();
                if self.plot.is_some() {
                    report.scores.push(averages.collect());
                }
                report.raise(spotter.decoder().averages_q15(), seconds);
                if samples >= most {
                    return Ok(report);
                }
            }
        }
        Ok(report)
    }
}

impl Report {
    /// Notes an event, and prints it if that is wanted at once.
    fn note(&mut self, event: Event, at_once: bool) {
        let heard = Heard {
            seconds: event.time_ms() as f64 / 1000.0,
            label: event.label.to_owned(),
            confidence: share(event.confidence_q15),
        };
        if at_once {
            say!(
                "{:.2} s: {} ({:.2})",
                heard.seconds,
                heard.label,
                heard.confidence
            );
        }
        self.heard.push(heard);
    }

    /// Notes the scores of a hop where they are the highest so far.
    fn raise(&mut self, averages_q15: impl Iterator<Item = u16>, seconds: f64) {
        for (highest, score_q15) in self.highest.iter_mut().zip(averages_q15) {
            if score_q15 > highest.score_q15 {
                *highest = Highest { score_q15, seconds };
            }
        }
    }

    /// Draws the scores of the labels that are reported.
    fn plot(
        &self,
        path: &Path,
        model: Model,
        labels: &[&str],
        thresholds_q15: &[u16],
    ) -> CommandResult {
        let with_thresholds = labels.iter().zip(thresholds_q15).enumerate();
        let reported = with_thresholds.filter(|(_, (_, threshold))| is_reported(**threshold));
        let scores: Vec<Scores> = reported
            .map(|(at, (label, threshold))| Scores {
                label,
                threshold: share(*threshold),
                scores: self
                    .scores
                    .iter()
                    .filter_map(|hop| hop.get(at))
                    .map(|score| share(*score))
                    .collect(),
                reported: self
                    .heard
                    .iter()
                    .filter(|heard| heard.label == *label)
                    .map(|heard| heard.seconds)
                    .collect(),
            })
            .collect();
        let hop = model.audio().map_or(0, |audio| audio.hop);
        plot::scores(path, &scores, f64::from(hop) / f64::from(SAMPLE_RATE))?;
        Ok(())
    }

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

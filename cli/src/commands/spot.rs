//! `attn spot`: the chip's keyword spotter on recordings.

use super::{CommandResult, check_output, table};
use crate::flags::FlagError;
use crate::plot::{Scores, scores as draw};
use crate::shown::say;
use crate::sound::{self, Pieces};
use attn_converter::runner::ModelFile;
use attn_converter::spot::{Heard, Noted, Report, listen, share};
use attn_converter::thresholds::{self, Threshold, changed, is_reported, shown};
use attn_runtime::Model;
use attn_runtime::audio::SAMPLE_RATE;
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

impl Spot {
    pub fn run(&self) -> CommandResult {
        let file = ModelFile::load(&self.model)?;
        let model = file.model();
        let labels: Vec<&str> = model.labels().collect();
        let present: Vec<u16> = thresholds::of(model).map(|(_, value)| value).collect();
        let values =
            changed(&self.threshold, &labels, &present).map_err(FlagError::of("--threshold"))?;
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
            plot(report, path, model, &labels, &values)?;
        }
        if self.json {
            let files = all.iter().map(|(path, report)| {
                let mut value = report.json(&labels);
                value["file"] = json!(path);
                value
            });
            say!("{:#}", files.collect::<Value>());
            return Ok(());
        }
        for (path, report) in all {
            print(&report, path, &labels, &values);
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

    /// Plays sound to the spotter. If it is `live`, keywords are printed as they are heard.
    fn listen(
        &self,
        model: Model,
        thresholds_q15: &[u16],
        pieces: Pieces,
        live: bool,
    ) -> Result<Report, Box<dyn std::error::Error>> {
        let noted = Noted {
            highest: self.scores,
            scores: self.plot.is_some(),
        };
        let pieces = sound::first(pieces, self.seconds);
        let at_once = |heard: &Heard| {
            if live && !self.json {
                let (seconds, label) = (heard.seconds, &heard.label);
                say!("{seconds:.2} s: {label} ({:.2})", heard.confidence);
            }
        };
        Ok(listen(model, thresholds_q15, noted, pieces, at_once)?)
    }
}

/// Draws the scores of the labels that are reported.
fn plot(
    report: &Report,
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
            scores: report
                .scores
                .iter()
                .filter_map(|hop| hop.get(at))
                .map(|score| share(*score))
                .collect(),
            reported: report
                .heard
                .iter()
                .filter(|heard| heard.label == *label)
                .map(|heard| heard.seconds)
                .collect(),
        })
        .collect();
    let hop = model.audio().map_or(0, |audio| audio.hop);
    draw(path, &scores, f64::from(hop) / f64::from(SAMPLE_RATE))?;
    Ok(())
}

fn print(report: &Report, path: &Path, labels: &[&str], thresholds_q15: &[u16]) {
    say!("{}: {} keyword(s)", path.display(), report.heard.len());
    let mut events = table(&["seconds", "keyword", "confidence"]);
    for event in &report.heard {
        events.add_row([
            format!("{:.2}", event.seconds),
            event.label.clone(),
            format!("{:.2}", event.confidence),
        ]);
    }
    if !report.heard.is_empty() {
        say!("{events}");
    }
    let mut scores = table(&["label", "highest score", "at second", "threshold"]);
    for ((label, highest), threshold) in labels.iter().zip(&report.highest).zip(thresholds_q15) {
        scores.add_row([
            label.to_string(),
            format!("{:.3}", share(highest.score_q15)),
            format!("{:.2}", highest.seconds),
            shown(*threshold),
        ]);
    }
    if !report.highest.is_empty() {
        say!("{scores}");
    }
}

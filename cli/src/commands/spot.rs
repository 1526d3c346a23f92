//! `attn spot`: the chip's keyword spotter on recordings.

use super::{CommandResult, table};
use crate::flags::FlagError;
use crate::shown::say;
use crate::sound;
use attn_converter::runner::ModelFile;
use attn_converter::spot::{Report, listen, share};
use attn_converter::thresholds::{self, Threshold, changed, shown};
use attn_runtime::Model;
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

impl Spot {
    pub fn run(&self) -> CommandResult {
        let file = ModelFile::load(&self.model)?;
        let model = file.model();
        let labels: Vec<&str> = model.labels().collect();
        let present: Vec<u16> = thresholds::of(model).map(|(_, value)| value).collect();
        let values =
            changed(&self.threshold, &labels, &present).map_err(FlagError::of("--threshold"))?;
        let mut all = Vec::new();
        for recording in &self.recordings {
            all.push((
                sound::name(recording),
                self.listen(model, &values, recording)?,
            ));
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

    /// Plays a recording to the spotter. What standard input holds is printed as it is heard.
    fn listen(
        &self,
        model: Model,
        thresholds_q15: &[u16],
        recording: &Path,
    ) -> Result<Report, Box<dyn std::error::Error>> {
        let live = sound::is_stdin(recording) && !self.json;
        let pieces = sound::open(recording)?;
        Ok(listen(
            model,
            thresholds_q15,
            self.scores,
            pieces,
            |heard| {
                if live {
                    let (seconds, label) = (heard.seconds, &heard.label);
                    say!("{seconds:.2} s: {label} ({:.2})", heard.confidence);
                }
            },
        )?)
    }
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

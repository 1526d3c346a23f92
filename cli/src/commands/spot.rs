//! `attn spot`: the chip's keyword spotter on recordings.

use super::{CommandResult, table};
use crate::shown::say;
use crate::sound;
use attn_converter::runner::{AlignedBytes, ModelFile};
use attn_runtime::Model;
use attn_runtime::kws::KeywordSpotter;
use clap::Args;
use serde_json::json;
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

impl Spot {
    pub fn run(&self) -> CommandResult {
        let file = ModelFile::load(&self.model)?;
        let mut all = Vec::new();
        for recording in &self.recordings {
            let live = sound::is_stdin(recording) && !self.json;
            let mut heard = Vec::new();
            listen(file.model(), recording, |event| {
                if live {
                    say!(
                        "{:.2} s: {} ({:.2})",
                        event.seconds,
                        event.label,
                        event.confidence
                    );
                }
                heard.push(event);
            })?;
            all.push((sound::name(recording), heard));
        }
        if self.json {
            let one = |heard: &Heard| json!({"seconds": heard.seconds, "label": heard.label, "confidence": heard.confidence});
            let files = all.iter().map(|(path, heard)| {
                json!({"file": path, "events": heard.iter().map(one).collect::<Vec<_>>()})
            });
            say!("{:#}", files.collect::<serde_json::Value>());
            return Ok(());
        }
        for (path, heard) in all {
            say!("{}: {} keyword(s)", path.display(), heard.len());
            let mut table = table(&["seconds", "keyword", "confidence"]);
            for event in &heard {
                let (seconds, confidence) = (
                    format!("{:.2}", event.seconds),
                    format!("{:.2}", event.confidence),
                );
                table.add_row([&seconds, &event.label, &confidence]);
            }
            if !heard.is_empty() {
                say!("{table}");
            }
        }
        Ok(())
    }
}

/// Plays a recording to the spotter, piece by piece.
fn listen(model: Model, recording: &Path, mut on_event: impl FnMut(Heard)) -> CommandResult {
    let pieces = sound::open(recording)?;
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut spotter = KeywordSpotter::new(model, arena.as_mut_slice())?;
    for piece in pieces {
        spotter.push(&piece?, |event| {
            on_event(Heard {
                seconds: event.time_ms() as f64 / 1000.0,
                label: event.label.to_owned(),
                confidence: f64::from(event.confidence_q15) / 32767.0,
            });
        })?;
    }
    Ok(())
}

//! `attn record`: samples of one's own words, cut out of a recording and labelled.

use super::{CommandResult, table};
use crate::flags::FlagError;
use crate::shown::say;
use crate::sound::{self, Pieces};
use attn_converter::files::FileError;
use attn_converter::output::Output;
use attn_recordings::cut::{Utterance, utterances};
use attn_runtime::audio::SAMPLE_RATE;
use clap::Args;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest utterance that is one word or phrase, in samples.
const LONGEST: usize = 3 * SAMPLE_RATE as usize;
/// Level below which a word lies in the noise of a converter, in dB of full scale.
const QUIET_DB: f64 = -45.0;

/// Cuts a recording, in which a word is said again and again with pauses, into one file for each time, as training takes them.
#[derive(Args)]
pub struct Record {
    /// The recording: WAV or FLAC of any sampling rate and number of channels; `-` is standard input.
    #[arg(required_unless_present = "mic")]
    recording: Option<PathBuf>,
    /// Record from the microphone; needs `--seconds`.
    #[arg(long, conflicts_with = "recording", requires = "seconds")]
    mic: bool,
    /// Take so many seconds.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u32>,
    /// The label of the word: the files go into this folder of the output folder.
    #[arg(long)]
    label: String,
    /// The folder for all labels; files that are in it stay.
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

impl Record {
    pub fn run(&self) -> CommandResult {
        let folder = self.folder()?;
        let pieces: Pieces = match &self.recording {
            Some(path) => Box::new(sound::open(path)?),
            None => sound::microphone()?,
        };
        if self.mic {
            eprintln!("recording: say the word again and again, with a pause of half a second");
        }
        let pieces: Result<Vec<_>, _> = sound::first(pieces, self.seconds).collect();
        let pcm = pieces?.concat();
        let found = utterances(&pcm);
        if found.is_empty() {
            let source = self
                .recording
                .as_deref()
                .map_or(Path::new("microphone"), sound::name);
            return Err(format!(
                "{}: nothing is said in it: no part is 12 dB louder than its background for an eighth of a second",
                source.display()
            )
            .into());
        }
        self.keep(&folder, &pcm, &found)
    }

    /// The folder of the label, which need not be there yet.
    fn folder(&self) -> Result<PathBuf, FlagError> {
        let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        if self.label.is_empty() || !self.label.chars().all(plain) {
            let reason = format!(
                "{:?} is no label: letters, digits, `_` and `-` make one, as in hey_robot",
                self.label
            );
            return Err(FlagError::new("--label", reason));
        }
        Ok(self.output.join(&self.label))
    }

    /// Writes what is a word, says what is not.
    fn keep(&self, folder: &Path, pcm: &[i16], found: &[Utterance]) -> CommandResult {
        let failed = |source| FileError::Io {
            path: folder.into(),
            source,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut free = (1..).map(|number| folder.join(format!("{}_{number:04}.wav", self.label)));
        let mut rows = table(&["from second", "seconds", "level", "file"]);
        let (mut files, mut left_out) = (Vec::new(), 0);
        for utterance in found {
            let what = match flaw(utterance) {
                Some(flaw) => {
                    left_out += 1;
                    format!("left out: {flaw}")
                }
                None => {
                    // Numbers do not end.
                    let path = free.find(|path| !path.exists()).unwrap_or_default();
                    write(&path, &pcm[utterance.samples.clone()])?;
                    files.push(path.clone());
                    path.display().to_string()
                }
            };
            rows.add_row([
                format!("{:.2}", seconds(utterance.samples.start)),
                format!("{:.2}", seconds(utterance.samples.len())),
                format!("{:.0} dB", utterance.level_db),
                what,
            ]);
        }
        if self.json {
            say!(
                "{:#}",
                json!({"label": self.label, "files": files, "left_out": left_out})
            );
        } else {
            say!("{rows}");
            say!(
                "{} file(s) in {}, {left_out} left out",
                files.len(),
                folder.display()
            );
        }
        Ok(())
    }
}

/// Why an utterance is no sample to learn from.
fn flaw(utterance: &Utterance) -> Option<&'static str> {
    if utterance.clipped {
        Some("overdriven: speak more quietly or turn the microphone down")
    } else if utterance.samples.len() > LONGEST {
        Some("longer than 3 seconds: pause between the words")
    } else if utterance.level_db < QUIET_DB {
        Some("too quiet: come nearer or turn the microphone up")
    } else {
        None
    }
}

/// Writes a file, whole or not at all.
fn write(path: &Path, pcm: &[i16]) -> CommandResult {
    let output = Output::new(path, [path; 0])?;
    output.write(".wav", |file| -> Result<(), Box<dyn std::error::Error>> {
        attn_recordings::write(file.path(), pcm)?;
        Ok(())
    })
}

fn seconds(samples: usize) -> f64 {
    samples as f64 / f64::from(SAMPLE_RATE)
}

//! The demo: a recording is played to the application on the emulated M4; what it hears is laid beside what was said.

use crate::decoding::TIMEOUT;
use crate::emulator::{Emulator, Region};
use crate::error::{LabError, io};
use crate::table::bordered;
use comfy_table::Table;
use std::path::Path;

/// How far before and after the end of a word its event may come (as in `training/attn_training/words/spot.py`).
const EARLY_MS: u64 = 500;
const LATE_MS: u64 = 800;

/// A keyword at a time: said, or heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Milliseconds since the start of the recording: end of the word, or the event's time.
    pub time_ms: u64,
    /// The keyword.
    pub label: String,
    /// Averaged posterior in percent; 0 for a word that was said.
    pub percent: u32,
}

/// What the application did with a recording.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// Keywords heard.
    pub heard: Vec<Word>,
    /// Most bytes of stack in use.
    pub stack: u64,
    /// One region per hop, if instructions were counted.
    pub hops: Vec<Region>,
    /// How often the LED went on.
    pub lit: usize,
}

/// Plays 16 kHz mono samples to `image`, the keyword application of the emulator's board.
///
/// # Errors
/// [`LabError`].
pub fn play(emulator: &Emulator, image: &Path, pcm: &[i16]) -> Result<Played, LabError> {
    play_watched(emulator, image, pcm, |_| {})
}

/// [`play`], with every keyword handed to `heard` as soon as the application reports it.
///
/// # Errors
/// [`LabError`].
pub fn play_watched(
    emulator: &Emulator,
    image: &Path,
    pcm: &[i16],
    mut heard: impl FnMut(&Word),
) -> Result<Played, LabError> {
    let folder = tempfile::tempdir().map_err(io("a temporary folder"))?;
    attn_recordings::write(&folder.path().join("recording.wav"), pcm)?;
    let emulator = emulator.clone().timeout(TIMEOUT);
    let mut watch = |line: &str| {
        let mut new = Played::default();
        if read_line(line, &mut new).is_some() {
            new.heard.iter().for_each(&mut heard);
        }
    };
    let run = emulator.run_watched(image, &["recording.wav"], folder.path(), &mut watch)?;
    let mut played = Played {
        hops: run.regions,
        lit: run.lit,
        ..Played::default()
    };
    for line in run.output.lines() {
        read_line(line, &mut played).ok_or_else(|| LabError::BadOutput(line.into()))?;
    }
    Ok(played)
}

/// Lines are `event MILLISECONDS LABEL PERCENT` and, at the end, `stack BYTES`.
fn read_line(line: &str, played: &mut Played) -> Option<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["event", time, label, percent] => played.heard.push(Word {
            time_ms: time.parse().ok()?,
            label: (*label).into(),
            percent: percent.parse().ok()?,
        }),
        ["stack", bytes] => played.stack = bytes.parse().ok()?,
        _ => return None,
    }
    Some(())
}

/// Reads what is said in a recording: a CSV file with columns `time_ms` (end of the word) and `label`.
///
/// # Errors
/// [`LabError::Io`], [`LabError::BadTruth`].
pub fn truth(path: &Path) -> Result<Vec<Word>, LabError> {
    let text = std::fs::read_to_string(path).map_err(io(path))?;
    // The first line names the columns.
    let lines = text.lines().enumerate().skip(1);
    lines
        .map(|(at, line)| {
            read_word(line).ok_or_else(|| LabError::BadTruth {
                path: path.into(),
                line: at + 1,
            })
        })
        .collect()
}

fn read_word(line: &str) -> Option<Word> {
    let (time, label) = line.split_once(',')?;
    Some(Word {
        time_ms: time.parse().ok()?,
        label: label.into(),
        percent: 0,
    })
}

/// What was said beside what was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Pairs in the order of time. A word without an event was missed, an event without a word is false.
    pub rows: Vec<(Option<Word>, Option<Word>)>,
}

impl Comparison {
    /// Pairs each word with the first event of its label that comes in time.
    pub fn new(said: &[Word], heard: &[Word]) -> Self {
        let mut left: Vec<&Word> = heard.iter().collect();
        let mut rows: Vec<(Option<Word>, Option<Word>)> = Vec::new();
        for word in said {
            let in_time = word.time_ms.saturating_sub(EARLY_MS)..=word.time_ms + LATE_MS;
            let hit = left
                .iter()
                .position(|event| event.label == word.label && in_time.contains(&event.time_ms));
            rows.push((Some(word.clone()), hit.map(|at| left.remove(at).clone())));
        }
        rows.extend(left.into_iter().map(|event| (None, Some(event.clone()))));
        rows.sort_by_key(|(said, heard)| said.as_ref().or(heard.as_ref()).map(|w| w.time_ms));
        Self { rows }
    }

    /// Words that were said and not heard.
    pub fn missed(&self) -> usize {
        self.rows.iter().filter(|row| row.1.is_none()).count()
    }

    /// Words that were heard and not said.
    pub fn falsely_heard(&self) -> usize {
        self.rows.iter().filter(|row| row.0.is_none()).count()
    }

    /// The rows as a table for the terminal.
    pub fn table(&self) -> Table {
        let mut table = bordered(["said", "until", "heard", "at", "confidence", ""]);
        for (said, heard) in &self.rows {
            let [label, until] = cells(said.as_ref());
            let [event, at] = cells(heard.as_ref());
            let percent = heard
                .as_ref()
                .map_or(String::new(), |w| format!("{} %", w.percent));
            let verdict = match (said, heard) {
                (Some(_), None) => "missed",
                (None, Some(_)) => "not said",
                _ => "ok",
            };
            table.add_row([label, until, event, at, percent, verdict.into()]);
        }
        table
    }
}

/// Events alone, where nobody knows what was said.
pub fn events_table(heard: &[Word]) -> Table {
    let mut table = bordered(["heard", "at", "confidence"]);
    for word in heard {
        let [label, at] = cells(Some(word));
        table.add_row([label, at, format!("{} %", word.percent)]);
    }
    table
}

fn cells(word: Option<&Word>) -> [String; 2] {
    word.map_or_else(Default::default, |word| {
        let seconds = word.time_ms as f64 / 1000.0;
        [word.label.clone(), format!("{seconds:.2} s")]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(time_ms: u64, label: &str) -> Word {
        Word {
            time_ms,
            label: label.into(),
            percent: 0,
        }
    }

    #[test]
    fn words_are_paired_with_events_in_time() {
        let said = [
            word(1000, "alexa"),
            word(5000, "jarvis"),
            word(9000, "alexa"),
        ];
        let heard = [
            word(900, "alexa"),
            word(1700, "alexa"),
            word(4400, "jarvis"),
            word(9100, "alexa"),
        ];
        let comparison = Comparison::new(&said, &heard);
        assert_eq!((comparison.missed(), comparison.falsely_heard()), (1, 2));
        let labels = |row: &(Option<Word>, Option<Word>)| {
            (
                row.0.as_ref().map(|w| w.time_ms),
                row.1.as_ref().map(|w| w.time_ms),
            )
        };
        let rows: Vec<_> = comparison.rows.iter().map(labels).collect();
        assert_eq!(
            rows,
            [
                (Some(1000), Some(900)),
                (None, Some(1700)),
                (None, Some(4400)),
                (Some(5000), None),
                (Some(9000), Some(9100)),
            ]
        );
    }

    #[test]
    fn what_is_said_is_read_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("truth.csv");
        std::fs::write(&path, "time_ms,label\n1000,alexa\n").unwrap();
        assert_eq!(truth(&path).unwrap(), [word(1000, "alexa")]);
        std::fs::write(&path, "time_ms,label\n1000,alexa\nsoon,jarvis\n").unwrap();
        assert!(matches!(
            truth(&path),
            Err(LabError::BadTruth { line: 3, .. })
        ));
    }

    #[test]
    fn what_the_application_prints_is_understood() {
        let mut played = Played::default();
        assert!(read_line("event 3692 alexa 65", &mut played).is_some());
        assert!(read_line("stack 1234", &mut played).is_some());
        assert!(read_line("hello", &mut played).is_none());
        assert_eq!(played.heard[0].label, "alexa");
        assert_eq!((played.heard[0].percent, played.stack), (65, 1234));
    }
}

//! Cuts a long recording at its pauses into the utterances in it. What is said is not looked at.

use attn_runtime::audio::SAMPLE_RATE;
use std::ops::Range;

/// Samples of a frame whose level is measured: 20 ms.
const FRAME: usize = SAMPLE_RATE as usize / 50;
/// Frames that a shorter pause does not cut: a quarter of a second lies within a word ("smart mirror").
const PAUSE: usize = 12;
/// Fewest frames of an utterance: less is a click.
const LEAST: usize = 6;
/// Frames that are kept before and behind an utterance.
const MARGIN: usize = 10;
/// Levels are this much over the background, in dB.
const ABOVE_DB: f64 = 12.0;
/// A level below this is silence in any room, in dB of full scale.
const SILENCE_DB: f64 = -55.0;
/// Samples at full scale from which on an utterance counts as clipped.
const CLIPPED: usize = 3;

/// An utterance in a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance {
    /// Its samples, with a margin.
    pub samples: Range<usize>,
    /// Level of its loudest frame in dB of full scale.
    pub level_db: f64,
    /// Samples at full scale: the microphone or the converter was overdriven.
    pub clipped: bool,
}

/// The utterances of 16 kHz mono samples, in their order. An utterance is what is 12 dB louder than the quietest fifth of the
/// recording and than -55 dB of full scale, for an eighth of a second at least; a pause of a quarter of a second ends it.
pub fn utterances(pcm: &[i16]) -> Vec<Utterance> {
    let levels: Vec<f64> = pcm.chunks(FRAME).map(level_db).collect();
    let mut sorted = levels.clone();
    sorted.sort_by(f64::total_cmp);
    let background = sorted.get(sorted.len() / 5).copied().unwrap_or(0.0);
    let least = (background + ABOVE_DB).max(SILENCE_DB);
    let runs = runs(levels.iter().map(|level| *level >= least));
    let edge = |at: usize| at.min(levels.len());
    let mut found = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        // Margins of neighbours meet in the middle of the pause.
        let before = number.checked_sub(1).and_then(|at| runs.get(at));
        let earliest = before.map_or(0, |before| (before.end + run.start) / 2);
        let behind = runs.get(number + 1);
        let latest = behind.map_or(levels.len(), |behind| (run.end + behind.start) / 2);
        let start = run.start.saturating_sub(MARGIN).max(earliest);
        let end = edge(run.end + MARGIN).min(latest);
        let samples = start * FRAME..(end * FRAME).min(pcm.len());
        let inside = &pcm[samples.clone()];
        let full = inside.iter().filter(|x| x.unsigned_abs() >= 32767).count();
        found.push(Utterance {
            samples,
            level_db: levels[run.clone()].iter().copied().fold(f64::MIN, f64::max),
            clipped: full >= CLIPPED,
        });
    }
    found
}

/// Runs of loud frames, short pauses bridged, clicks left out.
fn runs(loud: impl Iterator<Item = bool>) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, _) in loud.enumerate().filter(|(_, loud)| *loud) {
        match runs.last_mut() {
            Some(run) if at - run.end < PAUSE => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs.retain(|run| run.len() >= LEAST);
    runs
}

/// Level of a frame in dB of full scale; a frame of zeros is at -100.
fn level_db(frame: &[i16]) -> f64 {
    let power: f64 = frame.iter().map(|x| f64::from(*x).powi(2)).sum();
    let mean = power / frame.len().max(1) as f64 / f64::from(1u32 << 30);
    (10.0 * mean.log10()).max(-100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise of an amplitude for some milliseconds.
    fn noise(pcm: &mut Vec<i16>, ms: usize, amplitude: f64) {
        let mut state = pcm.len() as u32 + 1;
        pcm.extend((0..ms * 16).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = f64::from(state >> 8) / f64::from(1u32 << 23) - 1.0;
            (x * amplitude) as i16
        }));
    }

    fn recording(parts: &[(usize, f64)]) -> Vec<i16> {
        let mut pcm = Vec::new();
        for &(ms, amplitude) in parts {
            noise(&mut pcm, ms, amplitude);
        }
        pcm
    }

    #[test]
    fn words_are_found_between_pauses_with_a_margin() {
        let quiet = (1000, 30.0);
        let pcm = recording(&[quiet, (500, 4000.0), quiet, (300, 900.0), quiet]);
        let found = utterances(&pcm);
        let ms: Vec<_> = found
            .iter()
            .map(|u| (u.samples.start / 16, u.samples.end / 16))
            .collect();
        assert_eq!(ms, [(800, 1700), (2300, 3000)]);
        assert!(found[0].level_db > found[1].level_db + 10.0);
        assert!(!found[0].clipped);
    }

    #[test]
    fn a_short_pause_lies_within_a_word_and_a_click_is_none() {
        let pcm = recording(&[
            (800, 20.0),
            (300, 3000.0),
            (160, 20.0),
            (300, 3000.0),
            (800, 20.0),
            (60, 8000.0),
            (900, 20.0),
        ]);
        assert_eq!(utterances(&pcm).len(), 1);
    }

    #[test]
    fn margins_of_neighbours_do_not_overlap() {
        let pcm = recording(&[
            (500, 20.0),
            (300, 3000.0),
            (300, 20.0),
            (300, 3000.0),
            (500, 20.0),
        ]);
        let found = utterances(&pcm);
        assert_eq!(found.len(), 2);
        assert!(found[0].samples.end <= found[1].samples.start, "{found:?}");
    }

    #[test]
    fn overdriven_words_are_marked_and_silence_has_none() {
        let mut pcm = recording(&[(500, 20.0), (400, 20_000.0), (500, 20.0)]);
        pcm[10_000..10_010].fill(i16::MIN);
        assert!(utterances(&pcm)[0].clipped);
        for silence in [
            vec![],
            vec![0; 7],
            vec![0; 50_000],
            recording(&[(3000, 40.0)]),
        ] {
            assert_eq!(utterances(&silence), [], "{} samples", silence.len());
        }
    }
}

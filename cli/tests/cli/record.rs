//! `attn record`, and what `attn spot` draws and refuses.

use crate::{done, refused, refused_in};
use attn_test_support::folder::Folder;
use serde_json::Value;

/// A recording of noise bursts: milliseconds and amplitude of its parts.
fn bursts(folder: &Folder, name: &str, parts: &[(usize, f64)]) -> String {
    let mut state = 1u32;
    let mut pcm = Vec::new();
    for &(ms, amplitude) in parts {
        pcm.extend((0..ms * 16).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((f64::from(state >> 8) / f64::from(1u32 << 23) - 1.0) * amplitude) as i16
        }));
    }
    let path = folder.path(name);
    attn_recordings::write(path.as_ref(), &pcm).unwrap();
    path
}

const PAUSE: (usize, f64) = (700, 30.0);
const WORD: (usize, f64) = (500, 5000.0);

/// The shipped spotter.
const SPOTTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/kws.attn");
/// A recording with its words.
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../firmware/assets/demo.wav");

#[test]
fn words_are_cut_labelled_and_numbered_on() {
    let folder = Folder::new();
    let said = bursts(
        &folder,
        "said.wav",
        &[
            PAUSE,
            WORD,
            PAUSE,
            (500, 60.0),
            WORD,
            PAUSE,
            (3500, 5000.0),
            PAUSE,
        ],
    );
    let output = folder.path("mine");
    let arguments = [
        "record",
        &said,
        "--label",
        "hey_robot",
        "-o",
        &output,
        "--json",
    ];
    let report: Value = serde_json::from_str(&done(&arguments)).unwrap();
    let files = report["files"].as_array().unwrap();
    assert_eq!((files.len(), &report["left_out"]), (2, &Value::from(1)));
    for (file, name) in files
        .iter()
        .zip(["hey_robot_0001.wav", "hey_robot_0002.wav"])
    {
        let path = file.as_str().unwrap();
        assert!(path.ends_with(&format!("hey_robot/{name}")), "{path}");
        let pcm = attn_recordings::read(path.as_ref()).unwrap();
        assert!((13_000..16_000).contains(&pcm.len()), "{}", pcm.len());
    }
    // A second session adds to the first; what is there stays.
    let first = std::fs::read(files[0].as_str().unwrap()).unwrap();
    let text = done(&arguments[..arguments.len() - 1]);
    assert!(
        text.contains("hey_robot_0004.wav") && text.contains("longer than 3 seconds"),
        "{text}"
    );
    assert_eq!(std::fs::read(files[0].as_str().unwrap()).unwrap(), first);
    // Only so many seconds of it.
    let short = folder.path("short");
    let some = done(&[
        "record",
        &said,
        "--label",
        "a",
        "-o",
        &short,
        "--seconds",
        "2",
    ]);
    assert!(some.contains("1 file(s)"), "{some}");
}

#[test]
fn a_recording_without_words_and_a_label_that_is_a_path_are_refused() {
    let folder = Folder::new();
    let silent = bursts(&folder, "silent.wav", &[(2000, 30.0)]);
    let output = folder.path("mine");
    let record = |source: &str, label: &str, parts: &[&str]| {
        refused_in(
            &folder,
            &["record", source, "--label", label, "-o", &output],
            parts,
        );
    };
    record(&silent, "a", &["silent.wav", "nothing is said"]);
    record(&silent, "../a", &["--label", "\"../a\" is no label"]);
    record(&silent, "", &["--label", "is no label"]);
    record(&folder.path("no.wav"), "a", &["no.wav"]);
    refused(&["record", "--label", "a", "-o", &output], &["<RECORDING>"]);
    refused(
        &["record", "--mic", "--label", "a", "-o", &output],
        &["--seconds"],
    );
}

#[test]
fn scores_over_time_are_drawn() {
    let folder = Folder::new();
    let picture = folder.path("scores.png");
    let text = done(&["spot", SPOTTER, DEMO, "--plot", &picture]);
    assert!(text.contains("keyword(s)"), "{text}");
    let png = std::fs::read(&picture).unwrap();
    assert!(
        png.starts_with(b"\x89PNG") && png.len() > 10_000,
        "{} bytes",
        png.len()
    );
    // The beginning alone, in which no word is.
    let begin = folder.path("begin.png");
    let text = done(&["spot", SPOTTER, DEMO, "--plot", &begin, "--seconds", "1"]);
    assert!(text.contains("0 keyword(s)"), "{text}");
    refused_in(
        &folder,
        &["spot", SPOTTER, DEMO, DEMO, "--plot", &picture],
        &["--plot", "2 recordings"],
    );
    refused_in(
        &folder,
        &["spot", &picture, DEMO, "--plot", &picture],
        &["scores.png"],
    );
}

#[test]
fn the_microphone_has_no_end_and_may_be_missing() {
    for flag in ["--json", "--scores"] {
        refused(&["spot", SPOTTER, "--mic", flag], &[flag, "give --seconds"]);
    }
    // Without the feature, the error says how to get it; with it, a machine without a microphone says so.
    #[cfg(not(feature = "mic"))]
    refused(&["spot", SPOTTER, "--mic"], &["--features mic", "arecord"]);
}

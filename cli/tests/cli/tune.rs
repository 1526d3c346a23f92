//! `attn tune`, and thresholds wherever they are shown or given. The recording is the demo's, cut at its words.

use super::{done, refused, refused_in};
use attn_test_support::folder::Folder;
use serde_json::Value;
use std::path::Path;
use std::sync::OnceLock;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
const RATE: usize = 16_000;

/// The shipped spotter, converted once, in a folder of its own.
fn spotter(folder: &Folder) -> String {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = FILE.get_or_init(|| {
        let folder = Folder::new();
        let path = folder.path("kws.attn");
        let data = |name: &str| format!("{ROOT}models/{name}");
        done(&[
            "convert",
            &data("kws.onnx"),
            "--calibrate",
            &data("kws_calibration.npz"),
            "--labels",
            &data("kws_labels.txt"),
            "--stream",
            "--no-mixed",
            "--audio-hop",
            "320",
            "--smoothing",
            "6",
            "--threshold",
            "0.60,computer=0.5",
            "--background",
            "athena,amelia,zero,one,two,three,four,five,six,seven,eight,nine,unknown,noise",
            "-o",
            &path,
        ]);
        std::fs::read(path).unwrap()
    });
    folder.write("kws.attn", bytes)
}

/// The demo from `from` to `to`, in seconds.
fn demo(from: f64, to: f64) -> Vec<i16> {
    let pcm = attn_recordings::read(Path::new(&format!("{ROOT}firmware/assets/demo.wav"))).unwrap();
    let at = |seconds: f64| (seconds * RATE as f64) as usize;
    pcm[at(from)..at(to)].to_vec()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&done(&[arguments, &["--json"]].concat())).unwrap()
}

/// Thresholds that `attn inspect` shows, by label.
fn thresholds(model: &str) -> Vec<(String, Option<f64>)> {
    let shown = json(&["inspect", model]);
    let labels = shown["labels"].as_array().unwrap().iter();
    let values = shown["thresholds"].as_array().unwrap().iter();
    let name = |label: &Value| label.as_str().unwrap().to_owned();
    labels.map(name).zip(values.map(Value::as_f64)).collect()
}

fn of(label: &str, thresholds: &[(String, Option<f64>)]) -> Option<f64> {
    let found = thresholds.iter().find(|(name, _)| name == label);
    found.expect("a label of the model").1
}

#[test]
fn thresholds_change_in_the_file_and_nothing_else_does() {
    let folder = Folder::new();
    let model = spotter(&folder);
    let before = std::fs::read(&model).unwrap();
    let close = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-4, "{a:?} {b}");
    let shown = thresholds(&model);
    close(of("alexa", &shown), 0.6);
    close(of("computer", &shown), 0.5);
    assert_eq!(of("noise", &shown), None);

    let other = folder.path("other.attn");
    done(&[
        "tune",
        &model,
        "--threshold",
        "0.9,alexa=0.25,jarvis=never,zero=1",
        "-o",
        &other,
    ]);
    assert_eq!(
        std::fs::read(&model).unwrap(),
        before,
        "only the output changes"
    );
    let shown = thresholds(&other);
    close(of("alexa", &shown), 0.25);
    close(of("computer", &shown), 0.9);
    close(of("zero", &shown), 1.0);
    assert_eq!((of("jarvis", &shown), of("noise", &shown)), (None, None));
    assert!(done(&["inspect", &other]).contains("alexa 0.250"));

    // Back, in place: the same bytes, checksum and all.
    let back = "0.6,computer=0.5,jarvis=0.6,zero=never";
    done(&["tune", &other, "--threshold", back]);
    assert_eq!(std::fs::read(&other).unwrap(), before);
}

#[test]
fn a_spotter_hears_by_the_thresholds_that_it_is_given() {
    let folder = Folder::new();
    let model = spotter(&folder);
    let wav = folder.path("alexa.wav");
    attn_recordings::write(Path::new(&wav), &demo(2.5, 5.0)).unwrap();
    let heard = |threshold: &str| {
        let report = json(&["spot", &model, &wav, "--scores", "--threshold", threshold]);
        let events = report[0]["events"].as_array().unwrap().clone();
        let scores = report[0]["scores"].as_array().unwrap().clone();
        (events, scores)
    };
    let (events, scores) = heard("0.6");
    assert_eq!((events.len(), &events[0]["label"]), (1, &"alexa".into()));
    let alexa = scores
        .iter()
        .find(|score| score["label"] == "alexa")
        .unwrap();
    let highest = alexa["highest"].as_f64().unwrap();
    assert!(highest >= events[0]["confidence"].as_f64().unwrap());
    // Just above the highest score nothing is heard, at it the word is.
    let silent = format!("alexa={}", highest + 1e-4);
    assert_eq!(heard(&silent).0.len(), 0);
    assert_eq!(heard(&format!("alexa={highest}")).0.len(), 1);
    let text = done(&["spot", &model, &wav, "--scores"]);
    assert!(
        text.contains("1 keyword(s)") && text.contains("never"),
        "{text}"
    );
}

#[test]
fn recordings_choose_the_thresholds() {
    let folder = Folder::new();
    let model = spotter(&folder);
    for (label, from, to) in [
        ("alexa", 2.5, 4.5),
        ("computer", 7.5, 9.5),
        ("none", 4.6, 6.5),
    ] {
        std::fs::create_dir_all(folder.path(&format!("words/{label}"))).unwrap();
        let path = folder.path(&format!("words/{label}/one.wav"));
        attn_recordings::write(Path::new(&path), &demo(from, to)).unwrap();
    }
    // "alexa" among the negatives: its threshold has to be above its score.
    let talk = folder.path("talk");
    std::fs::create_dir_all(format!("{talk}/deep/er")).unwrap();
    let path = format!("{talk}/deep/er/talk.wav");
    attn_recordings::write(Path::new(&path), &demo(2.5, 6.5)).unwrap();
    let words = folder.path("words");
    let (tuned, picture) = (folder.path("tuned.attn"), folder.path("curve.png"));
    let arguments = [
        "tune",
        &model,
        "--positive",
        &words,
        "--negative",
        &talk,
        "--rate",
        "0.1/h",
        "-o",
        &tuned,
        "--plot",
        &picture,
    ];
    let found = json(&arguments);
    let curves = found["curves"].as_array().unwrap();
    assert_eq!(curves.len(), 6, "one for each label that is reported");
    let curve = |label: &str| curves.iter().find(|curve| curve["label"] == label).unwrap();
    let missed = |label: &str| curve(label)["chosen"]["missed"].as_u64();
    assert_eq!((missed("alexa"), missed("computer")), (Some(1), Some(0)));
    assert_eq!(curve("alexa")["chosen"]["false_accepts"], 0);
    assert_eq!(curve("alexa")["recordings"], 1);
    assert!((curve("alexa")["hours"].as_f64().unwrap() - 4.0 / 3600.0).abs() < 1e-6);
    let highest = curve("alexa")["points"]
        .as_array()
        .unwrap()
        .first()
        .unwrap()["threshold"]
        .as_f64();
    assert!(highest > Some(0.6), "{highest:?}");
    let shown = thresholds(&tuned);
    let chosen = curve("alexa")["chosen"]["threshold"].as_f64();
    assert!((of("alexa", &shown).unwrap() - chosen.unwrap()).abs() < 1e-4);
    assert_eq!(of("noise", &shown), None);
    assert!(std::fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
    let report = json(&["spot", &tuned, &path]);
    assert_eq!(report[0]["events"].as_array().unwrap().len(), 0);

    // Without a rate the file stays as it is, and the table marks the threshold that it has.
    let before = std::fs::read(&model).unwrap();
    let text = done(&["tune", &model, "--positive", &words, "--negative", &talk]);
    assert!(
        text.contains("alexa: 0.00 hours without it, 1 recordings of it")
            && text.contains("0.600 <"),
        "{text}"
    );
    assert_eq!(std::fs::read(&model).unwrap(), before);
}

/// Other thresholds are another file: its signature would not hold.
#[test]
fn a_signed_file_is_not_tuned_but_may_be_listened_to() {
    let folder = Folder::new();
    let [model, key, signed] = [
        spotter(&folder),
        folder.path("vendor.key"),
        folder.path("signed.attn"),
    ];
    done(&["keygen", "-o", &key]);
    let name = ["--key", &key, "--name", "kws", "--release", "7"];
    done(&[&["sign", &model], &name[..], &["-o", &signed]].concat());
    let before = std::fs::read(&signed).unwrap();
    let parts = ["is signed", "sign it again"];
    refused(&["tune", &signed, "--threshold", "0.5"], &parts);
    let without = folder.path("without");
    std::fs::create_dir(&without).unwrap();
    let recording = folder.path("without/a.wav");
    attn_recordings::write(Path::new(&recording), &demo(0.0, 1.0)).unwrap();
    let by_rate = ["tune", &signed, "--negative", &without, "--rate", "1/h"];
    refused(&by_rate, &parts);
    done(&by_rate[..4]);
    assert_eq!(std::fs::read(&signed).unwrap(), before);
}

#[test]
fn what_cannot_be_tuned_is_refused_and_the_file_stays() {
    let folder = Folder::new();
    let model = spotter(&folder);
    let before = std::fs::read(&model).unwrap();
    std::fs::create_dir(folder.path("empty")).unwrap();
    let (empty, missing) = (folder.path("empty"), folder.path("missing"));
    for (arguments, parts) in [
        (
            &["--threshold", "alexia=0.5"][..],
            &["--threshold", "no label `alexia`", "alexa"][..],
        ),
        (&["--threshold", "1.5"], &["no probability"]),
        (&[], &["--threshold"]),
        (&["--rate", "0.1/h"], &["--negative"]),
        (&["--rate", "0", "--negative", &empty], &["0.1/h"]),
        (
            &["--rate", "1/h", "--negative", &empty],
            &["--negative", "no .wav or .flac"],
        ),
        (&["--rate", "1/h", "--negative", &missing], &["missing"]),
        (
            &["--threshold", "0.5", "-o", &model],
            &["would replace an input"],
        ),
    ] {
        refused_in(&folder, &[&["tune", &model], arguments].concat(), parts);
    }
    assert_eq!(std::fs::read(&model).unwrap(), before);
    refused(
        &[
            "tune",
            attn_test_support::folder::TINY,
            "--threshold",
            "0.5",
            "-o",
            &folder.path("x.attn"),
        ],
        &["no keyword spotter"],
    );
    refused(
        &["spot", &model, &missing, "--threshold", "x=1"],
        &["no label `x`"],
    );
}

//! `--state`: what a model keeps from one run to the next, against what onnxruntime recorded step by step.

use crate::{done, refused};
use attn_converter::files::write_npz;
use attn_converter::npz::Npz;
use attn_converter::sqnr::Sqnr;
use attn_test_support::folder::Folder;
use ndarray::ArrayD;

/// Models of `tests/data/states`, which `make.py` there makes, with their states.
const STEPS: [(&str, &str); 8] = [
    ("gru_step", "h_in=h_out"),
    ("lstm_step", "h0=hn,c0=cn"),
    ("cache_shift", "past_k=present_k,past_v=present_v"),
    ("cache_write", "past_k=present_k,past_v=present_v"),
    ("conv_buffers", "cache_1=new_cache_1,cache_2=new_cache_2"),
    ("image_buffers", "buf_1=buf_1_out,buf_2=buf_2_out"),
    ("voice_activity", "state=stateN,context=contextN"),
    ("smoothing", "mean_in=mean_out,peak_in=peak_out"),
];

fn file(name: &str, end: &str) -> String {
    format!(
        "{}/tests/data/states/{name}.{end}",
        env!("CARGO_MANIFEST_DIR")
    )
}

fn array(path: &str, name: &str) -> ArrayD<f32> {
    Npz::open(path.as_ref()).unwrap().read_real(name).unwrap()
}

#[test]
fn a_step_keeps_its_states_and_starts_every_sequence_without() {
    let folder = Folder::new();
    let [attn, results] = ["step.attn", "out.npz"].map(|name| folder.path(name));
    for (name, states) in STEPS {
        let [onnx, data] = ["onnx", "npz"].map(|end| file(name, end));
        let want = array(&file(name, "expected.npz"), "y");
        for (precision, floor) in [("int8", 28.0), ("int16x8", 40.0), ("fp16", 55.0)] {
            let model = [&onnx, "--state", states];
            let said = done(
                &[
                    &["convert"],
                    &model[..],
                    &["--calibrate", &data, "--dtype", precision, "-o", &attn],
                ]
                .concat(),
            );
            assert!(!said.contains("look like one state"), "{name}: {said}");
            done(&["run", &attn, &data, "-o", &results]);
            let got = array(&results, "y");
            assert_eq!(got.shape()[1..], want.shape()[1..], "{name}");
            let mut sqnr = Sqnr::default();
            let [want, got] =
                [&want, &got].map(|array| array.iter().copied().collect::<Vec<f32>>());
            sqnr.add(&want, &got[..want.len()]);
            assert!(
                sqnr.db() >= floor,
                "{name} in {precision}: {:.1} dB",
                sqnr.db()
            );
            // The float side keeps its states, too.
            let said = done(&[
                "compare", &onnx, &attn, "--data", &data, "--state", states, "--json",
            ]);
            let said: serde_json::Value = serde_json::from_str(&said).unwrap();
            let db = said["outputs_sqnr_db"].as_f64().unwrap();
            assert!(
                db >= floor && (db - sqnr.db()).abs() < 6.0,
                "{name}: {db:.1} dB"
            );
        }
    }
}

#[test]
fn what_could_be_a_state_is_said() {
    let folder = Folder::new();
    let data = folder.path("data.npz");
    let (x, h) = (
        ArrayD::<f32>::ones(vec![3, 1, 8]),
        ArrayD::<f32>::ones(vec![3, 2, 1, 12]),
    );
    write_npz(data.as_ref(), |npz| {
        npz.add_array("x", &x)?;
        npz.add_array("h_in", &h)
    })
    .unwrap();
    let onnx = file("gru_step", "onnx");
    let said = done(&[
        "convert",
        &onnx,
        "--calibrate",
        &data,
        "-o",
        &folder.path("step.attn"),
    ]);
    assert!(said.contains("--state h_in=h_out"), "{said}");
}

#[test]
fn a_state_that_cannot_be_kept_is_refused_by_name() {
    let folder = Folder::new();
    let attn = folder.path("step.attn");
    let cases: [(&str, &[&str], &[&str]); 8] = [
        (
            "gru_step",
            &["--state", "h=h_out"],
            &["state `h`", "no input `h`", "x, h_in"],
        ),
        (
            "gru_step",
            &["--state", "h_in=h"],
            &["state `h_in`", "no output `h`", "y, h_out"],
        ),
        (
            "gru_step",
            &["--state", "h_in=y"],
            &["`y` is [1, 5]", "`h_in` takes [2, 1, 12]", "one shape"],
        ),
        (
            "lstm_step",
            &["--state", "h0=hn,c0=hn"],
            &["output `hn`", "once"],
        ),
        (
            "lstm_step",
            &["--state", "h0=hn,h0=cn"],
            &["--state", "`h0` is given twice"],
        ),
        (
            "gru_step",
            &["--state", "h_in"],
            &["--state", "`h_in`", "INPUT=OUTPUT"],
        ),
        (
            "cache_write",
            &["--state", "position=y"],
            &["`position`", "one shape"],
        ),
        (
            "gru_step",
            &["--state", "h_in=h_out", "--stream"],
            &["state `h_in`", "step by step as it is"],
        ),
    ];
    for (name, flags, parts) in cases {
        let [onnx, data] = ["onnx", "npz"].map(|end| file(name, end));
        let words = [
            &["convert", &onnx, "--calibrate", &data, "-o", &attn],
            flags,
        ]
        .concat();
        refused(&words, parts);
    }
}

#[test]
fn sequences_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    let [data, attn] = ["data.npz", "step.attn"].map(|name| folder.path(name));
    let flat = ArrayD::<f32>::ones(vec![3, 8]);
    write_npz(data.as_ref(), |npz| npz.add_array("x", &flat)).unwrap();
    let onnx = file("gru_step", "onnx");
    let words = [
        "convert",
        &onnx,
        "--state",
        "h_in=h_out",
        "--calibrate",
        &data,
        "-o",
        &attn,
    ];
    refused(&words, &["array `x`", "[3, 8]", "[samples, steps, 1, 8]"]);
}

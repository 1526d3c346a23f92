//! What is said about the quality of a conversion: a line for each output, and warnings.

use crate::{attn, converting, done};
use attn_converter::files::{read_array, write_npz};
use attn_test_support::folder::{Folder, fixture};
use ndarray::ArrayD;
use serde_json::Value;

/// Two GRU layers whose states the caller gives, with states beyond 1.
const GIVEN_STATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/given_state.onnx");
const STATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/given_state.npz");

/// An attention with so few samples that those held back leave the ranges of the others.
const FEW: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../host-tests/fixtures/cases/r21_values_narrower_than_keys"
);

/// A transformer in which one channel of each LayerNorm is 300 times larger than the others, and the weights that read it smaller.
const OUTLIER: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/outlier.onnx"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/outlier.npz"),
];

/// What a command that succeeds prints, and its warnings.
fn said(arguments: &[&str]) -> [String; 2] {
    let output = attn(arguments);
    assert!(output.status.success(), "{arguments:?}");
    [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap())
}

/// The first `samples` of the states, times `factor`, as calibration data.
fn states(folder: &Folder, name: &str, samples: usize, factor: f32) -> String {
    let path = folder.path(name);
    let some = |name: &str| {
        let array: ArrayD<f32> = read_array(STATES.as_ref(), name).unwrap();
        let some = array.slice_axis(ndarray::Axis(0), (0..samples).into());
        some.to_owned() * factor
    };
    write_npz(path.as_ref(), |npz| {
        npz.add_array("x0", &some("x0"))?;
        npz.add_array("x1", &some("x1"))
    })
    .unwrap();
    path
}

fn convert<'a>(data: &'a str, file: &'a str, dtype: &'a str) -> [&'a str; 8] {
    let model = GIVEN_STATE;
    [
        "convert",
        model,
        "--calibrate",
        data,
        "--dtype",
        dtype,
        "-o",
        file,
    ]
}

#[test]
fn a_good_conversion_is_one_line_for_each_output_and_no_warning() {
    let folder = Folder::new();
    let file = folder.path("model.attn");
    let [out, warnings] = said(&converting(&file));
    assert!(out.contains("logits: SQNR "), "{out}");
    assert!(
        out.contains("samples, held back from calibration)"),
        "{out}"
    );
    assert_eq!(warnings, "");
    let few = states(&folder, "few.npz", 3, 0.3);
    let [out, warnings] = said(&convert(&few, &file, "int8"));
    assert!(
        out.contains("(measured on the calibration data itself, 3 of 3 samples)"),
        "{out}"
    );
    assert_eq!(warnings, "");
}

/// Calibrated with states beyond 1, a layer holds them; calibrated within, larger states are named.
#[test]
fn a_given_state_beyond_one_is_computed_or_named() {
    let folder = Folder::new();
    let file = folder.path("model.attn");
    let named = "a recurrent state in integers is within ±1";
    for dtype in ["int8", "int16x8"] {
        let warnings = &said(&convert(STATES, &file, dtype))[1];
        assert!(!warnings.contains(named), "{dtype}: {warnings}");
    }
    let usual = states(&folder, "usual.npz", 16, 0.3);
    done(&convert(&usual, &file, "int8"));
    let compare = ["compare", GIVEN_STATE, &file, "--data", STATES];
    let warnings = &said(&compare)[1];
    assert!(warnings.contains(named), "{warnings}");
    let result: Value = serde_json::from_str(&done(&[&compare[..], &["--json"]].concat())).unwrap();
    let clipped = result["clipped"].as_array().unwrap();
    assert!(clipped.iter().any(|value| value["as_state"] == true));
}

#[test]
fn a_bad_output_is_named_with_what_helps() {
    let folder = Folder::new();
    let file = folder.path("model.attn");
    // Samples that are held back leave the ranges of the few others.
    let [onnx, data] = ["onnx", "npz"].map(|end| format!("{FEW}.{end}"));
    let convert = |dtype| {
        [
            "convert",
            &onnx,
            "--calibrate",
            &data,
            "--dtype",
            dtype,
            "-o",
            &file,
        ]
    };
    let warnings = &said(&convert("int8"))[1];
    for part in [
        "warning: 16 has an SQNR of ",
        "values beyond the range that calibration saw cost most",
        "try --dtype int16x8 (+",
        "more calibration samples (+",
    ] {
        assert!(warnings.contains(part), "`{part}` is not in: {warnings}");
    }
    let json = done(&[&convert("int8")[..], &["--json"]].concat());
    let quality = &serde_json::from_str::<Value>(&json).unwrap()["quality"];
    assert_eq!(quality["warning"]["remedies"][0]["try"], "--dtype int16x8");
    assert_eq!(said(&convert("fp16"))[1], "");
}

#[test]
fn compare_names_values_beyond_what_calibration_has_seen() {
    let folder = Folder::new();
    let file = folder.path("model.attn");
    let small = states(&folder, "small.npz", 16, 0.03);
    let usual = states(&folder, "usual.npz", 16, 0.3);
    done(&convert(&small, &file, "int8"));
    let compare = |data| said(&["compare", GIVEN_STATE, &file, "--data", data]);
    assert_eq!(compare(&small)[1], "");
    let warnings = &compare(&usual)[1];
    for part in [
        "warning: x0 is -0.9235 to 0.6123 in float, the file holds -0.",
        "in 16 of 16 samples (calibrate with data like these)",
    ] {
        assert!(warnings.contains(part), "`{part}` is not in: {warnings}");
    }
    let json = done(&["compare", GIVEN_STATE, &file, "--data", &usual, "--json"]);
    let result: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(result["clipped"][0]["value"], "x0");
    assert_eq!(result["clipped"][0]["samples"], 16);
}

#[test]
fn a_channel_much_larger_than_the_others_costs_nothing() {
    let (folder, [model, data]) = (Folder::new(), OUTLIER);
    let file = folder.path("model.attn");
    for (dtype, floor) in [("int8", 38.0), ("int16x8", 50.0)] {
        let options = ["--calibrate", data, "--dtype", dtype, "-o", &file];
        let [_, warnings] = said(&[&["convert", model], &options[..]].concat());
        assert_eq!(warnings, "", "{dtype}");
        let compared = done(&["compare", model, &file, "--data", data, "--json"]);
        let result: Value = serde_json::from_str(&compared).unwrap();
        let db = result["outputs_sqnr_db"].as_f64().unwrap();
        assert!(db > floor, "{dtype}: {db} dB");
        // `compare` divides the float values as equalisation did.
        for layer in result["layers"].as_array().unwrap() {
            let db = layer["sqnr_db"].as_f64().unwrap();
            assert!(db > 20.0, "{dtype}: {layer}");
        }
    }
}

/// A file of `host-tests/fixtures/cases`, converted in int16x8: what is printed, and warned of.
fn case_in_int16(name: &str, json: bool) -> [String; 2] {
    let folder = Folder::new();
    let case = |end: &str| fixture(&format!("cases/{name}.{end}"));
    let (onnx, data, file) = (case("onnx"), case("npz"), folder.path("model.attn"));
    let convert = [
        "convert",
        &onnx,
        "--calibrate",
        &data,
        "--dtype",
        "int16x8",
        "-o",
        &file,
    ];
    said(&[&convert[..], &["--json"][..usize::from(json)]].concat())
}

#[test]
fn layers_with_weights_of_two_parts_are_named() {
    // A value on the edge between two whole numbers goes to the wrong one with weights of 8 bits.
    let name = "w08_cast_to_int_and_back";
    let [printed, warnings] = case_in_int16(name, false);
    assert!(
        printed.contains("weights of 16 bits, in two parts: m (+"),
        "{printed}"
    );
    assert_eq!(warnings, "");
    let json: Value = serde_json::from_str(&case_in_int16(name, true)[0]).unwrap();
    assert_eq!(json["weights_of_two_parts"][0]["value"], "m");
    let [printed, _] = case_in_int16("k02_layernorm_opset16", false);
    assert!(!printed.contains("two parts"), "{printed}");
}

#[test]
fn weights_are_not_blamed_for_numbers_of_very_different_size() {
    let [printed, warnings] = case_in_int16("far_apart", false);
    assert!(!printed.contains("two parts"), "{printed}");
    let cause = "numbers of very different size cost most";
    let remedy = "try --dtype fp16 (+";
    for part in [cause, remedy] {
        assert!(warnings.contains(part), "`{part}` is not in: {warnings}");
    }
}

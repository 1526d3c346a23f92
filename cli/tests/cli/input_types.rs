//! `--input-dtype`: inputs get the type that is asked for, or the conversion says why not.

use crate::{done, refused_in};
use attn_test_support::folder::{Folder, fixture};
use serde_json::Value;

const NAME: &str = "attention/multi_head_bare";

/// Types of the inputs of a file.
fn types(file: &str) -> Vec<String> {
    let all: Value = serde_json::from_str(&done(&["inspect", file, "--json"])).unwrap();
    let ids = all["entries"][0]["inputs"].as_array().unwrap().iter();
    let tensor = |id: &Value| &all["tensors"][id.as_u64().unwrap() as usize];
    ids.map(|id| tensor(id)["dtype"].as_str().unwrap().to_owned())
        .collect()
}

fn files() -> [String; 2] {
    [
        fixture(&format!("{NAME}_dynamo.onnx")),
        fixture(&format!("{NAME}.npz")),
    ]
}

#[test]
fn an_input_has_the_type_that_is_asked_for() {
    let (folder, [onnx, data]) = (Folder::new(), files());
    let file = folder.path("out.attn");
    for (precision, asked) in [
        ("int8", "int8"),
        ("int8", "int16"),
        ("int16x8", "int8"),
        ("int16x8", "int16"),
        ("fp16", "float16"),
    ] {
        done(&[
            "convert",
            &onnx,
            "--calibrate",
            &data,
            "--dtype",
            precision,
            "--input-dtype",
            asked,
            "-o",
            &file,
        ]);
        assert_eq!(types(&file), [asked], "{precision}");
        // It still is the model.
        let said = done(&["compare", &onnx, &file, "--data", &data, "--json"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        let db = said["outputs"][0]["sqnr_db"].as_f64().unwrap();
        assert!(db > 25.0, "{precision} {asked}: {db} dB");
    }
}

#[test]
fn a_type_that_an_input_cannot_have_is_refused() {
    let (folder, [onnx, data]) = (Folder::new(), files());
    let output = folder.path("out.attn");
    let refused = |onnx: &str, data: &str, extra: &[&str], parts: &[&str]| {
        let mut arguments = vec!["convert", onnx, "--calibrate", data, "-o", &output];
        arguments.extend(extra);
        refused_in(&folder, &arguments, parts);
    };
    let of = |asked| ["--input-dtype", asked];
    refused(
        &onnx,
        &data,
        &of("int12"),
        &["--input-dtype", "int8, int16, float16"],
    );
    refused(
        &onnx,
        &data,
        &of("float16"),
        &["--input-dtype", "convert to half precision"],
    );
    refused(
        &onnx,
        &data,
        &of("missing=int8"),
        &["no input `missing`; it has "],
    );
    let half = ["--dtype", "fp16", "--input-dtype", "int8"];
    refused(&onnx, &data, &half, &["no int8 inputs", "float16"]);
    let words = [
        fixture("attention/text_classifier_dynamo.onnx"),
        fixture("attention/text_classifier.npz"),
    ];
    refused(
        &words[0],
        &words[1],
        &of("int8"),
        &["no input of real numbers"],
    );
    let [kws, features] = ["../models/kws.onnx", "../models/kws_calibration.npz"];
    let audio = ["--audio-hop", "320", "--input-dtype", "int16", "--stream"];
    refused(
        kws,
        features,
        &audio,
        &["features of the audio front end", "int8"],
    );
}

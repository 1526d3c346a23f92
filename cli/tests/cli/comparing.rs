//! `attn compare` on bundles; single models are compared in `mistakes.rs`, where every command runs once.

use crate::{done, refused};
use attn_test_support::folder::{Folder, fixture};
use serde_json::Value;

fn converted(folder: &Folder, system: &str, precision: &str) -> (String, String) {
    let manifest = fixture(&format!("seq2seq/{system}_dynamo.bundle.toml"));
    let file = folder.path("bundle.attn");
    done(&["convert", &manifest, "--dtype", precision, "-o", &file]);
    (manifest, file)
}

fn compared(manifest: &str, file: &str) -> Value {
    serde_json::from_str(&done(&["compare", manifest, file, "--json"])).unwrap()
}

#[test]
fn a_bundle_is_compared_value_by_value() {
    let folder = Folder::new();
    // A recurrent step, a padded encoder, a step that is streamed, and a language model.
    for (system, floors) in [
        ("additive", [25.0, 50.0]),
        ("masked_transformer", [22.0, 45.0]),
        ("transformer", [22.0, 55.0]),
        ("llama", [22.0, 55.0]),
    ] {
        for (precision, floor) in ["int8", "fp16"].into_iter().zip(floors) {
            let (manifest, file) = converted(&folder, system, precision);
            let result = compared(&manifest, &file);
            let db = result["outputs_sqnr_db"].as_f64().unwrap();
            assert!(db > floor, "{system} {precision}: {db} dB");
            let layers = result["layers"].as_array().unwrap();
            let compared = |layer: &&Value| layer["sqnr_db"].as_f64().is_some_and(|db| db > 10.0);
            let good = layers.iter().filter(compared).count();
            assert!(
                good > 5,
                "{system} {precision}: {good} of {} layers",
                layers.len()
            );
            let agree = result["top1_agreement"].as_f64().unwrap();
            assert!(agree > 0.8, "{system} {precision}: {agree}");
        }
    }
}

#[test]
fn a_bundle_names_its_own_data_and_a_model_none() {
    let folder = Folder::new();
    let (manifest, file) = converted(&folder, "additive", "int8");
    let own = ["compare", &manifest, &file, "--data", "x.npz"];
    refused(&own, &["--data: a manifest names its own data"]);
    let model = fixture("seq2seq/additive_dynamo.step.onnx");
    refused(&["compare", &model, &file], &["--data: name an .npz file"]);
    let other = fixture("seq2seq/plain_gru2_dynamo.bundle.toml");
    let spotter = attn_test_support::folder::TINY;
    refused(
        &["compare", &other, spotter],
        &["not converted from this ONNX model"],
    );
}

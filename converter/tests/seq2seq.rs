//! Recurrent encoder-decoders from both of PyTorch's exporters, against PyTorch's own logits.

use attn_converter::bundle::convert::{Options, convert};
use attn_converter::calibrate::RangeMethod;
use attn_converter::error::ConvertError;
use attn_converter::files::read_array;
use attn_converter::quantize::Precision;
use attn_converter::runner::{self, AlignedBytes, ModelFile};
use attn_converter::sqnr::Sqnr;
use attn_runtime::Session;
use indicatif::ProgressBar;
use ndarray::{Array1, Array2, Array3};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-tests/fixtures/seq2seq");
    fixtures.join(name)
}

fn converted(
    system: &str,
    exporter: &str,
    precision: Precision,
) -> Result<ModelFile, ConvertError> {
    let options = Options {
        precision,
        range: RangeMethod::Mse,
    };
    let manifest = fixture(&format!("{system}_{exporter}.bundle.toml"));
    convert(&manifest, &options, &ProgressBar::hidden())
}

/// Logits and attention weights of a file against the recorded ones, for every sample and token.
fn compared(system: &str, file: &ModelFile) -> (Sqnr, Sqnr) {
    let recorded = fixture(&format!("{system}.npz"));
    let symbols: Array2<i64> = read_array(&recorded, "symbols").unwrap();
    let lengths: Array1<i64> = read_array(&recorded, "symbols_len").unwrap();
    let tokens: Array2<i64> = read_array(&recorded, "tokens").unwrap();
    let logits: Array3<f32> = read_array(&recorded, "logits").unwrap();
    let weights: Option<Array3<f32>> = read_array(&recorded, "weights").ok();
    let model = file.model();
    let (encode, step) = (model.entry("encode").unwrap(), model.entry("step").unwrap());
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let (mut of_logits, mut of_weights) = (Sqnr::default(), Sqnr::default());
    for sample in 0..symbols.nrows() {
        let length = lengths[sample] as usize;
        session.reset();
        session.set_length(length).unwrap();
        let input = session.input::<i32>(encode, 0).unwrap();
        for (slot, &symbol) in input.iter_mut().zip(symbols.row(sample)) {
            // Padding is symbol 0, of systems that are padded.
            *slot = symbol.max(0) as i32;
        }
        session.run(encode).unwrap();
        for (at, &token) in tokens.row(sample).iter().enumerate() {
            session.input::<i32>(step, 0).unwrap()[0] = token as i32;
            session.run(step).unwrap();
            let exact: Vec<f32> = logits.slice(ndarray::s![sample, at, ..]).to_vec();
            of_logits.add(&exact, &runner::output(&session, step, 0).unwrap());
            if let Some(weights) = &weights {
                let exact: Vec<f32> = weights.slice(ndarray::s![sample, at, ..length]).to_vec();
                of_weights.add(&exact, &runner::output(&session, step, 1).unwrap());
            }
        }
    }
    (of_logits, of_weights)
}

/// Systems with an axis of variable length, and padded ones.
const SYSTEMS: [&str; 16] = [
    "plain_gru",
    "plain_gru2",
    "additive",
    "additive_linear",
    "additive_split",
    "dot",
    "general",
    "scaled_dot",
    "bidirectional",
    "lstm",
    "bilstm",
    "masked_bool",
    "masked_zero",
    "masked_added",
    "masked_dynamic",
    "masked_transformer",
];

const WITHOUT_WEIGHTS: [&str; 3] = ["plain_gru", "plain_gru2", "masked_transformer"];

#[test]
fn every_system_converts_from_both_exporters_and_keeps_its_accuracy() {
    for system in SYSTEMS {
        for exporter in ["dynamo", "torchscript"] {
            let file = converted(system, exporter, Precision::Int8)
                .unwrap_or_else(|error| panic!("{system}, {exporter}: {error}"));
            let (logits, weights) = compared(system, &file);
            let (logits, weights) = (logits.db(), weights.db());
            println!("{system}, {exporter}: logits {logits:.1} dB, weights {weights:.1} dB");
            assert!(logits > 38.0, "{system}, {exporter}: {logits} dB");
            // NaN where no weights are handed out.
            let plain = WITHOUT_WEIGHTS.contains(&system);
            assert!(
                plain || weights > 38.0,
                "{system}, {exporter}: {weights} dB"
            );
        }
    }
}

#[test]
fn half_precision_keeps_50_db_in_every_system() {
    for system in SYSTEMS {
        let file = converted(system, "dynamo", Precision::Fp16)
            .unwrap_or_else(|error| panic!("{system}: {error}"));
        let (logits, weights) = compared(system, &file);
        let (logits, weights) = (logits.db(), weights.db());
        println!("{system}, fp16: logits {logits:.1} dB, weights {weights:.1} dB");
        assert!(logits > 50.0, "{system}: {logits} dB");
        let plain = WITHOUT_WEIGHTS.contains(&system);
        assert!(plain || weights > 50.0, "{system}: {weights} dB");
    }
}

#[test]
fn padded_systems_convert_in_every_precision() {
    for system in SYSTEMS.into_iter().filter(|s| s.starts_with("masked")) {
        for exporter in ["dynamo", "torchscript"] {
            for (precision, least) in [(Precision::Int8x16, 38.0), (Precision::Fp16, 50.0)] {
                let file = converted(system, exporter, precision)
                    .unwrap_or_else(|error| panic!("{system}, {exporter}: {error}"));
                let logits = compared(system, &file).0.db();
                println!("{system}, {exporter}, {precision:?}: logits {logits:.1} dB");
                assert!(logits > least, "{system}, {exporter}: {logits} dB");
            }
        }
    }
}

/// Projections of the encoder's output and the packing of keys belong to the encoder, whatever side they were exported on.
#[test]
fn what_depends_on_the_sentence_alone_is_computed_once() {
    let ops = |system: &str, entry: &str| {
        let file = converted(system, "dynamo", Precision::Int8).unwrap();
        let model = file.model();
        let entry = &model.entries()[model.entry(entry).unwrap()];
        let ops = &model.ops()[entry.ops()];
        ops.iter()
            .map(|op| op.kind().unwrap().name())
            .collect::<Vec<_>>()
    };
    let step = ["Embedding", "Linear", "AdditiveAttention"];
    assert_eq!(
        ops("additive", "encode"),
        ["Embedding", "Gru", "LastRow", "Requantize", "Linear"]
    );
    let got = ops("additive", "step");
    assert!(step.iter().all(|name| got.contains(name)), "{got:?}");
    assert_eq!(got.iter().filter(|name| **name == "Linear").count(), 2);
    let got = ops("general", "encode");
    assert!(got.contains(&"PushKeyValue"), "{got:?}");
    let got = ops("general", "step");
    assert!(!got.contains(&"PushKeyValue"), "{got:?}");
}

/// What converting a manifest says, after `change` was made to that of system `additive`.
fn refused(change: impl Fn(&str) -> String) -> String {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(fixture("additive_dynamo.bundle.toml")).unwrap();
    let here = |file: &str| text.contains(file).then(|| fixture(file));
    let mut text = text.clone();
    for file in [
        "additive_dynamo.encode.onnx",
        "additive_dynamo.step.onnx",
        "additive.npz",
    ] {
        let path = here(file).expect("the manifest names its files");
        text = text.replace(&format!("\"{file}\""), &format!("{path:?}"));
    }
    let manifest = folder.path().join("bundle.toml");
    std::fs::write(&manifest, change(&text)).unwrap();
    let options = Options {
        precision: Precision::Int8,
        range: RangeMethod::Mse,
    };
    let result = convert(&manifest, &options, &ProgressBar::hidden());
    result.expect_err("the manifest is wrong").to_string()
}

#[test]
fn a_manifest_that_does_not_fit_its_models_says_where() {
    let expect = |change: &dyn Fn(&str) -> String, parts: &[&str]| {
        let message = refused(change);
        let all = parts.iter().all(|part| message.contains(part));
        assert!(all && message.contains("bundle.toml"), "{message}");
    };
    // A step without its state wired.
    let line = |text: &str, start: &str| {
        let kept = text.lines().filter(|line| !line.starts_with(start));
        kept.collect::<Vec<_>>().join("\n")
    };
    expect(
        &|text| line(text, "state = "),
        &["input `state` of entry `step`", "[state]"],
    );
    // Hidden sizes of encoder and step differ: the memory is no state.
    let swapped = |text: &str| text.replace("to = \"step.state\"", "to = \"step.memory\"");
    expect(
        &|text| swapped(&line(text, "memory = ")),
        &["encode.state", "step.memory", "must be of one size"],
    );
    expect(
        &|text| text.replace("step.state_next", "step.hidden"),
        &["no output `hidden`", "state_next"],
    );
    expect(
        &|text| text.replace("\"step.state\"", "\"decoder.state\""),
        &["decoder.state", "encode, step"],
    );
    expect(
        &|text| text.replace("logits = \"logits\"", "logits = \"scores\""),
        &["no output `scores`"],
    );
    expect(
        &|text| text.replace("[decode]", "[decode]\ncolour = 3"),
        &["colour"],
    );
    expect(
        &|text| text.replace("start = 0", "start = \"<s>\""),
        &["`<s>` is not in the vocabulary"],
    );
    // A dynamic axis needs a greatest length.
    let message = refused(|text| line(text, "max_length"));
    assert!(message.contains("max_length"), "{message}");
}

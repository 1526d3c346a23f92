//! Recurrent encoder-decoders from both of PyTorch's exporters, against PyTorch's own logits.

use attn_converter::quantize::Precision;
use attn_test_support::sequences::{Changed, EXPORTERS, SEQUENCES, fixtures};

/// SQNR in dB that logits and weights keep: more than [`Sequence::floor`] asks for.
const FLOORS: [(Precision, f64); 3] = [
    (Precision::Int8, 38.0),
    (Precision::Int16x8, 38.0),
    (Precision::Fp16, 55.0),
];

#[test]
fn every_system_converts_from_both_exporters_and_keeps_its_accuracy() {
    for system in SEQUENCES.iter().filter(|system| !system.transformer) {
        let recorded = system.recorded();
        let exporters: Vec<_> = system.exporters().collect();
        assert_eq!(exporters, EXPORTERS, "{}", system.name);
        for (exporter, (precision, floor)) in exporters
            .iter()
            .flat_map(|exporter| FLOORS.map(|floor| (exporter, floor)))
        {
            let name = format!("{}, {exporter}, {precision:?}", system.name);
            let file = system
                .convert(exporter, precision)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let (logits, weights) = recorded.compared(&file);
            let (logits, weights) = (logits.db(), weights.db());
            println!("{name}: logits {logits:.1} dB, weights {weights:.1} dB");
            assert!(logits > floor, "{name}: {logits} dB");
            // NaN where no weights were recorded.
            assert_eq!(weights.is_nan(), !recorded.has_weights(), "{name}");
            assert!(weights.is_nan() || weights > floor, "{name}: {weights} dB");
        }
    }
}

/// A fixture that no table names would go unnoticed.
#[test]
fn every_recorded_system_is_listed() {
    let mut recorded = 0;
    for file in std::fs::read_dir(fixtures()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_npz = path.extension().is_some_and(|extension| extension == "npz");
        // The trained models' fixtures hold inputs alone.
        if is_npz && name != "g2p" {
            let known = SEQUENCES.iter().any(|system| system.name == name);
            assert!(known, "{name} is not listed");
            recorded += 1;
        }
    }
    assert_eq!(recorded, SEQUENCES.len());
}

/// Projections of the encoder's output and the packing of keys belong to the encoder, whatever side they were exported on.
#[test]
fn what_depends_on_the_sentence_alone_is_computed_once() {
    let ops = |system: &str, entry: &str| {
        let system = SEQUENCES.iter().find(|known| known.name == system);
        let file = system.unwrap().convert("dynamo", Precision::Int8).unwrap();
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

#[test]
fn a_manifest_that_does_not_fit_its_models_says_where() {
    let refused = |bundle: Changed, parts: &[&str]| {
        bundle.refused(&[&["bundle.toml"], parts].concat());
    };
    let bundle = || Changed::new("additive");
    // A step without its state wired.
    let unwired = bundle().without("state = ");
    refused(unwired, &["input `state` of entry `step`", "[state]"]);
    // Hidden sizes of encoder and step differ: the memory is no state.
    let [state, memory] = ["to = \"step.state\"", "to = \"step.memory\""];
    let swapped = bundle().without("memory = ").replaced(state, memory);
    let sizes = ["encode.state", "step.memory", "must be of one size"];
    refused(swapped, &sizes);
    // A dynamic axis needs a greatest length.
    bundle().without("max_length").refused(&["max_length"]);
    let replaced = |from, to, parts| refused(bundle().replaced(from, to), parts);
    let known = ["no output `hidden`", "state_next"];
    replaced("step.state_next", "step.hidden", &known);
    let known = ["decoder.state", "encode, step"];
    replaced("\"step.state\"", "\"decoder.state\"", &known);
    let [logits, scores] = ["logits = \"logits\"", "logits = \"scores\""];
    replaced(logits, scores, &["no output `scores`"]);
    replaced("[decode]", "[decode]\ncolour = 3", &["colour"]);
    let unknown = ["`<s>` is not in the vocabulary"];
    replaced("start = 0", "start = \"<s>\"", &unknown);
}

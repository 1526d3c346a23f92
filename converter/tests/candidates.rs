//! Steps that return their best tokens instead of a row of logits.

use attn_converter::calibrate::RangeMethod;
use attn_converter::decode::{Decoder, Input, Search};
use attn_converter::pipeline::Options;
use attn_converter::quantize::Precision;
use attn_converter::runner::ModelFile;
use attn_test_support::sequences::convert_bundle;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-tests/fixtures/seq2seq");
    fixtures.join(name)
}

fn options(precision: Precision) -> Options {
    Options {
        precision,
        range: RangeMethod::MinMax,
        ..Options::default()
    }
}

/// A manifest beside copies of a system's files, with a line added to its [decode].
fn with_line(system: &str, line: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for end in [".npz", "_dynamo.encode.onnx", "_dynamo.step.onnx"] {
        let name = format!("{system}{end}");
        std::fs::copy(fixture(&name), folder.path().join(&name)).unwrap();
    }
    let text = fixture(&format!("{system}_dynamo.bundle.toml"));
    let text = std::fs::read_to_string(text).unwrap();
    let text = text.replace("[decode]", &format!("[decode]\n{line}"));
    let manifest = folder.path().join("bundle.toml");
    std::fs::write(&manifest, text).unwrap();
    (folder, manifest)
}

fn has_top_k(file: &ModelFile) -> bool {
    let kinds = file
        .model()
        .ops()
        .iter()
        .map(|op| op.kind().unwrap().name());
    kinds.into_iter().any(|kind| kind == "TopK")
}

#[test]
fn candidates_decode_as_logits_do() {
    let convert = |line: &str| {
        let (_folder, manifest) = with_line("additive", line);
        convert_bundle(&manifest, &options(Precision::Int8)).unwrap()
    };
    let (fused, plain) = (convert("candidates = 4"), convert(""));
    assert!(has_top_k(&fused) && !has_top_k(&plain));
    for first in 2..12 {
        let input = Input::Symbols((first..first + 7).collect());
        let beam = |width| Search::Beam { width, alpha: 1.0 };
        for search in [Search::Greedy, beam(2), beam(4)] {
            assert_eq!(
                Decoder::new(fused.model()).decode(&input, search).unwrap(),
                Decoder::new(plain.model()).decode(&input, search).unwrap()
            );
        }
    }
}

#[test]
fn half_precision_hands_out_candidates_too() {
    let (_folder, manifest) = with_line("plain_gru", "candidates = 4");
    let half = convert_bundle(&manifest, &options(Precision::Fp16)).unwrap();
    assert!(has_top_k(&half));
    let input = Input::Symbols(vec![3, 5, 7, 9]);
    let search = Search::Beam {
        width: 4,
        alpha: 1.0,
    };
    let found = Decoder::new(half.model()).decode(&input, search).unwrap();
    assert_eq!(found.len(), 4);
}

#[test]
fn candidates_that_cannot_be_are_refused() {
    for count in [0, 17] {
        let (_folder, manifest) = with_line("additive", &format!("candidates = {count}"));
        let error = convert_bundle(&manifest, &options(Precision::Int8)).unwrap_err();
        let message = error.to_string();
        let expected = format!("candidates = {count}: 1 to 16");
        assert!(message.contains(&expected), "{message}");
    }
}

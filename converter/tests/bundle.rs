//! What a bundle's manifest and calibration data must not be, and what is said about it.

use attn_converter::calibrate::RangeMethod;
use attn_converter::files::{read_array, write_npz};
use attn_converter::pipeline::Options;
use attn_converter::quantize::Precision;
use attn_test_support::sequences::convert_bundle;
use ndarray::{Array1, Array2};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-tests/fixtures/seq2seq");
    fixtures.join(name)
}

/// What converting the manifest of a fixture says after a change to its text, which names files by their whole path.
fn refused(system: &str, change: impl Fn(&str) -> String) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut text =
        std::fs::read_to_string(fixture(&format!("{system}_dynamo.bundle.toml"))).unwrap();
    for file in [
        format!("{system}.npz"),
        format!("{system}_dynamo.encode.onnx"),
        format!("{system}_dynamo.step.onnx"),
    ] {
        let path = fixture(&file);
        text = text.replace(&format!("\"{file}\""), &format!("{path:?}"));
    }
    let manifest = folder.path().join("bundle.toml");
    std::fs::write(&manifest, change(&text)).unwrap();
    let options = Options {
        precision: Precision::Int8,
        range: RangeMethod::MinMax,
        ..Options::default()
    };
    let result = convert_bundle(&manifest, &options);
    result.expect_err("the bundle is wrong").to_string()
}

fn expect(message: &str, parts: &[&str]) {
    let all = parts.iter().all(|part| message.contains(part));
    assert!(all, "{message}");
}

/// The text without the line that starts so.
fn without(text: &str, start: &str) -> String {
    let kept = text.lines().filter(|line| !line.starts_with(start));
    kept.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_input_without_a_source_is_named() {
    // Before any data is read.
    let message = refused("additive", |text| {
        without(&without(text, "memory = "), "calibrate")
            .replace("[entries]", "calibrate = \"none.npz\"\n[entries]")
    });
    expect(&message, &["`memory` of entry `step`", "has no source"]);
    let message = refused("additive", |text| {
        text.replace("input = \"symbols\"", "input = \"letters\"")
    });
    expect(&message, &["no input `letters`", "symbols"]);
    let message = refused("additive", |text| {
        let step = text
            .lines()
            .find(|line| line.starts_with("step = \""))
            .unwrap();
        text.replace(
            step,
            &format!("{step}\n{}", step.replacen("step", "other", 1)),
        )
    });
    expect(&message, &["`other` is neither `encode` nor `step`"]);
}

#[test]
fn a_step_over_a_whole_sequence_has_its_bounds() {
    let message = refused("transformer", |text| {
        text.replace("max_tokens = 10", "max_tokens = 11")
    });
    expect(&message, &["max_tokens = 11", "exported for 10 tokens"]);
    let message = refused("transformer", |text| {
        text.replace(
            "memory = { from = [\"encode.memory\"]",
            "memory = { from = [\"encode.memory\", \"step.logits\"]",
        )
    });
    assert!(message.contains("memory"), "{message}");
    let message = refused("llama", |text| {
        format!("{text}\n[state]\npast = {{ from = [\"step.logits\"], to = \"step.tokens\" }}\n")
    });
    expect(&message, &["past"]);
}

/// Calibration data of `additive`, changed.
fn with_data(change: impl Fn(&mut Array2<i64>, &mut Array1<i64>, &mut Array2<i64>)) -> String {
    let from = fixture("additive.npz");
    let mut symbols: Array2<i64> = read_array(&from, "symbols").unwrap();
    let mut lengths: Array1<i64> = read_array(&from, "symbols_len").unwrap();
    let mut tokens: Array2<i64> = read_array(&from, "tokens").unwrap();
    change(&mut symbols, &mut lengths, &mut tokens);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.npz");
    write_npz(&data, |npz| {
        npz.add_array("symbols", &symbols)?;
        npz.add_array("symbols_len", &lengths)?;
        npz.add_array("tokens", &tokens)
    })
    .unwrap();
    refused("additive", |text| {
        let text = without(text, "calibrate");
        text.replace("[entries]", &format!("calibrate = {data:?}\n[entries]"))
    })
}

#[test]
fn calibration_data_that_are_no_sequences_are_refused() {
    let message = with_data(|_, lengths, _| lengths[3] = 0);
    expect(&message, &["symbols_len", "a length of 0", "1 to 12"]);
    let message = with_data(|_, lengths, _| lengths[3] = 13);
    expect(&message, &["a length of 13"]);
    let message = with_data(|symbols, lengths, _| {
        lengths[2] = 5;
        symbols[[2, 3]] = -1;
    });
    expect(&message, &["symbols", "padding before its end"]);
    let message = with_data(|_, lengths, _| *lengths = Array1::from_elem(3, 2));
    expect(&message, &["symbols", "samples"]);
    let message = with_data(|_, _, tokens| *tokens = Array2::zeros((0, 6)));
    expect(&message, &["tokens", "no samples"]);
}

#[test]
fn a_vocabulary_with_an_empty_line_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let names = folder.path().join("tokens.txt");
    std::fs::write(&names, "<s>\n</s>\n \n\nb\n").unwrap();
    let message = refused("llama", |text| {
        format!("{text}\n[vocabulary]\ntokens = {names:?}\n")
    });
    expect(&message, &["tokens.txt", "line 4 is empty"]);
    std::fs::write(&names, "<s>\n</s>\n \na\n").unwrap();
    let message = refused("llama", |text| {
        format!("{text}\n[vocabulary]\ntokens = {names:?}\n")
    });
    expect(&message, &["4 tokens in the vocabulary, 30 logits"]);
}

#[test]
fn more_tokens_than_the_step_was_exported_for_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.npz");
    write_npz(&data, |npz| {
        npz.add_array("tokens", &Array2::<i64>::ones((2, 11)))
    })
    .unwrap();
    let message = refused("llama", |text| {
        let text = without(text, "calibrate");
        text.replace("[entries]", &format!("calibrate = {data:?}\n[entries]"))
    });
    expect(&message, &["11 tokens", "exported for 10"]);
}

//! What a bundle's manifest and calibration data must not be, and what is said about it.

use attn_converter::files::{read_array, write_npz};
use attn_test_support::sequences::{Changed, fixtures};
use ndarray::{Array1, Array2};
use std::path::Path;

/// A manifest with one thing replaced by another.
fn replaced(system: &'static str, from: &str, to: &str, parts: &[&str]) {
    Changed::new(system).replaced(from, to).refused(parts);
}

#[test]
fn an_input_without_a_source_is_named() {
    // Before any data is read.
    let bundle = Changed::new("additive").without("memory = ");
    let bundle = bundle.replaced("additive.npz", "none.npz");
    bundle.refused(&["`memory` of entry `step`", "has no source"]);
    let [symbols, letters] = ["input = \"symbols\"", "input = \"letters\""];
    let known = ["no input `letters`", "symbols"];
    replaced("additive", symbols, letters, &known);
    let other = "[entries]\nother = \"additive_dynamo.step.onnx\"";
    let neither = ["`other` is neither `encode` nor `step`"];
    replaced("additive", "[entries]", other, &neither);
}

#[test]
fn a_step_over_a_whole_sequence_has_its_bounds() {
    let (most, more) = ("max_tokens = 10", "max_tokens = 11");
    replaced("transformer", most, more, &[more, "exported for 10 tokens"]);
    let memory = "memory = { from = [\"encode.memory\"";
    let again = format!("{memory}, \"step.logits\"");
    replaced("transformer", memory, &again, &["memory"]);
    let past = "[state]\npast = { from = [\"step.logits\"], to = \"step.tokens\" }\n[decode]";
    replaced("llama", "[decode]", past, &["past"]);
}

/// `additive`, whose calibration data `change` changes, is refused.
fn with_data(
    change: impl Fn(&mut Array2<i64>, &mut Array1<i64>, &mut Array2<i64>),
    parts: &[&str],
) {
    let from = fixtures().join("additive.npz");
    let mut symbols = read_array(&from, "symbols").unwrap();
    let mut lengths = read_array(&from, "symbols_len").unwrap();
    let mut tokens = read_array(&from, "tokens").unwrap();
    change(&mut symbols, &mut lengths, &mut tokens);
    let bundle = Changed::new("additive");
    write_npz(Path::new(&bundle.folder.path("additive.npz")), |npz| {
        npz.add_array("symbols", &symbols)?;
        npz.add_array("symbols_len", &lengths)?;
        npz.add_array("tokens", &tokens)
    })
    .unwrap();
    bundle.refused(parts);
}

#[test]
fn calibration_data_that_are_no_sequences_are_refused() {
    let none = ["symbols_len", "a length of 0", "1 to 12"];
    with_data(|_, lengths, _| lengths[3] = 0, &none);
    with_data(|_, lengths, _| lengths[3] = 13, &["a length of 13"]);
    let padded = |symbols: &mut Array2<i64>, lengths: &mut Array1<i64>, _: &mut _| {
        (lengths[2], symbols[[2, 3]]) = (5, -1);
    };
    with_data(padded, &["symbols", "padding before its end"]);
    let three = Array1::from_elem(3, 2);
    let fewer = ["symbols", "samples"];
    with_data(|_, lengths, _| *lengths = three.clone(), &fewer);
    let empty = Array2::zeros((0, 6));
    let none = ["tokens", "no samples"];
    with_data(|_, _, tokens| *tokens = empty.clone(), &none);
}

#[test]
fn a_vocabulary_with_an_empty_line_is_refused() {
    let few = "4 tokens in the vocabulary, 30 logits";
    for (names, expected) in [
        ("<s>\n</s>\n \n\nb\n", ["tokens.txt", "line 4 is empty"]),
        ("<s>\n</s>\n \na\n", ["tokens", few]),
    ] {
        let named = "[vocabulary]\ntokens = \"tokens.txt\"\n[decode]";
        let bundle = Changed::new("llama").replaced("[decode]", named);
        bundle.folder.write("tokens.txt", names.as_bytes());
        bundle.refused(&expected);
    }
}

#[test]
fn more_tokens_than_the_step_was_exported_for_are_refused() {
    let bundle = Changed::new("llama");
    let data = bundle.folder.path("llama.npz");
    let tokens = Array2::<i64>::ones((2, 11));
    write_npz(Path::new(&data), |npz| npz.add_array("tokens", &tokens)).unwrap();
    bundle.refused(&["11 tokens", "exported for 10"]);
}

//! `attn decode` on a small encoder-decoder: what it prints, and every mistake that a user can make.

use crate::{done, refused};
use attn_converter::decode::{Decoder, Input, Search};
use attn_converter::runner::ModelFile;
use attn_runtime::seq2seq::text;
use attn_test_support::decoder_model::{MAX_TOKENS, Output, Variant, decoder_file};
use attn_test_support::folder::{Folder, TINY};
use serde_json::Value;
use std::path::Path;

fn folder_with_model(variant: Variant) -> (Folder, String) {
    let folder = Folder::new();
    let path = folder.write("model.attn", &decoder_file(variant));
    (folder, path)
}

#[test]
fn the_command_prints_what_the_runtime_decodes() {
    let (folder, path) = folder_with_model(Variant::default());
    let file = ModelFile::new(&decoder_file(Variant::default())).unwrap();
    let mut decoder = Decoder::new(file.model());
    let input = Input::Text("abc".into());
    let greedy = decoder.decode(&input, Search::Greedy).unwrap().remove(0);
    let tokens = text(file.model(), &greedy.tokens).to_string();
    assert!(!tokens.is_empty());
    let line = done(&["decode", &path, "--text", "abc"]);
    assert!(line.starts_with(&format!("abc: {tokens}  ({:.3}", greedy.score)));

    let search = Search::Beam {
        width: 4,
        alpha: 1.0,
    };
    let beam = decoder.decode(&input, search).unwrap();
    let json = done(&[
        "decode",
        &path,
        "--symbols",
        "2,4",
        "--beam",
        "4",
        "--n-best",
        "--json",
    ]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["text"], "2,4");
    assert_eq!(json["score"], beam[0].score);
    assert_eq!(json["n_best"].as_array().unwrap().len(), beam.len());
    let names: Vec<String> = beam[0].tokens.iter().map(|t| format!("T{t}")).collect();
    assert_eq!(json["tokens"], Value::from(names));

    let words = folder.write("words.txt", "abc\n\n  é\n".as_bytes());
    let json = done(&["decode", &path, "--input", &words, "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let texts = json
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["text"].clone());
    assert_eq!(texts.collect::<Vec<_>>(), ["abc", "é"]);
    assert_eq!(json[0]["score"], greedy.score);
    let lines = done(&["decode", &path, "--input", &words]);
    assert!(lines.starts_with(&line), "{lines}");
}

/// Samples of the demo's recording, and the digits in it.
fn said() -> (Vec<i16>, Vec<String>) {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware/assets");
    let digits = std::fs::read_to_string(assets.join("digits.txt")).unwrap();
    let pcm = attn_recordings::read(&assets.join("digits.wav")).unwrap();
    (pcm, digits.split_whitespace().map(str::to_owned).collect())
}

/// What the shipped model hears in `pcm`, and what it says on standard error.
fn heard(pcm: &[i16]) -> (Value, String) {
    let folder = Folder::new();
    let wav = folder.path("said.wav");
    attn_recordings::write(Path::new(&wav), pcm).unwrap();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/digits.attn");
    let output = crate::attn(&["decode", model, "--wav", &wav, "--json"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    (serde_json::from_slice(&output.stdout).unwrap(), told)
}

#[test]
fn digits_that_were_said_are_written_down() {
    let (pcm, digits) = said();
    let (json, told) = heard(&pcm);
    assert_eq!(json["tokens"], Value::from(digits));
    assert_eq!((&json["ended"], told.as_str()), (&Value::from(true), ""));
}

/// More digits than the model writes, and more sound than it takes.
#[test]
fn a_string_of_digits_that_is_too_long_is_not_cut_silently() {
    let (pcm, digits) = said();
    let twice = [&pcm[..], &pcm[..]].concat();
    let (json, told) = heard(&twice);
    let all = [&digits[..], &digits[..]].concat();
    let written = json["tokens"].as_array().unwrap().len();
    assert!(all.len() > written);
    assert_eq!(json["tokens"], Value::from(&all[..written]));
    assert_eq!(json["ended"], false);
    assert!(
        told.contains(&format!("said.wav: cut off after {written} tokens")),
        "{told}"
    );

    let folder = Folder::new();
    let wav = folder.path("long.wav");
    attn_recordings::write(Path::new(&wav), &vec![0; 11 * 16_000]).unwrap();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/digits.attn");
    refused(
        &["decode", model, "--wav", &wav],
        &["long.wav", "length 549", "512 at most"],
    );
}

#[test]
fn a_plot_has_a_row_for_each_token_and_a_column_for_each_symbol() {
    let (folder, path) = folder_with_model(Variant::default());
    let plot = folder.path("alignment.png");
    done(&["decode", &path, "--text", "abc", "--plot", &plot]);
    let bytes = std::fs::read(&plot).unwrap();
    assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");

    let file = ModelFile::new(&decoder_file(Variant::default())).unwrap();
    let mut decoder = Decoder::new(file.model());
    let input = Input::Text("abc".into());
    assert_eq!(decoder.symbol_names(&input), ["ab", "c", "<end>"]);
    let found = decoder.decode(&input, Search::Greedy).unwrap().remove(0);
    let weights = decoder.weights(&input, &found.tokens).unwrap();
    let steps = (found.tokens.len() + 1).min(MAX_TOKENS);
    assert_eq!(weights.len(), steps);
}

#[test]
fn a_language_model_needs_no_input() {
    let variant = Variant {
        encoder: false,
        ..Variant::default()
    };
    let (_folder, path) = folder_with_model(variant);
    assert!(done(&["decode", &path]).contains('T'));
    refused(
        &["decode", &path, "--text", "a"],
        &["model.attn", "reads no input"],
    );
}

#[test]
fn inputs_that_the_model_cannot_read() {
    let (folder, path) = folder_with_model(Variant::default());
    let decode = |extra: &[&'static str], expected: &[&str]| {
        refused(&[&["decode", path.as_str()], extra].concat(), expected);
    };
    decode(&["--text", "abx"], &["\"abx\"", "'x' (character 2)"]);
    decode(&["--text", ""], &["empty"]);
    decode(&["--text", "aaaaaaaaaa"], &["length 11", "9 at most"]);
    decode(&["--symbols", "1,77"], &["symbol 77 at 1", "has 6"]);
    decode(&["--symbols", "x"], &["invalid value 'x'"]);
    decode(&[], &["reads an input"]);
    decode(&["--text", "a", "--symbols", "1"], &["cannot be used with"]);
    decode(&["--text", "a", "--beam", "17"], &["beam of 17", "1 to 16"]);
    decode(&["--text", "a", "--beam", "0"], &["beam of 0"]);
    decode(&["--text", "a", "--beam", "9"], &["beam of 9", "7 tokens"]);
    decode(&["--text", "a", "--n-best"], &["--beam"]);
    decode(&["--wav", "missing.wav"], &["does not listen"]);
    decode(&["--input", "missing.txt"], &["missing.txt"]);
    let empty = folder.write("empty.txt", b"\n \n");
    refused(
        &["decode", &path, "--input", &empty],
        &["no line with text"],
    );
    let words = folder.write("words.txt", b"ab\ncx\n");
    refused(
        &["decode", &path, "--input", &words],
        &["words.txt", "\"cx\"", "'x' (character 1)"],
    );
    let nowhere = folder.path("no/such/folder.png");
    refused(
        &["decode", &path, "--text", "a", "--plot", &nowhere],
        &["folder.png", "no such folder"],
    );
}

#[test]
fn models_that_do_not_decode() {
    refused(
        &["decode", TINY, "--text", "a"],
        &["tiny.attn", "[decode] section"],
    );
    refused(&["decode", "missing.attn"], &["missing.attn"]);
    let fused = Variant {
        output: Output::TopK,
        ..Variant::default()
    };
    let (_folder, path) = folder_with_model(fused);
    refused(
        &["decode", &path, "--text", "a", "--beam", "5"],
        &["beam of 5", "4 tokens", "more candidates"],
    );
}

//! `attn convert --entry …`: a bundle by flags is the bundle of its manifest, and every mistake is named.

use crate::done;
use crate::inspected;
use attn_test_support::folder::{Folder, fixture};
use attn_test_support::sequences::{SEQUENCES, fixtures};
use serde_json::Value;

/// Flags for the fixture of this name; no default is relied upon.
fn flags(name: &str, output: &str) -> Vec<String> {
    let fixture = |end: &str| {
        fixtures()
            .join(format!("{name}{end}"))
            .display()
            .to_string()
    };
    let entry = |entry: &str| format!("{entry}={}", fixture(&format!("_dynamo.{entry}.onnx")));
    let mut flags = vec!["convert".into()];
    for (flag, value) in [
        ("--entry", entry("encode")),
        ("--entry", entry("step")),
        (
            "--state",
            "state=encode.state,step.state_next:step.state".into(),
        ),
        ("--state", "memory=encode.memory:step.memory".into()),
        ("--name", name.into()),
        ("--calibrate", fixture(".npz")),
        ("--max-length", "12".into()),
        ("--encode", "encode".into()),
        ("--step", "step".into()),
        ("--input", "symbols".into()),
        ("--token", "token".into()),
        ("--logits", "logits".into()),
        ("--weights", "weights".into()),
        ("--start", "0".into()),
        ("--end", "1".into()),
        ("--max-tokens", "6".into()),
        ("--output", output.into()),
    ] {
        flags.extend([flag.into(), value]);
    }
    flags
}

/// The flags with one of them left out, or given another value.
fn changed(mut flags: Vec<String>, flag: &str, value: Option<&str>) -> Vec<String> {
    let at = flags.iter().position(|f| f == flag).unwrap();
    match value {
        Some(value) => flags[at + 1] = value.into(),
        None => drop(flags.drain(at..at + 2)),
    }
    flags
}

/// What clap takes.
fn borrowed(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

fn converted(flags: &[String], output: &str) -> Vec<u8> {
    crate::done(&borrowed(flags));
    std::fs::read(output).unwrap()
}

/// Runs flags that must be refused: no file, and a message with these parts.
fn refused(flags: &[String], parts: &[&str]) {
    crate::refused(&borrowed(flags), parts);
    let output = &flags[flags.iter().position(|f| f == "--output").unwrap() + 1];
    assert!(
        !std::path::Path::new(output).exists(),
        "a file was left behind"
    );
}

#[test]
fn flags_and_manifest_make_the_same_file() {
    let folder = Folder::new();
    let (by_flags, by_manifest) = (folder.path("flags.attn"), folder.path("manifest.attn"));
    let manifest = SEQUENCES[2].manifest("dynamo").display().to_string();
    let flags = flags(SEQUENCES[2].name, &by_flags);
    let expected = ["convert", &manifest, "--output", &by_manifest].map(String::from);
    assert!(converted(&flags, &by_flags) == converted(&expected, &by_manifest));
    // What has a default may be left out.
    let short = ["--name", "--encode", "--step"];
    let short = short
        .iter()
        .fold(flags, |flags, flag| changed(flags, flag, None));
    converted(&short, &by_flags);
}

#[test]
fn flags_name_a_mask_as_a_manifest_does() {
    let folder = Folder::new();
    let (by_flags, by_manifest) = (folder.path("flags.attn"), folder.path("manifest.attn"));
    let manifest = fixtures().join("masked_zero_dynamo.bundle.toml");
    let manifest = manifest.display().to_string();
    let mut flags = flags("masked_zero", &by_flags);
    flags.extend(["--mask", "mask", "--pad", "0"].map(String::from));
    let expected = ["convert", &manifest, "--output", &by_manifest].map(String::from);
    assert!(converted(&flags, &by_flags) == converted(&expected, &by_manifest));
    let shown = inspected(&by_flags);
    let line = "sequences: at most 12 rows, padded with symbol 0\n";
    assert!(shown.contains(line), "{shown}");
    std::fs::remove_file(&by_flags).unwrap();
    flags.extend(["--padding-mask", "mask"].map(String::from));
    refused(&flags, &["--padding-mask", "cannot be used with"]);
}

/// Symbols and tokens by name, and a symbol behind every input.
#[test]
fn flags_name_vocabularies_as_a_manifest_does() {
    let folder = Folder::new();
    let (by_flags, by_manifest) = (folder.path("flags.attn"), folder.path("manifest.attn"));
    let names = |letter: &str| {
        (0..30)
            .map(|i| format!("{letter}{i}\n"))
            .collect::<String>()
    };
    let symbols = folder.write("symbols.txt", names("s").as_bytes());
    let tokens = folder.write("tokens.txt", names("t").as_bytes());
    let text = std::fs::read_to_string(SEQUENCES[2].manifest("dynamo")).unwrap();
    let text = [
        "additive.npz",
        "additive_dynamo.encode.onnx",
        "additive_dynamo.step.onnx",
    ]
    .iter()
    .fold(text, |text, name| {
        text.replace(
            &format!("\"{name}\""),
            &format!("{:?}", fixtures().join(name)),
        )
    });
    let text = text.replace("start = 0", "start = \"t3\"\nend_symbol = \"s7\"");
    let vocabulary = format!("[vocabulary]\nsymbols = {symbols:?}\ntokens = {tokens:?}\n");
    let manifest = folder.write("bundle.toml", format!("{text}\n{vocabulary}").as_bytes());
    let mut flags = changed(flags("additive", &by_flags), "--start", Some("t3"));
    for (flag, value) in [
        ("--end-symbol", "s7".into()),
        ("--vocab", format!("symbols={symbols}")),
        ("--vocab", format!("tokens={tokens}")),
    ] {
        flags.extend([flag.into(), value]);
    }
    let expected = ["convert", &manifest, "--outside", "--output", &by_manifest].map(String::from);
    assert!(converted(&flags, &by_flags) == converted(&expected, &by_manifest));
    let shown = inspected(&by_flags);
    let names = "from token 3 `t3` to 1 `t1`, at most 6";
    assert!(
        shown.contains(names) && shown.contains("symbols 30 names"),
        "{shown}"
    );
}

/// Names of tokens, candidates, separator, front end: what a trained model's manifest says.
#[test]
fn flags_reach_every_key_of_a_trained_models_manifest() {
    let folder = Folder::new();
    let models = fixtures().join("../../../models");
    let file = |name: &str| models.join(name).display().to_string();
    let (by_flags, by_manifest) = (folder.path("flags.attn"), folder.path("manifest.attn"));
    let text = std::fs::read_to_string(models.join("digits.bundle.toml")).unwrap();
    let text = text.replace("max_tokens", "candidates = 4\nmax_tokens");
    let mut here = text.clone();
    for name in [
        "digits.calibration.npz",
        "digits.encode.onnx",
        "digits.step.onnx",
        "digits.tokens.txt",
    ] {
        assert!(text.contains(name), "{text}");
        here = here.replace(&format!("\"{name}\""), &format!("{:?}", file(name)));
    }
    let manifest = folder.write("bundle.toml", here.as_bytes());
    let mut flags = flags("additive", &by_flags);
    for (flag, value) in [
        ("--name", "digits"),
        ("--calibrate", &file("digits.calibration.npz")),
        ("--max-length", "512"),
        ("--input", "features"),
        ("--start", "<s>"),
        ("--end", "</s>"),
        ("--max-tokens", "11"),
    ] {
        flags = changed(flags, flag, Some(value));
    }
    for (old, new) in [
        ("encode", "digits.encode.onnx"),
        ("step", "digits.step.onnx"),
    ] {
        let at = flags.iter().position(|f| f.starts_with(&format!("{old}=")));
        flags[at.unwrap()] = format!("{old}={}", file(new));
    }
    for (flag, value) in [
        ("--vocab", format!("tokens={}", file("digits.tokens.txt"))),
        ("--separator", " ".into()),
        ("--audio-hop", "320".into()),
        ("--candidates", "4".into()),
    ] {
        flags.extend([flag.into(), value]);
    }
    let expected = ["convert", &manifest, "--outside", "--output", &by_manifest].map(String::from);
    let file = converted(&flags, &by_flags);
    assert!(file == converted(&expected, &by_manifest));

    let shown = inspected(&by_flags);
    for part in [
        "decoding: encode encode, step step; from token 0 `<s>` to 1 `</s>`, at most 11",
        "12 tokens, 12 names; symbols without names",
        "sequences: at most 512 rows",
        "state: ",
        "takes features int8 [512, 40]",
    ] {
        assert!(shown.contains(part), "`{part}` is not in: {shown}");
    }
}

#[test]
fn malformed_flags_say_how_they_are_written() {
    let folder = Folder::new();
    let good = flags("additive", &folder.path("out.attn"));
    let cases: [(&str, &str, &[&str]); 9] = [
        (
            "--entry",
            "enc.onnx",
            &["--entry", "`enc.onnx`", "NAME=FILE"],
        ),
        ("--entry", "encode=", &["--entry", "NAME=FILE"]),
        (
            "--entry",
            "step=none.onnx",
            &["--entry", "`step` is given twice"],
        ),
        ("--entry", "encode=none.onnx", &["none.onnx"]),
        ("--state", "state", &["--state", "NAME=OUTPUT,OUTPUT:INPUT"]),
        (
            "--state",
            "state=encode.state",
            &["--state", "`state=encode.state`", "OUTPUT:INPUT"],
        ),
        (
            "--state",
            "state=encode.state:decode.state",
            &["command line", "decode.state", "encode, step"],
        ),
        ("--logits", "scores", &["no output `scores`"]),
        (
            "--start",
            "<s>",
            &["command line", "`<s>` is not in the vocabulary"],
        ),
    ];
    for (flag, value, parts) in cases {
        refused(&changed(good.clone(), flag, Some(value)), parts);
    }
    for (flag, value, parts) in [
        (
            "--vocab",
            "letters=x.txt",
            ["--vocab", "`letters`", "tokens=FILE"],
        ),
        ("--vocab", "symbols=x.txt", ["x.txt", "", ""]),
        ("--vocab", "tokens=none.txt", ["none.txt", "", ""]),
    ] {
        let more = [flag, value].map(String::from);
        refused(&[&good[..], &more].concat(), &parts);
    }
}

#[test]
fn what_a_bundle_needs_or_does_not_take_is_said() {
    let folder = Folder::new();
    let output = folder.path("out.attn");
    let good = flags("additive", &output);
    for flag in [
        "--token",
        "--logits",
        "--start",
        "--end",
        "--max-tokens",
        "--calibrate",
    ] {
        refused(&changed(good.clone(), flag, None), &["required", flag]);
    }
    let with = |more: &[&str]| {
        let more = more.iter().map(|text| text.to_string());
        good.iter().cloned().chain(more).collect::<Vec<_>>()
    };
    refused(&with(&["bundle.toml"]), &["cannot be used with", "--entry"]);
    refused(&with(&["--stream"]), &["--stream", "not streamed"]);
    refused(
        &with(&["--no-mixed", "--mixed"]),
        &["cannot be used with", "--mixed"],
    );
    let few = folder.write("few.txt", b"a\nb\nc\n");
    refused(
        &with(&["--labels", &few]),
        &["--labels", "3 labels for 30 classes"],
    );
    let spotting = "--labels --smoothing 6 --threshold 0.5 --audio-hop 320";
    let spotting = spotting.replace("--labels", &format!("--labels {few}"));
    refused(
        &with(&spotting.split(' ').collect::<Vec<_>>()),
        &["--smoothing", "single model"],
    );
    refused(&with(&["--background", "a"]), &["required", "--smoothing"]);
    let manifest = SEQUENCES[0].manifest("dynamo").display().to_string();
    for (flag, value) in [
        ("--calibrate", "x.npz"),
        ("--max-length", "9"),
        ("--mask", "m"),
        ("--state", "a=b"),
    ] {
        let twice = ["convert", &manifest, flag, value, "--output", &output];
        refused(&twice.map(String::from), &[flag, "manifest"]);
    }
}

/// By measurement few values have 16 bits, by wish none; usually all but keys and values.
#[test]
fn the_width_of_activations_is_chosen_for_a_bundle_too() {
    let folder = Folder::new();
    let int16 = |more: &[&str]| {
        let output = folder.path("out.attn");
        let mut all = flags("additive", &output);
        all.extend(more.iter().map(|flag| flag.to_string()));
        all.push("--json".into());
        let said: Value = serde_json::from_str(&crate::done(&borrowed(&all))).unwrap();
        let arena = said["arena"].as_u64().unwrap();
        (arena, said["int16"].as_array().unwrap().len())
    };
    let [usual, searched, none] = [&[][..], &["--mixed"], &["--no-mixed"]].map(int16);
    assert!(
        none.0 < usual.0 && searched.0 <= usual.0,
        "{none:?} {searched:?} {usual:?}"
    );
    assert!(
        searched.1 > 0 && usual.1 == 0 && none.1 == 0,
        "{searched:?}"
    );
}

/// The encoder of a bundle, alone: an axis of variable length, a mask, names of symbols.
#[test]
fn a_single_model_takes_sequences_of_any_length_and_their_mask() {
    let folder = Folder::new();
    let output = folder.path("out.attn");
    let data = fixture("seq2seq/masked_dynamic.npz");
    let names: Vec<String> = (0..30).map(|symbol| format!("s{symbol}")).collect();
    let symbols = folder.write("symbols.txt", names.join("\n").as_bytes());
    let vocab = format!("symbols={symbols}");
    let sequence = ["--mask", "mask", "--max-length", "12"];
    for exporter in ["dynamo", "torchscript"] {
        let model = fixture(&format!("seq2seq/masked_dynamic_{exporter}.encode.onnx"));
        let convert = ["convert", &model, "--calibrate", &data, "-o", &output];
        crate::refused(&convert, &["dynamic", "--max-length"]);
        crate::refused(
            &[&convert[..], &sequence, &["--stream"]].concat(),
            &["--stream", "greatest length"],
        );
        done(&[&convert[..], &sequence, &["--vocab", &vocab]].concat());
        let compare = ["compare", &model, &output, "--data", &data, "--json"];
        let compared = done(&[&compare[..], &sequence].concat());
        let compared: Value = serde_json::from_str(&compared).unwrap();
        let db = compared["outputs_sqnr_db"].as_f64().unwrap();
        assert!(db > 25.0, "{db}");
        let results = folder.path("results.npz");
        done(&["run", &output, &data, "-o", &results]);
        let shown = inspected(&output);
        assert!(shown.contains("sequences: at most 12 rows"), "{shown}");
    }
}

#[test]
fn the_labels_of_a_bundle_are_not_overwritten() {
    let folder = Folder::new();
    let labels = folder.write("labels.txt", b"a\n");
    let mut all = flags("additive", &labels);
    all.extend(["--labels".into(), labels.clone()]);
    crate::refused(&borrowed(&all), &["labels.txt", "would replace an input"]);
    assert_eq!(std::fs::read(labels).unwrap(), b"a\n");
}

#[test]
fn a_bundle_may_name_its_classes() {
    let folder = Folder::new();
    let output = folder.path("out.attn");
    let names: Vec<String> = (0..30).map(|class| format!("class{class}")).collect();
    let labels = folder.write("labels.txt", names.join("\n").as_bytes());
    let mut all = flags("additive", &output);
    all.extend(["--labels".into(), labels]);
    converted(&all, &output);
    let text = inspected(&output);
    assert!(text.contains("labels: class0, class1"), "{text}");
}

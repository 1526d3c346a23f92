//! Padding masks in bundles: what becomes of them, how padded sentences are decoded, and every use that is refused. How close
//! masked systems come to PyTorch is in `seq2seq.rs`.

use attn_converter::decode::{Decoder, Input, Search};
use attn_converter::files::write_npz;
use attn_converter::runner::ModelFile;
use attn_runtime::format::{NONE, OpKind};
use attn_runtime::kernels::int::softmax::score_multiplier;
use attn_runtime::kernels::int::top_k::top_k;
use attn_runtime::seq2seq::Greedy;
use attn_runtime::{Element, Model};
use attn_test_support::graphs::{
    add_floats, add_integers, add_output, initializer, input, insert, int, new_node, node, rewire,
    set, set_shape, tensor,
};
use attn_test_support::pb;
use attn_test_support::running::with_session;
use attn_test_support::sequences::Changed;
use ndarray::{Array1, Array2, Array3};
use std::path::Path;

const LONGEST: usize = 12;

fn file_of(system: &'static str) -> ModelFile {
    let converted = Changed::new(system).convert();
    converted.unwrap_or_else(|error| panic!("{system}: {error}"))
}

/// Whether an entry point clears rows.
fn clears(file: &ModelFile, entry: &str) -> bool {
    let model = file.model();
    let entry = &model.entries()[model.entry(entry).unwrap()];
    let mut ops = model.ops()[entry.ops()].iter();
    ops.any(|op| op.kind() == Some(OpKind::ClearRows))
}

#[test]
fn rows_are_cleared_where_somebody_could_see_them_only() {
    // The memory is cleared, but the step looks at no row of padding anyway.
    for system in [
        "masked_zero",
        "masked_added",
        "masked_bool",
        "masked_dynamic",
    ] {
        let file = file_of(system);
        let entries = ["encode", "step"];
        assert!(
            !entries.iter().any(|entry| clears(&file, entry)),
            "{system}"
        );
    }
    // A second reader of the memory sees all of it.
    let seen = Changed::new("masked_zero").graph("step", |graph| {
        let shape = graph.output[0].r#type.clone();
        add_output(graph, "seen");
        graph.output.last_mut().unwrap().r#type = shape;
        graph.node.push(new_node("Relu", &["memory"], "seen"));
    });
    assert!(clears(&seen.convert().unwrap(), "encode"));
}

#[test]
fn an_encoder_that_hides_padding_does_no_more_than_the_sentence_asks_for() {
    let file = file_of("masked_transformer");
    let model = file.model();
    let encode = &model.entries()[model.entry("encode").unwrap()];
    let mut rows = 0;
    for op in &model.ops()[encode.ops()] {
        for id in op.inputs().chain(op.outputs()) {
            let tensor = model.tensor(id).unwrap();
            if tensor.rows() == LONGEST && tensor.rank == 2 {
                rows += 1;
                assert_ne!(tensor.rows_rule, 0, "{}", model.name(tensor.name));
            }
        }
    }
    assert!(rows > 20, "{rows} tensors of rows");
}

/// Greedy tokens of an input whose padding is written out, entry point by entry point.
fn by_hand<T: Element + Copy>(model: Model, length: usize, rows: &[T], pad: T) -> Vec<u16> {
    let meta = model.decode().unwrap();
    let (encode, step) = (meta.encode as usize, meta.step as usize);
    with_session(model, |session| {
        session.set_length(length).unwrap();
        let input = session.input::<T>(encode, 0).unwrap();
        assert_eq!(input.len(), LONGEST * rows.len() / length);
        input.fill(pad);
        input[..rows.len()].copy_from_slice(rows);
        session.run(encode).unwrap();
        let (mut token, mut tokens) = (meta.start as i32, Vec::new());
        for _ in 0..meta.max_tokens {
            session.input::<i32>(step, 0).unwrap()[0] = token;
            session.run(step).unwrap();
            let scale = session.output_record(step, 0).unwrap().scale;
            let logits = session.output::<i16>(step, 0).unwrap();
            let (mut best, mut score) = ([0], [0]);
            top_k(logits, score_multiplier(scale), &mut best, &mut score);
            token = best[0];
            if token == meta.end as i32 {
                break;
            }
            tokens.push(token as u16);
        }
        tokens
    })
}

/// What the runtime decodes of a sentence is what comes of writing out its padding.
#[test]
fn decoding_fills_the_rest_of_the_input_with_the_symbol_of_the_padding() {
    let file = file_of("masked_zero");
    let model = file.model();
    assert_eq!(model.max_length(), LONGEST);
    assert_eq!(model.decode().unwrap().pad, 0);
    let mut decoder = Decoder::new(model);
    for length in 1..=LONGEST {
        let symbols: Vec<u16> = (0..length as u16).map(|i| 1 + (7 * i + 3) % 29).collect();
        let rows: Vec<i32> = symbols.iter().map(|&s| s.into()).collect();
        let expected = by_hand(model, length, &rows, 0);
        let got = decoder.decode(&Input::Symbols(symbols), Search::Greedy);
        assert_eq!(got.unwrap()[0].tokens, expected, "length {length}");
    }
    let none = decoder.decode(&Input::Symbols(vec![]), Search::Greedy);
    assert!(none.unwrap_err().to_string().contains("empty"));
    let long = decoder.decode(&Input::Symbols(vec![3; 13]), Search::Greedy);
    assert!(long.unwrap_err().to_string().contains("12 at most"));
}

/// Features have no symbol for padding: it is rows of zero.
#[test]
fn features_are_padded_with_zeros() {
    const CHANNELS: usize = 16;
    // The rows that were looked up are given.
    let given = || {
        let renamed = ("input = \"symbols\"", "input = \"embedding\"");
        let bundle = Changed::new("masked_zero").replaced(renamed.0, renamed.1);
        bundle.graph("encode", |graph| {
            graph.node.retain(|node| node.output[0] != "embedding");
            let input = input(graph, "symbols");
            input.name = "embedding".into();
            tensor(input).elem_type = pb::tensor_proto::DataType::Float as i32;
            set_shape(input, &[1, LONGEST as i64, CHANNELS as i64]);
        })
    };
    let bundle = given().replaced("pad = 0", "");
    let value = |sample: usize, at: usize| ((sample * 37 + at * 11) % 61) as f32 / 15.0 - 2.0;
    let samples = Array3::from_shape_fn((8, LONGEST, CHANNELS), |(sample, row, c)| {
        value(sample, row * CHANNELS + c)
    });
    let lengths = Array1::from_shape_fn(8, |sample| (sample + 5) as i64);
    let tokens = Array2::from_shape_fn((8, 4), |(sample, at)| (at * (2 + sample)) as i64);
    write_npz(Path::new(&bundle.folder.path("masked_zero.npz")), |npz| {
        npz.add_array("embedding", &samples)?;
        npz.add_array("embedding_len", &lengths)?;
        npz.add_array("tokens", &tokens)
    })
    .unwrap();
    let file = bundle.convert().unwrap();
    let model = file.model();
    assert_eq!(model.decode().unwrap().pad, 0);
    for length in [12, 3, 1, 7] {
        let rows: Vec<i16> = (0..length * CHANNELS)
            .map(|at| (value(99, at) * 4000.0) as i16)
            .collect();
        let got = with_session(model, |session| {
            let mut decoder = Greedy::new(session).unwrap();
            // A longer input before it leaves nothing behind.
            decoder.encode(&[4000i16; LONGEST * CHANNELS]).unwrap();
            decoder.encode(&rows).unwrap();
            std::iter::from_fn(|| decoder.step().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(got, by_hand(model, length, &rows, 0i16), "length {length}");
    }
    given().refused(&["`pad` is a symbol", "its padding is zeros"]);
}

#[test]
fn an_input_of_variable_length_needs_no_padding() {
    let file = file_of("masked_dynamic");
    assert_eq!(file.model().decode().unwrap().pad, NONE);
}

#[test]
fn a_mask_that_the_manifest_gets_wrong_is_named() {
    let mask = "mask = \"mask\"";
    let state = "[state]\nmask = { from = [\"encode.state\"], to = \"step.mask\" }";
    let unknown = "`<pad>` is not in the vocabulary";
    let both = "padding_mask = \"mask\"\nmask = \"mask\"";
    let (pad, longest, wired) = ("pad = 0", "max_length = 12", "wired in [state]");
    let (colour, symbols) = ("mask = \"colour\"", "mask = \"symbols\"");
    let memory = "mask = \"memory\"";
    let cases: [(&str, &str, &[&str]); 10] = [
        (mask, colour, &["no entry has an input `colour`"]),
        (mask, symbols, &["`symbols` is also named"]),
        (mask, memory, &["[state] memory", wired]),
        (mask, "", &["`pad`", "no `mask`"]),
        (mask, both, &["name one input"]),
        (pad, "", &["mask `mask` but no `pad`"]),
        (pad, "pad = 30", &["pad 30", "30 symbols"]),
        (pad, "pad = \"<pad>\"", &[unknown]),
        (longest, "max_length = 20", &["12 elements", "sequence 20"]),
        ("[state]", state, &["[state] mask", wired]),
    ];
    for (from, to, expected) in cases {
        let bundle = Changed::new("masked_zero").replaced(from, to);
        bundle.refused(&[&["bundle.toml"], expected].concat());
    }
}

#[test]
fn a_mask_without_a_greatest_length_has_its_own() {
    let bundle = Changed::new("masked_bool").replaced("max_length = 12", "");
    assert_eq!(bundle.convert().unwrap().model().max_length(), LONGEST);
}

#[test]
fn a_mask_that_nobody_named_is_no_mask() {
    let bundle = Changed::new("masked_zero").without("mask").without("pad");
    bundle.refused(&["node_masked_fill", "as mask in the bundle's [decode]"]);
}

#[test]
fn a_mask_of_the_other_convention_is_refused() {
    let (mask, padding) = ("mask = \"mask\"", "padding_mask = \"mask\"");
    let hidden = "hides the whole sequence";
    let bundle = Changed::new("masked_bool").replaced(mask, padding);
    bundle.refused(&[hidden, "padding_mask"]);
    let bundle = Changed::new("masked_transformer").replaced(padding, mask);
    bundle.refused(&[hidden]);
    // Nothing is padding where the axis varies, but a mask that hides all there is would hide it silently.
    let bundle = Changed::new("masked_dynamic").replaced(mask, padding);
    let uncleared = |graph: &mut pb::GraphProto| {
        let mut nodes = graph.node.iter_mut();
        let cleared = nodes.find(|node| node.output[0] == "memory").unwrap();
        cleared.op_type = "Identity".into();
        cleared.input.truncate(1);
    };
    bundle.graph("encode", uncleared).refused(&[hidden]);
}

#[test]
fn a_mask_that_does_more_than_hide_padding_is_refused_with_its_node() {
    let bundle = || Changed::new("masked_zero");
    // Scores of the padding are lowered, but not hidden.
    let soft = |graph: &mut pb::GraphProto| {
        let fill = node(graph, "Where").input[1].clone();
        initializer(graph, &fill).raw_data = (-5f32).to_le_bytes().to_vec();
    };
    let lowered = "adds -5 to scores in the padding";
    bundle()
        .graph("step", soft)
        .refused(&["node_masked_fill", lowered]);
    // A function of the mask.
    let curved = |graph: &mut pb::GraphProto| {
        let mut nodes = graph.node.iter_mut();
        let node = nodes.find(|node| node.input[0] == "sub").unwrap();
        node.op_type = "Sigmoid".into();
        node.input.truncate(1);
    };
    let hide = "a padding mask can hide keys";
    let added = Changed::new("masked_added");
    added.graph("step", curved).refused(&["Sigmoid", hide]);
    // A mask added to something else than scores.
    let added = |graph: &mut pb::GraphProto| node(graph, "Mul").op_type = "Add".into();
    bundle().graph("encode", added).refused(&["node_mul", hide]);
    // Rows of the padding doubled, not cleared.
    let doubled = |graph: &mut pb::GraphProto| {
        let multiplied = node(graph, "Mul");
        let (mask, product) = (multiplied.input[1].clone(), multiplied.output[0].clone());
        multiplied.input[1] = "doubled".into();
        insert(graph, &product, new_node("Add", &[&mask, &mask], "doubled"));
    };
    let stay = "must stay in the sequence (1)";
    bundle().graph("encode", doubled).refused(&[stay]);
    // Another key is hidden than the one that is padding.
    let shifted = |graph: &mut pb::GraphProto| {
        add_integers(graph, "order", &[11, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let equal = node(graph, "Equal");
        equal.input[0] = "shifted".into();
        let before = equal.output[0].clone();
        let mut gather = new_node("Gather", &["mask", "order"], "shifted");
        set(&mut gather, &[int("axis", 1)]);
        insert(graph, &before, gather);
    };
    let other = "hides key 0 where another row is padding";
    bundle().graph("step", shifted).refused(&[other]);
}

/// A part of rows 0 to 8 of each of these, in front of the node that makes `before`.
fn slice(graph: &mut pb::GraphProto, before: &str, parts: [(&str, &str); 2]) {
    for (name, value) in [("zero", 0), ("eight", 8), ("one", 1)] {
        add_integers(graph, name, &[value]);
    }
    for (whole, part) in parts {
        let slice = new_node("Slice", &[whole, "zero", "eight", "one"], part);
        insert(graph, before, slice);
    }
}

#[test]
fn a_part_of_a_mask_is_refused() {
    let part = |graph: &mut pb::GraphProto| {
        slice(
            graph,
            "memory",
            [("getitem", "rows"), ("unsqueeze", "part")],
        );
        node(graph, "Mul").input = vec!["rows".into(), "part".into()];
    };
    let bundle = Changed::new("masked_zero").graph("encode", part);
    bundle.refused(&["node_mul", "must multiply whole rows"]);
    let part = |graph: &mut pb::GraphProto| {
        graph.value_info.clear();
        for output in &mut graph.output {
            output.r#type = None;
        }
        rewire(graph, "memory", "rows");
        rewire(graph, "mask", "part");
        let first = graph.node[0].output[0].clone();
        slice(graph, &first, [("memory", "rows"), ("mask", "part")]);
    };
    let bundle = Changed::new("masked_added").graph("step", part);
    bundle.refused(&["12 rows over 8"]);
}

#[test]
fn masked_scores_are_not_scaled_until_the_mask_shows() {
    for (factor, refused) in [(1e-6, true), (-1.0, true), (0.5, false)] {
        let bundle = Changed::new("masked_zero").graph("step", |graph| {
            add_floats(graph, "factor", &[], factor);
            let scaled = new_node("Mul", &["masked_fill", "factor"], "scaled");
            insert(graph, "weights", scaled);
            node(graph, "Softmax").input[0] = "scaled".into();
        });
        if refused {
            bundle.refused(&["scaled", "scale before the mask"]);
        } else {
            bundle.convert().unwrap();
        }
    }
}

#[test]
fn a_mask_of_more_than_one_row_is_refused() {
    let bundle = Changed::new("masked_zero").graph("step", |graph| {
        set_shape(input(graph, "mask"), &[1, 3, 4]);
        rewire(graph, "mask", "unfolded");
        add_integers(graph, "row", &[1, 12]);
        let unfold = new_node("Reshape", &["mask", "row"], "unfolded");
        graph.node.insert(0, unfold);
    });
    bundle.refused(&["mask `mask` of entry `step` is [1, 3, 4]", "one row"]);
}

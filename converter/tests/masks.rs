//! Padding masks in bundles: what becomes of them, how padded sentences are decoded, and every use that is refused. How close
//! masked systems come to PyTorch is in `seq2seq.rs`.

use attn_converter::calibrate::RangeMethod;
use attn_converter::decode::{Decoder, Input, Search};
use attn_converter::error::ConvertError;
use attn_converter::files::write_npz;
use attn_converter::pipeline::Options;
use attn_converter::quantize::Precision;
use attn_converter::runner::{AlignedBytes, ModelFile};
use attn_runtime::format::{NONE, OpKind};
use attn_runtime::kernels::int::softmax::score_multiplier;
use attn_runtime::kernels::int::top_k::top_k;
use attn_runtime::seq2seq::Greedy;
use attn_runtime::{Element, Model, Session};
use attn_test_support::folder::Folder;
use attn_test_support::sequences::convert_bundle;
use ndarray::{Array1, Array2, Array3};
use std::path::{Path, PathBuf};
use tract_onnx::pb;

const LONGEST: usize = 12;

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-tests/fixtures/seq2seq");
    fixtures.join(name)
}

fn converted(manifest: &Path) -> Result<ModelFile, ConvertError> {
    let options = Options {
        precision: Precision::Int8,
        range: RangeMethod::MinMax,
        ..Options::default()
    };
    convert_bundle(manifest, &options)
}

fn file_of(system: &str) -> ModelFile {
    let manifest = fixture(&format!("{system}_dynamo.bundle.toml"));
    converted(&manifest).unwrap_or_else(|error| panic!("{system}: {error}"))
}

/// Operators of an entry point.
fn kinds(file: &ModelFile, entry: &str) -> Vec<OpKind> {
    let model = file.model();
    let entry = &model.entries()[model.entry(entry).unwrap()];
    let ops = model.ops()[entry.ops()].iter();
    ops.map(|op| op.kind().unwrap()).collect()
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
        let all = [kinds(&file, "encode"), kinds(&file, "step")].concat();
        assert!(!all.contains(&OpKind::ClearRows), "{system}: {all:?}");
    }
    // A second reader of the memory sees all of it.
    let folder = Folder::new();
    let step = |graph: &mut pb::GraphProto| {
        graph.output.push(pb::ValueInfoProto {
            name: "seen".into(),
            ..graph.output[0].clone()
        });
        graph.node.push(pb::NodeProto {
            op_type: "Relu".into(),
            input: vec!["memory".into()],
            output: vec!["seen".into()],
            ..Default::default()
        });
    };
    let manifest = manifest(
        &folder,
        "masked_zero",
        Changes {
            step: &step,
            ..Changes::NONE
        },
    );
    let file = converted(&manifest).unwrap();
    let encode = kinds(&file, "encode");
    assert!(encode.contains(&OpKind::ClearRows), "{encode:?}");
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
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
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
    let folder = Folder::new();
    let encode = |graph: &mut pb::GraphProto| {
        // The rows that were looked up are given.
        graph.node.retain(|node| node.output[0] != "embedding");
        let real = pb::tensor_proto::DataType::Float as i32;
        let input = graph
            .input
            .iter_mut()
            .find(|i| i.name == "symbols")
            .unwrap();
        input.name = "embedding".into();
        let Some(pb::type_proto::Value::TensorType(tensor)) =
            input.r#type.as_mut().and_then(|kind| kind.value.as_mut())
        else {
            panic!("no tensor");
        };
        tensor.elem_type = real;
        let dims = &mut tensor.shape.as_mut().unwrap().dim;
        dims.push(dims[1].clone());
        attn_test_support::folder::set_dim(input, 2, Ok(CHANNELS as i64));
    };
    let given = |text: &str| text.replace("input = \"symbols\"", "input = \"embedding\"");
    let text = |text: &str| given(text).replace("pad = 0", "");
    let changes = Changes {
        manifest: &text,
        encode: &encode,
        ..Changes::NONE
    };
    let manifest = manifest(&folder, "masked_zero", changes);
    let value = |sample: usize, at: usize| ((sample * 37 + at * 11) % 61) as f32 / 15.0 - 2.0;
    let samples = Array3::from_shape_fn((8, LONGEST, CHANNELS), |(sample, row, c)| {
        value(sample, row * CHANNELS + c)
    });
    let lengths = Array1::from_shape_fn(8, |sample| (sample + 5) as i64);
    let tokens = Array2::from_shape_fn((8, 4), |(sample, at)| (at * (2 + sample)) as i64);
    write_npz(Path::new(&folder.path("masked_zero.npz")), |npz| {
        npz.add_array("embedding", &samples)?;
        npz.add_array("embedding_len", &lengths)?;
        npz.add_array("tokens", &tokens)
    })
    .unwrap();
    let file = converted(&manifest).unwrap();
    let model = file.model();
    assert_eq!(model.decode().unwrap().pad, 0);
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let mut decoder = Greedy::new(&mut session).unwrap();
    for length in [12, 3, 1, 7] {
        let rows: Vec<i16> = (0..length * CHANNELS)
            .map(|at| (value(99, at) * 4000.0) as i16)
            .collect();
        decoder.encode(&rows).unwrap();
        let mut got = Vec::new();
        while let Some(token) = decoder.step().unwrap() {
            got.push(token);
        }
        assert_eq!(got, by_hand(model, length, &rows, 0i16), "length {length}");
    }
    let symbol = Changes {
        manifest: &given,
        ..changes
    };
    refused(
        "masked_zero",
        symbol,
        &["`pad` is a symbol", "its padding is zeros"],
    );
}

#[test]
fn an_input_of_variable_length_needs_no_padding() {
    let file = file_of("masked_dynamic");
    assert_eq!(file.model().decode().unwrap().pad, NONE);
}

type Change<'c, T> = &'c dyn Fn(&mut T);

/// What a test does to the files of a system.
#[derive(Clone, Copy)]
struct Changes<'c> {
    manifest: &'c dyn Fn(&str) -> String,
    encode: Change<'c, pb::GraphProto>,
    step: Change<'c, pb::GraphProto>,
}

impl Changes<'_> {
    const NONE: Self = Self {
        manifest: &|text| text.into(),
        encode: &|_| {},
        step: &|_| {},
    };
}

/// The bundle of a system in `folder`, changed.
fn manifest(folder: &Folder, system: &str, changes: Changes) -> PathBuf {
    let name = |end: &str| format!("{system}_dynamo.{end}");
    folder.onnx_of(
        fixture(&name("encode.onnx")),
        &name("encode.onnx"),
        changes.encode,
    );
    folder.onnx_of(
        fixture(&name("step.onnx")),
        &name("step.onnx"),
        changes.step,
    );
    let npz = format!("{system}.npz");
    folder.write(&npz, &std::fs::read(fixture(&npz)).unwrap());
    let text = std::fs::read_to_string(fixture(&name("bundle.toml"))).unwrap();
    folder
        .write("bundle.toml", (changes.manifest)(&text).as_bytes())
        .into()
}

fn refused(system: &str, changes: Changes, expected: &[&str]) {
    let folder = Folder::new();
    let manifest = manifest(&folder, system, changes);
    let message = converted(&manifest).expect_err("it is refused").to_string();
    for part in expected {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn a_mask_that_the_manifest_gets_wrong_is_named() {
    let replaced = |from: &'static str, to: &'static str, expected: &[&str]| {
        let change = |text: &str| {
            assert!(text.contains(from));
            text.replace(from, to)
        };
        let changes = Changes {
            manifest: &change,
            ..Changes::NONE
        };
        refused(
            "masked_zero",
            changes,
            &[&["bundle.toml"], expected].concat(),
        );
    };
    let mask = "mask = \"mask\"";
    replaced(
        mask,
        "mask = \"colour\"",
        &["no entry has an input `colour`"],
    );
    replaced(mask, "mask = \"symbols\"", &["`symbols` is also named"]);
    replaced(
        mask,
        "mask = \"memory\"",
        &["[state] memory", "wired in [state]"],
    );
    replaced(mask, "", &["`pad`", "no `mask`"]);
    replaced(
        mask,
        "padding_mask = \"mask\"\nmask = \"mask\"",
        &["name one input"],
    );
    replaced("pad = 0", "", &["mask `mask` but no `pad`"]);
    replaced("pad = 0", "pad = 30", &["pad 30", "30 symbols"]);
    replaced(
        "pad = 0",
        "pad = \"<pad>\"",
        &["`<pad>` is not in the vocabulary"],
    );
    replaced(
        "max_length = 12",
        "max_length = 20",
        &["12 elements", "sequence 20"],
    );
    let state = "[state]\nmask = { from = [\"encode.state\"], to = \"step.mask\" }";
    replaced("[state]", state, &["[state] mask", "wired in [state]"]);
}

#[test]
fn a_mask_without_a_greatest_length_has_its_own() {
    let folder = Folder::new();
    let change = |text: &str| text.replace("max_length = 12", "");
    let changes = Changes {
        manifest: &change,
        ..Changes::NONE
    };
    let manifest = manifest(&folder, "masked_bool", changes);
    assert_eq!(converted(&manifest).unwrap().model().max_length(), LONGEST);
}

#[test]
fn a_mask_that_nobody_named_is_no_mask() {
    let change = |text: &str| {
        let kept = text
            .lines()
            .filter(|l| !l.starts_with("mask") && !l.starts_with("pad"));
        kept.collect::<Vec<_>>().join("\n")
    };
    let changes = Changes {
        manifest: &change,
        ..Changes::NONE
    };
    refused(
        "masked_zero",
        changes,
        &["node_eq", "as mask in the bundle's [decode]"],
    );
}

#[test]
fn a_mask_of_the_other_convention_is_refused() {
    let change = |text: &str| text.replace("mask = \"mask\"", "padding_mask = \"mask\"");
    let changes = Changes {
        manifest: &change,
        ..Changes::NONE
    };
    refused(
        "masked_bool",
        changes,
        &["hides the whole sequence", "padding_mask"],
    );
    let change = |text: &str| text.replace("padding_mask = \"mask\"", "mask = \"mask\"");
    let changes = Changes {
        manifest: &change,
        ..Changes::NONE
    };
    refused("masked_transformer", changes, &["hides the whole sequence"]);
    // Nothing is padding where the axis varies, but a mask that hides all there is would hide it silently.
    let change = |text: &str| text.replace("mask = \"mask\"", "padding_mask = \"mask\"");
    let uncleared = |graph: &mut pb::GraphProto| {
        let cleared = graph.node.iter_mut().find(|n| n.output[0] == "memory");
        let cleared = cleared.unwrap();
        cleared.op_type = "Identity".into();
        cleared.input.truncate(1);
    };
    let changes = Changes {
        manifest: &change,
        encode: &uncleared,
        ..Changes::NONE
    };
    refused("masked_dynamic", changes, &["hides the whole sequence"]);
}

/// The one node of this kind.
fn node<'g>(graph: &'g mut pb::GraphProto, op: &str) -> &'g mut pb::NodeProto {
    let mut found = graph.node.iter_mut().filter(|node| node.op_type == op);
    found.next().unwrap_or_else(|| panic!("no {op}"))
}

fn integers(name: &str, values: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        data_type: pb::tensor_proto::DataType::Int64 as i32,
        dims: vec![values.len() as i64],
        raw_data: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ..Default::default()
    }
}

#[test]
fn a_mask_that_does_more_than_hide_padding_is_refused_with_its_node() {
    let step = |system: &str, change: Change<pb::GraphProto>, expected: &[&str]| {
        refused(
            system,
            Changes {
                step: change,
                ..Changes::NONE
            },
            expected,
        );
    };
    // Scores of the padding are lowered, but not hidden.
    let soft = |graph: &mut pb::GraphProto| {
        let fill = node(graph, "Where").input[1].clone();
        let fill = graph
            .initializer
            .iter_mut()
            .find(|t| t.name == fill)
            .unwrap();
        fill.raw_data = (-5f32).to_le_bytes().to_vec();
    };
    step(
        "masked_zero",
        &soft,
        &["node_masked_fill", "adds -5 to scores in the padding"],
    );
    // A function of the mask.
    let curved = |graph: &mut pb::GraphProto| {
        let lowered = |node: &&mut pb::NodeProto| node.input[0] == "sub";
        let node = graph.node.iter_mut().find(lowered).unwrap();
        node.op_type = "Sigmoid".into();
        node.input.truncate(1);
    };
    step(
        "masked_added",
        &curved,
        &["Sigmoid", "a padding mask can hide keys"],
    );
    // A mask added to something else than scores.
    let added = |graph: &mut pb::GraphProto| node(graph, "Mul").op_type = "Add".into();
    let changes = Changes {
        encode: &added,
        ..Changes::NONE
    };
    refused(
        "masked_zero",
        changes,
        &["node_mul", "a padding mask can hide keys"],
    );
    // Rows of the padding doubled, not cleared.
    let negated = |graph: &mut pb::GraphProto| {
        let multiplied = node(graph, "Mul");
        let mask = multiplied.input[1].clone();
        multiplied.input[1] = "doubled".into();
        let at = graph
            .node
            .iter()
            .position(|node| node.op_type == "Mul")
            .unwrap();
        graph.node.insert(
            at,
            pb::NodeProto {
                op_type: "Add".into(),
                input: vec![mask.clone(), mask],
                output: vec!["doubled".into()],
                ..Default::default()
            },
        );
    };
    let changes = Changes {
        encode: &negated,
        ..Changes::NONE
    };
    refused("masked_zero", changes, &["must stay in the sequence (1)"]);
    // Another key is hidden than the one that is padding.
    let shifted = |graph: &mut pb::GraphProto| {
        graph
            .initializer
            .push(integers("order", &[11, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
        let equal = node(graph, "Equal");
        equal.input[0] = "shifted".into();
        let at = graph
            .node
            .iter()
            .position(|node| node.op_type == "Equal")
            .unwrap();
        graph.node.insert(
            at,
            pb::NodeProto {
                op_type: "Gather".into(),
                input: vec!["mask".into(), "order".into()],
                output: vec!["shifted".into()],
                attribute: vec![pb::AttributeProto {
                    name: "axis".into(),
                    r#type: pb::attribute_proto::AttributeType::Int as i32,
                    i: 1,
                    ..Default::default()
                }],
                ..Default::default()
            },
        );
    };
    step(
        "masked_zero",
        &shifted,
        &["hides key 0 where another row is padding"],
    );
}

/// A node that goes in front of the one that makes `before`.
fn inserted(graph: &mut pb::GraphProto, before: &str, op: &str, inputs: &[&str], output: &str) {
    let place = graph.node.iter().position(|node| node.output[0] == before);
    let node = pb::NodeProto {
        op_type: op.into(),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    };
    graph.node.insert(place.unwrap(), node);
}

#[test]
fn a_part_of_a_mask_is_refused() {
    let part = |graph: &mut pb::GraphProto| {
        for (name, value) in [("zero", 0), ("eight", 8), ("one", 1)] {
            graph.initializer.push(integers(name, &[value]));
        }
        for (whole, part) in [("getitem", "rows"), ("unsqueeze", "part")] {
            inserted(
                graph,
                "memory",
                "Slice",
                &[whole, "zero", "eight", "one"],
                part,
            );
        }
        node(graph, "Mul").input = vec!["rows".into(), "part".into()];
    };
    let changes = Changes {
        encode: &part,
        ..Changes::NONE
    };
    refused(
        "masked_zero",
        changes,
        &["node_mul", "must multiply whole rows"],
    );
    let part = |graph: &mut pb::GraphProto| {
        graph.value_info.clear();
        graph
            .output
            .iter_mut()
            .for_each(|output| output.r#type = None);
        for (name, value) in [("zero", 0), ("eight", 8), ("one", 1)] {
            graph.initializer.push(integers(name, &[value]));
        }
        for (whole, part) in [("memory", "rows"), ("mask", "part")] {
            for input in graph.node.iter_mut().flat_map(|node| &mut node.input) {
                if input == whole {
                    *input = part.into();
                }
            }
            let first = graph.node[0].output[0].clone();
            inserted(
                graph,
                &first,
                "Slice",
                &[whole, "zero", "eight", "one"],
                part,
            );
        }
    };
    let changes = Changes {
        step: &part,
        ..Changes::NONE
    };
    refused("masked_added", changes, &["12 rows over 8"]);
}

#[test]
fn masked_scores_are_not_scaled_until_the_mask_shows() {
    for (factor, refusal) in [(1e-6f32, true), (-1.0, true), (0.5, false)] {
        let scaled = |graph: &mut pb::GraphProto| {
            graph.initializer.push(pb::TensorProto {
                name: "factor".into(),
                data_type: pb::tensor_proto::DataType::Float as i32,
                raw_data: factor.to_le_bytes().to_vec(),
                ..Default::default()
            });
            inserted(
                graph,
                "weights",
                "Mul",
                &["masked_fill", "factor"],
                "scaled",
            );
            node(graph, "Softmax").input[0] = "scaled".into();
        };
        let changes = Changes {
            step: &scaled,
            ..Changes::NONE
        };
        if refusal {
            refused("masked_zero", changes, &["scaled", "scale before the mask"]);
        } else {
            let folder = Folder::new();
            converted(&manifest(&folder, "masked_zero", changes)).unwrap();
        }
    }
}

#[test]
fn a_mask_of_more_than_one_row_is_refused() {
    let folded = |graph: &mut pb::GraphProto| {
        let input = graph
            .input
            .iter_mut()
            .find(|input| input.name == "mask")
            .unwrap();
        let Some(pb::type_proto::Value::TensorType(tensor)) =
            input.r#type.as_mut().and_then(|kind| kind.value.as_mut())
        else {
            panic!("no tensor");
        };
        let dims = &mut tensor.shape.as_mut().unwrap().dim;
        dims.push(dims[0].clone());
        for (dim, size) in dims.iter_mut().zip([1, 3, 4]) {
            dim.value = Some(pb::tensor_shape_proto::dimension::Value::DimValue(size));
        }
        for node in &mut graph.node {
            for input in node.input.iter_mut().filter(|input| *input == "mask") {
                *input = "unfolded".into();
            }
        }
        graph.initializer.push(integers("row", &[1, 12]));
        graph.node.insert(
            0,
            pb::NodeProto {
                op_type: "Reshape".into(),
                input: vec!["mask".into(), "row".into()],
                output: vec!["unfolded".into()],
                ..Default::default()
            },
        );
    };
    let changes = Changes {
        step: &folded,
        ..Changes::NONE
    };
    refused(
        "masked_zero",
        changes,
        &["mask `mask` of entry `step` is [1, 3, 4]", "one row"],
    );
}

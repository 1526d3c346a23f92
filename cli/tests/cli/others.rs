//! Models and data as others make them: what is taken, what is refused by name, and that nothing ends in a panic.

use crate::{attn, done};
use attn_converter::files::read_array;
use attn_converter::npz::Npz;
use attn_converter::reference::Reference;
use attn_converter::sqnr::Sqnr;
use attn_test_support::folder::{Folder, fixture, set_dim};
use attn_test_support::pb;
use ndarray::{ArrayD, IxDyn};
use std::path::Path;

/// A file of `host-tests/fixtures/cases`.
fn case(name: &str) -> String {
    fixture(&format!("cases/{name}"))
}

/// What `attn convert` says when it refuses; it must not have left a file.
fn refusal(onnx: &str, calibration: &str) -> String {
    let folder = Folder::new();
    let output = folder.path("out.attn");
    let result = attn(&["convert", onnx, "--calibrate", calibration, "-o", &output]);
    let message = String::from_utf8(result.stderr).unwrap();
    assert_eq!(result.status.code(), Some(1), "{onnx}: {message}");
    assert!(!Path::new(&output).exists(), "{onnx}");
    let lines = message.lines().count();
    assert!(
        lines == 1 && message.starts_with("error: "),
        "{onnx}: {message}"
    );
    message
}

/// Converts a case in every precision, runs it, and holds all outputs against what onnxruntime recorded.
fn holds(name: &str) {
    let [onnx, data] = ["onnx", "npz"].map(|end| case(&format!("{name}.{end}")));
    let recorded = case(&format!("{name}.expected.npz"));
    let reference = Reference::load(onnx.as_ref()).unwrap();
    let folder = Folder::new();
    let [file, results] = ["out.attn", "out.npz"].map(|name| folder.path(name));
    for (precision, floor) in [("int8", 28.0), ("int16x8", 45.0), ("fp16", 55.0)] {
        done(&[
            "convert",
            &onnx,
            "--calibrate",
            &data,
            "--dtype",
            precision,
            "-o",
            &file,
        ]);
        done(&["run", &file, &data, "-o", &results]);
        for output in &reference.graph().output {
            let read = |path: &str| -> Vec<f32> {
                let mut npz = Npz::open(path.as_ref()).unwrap();
                npz.read_real(&output.name)
                    .unwrap()
                    .iter()
                    .copied()
                    .collect()
            };
            let (exact, found) = (read(&recorded), read(&results));
            let mut sqnr = Sqnr::default();
            sqnr.add(&exact, &found[..exact.len()]);
            let (name, db) = (&output.name, sqnr.db());
            assert!(db >= floor, "{onnx} {name} {precision}: {db:.1} dB");
        }
    }
}

/// Every case that has recorded results: kinds that base operators compute, and kinds with operators of their own.
#[test]
fn every_case_is_what_onnxruntime_makes_of_it() {
    let folder = case("");
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let recorded = names.filter_map(|name| Some(name.strip_suffix(".expected.npz")?.to_owned()));
    let mut recorded: Vec<String> = recorded.collect();
    recorded.sort();
    assert!(recorded.len() >= 46, "{}", recorded.len());
    recorded.iter().for_each(|name| holds(name));
}

#[test]
fn a_symbolic_batch_axis_is_taken_as_one_and_said() {
    let folder = Folder::new();
    let [onnx, data] = ["k05_dynamic_batch.onnx", "k05_dynamic_batch.npz"].map(case);
    let output = folder.path("out.attn");
    let result = attn(&["convert", &onnx, "--calibrate", &data, "-o", &output]);
    let said = String::from_utf8(result.stdout).unwrap();
    assert!(said.contains("batch axis `batch` taken as 1"), "{said}");
}

#[test]
fn every_input_may_have_a_symbolic_batch_axis_of_its_own_name() {
    let folder = Folder::new();
    for exporter in ["dynamo", "torchscript"] {
        let fixed = fixture(&format!("attention/decoder_layer_{exporter}.onnx"));
        let symbolic = folder.onnx_of(&fixed, "symbolic.onnx", |graph| {
            for (number, input) in graph.input.iter_mut().enumerate() {
                set_dim(input, 0, Err(&format!("batch_{number}")));
            }
        });
        let data = fixture("attention/decoder_layer.npz");
        let [a, b] = [(&fixed, "a.attn"), (&symbolic, "b.attn")].map(|(onnx, name)| {
            let output = folder.path(name);
            let result = attn(&[
                "convert",
                onnx,
                "--calibrate",
                &data,
                "--no-mixed",
                "-o",
                &output,
            ]);
            assert!(
                result.status.success(),
                "{}",
                String::from_utf8_lossy(&result.stderr)
            );
            std::fs::read(output).unwrap()
        });
        assert!(a == b, "{exporter}: a symbolic batch axis changes the file");
    }
}

#[test]
fn an_output_that_is_rearranged_keeps_its_name() {
    let folder = Folder::new();
    let [onnx, data] = ["k22_output_name_lost.onnx", "k22_output_name_lost.npz"].map(case);
    let [file, outputs] = ["out.attn", "out.npz"].map(|name| folder.path(name));
    for arguments in [
        &["convert", &onnx, "--calibrate", &data, "-o", &file][..],
        &["run", &file, &data, "-o", &outputs],
    ] {
        let result = attn(arguments);
        assert!(
            result.status.success(),
            "{}",
            String::from_utf8_lossy(&result.stderr)
        );
    }
    let reference = Reference::load(onnx.as_ref()).unwrap();
    let name = &reference.graph().output[0].name;
    let y: ArrayD<f32> = read_array::<f32, IxDyn>(outputs.as_ref(), name).unwrap();
    assert!(!y.is_empty());
    let shown = String::from_utf8(attn(&["inspect", &file]).stdout).unwrap();
    assert!(shown.contains(&format!("gives {name} ")), "{shown}");
}

#[test]
fn attributes_of_recurrent_layers_are_refused_by_name() {
    for (name, expected) in [
        ("w01_lstm_relu", "activations sigmoid, relu, relu"),
        (
            "w02_lstm_hardsigmoid",
            "activations hardsigmoid, tanh, tanh",
        ),
        ("w04_gru_clip", "clip is not supported"),
    ] {
        let message = refusal(
            &case(&format!("{name}.onnx")),
            &case(&format!("{name}.npz")),
        );
        assert!(message.contains(expected), "{message}");
    }
}

/// The bidirectional LSTM of a fixture with an attribute set.
fn with_attribute(folder: &Folder, attribute: pb::AttributeProto) -> String {
    let fixture = fixture("seq2seq/bilstm_dynamo.encode.onnx");
    folder.onnx_of(fixture, "attribute.onnx", |graph| {
        let lstm = graph.node.iter_mut().find(|node| node.op_type == "LSTM");
        let attributes = &mut lstm.unwrap().attribute;
        attributes.retain(|other| other.name != attribute.name);
        attributes.push(attribute);
    })
}

#[test]
fn what_a_recurrent_layer_has_by_default_may_be_written_out() {
    use attn_converter::import::import;
    let folder = Folder::new();
    let strings = |list: &[&str]| pb::AttributeProto {
        name: "activations".into(),
        r#type: pb::attribute_proto::AttributeType::Strings as i32,
        strings: list.iter().map(|name| name.as_bytes().to_vec()).collect(),
        ..Default::default()
    };
    let default = ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Tanh", "Tanh"];
    let attributes = [
        (strings(&default), None),
        (
            strings(&["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Tanh", "Relu"]),
            Some("activations"),
        ),
        (float("clip", 3.0), Some("clip")),
        (integer("input_forget", 1), Some("input_forget")),
        (integer("input_forget", 0), None),
        (float("activation_alpha", 0.1), Some("activation_alpha")),
    ];
    for (attribute, refused) in attributes {
        let model = with_attribute(&folder, attribute);
        let reference = Reference::load_part(model.as_ref(), |_| Some(9)).unwrap();
        let error = import(&reference).err().map(|error| error.to_string());
        match refused {
            None => assert_eq!(error, None),
            Some(name) => assert!(
                error.as_ref().is_some_and(|e| e.contains(name)),
                "{error:?}"
            ),
        }
    }
}

fn float(name: &str, f: f32) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: pb::attribute_proto::AttributeType::Float as i32,
        f,
        ..Default::default()
    }
}

fn integer(name: &str, i: i64) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: pb::attribute_proto::AttributeType::Int as i32,
        i,
        ..Default::default()
    }
}

#[test]
fn a_lossy_cast_is_refused() {
    let name = "w08_cast_to_int_and_back";
    let [onnx, data] = ["onnx", "npz"].map(|end| case(&format!("{name}.{end}")));
    let message = refusal(&onnx, &data);
    assert!(message.contains("cast to int64"), "{message}");
}

#[test]
fn what_base_operators_compute_is_said() {
    let folder = Folder::new();
    let [onnx, data] = ["k29_instance_norm.onnx", "k29_instance_norm.npz"].map(case);
    let output = folder.path("out.attn");
    let said = done(&["convert", &onnx, "--calibrate", &data, "-o", &output]);
    assert!(said.contains("computed by base operators"), "{said}");
    assert!(said.contains("(InstanceNormalization)"), "{said}");
}

#[test]
fn an_attribute_that_nothing_reads_is_refused_by_name() {
    let folder = Folder::new();
    let [onnx, data] = ["k29_instance_norm.onnx", "k29_instance_norm.npz"].map(case);
    let changed = folder.onnx_of(&onnx, "changed.onnx", |graph| {
        graph.node[0].attribute.push(integer("new_attribute", 1));
    });
    let message = refusal(&changed, &data);
    assert!(message.contains("attribute `new_attribute`"), "{message}");
}

#[test]
fn a_panic_of_a_library_is_an_error() {
    for name in [
        "p01_pad_negative",
        "r05_panic_last_row_by_list_index_dynamo",
    ] {
        refusal(
            &case(&format!("{name}.onnx")),
            &case(&format!("{name}.npz")),
        );
    }
    for name in [
        "gather_oob",
        "conv_stride0",
        "pad_neg",
        "cosbomb",
        "emptyname",
    ] {
        refusal(&case(&format!("{name}.onnx")), &case("ok.npz"));
    }
}

#[test]
fn arrays_of_any_number_type_are_read() {
    let folder = Folder::new();
    let convert = |data: &str| {
        let output = folder.path("out.attn");
        let result = attn(&[
            "convert",
            &case("ok.onnx"),
            "--calibrate",
            data,
            "-o",
            &output,
        ]);
        assert!(
            result.status.success(),
            "{}",
            String::from_utf8_lossy(&result.stderr)
        );
        std::fs::read(output).unwrap()
    };
    convert(&case("n_f64.npz"));
    // The same whole numbers in every type give the same file.
    let numbers = ndarray::Array2::from_shape_fn((8, 4), |(a, b)| ((3 * a + 5 * b) % 7) as u8);
    let data = folder.path("data.npz");
    let mut files = Vec::new();
    macro_rules! of_type {
        ($($kind:ty),*) => {$(
            let array = numbers.mapv(|x| x as $kind);
            attn_converter::files::write_npz(data.as_ref(), |npz| npz.add_array("x", &array)).unwrap();
            files.push(convert(&data));
        )*};
    }
    of_type!(f32, f64, i16, i32, i64, u8, u16, u32);
    assert!(files.iter().all(|file| *file == files[0]));
}

#[test]
fn arrays_that_lie_about_their_size_are_damaged() {
    for name in ["n_lie.npz", "n_short.npz"] {
        let message = refusal(&case("ok.onnx"), &case(name));
        assert!(message.contains("array `x` is damaged"), "{message}");
    }
}

//! Models and data as others make them: what is taken, what is refused by name, and that nothing ends in a panic.

use crate::attn;
use attn_converter::dataset::Dataset;
use attn_converter::files::read_array;
use attn_converter::reference::Reference;
use attn_converter::runner::{self, AlignedBytes, ModelFile};
use attn_converter::sqnr::Sqnr;
use attn_runtime::Session;
use attn_test_support::folder::{Folder, fixture, set_dim};
use attn_test_support::pb;
use ndarray::{ArrayD, Axis, IxDyn};
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

/// Converts a case in every precision and holds it against what onnxruntime recorded.
fn holds(name: &str) {
    let [onnx, data] = ["onnx", "npz"].map(|end| case(&format!("{name}.{end}")));
    let recorded = case(&format!("{name}.expected.npz"));
    let reference = Reference::load(onnx.as_ref()).unwrap();
    let y = &reference.graph().output[0].name;
    let expected: ArrayD<f32> = read_array::<f32, IxDyn>(recorded.as_ref(), y).unwrap();
    let samples = Dataset::load(data.as_ref(), reference.inputs(), None).unwrap();
    for (precision, floor) in [("int8", 28.0), ("int16x8", 45.0), ("fp16", 55.0)] {
        let folder = Folder::new();
        let output = folder.path("out.attn");
        let arguments = [
            "convert",
            &onnx,
            "--calibrate",
            &data,
            "--dtype",
            precision,
            "-o",
            &output,
        ];
        let result = attn(&arguments);
        assert!(
            result.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&result.stderr)
        );
        let file = ModelFile::load(output.as_ref()).unwrap();
        let mut arena = AlignedBytes::zeroed(file.model().arena_len());
        let mut session = Session::new(file.model(), arena.as_mut_slice()).unwrap();
        let mut sqnr = Sqnr::default();
        for (index, exact) in expected.axis_iter(Axis(0)).enumerate() {
            for (slot, x) in samples.sample(index).iter().enumerate() {
                runner::fill(&mut session, 0, slot, x.iter()).unwrap();
            }
            session.run(0).unwrap();
            let exact: Vec<f32> = exact.iter().copied().collect();
            sqnr.add(&exact, &runner::output(&session, 0, 0).unwrap());
        }
        assert!(
            sqnr.db() >= floor,
            "{name} {precision}: {:.1} dB",
            sqnr.db()
        );
    }
}

#[test]
fn a_mean_over_pixels_is_one_whatever_the_order_of_its_axes() {
    holds("k01_adaptive_avg_pool_dynamo");
    holds("r04_adaptive_avg_pool_dynamo_axes_m1_m2");
}

#[test]
fn a_dilated_convolution_is_what_onnxruntime_makes_of_it() {
    holds("k04_dilated_conv1d");
}

#[test]
fn a_symbolic_batch_axis_is_taken_as_one_and_said() {
    holds("k05_dynamic_batch");
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
fn a_softmax_over_several_axes_and_a_lossy_cast_are_refused() {
    for (name, expected) in [
        (
            "w07_softmax_opset11_default_axis",
            "opset 11 runs over all axes from 1 on",
        ),
        ("w08_cast_to_int_and_back", "cast to int64"),
    ] {
        let message = refusal(
            &case(&format!("{name}.onnx")),
            &case(&format!("{name}.npz")),
        );
        assert!(message.contains(expected), "{message}");
    }
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

//! Models and data as others make them: what is taken, what is refused by name, and that nothing ends in a panic.

use crate::{attn, done};
use attn_converter::files::{read_array, write_npz};
use attn_converter::npz::Npz;
use attn_converter::reference::{Reference, to_f32};
use attn_converter::sqnr::Sqnr;
use attn_test_support::folder::{Folder, fixture, set_dim};
use attn_test_support::pb;
use ndarray::{Array2, ArrayD, Axis, IxDyn};
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

/// The least SQNR in dB in each precision. The weights of recurrent layers have 8 bits in int16x8, too.
fn floors(name: &str) -> [(&'static str, f64); 3] {
    let [int8, int16] = match name {
        "w02_lstm_hardsigmoid" => [28.0, 44.5],
        _ => [28.0, 45.0],
    };
    [("int8", int8), ("int16x8", int16), ("fp16", 55.0)]
}

/// Converts a case in every precision, runs it, and holds all outputs against what onnxruntime recorded.
fn holds(name: &str) {
    let [onnx, data] = ["onnx", "npz"].map(|end| case(&format!("{name}.{end}")));
    let recorded = case(&format!("{name}.expected.npz"));
    let reference = Reference::load(onnx.as_ref()).unwrap();
    let folder = Folder::new();
    let [file, results] = ["out.attn", "out.npz"].map(|name| folder.path(name));
    for (precision, floor) in floors(name) {
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
    assert!(recorded.len() >= 60, "{}", recorded.len());
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

/// What import and reference took from tract alone, or refused: activations, clipping, a reverse layer, cropping, indices that count from
/// the end. Recorded from onnxruntime, and `compare` must agree with that.
#[test]
fn the_reference_computes_what_onnxruntime_computes() {
    for name in [
        "w01_lstm_relu",
        "w02_lstm_hardsigmoid",
        "w04_gru_clip",
        "w06_gru_reverse_compare",
        "w07_softmax_opset11_default_axis",
        "w08_cast_to_int_and_back",
        "p01_pad_negative",
        "r05_panic_last_row_by_list_index_dynamo",
    ] {
        let reference = Reference::load(case(&format!("{name}.onnx")).as_ref()).unwrap();
        let mut data = Npz::open(case(&format!("{name}.npz")).as_ref()).unwrap();
        let recorded = case(&format!("{name}.expected.npz"));
        let mut recorded = Npz::open(recorded.as_ref()).unwrap();
        let input = &reference.inputs()[0];
        let samples = data.read_real(&input.name).unwrap();
        let output = &reference.graph().output[0].name;
        let exact = recorded.read_real(output).unwrap();
        let mut sqnr = Sqnr::default();
        for (x, exact) in samples.outer_iter().zip(exact.outer_iter()) {
            let x = x.to_owned().into_shape_with_order(input.shape.clone());
            let values = reference.run(&[x.unwrap()]).unwrap();
            let found = to_f32(&values[output]).unwrap();
            let exact: Vec<f32> = exact.iter().copied().collect();
            let found: Vec<f32> = found.iter().copied().collect();
            sqnr.add(&exact, &found);
        }
        let db = sqnr.db();
        assert!(db > 90.0, "{name}: {db:.1} dB");
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
            strings(&["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Tanh", "Sine"]),
            Some("`sine`"),
        ),
        (float("clip", -3.0), Some("clip")),
        (integer("input_forget", 0), None),
        (integer("new_attribute", 0), Some("new_attribute")),
    ];
    for (attribute, refused) in attributes {
        let model = with_attribute(&folder, attribute);
        let reference = Reference::load_with(model.as_ref(), Some(&|_| Some(9)));
        let imported = reference.and_then(|reference| import(&reference));
        let error = imported.err().map(|error| error.to_string());
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
fn files_of_other_formats_are_named() {
    let folder = Folder::new();
    let kinds: [(&[u8], &str); 4] = [
        (b"\x1c\0\0\0TFL3rest", "TensorFlow Lite"),
        (b"PK\x03\x04rest of it", "PyTorch checkpoint"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x80\x02\x8a\x0arest", "pickle"),
    ];
    for (bytes, expected) in kinds {
        let file = folder.write("model.onnx", bytes);
        let message = refusal(&file, &case("ok.npz"));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn graphs_that_make_no_sense_are_refused_by_node() {
    let folder = Folder::new();
    type Change = fn(&mut pb::GraphProto);
    let changes: [(Change, &str); 6] = [
        (
            |graph| graph.node.push(graph.node[0].clone()),
            "computed twice",
        ),
        (
            |graph| graph.node[0].input[0] = "nothing".into(),
            "it reads `nothing`",
        ),
        (
            |graph| graph.node[0].output[0].clear(),
            "no result that has a name",
        ),
        (
            |graph| graph.output[0].name = "nowhere".into(),
            "output `nowhere`",
        ),
        (
            |graph| graph.node[0].attribute.push(float("epsilon", f32::NAN)),
            "`epsilon` is not a number",
        ),
        (
            |graph| {
                let node = &mut graph.node[0];
                (node.op_type, node.domain) = ("Mine".into(), "my.domain".into());
            },
            "operator my.domain.Mine",
        ),
    ];
    for (change, expected) in changes {
        let model = folder.onnx_of(case("ok.onnx"), "bad.onnx", change);
        let message = refusal(&model, &case("ok.npz"));
        assert!(message.contains(expected), "{message}");
    }
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

/// A mask of an input of fixed size becomes a length, which `attn run` reads.
#[test]
fn a_model_of_fixed_size_with_a_named_mask_is_run_with_lengths() {
    let name = "m04_mask_that_may_be_named";
    let [onnx, data, expected] =
        ["onnx", "npz", "expected.npz"].map(|end| case(&format!("{name}.{end}")));
    let folder = Folder::new();
    let [file, sequences, results] =
        ["out.attn", "sequences.npz", "out.npz"].map(|name| folder.path(name));
    let read = |path: &str, name: &str| -> ArrayD<f32> {
        Npz::open(path.as_ref()).unwrap().read_real(name).unwrap()
    };
    let lengths = read(&data, "m").sum_axis(Axis(1)).mapv(|x| x as i64);
    write_npz(sequences.as_ref(), |npz| {
        npz.add_array("x", &read(&data, "x"))?;
        npz.add_array("x_len", &lengths)
    })
    .unwrap();
    let options = ["--calibrate", &data, "--dtype", "fp16", "--mask", "m"];
    done(&[&["convert", &onnx], &options[..], &["-o", &file]].concat());
    let flat = |path: &str| read(path, "out0").iter().copied().collect::<Vec<f32>>();
    for by in [&[&sequences[..]][..], &[&data, "--mask", "m"]] {
        done(&[&["run", &file], by, &["-o", &results]].concat());
        let (exact, found) = (flat(&expected), flat(&results));
        let mut sqnr = Sqnr::default();
        sqnr.add(&exact, &found[..exact.len()]);
        assert!(sqnr.db() >= 55.0, "{by:?}: {:.1} dB", sqnr.db());
    } // Lengths beyond the longest, and a mask of too few samples.
    let wrong = folder.path("wrong.npz");
    write_npz(wrong.as_ref(), |npz| {
        npz.add_array("x", &read(&data, "x"))?;
        npz.add_array("x_len", &lengths.mapv(|length| length + 1))
    })
    .unwrap();
    let failed = |arguments: &[&str]| {
        let result = attn(&[&["run", &file], arguments, &["-o", &results]].concat());
        assert_eq!(result.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(result.stderr).unwrap()
    };
    let message = failed(&[&wrong]);
    let long = "a length of 9; sequences have 1 to 8";
    assert!(
        message.contains("`x_len`") && message.contains(long),
        "{message}"
    );
    write_npz(wrong.as_ref(), |npz| {
        npz.add_array("x", &read(&data, "x"))?;
        npz.add_array("m", &Array2::<f32>::ones((3, 8)))
    })
    .unwrap();
    let message = failed(&[&wrong, "--mask", "m"]);
    assert!(message.contains("3 lengths for 32 samples"), "{message}");
}

#[test]
fn an_einsum_that_does_not_fit_its_inputs_is_refused_by_node() {
    let folder = Folder::new();
    let einsum = case("b08_einsum_of_three.onnx");
    let onnx = folder.onnx_of(einsum, "changed.onnx", |graph| {
        let mut nodes = graph.node.iter_mut();
        let node = nodes.find(|node| node.op_type == "Einsum").unwrap();
        node.attribute[0].s = b"nld,ndm->nlm".to_vec();
    });
    let message = refusal(&onnx, &case("b08_einsum_of_three.npz"));
    assert!(message.contains("nld,ndm->nlm for 3 tensors"), "{message}");
}

/// Minus infinity hides where an input only meets scores ([`holds`] runs `f15_added_mask_of_infinity`), and is refused anywhere else.
#[test]
fn minus_infinity_is_refused_where_it_hides_nothing() {
    let folder = Folder::new();
    let [onnx, data] = ["far_apart.onnx", "far_apart.npz"].map(case);
    let [file, infinite, results] =
        ["m.attn", "infinite.npz", "out.npz"].map(|name| folder.path(name));
    let mut x: ArrayD<f32> = read_array(data.as_ref(), "x").unwrap();
    x[[3, 0, 1]] = f32::NEG_INFINITY;
    write_npz(infinite.as_ref(), |npz| npz.add_array("x", &x)).unwrap();
    for dtype in ["int8", "fp16"] {
        let convert = |data: &str| {
            attn(&[
                "convert",
                &onnx,
                "--calibrate",
                data,
                "--dtype",
                dtype,
                "-o",
                &file,
            ])
        };
        assert!(convert(&data).status.success());
        let run = attn(&["run", &file, &infinite, "-o", &results]);
        for refused in [run, convert(&infinite)] {
            let said = String::from_utf8(refused.stderr).unwrap();
            assert_eq!(refused.status.code(), Some(1), "{dtype}: {said}");
            let named = said.contains("`x`: sample 3 holds -infinity");
            assert!(named, "{dtype}: {said}");
        }
    }
}

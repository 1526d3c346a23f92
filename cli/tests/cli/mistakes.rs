//! Inputs and flags that are wrong: a clear message, a non-zero status, no file left behind. Outputs are in `outputs.rs`.

use crate::{attn, converting, done, refused_in};
use attn_test_support::folder::{CALIBRATION, Folder, ONNX};

fn convert_refused(
    folder: &Folder,
    onnx: &str,
    calibration: &str,
    extra: &[&str],
    expected: &[&str],
) {
    let output = folder.path("out.attn");
    let mut arguments = vec!["convert", onnx, "--calibrate", calibration, "-o", &output];
    arguments.extend(extra);
    refused_in(folder, &arguments, expected);
}

#[test]
fn a_file_that_is_no_onnx() {
    let folder = Folder::new();
    let text = folder.write("model.onnx", b"this is not a model");
    convert_refused(
        &folder,
        &text,
        CALIBRATION,
        &[],
        &["model.onnx", "not a readable ONNX model"],
    );
    let empty = folder.write("empty.onnx", b"");
    convert_refused(
        &folder,
        &empty,
        CALIBRATION,
        &[],
        &["empty.onnx", "not a readable ONNX model"],
    );
    convert_refused(&folder, "missing.onnx", CALIBRATION, &[], &["missing.onnx"]);
}

#[test]
fn an_operator_that_attn_does_not_have() {
    let folder = Folder::new();
    let model = folder.onnx("det.onnx", |graph| {
        let node = graph
            .node
            .iter_mut()
            .find(|node| node.op_type == "Relu")
            .unwrap();
        (node.op_type, node.name) = ("Det".into(), "my_det".into());
    });
    convert_refused(
        &folder,
        &model,
        CALIBRATION,
        &[],
        &["node `my_det`", "operator Det", "[1, 64, 50]", "nearest"],
    );
}

#[test]
fn an_axis_without_a_size() {
    let folder = Folder::new();
    let model = folder.onnx("dynamic.onnx", |graph| {
        attn_test_support::folder::set_dim(&mut graph.input[0], 1, Err("time"))
    });
    convert_refused(
        &folder,
        &model,
        CALIBRATION,
        &[],
        &["input `features`", "axis 1", "`time`", "fixed shapes"],
    );
}

#[test]
fn weights_that_are_not_finite() {
    let folder = Folder::new();
    let mut name = String::new();
    let model = folder.onnx("nan.onnx", |graph| {
        let weight = graph
            .initializer
            .iter_mut()
            .find(|tensor| tensor.dims == [64, 40, 5])
            .unwrap();
        name = weight.name.clone();
        weight.raw_data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    convert_refused(
        &folder,
        &model,
        CALIBRATION,
        &[],
        &[&format!("weight `{name}`"), "NaN", "node `"],
    );
}

#[test]
fn calibration_that_does_not_fit() {
    let folder = Folder::new();
    convert_refused(&folder, ONNX, "missing.npz", &[], &["missing.npz"]);
    let text = folder.write("text.npz", b"no zip");
    convert_refused(&folder, ONNX, &text, &[], &["text.npz", "npz"]);
    let other = folder.npz("other.npz", "pictures", &[4, 50, 40], 0.5);
    convert_refused(
        &folder,
        ONNX,
        &other,
        &[],
        &["no array `features`", "it holds: pictures"],
    );
    let shape = folder.npz("shape.npz", "features", &[4, 49, 40], 0.5);
    convert_refused(
        &folder,
        ONNX,
        &shape,
        &[],
        &["array `features`", "[4, 49, 40]", "[samples, 50, 40]"],
    );
    let none = folder.npz("none.npz", "features", &[0, 50, 40], 0.5);
    convert_refused(
        &folder,
        ONNX,
        &none,
        &[],
        &["array `features`", "no samples"],
    );
    let nan = folder.npz("nan.npz", "features", &[4, 50, 40], f32::NAN);
    convert_refused(
        &folder,
        ONNX,
        &nan,
        &[],
        &["array `features`", "sample 0 holds NaN"],
    );
}

#[test]
fn options_that_do_not_fit_the_model() {
    let folder = Folder::new();
    let labels = folder.write("labels.txt", b"one\ntwo\n");
    convert_refused(
        &folder,
        ONNX,
        CALIBRATION,
        &["--labels", &labels],
        &["--labels", "2 labels for 20 classes"],
    );
    convert_refused(&folder, ONNX, CALIBRATION, &["--audio-hop", "0"], &["hop"]);
    convert_refused(
        &folder,
        ONNX,
        CALIBRATION,
        &["--smoothing", "6"],
        &["--threshold"],
    );
    convert_refused(
        &folder,
        ONNX,
        CALIBRATION,
        &["--dtype", "int3"],
        &["--dtype"],
    );
}

#[test]
fn a_model_that_cannot_be_streamed() {
    let folder = Folder::new();
    let model = folder.onnx("noncausal.onnx", |graph| {
        let node = graph
            .node
            .iter_mut()
            .find(|node| node.op_type == "Conv")
            .unwrap();
        let pads = node
            .attribute
            .iter_mut()
            .find(|attribute| attribute.name == "pads")
            .unwrap();
        pads.ints = vec![2, 2];
    });
    convert_refused(
        &folder,
        &model,
        CALIBRATION,
        &["--stream"],
        &["(Conv1d)", "frame by frame", "causal", "4 rows before"],
    );
}

#[test]
fn recordings_that_cannot_be_used() {
    let folder = Folder::new();
    let output = folder.path("out.npz");
    let spec = attn_test_support::folder::spec;
    let cases = [
        ("empty.wav", spec(16_000, 1, 16), 0, "0 samples"),
        (
            "short.wav",
            spec(16_000, 1, 16),
            511,
            "511 samples are less than one frame",
        ),
        (
            "slow.wav",
            spec(4_000, 1, 16),
            16_000,
            "4000 samples per second",
        ),
    ];
    for (name, spec, samples, expected) in cases {
        let wav = folder.wav(name, spec, samples);
        refused_in(
            &folder,
            &["features", &wav, "-o", &output],
            &[name, expected],
        );
    }
    let text = folder.write("text.wav", b"RIFF");
    refused_in(
        &folder,
        &["features", &text, "-o", &output],
        &["text.wav", "not a readable WAV or FLAC file"],
    );
}

#[test]
fn attn_files_that_are_damaged() {
    let folder = Folder::new();
    let good = std::fs::read(attn_test_support::folder::TINY).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    let cases = [
        ("empty.attn", vec![], "0 bytes are no .attn file"),
        ("cut.attn", good[..good.len() - 7].to_vec(), "truncated"),
        ("flipped.attn", flipped, "checksum"),
        ("text.attn", vec![b'x'; 200], "does not start with ATTN"),
        (
            "old.attn",
            include_bytes!("../../../runtime/tests/version1.attn").to_vec(),
            "format version 1, this runtime reads version 2: convert the model again",
        ),
    ];
    for (name, bytes, expected) in cases {
        let file = folder.write(name, &bytes);
        refused_in(&folder, &["inspect", &file], &[name, expected]);
        refused_in(
            &folder,
            &["run", &file, CALIBRATION, "-o", &folder.path("out.npz")],
            &[name, expected],
        );
    }
    let error = ["--data", CALIBRATION];
    refused_in(
        &folder,
        &[
            &["compare", ONNX, attn_test_support::folder::TINY][..],
            &error,
        ]
        .concat(),
        &["not converted from this ONNX model"],
    );
}

#[test]
fn a_model_that_is_no_keyword_spotter_hears_nothing() {
    let folder = Folder::new();
    let wav = folder.wav(
        "quiet.wav",
        attn_test_support::folder::spec(16_000, 1, 16),
        16_000,
    );
    refused_in(
        &folder,
        &["spot", attn_test_support::folder::TINY, &wav],
        &["--audio-hop"],
    );
    let text = folder.write("text.wav", b"RIFF");
    refused_in(
        &folder,
        &["spot", attn_test_support::folder::TINY, &text],
        &["text.wav"],
    );
}

#[test]
fn labels_are_counted_and_must_fit_the_samples() {
    let folder = Folder::new();
    let model = folder.path("model.attn");
    done(&converting(&model));
    let labelled = |name: &str, labels: Vec<i64>| {
        let path = folder.path(name);
        let features = ndarray::Array3::<f32>::from_elem((2, 50, 40), 0.5);
        attn_converter::files::write_npz(path.as_ref(), |npz| {
            npz.add_array("features", &features)?;
            npz.add_array("labels", &ndarray::Array1::from_vec(labels))
        })
        .unwrap();
        path
    };
    let data = labelled("good.npz", vec![3, 4]);
    let output = attn(&["compare", ONNX, &model, "--data", &data]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("top-1: float") && text.contains("over 2 samples"),
        "{text}"
    );
    let data = labelled("short.npz", vec![3]);
    refused_in(
        &folder,
        &["compare", ONNX, &model, "--data", &data],
        &["array `labels`", "1 labels for 2 samples"],
    );
    let data = labelled("negative.npz", vec![3, -1]);
    refused_in(
        &folder,
        &["compare", ONNX, &model, "--data", &data],
        &["array `labels`", "negative"],
    );
}

/// tract panics on it.
#[test]
fn a_convolution_without_paddings_is_an_error_not_a_crash() {
    let folder = Folder::new();
    let model = folder.onnx("damaged.onnx", |graph| {
        let convs = graph.node.iter_mut().filter(|node| node.op_type == "Conv");
        let attributes = convs.flat_map(|node| &mut node.attribute);
        for pads in attributes.filter(|attribute| attribute.name == "pads") {
            pads.ints.clear();
        }
    });
    let output = folder.path("out.attn");
    let arguments = ["convert", &model, "--calibrate", CALIBRATION, "-o", &output];
    let result = attn(&arguments);
    assert_eq!(result.status.code(), Some(1));
    let message = String::from_utf8(result.stderr).unwrap();
    assert!(
        message.contains("damaged.onnx") && message.contains("is damaged"),
        "{message}"
    );
    assert_eq!(folder.names(), ["damaged.onnx"]);
}

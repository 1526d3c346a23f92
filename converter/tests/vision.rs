//! Attention over images as PyTorch exports it (training/attention/vision.py): the operators that come of it, what is refused, a
//! trained classifier. How close every system stays to PyTorch is in `systems.rs`.

use attn_converter::calibrate::RangeMethod;
use attn_converter::compare::compare;
use attn_converter::error::ConvertError;
use attn_converter::lower::Form;
use attn_converter::pipeline::{Conversion, Mixed, Options, Source, convert};
use attn_converter::progress::silent;
use attn_converter::quantize::Precision;
use attn_test_support::folder::Folder;
use attn_test_support::systems::{fixtures, system, write_calibration};
use std::path::Path;
use tract_onnx::pb;

/// Calibration data for a system, whatever becomes of its file.
fn calibration(folder: &Folder, name: &str) -> String {
    let path = folder.path(&format!("{name}.calibration.npz"));
    write_calibration(&system(name).onnx("dynamo"), path.as_ref()).unwrap();
    path
}

fn converted(
    onnx: &Path,
    calibration: &str,
    precision: Precision,
) -> Result<Conversion, ConvertError> {
    let options = Options {
        form: Form::Window,
        precision,
        range: RangeMethod::Mse,
        ..Options::default()
    };
    convert(
        Source::Model {
            onnx,
            calibration: calibration.as_ref(),
        },
        &options,
        &silent,
    )
}

fn operators(conversion: &Conversion) -> Vec<&str> {
    let nodes = conversion.graphs[0].nodes.iter();
    nodes.map(|node| node.op.name()).collect()
}

#[test]
fn a_gated_skip_connection_is_a_handful_of_operators() {
    let folder = Folder::new();
    let data = calibration(&folder, "attention_unet");
    let onnx = system("attention_unet").onnx("torchscript");
    let conversion = converted(&onnx, &data, Precision::Int16x8).unwrap();
    let names = operators(&conversion);
    let up = names
        .iter()
        .position(|&name| name == "ConvTranspose2d")
        .unwrap();
    let expected = [
        "ConvTranspose2d",
        "Linear",
        "Linear",
        "Add",
        "Linear",
        "Sigmoid",
        "Gate",
        "Concat",
        "Conv2d",
        "Conv2d",
    ];
    assert_eq!(names[up..up + expected.len()], expected);
}

#[test]
fn channel_and_spatial_attention_are_a_handful_of_operators() {
    let folder = Folder::new();
    let data = calibration(&folder, "cbam_cnn");
    let onnx = system("cbam_cnn").onnx("dynamo");
    let conversion = converted(&onnx, &data, Precision::Int16x8).unwrap();
    let mut names = operators(&conversion);
    names.truncate(21);
    let expected = [
        "Conv2d",
        "Conv2d",
        "Conv2d", // stem, first block
        "MeanRows",
        "MaxPool2d",
        "Linear",
        "Linear",
        "Linear",
        "Linear",
        "Add",
        "Sigmoid",
        "Gate",
        "MeanChannels",
        "MaxChannels",
        "Concat",
        "Conv2d",
        "Sigmoid",
        "Gate", // per pixel
        "Add",
        "MaxPool2d",
        "Conv2d",
    ];
    assert_eq!(names, expected);
}

/// The message for a system whose first node of one kind has attributes changed.
fn refused(folder: &Folder, name: &str, op: &str, changes: &[pb::AttributeProto]) -> String {
    let onnx = system(name).onnx("dynamo");
    let changed = folder.onnx_of(onnx, "changed.onnx", |graph| {
        let mut nodes = graph.node.iter_mut();
        let node = nodes.find(|node| node.op_type == op).unwrap();
        for change in changes {
            node.attribute.retain(|old| old.name != change.name);
            node.attribute.push(change.clone());
        }
    });
    let data = calibration(folder, name);
    match converted(changed.as_ref(), &data, Precision::Int8) {
        Ok(_) => panic!("{op} of {name} converts with {changes:?}"),
        Err(error) => error.to_string(),
    }
}

fn ints(name: &str, ints: &[i64]) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: pb::attribute_proto::AttributeType::Ints as i32,
        ints: ints.to_vec(),
        ..Default::default()
    }
}

fn int(name: &str, i: i64) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: pb::attribute_proto::AttributeType::Int as i32,
        i,
        ..Default::default()
    }
}

fn string(name: &str, text: &str) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: pb::attribute_proto::AttributeType::String as i32,
        s: text.as_bytes().to_vec(),
        ..Default::default()
    }
}

#[test]
fn forms_that_are_not_supported_are_refused_with_their_node_and_a_remedy() {
    let folder = Folder::new();
    let unet = "attention_unet";
    let dilated = |pads: &[i64]| vec![ints("dilations", &[2, 2]), ints("pads", pads)];
    let dilation = "dilation; use a larger kernel";
    let same = vec![string("auto_pad", "SAME_UPPER")];
    let ceiling = || vec![int("ceil_mode", 1)];
    let without = vec![
        int("count_include_pad", 0),
        ints("pads", &[1, 1, 1, 1]),
        ints("strides", &[2, 2]),
        ints("kernel_shape", &[4, 4]),
    ];
    let cases = [
        (unet, "MaxPool", dilated(&[0, 0, 1, 1]), dilation),
        (unet, "Conv", same, "export with explicit pads"),
        (unet, "ConvTranspose", dilated(&[0, 0, 1, 1]), dilation),
        (unet, "MaxPool", ceiling(), "ceil_mode; pad the input"),
        ("separable2d", "AveragePool", ceiling(), "ceil_mode; pad"),
        (
            "separable2d",
            "AveragePool",
            without,
            "count_include_pad=True",
        ),
    ];
    for (name, op, changes, expected) in cases {
        let message = refused(&folder, name, op, &changes);
        assert!(
            message.contains("node `") && message.contains(expected),
            "{changes:?}: {message}"
        );
    }
}

/// Three groups of two channels: neither full nor depthwise.
#[test]
fn groups_other_than_one_or_all_channels_are_refused() {
    let folder = Folder::new();
    let onnx = system("separable2d").onnx("dynamo");
    let changed = folder.onnx_of(onnx, "grouped.onnx", |graph| {
        let node = graph
            .node
            .iter_mut()
            .find(|node| node.op_type == "Conv")
            .unwrap();
        node.attribute
            .iter_mut()
            .find(|a| a.name == "group")
            .unwrap()
            .i = 3;
        let weight = node.input[1].clone();
        let weight = graph
            .initializer
            .iter_mut()
            .find(|t| t.name == weight)
            .unwrap();
        weight.dims = vec![6, 2, 3, 3];
        weight.raw_data = weight.raw_data.repeat(2);
        graph.value_info.clear();
    });
    let data = calibration(&folder, "separable2d");
    let error = converted(changed.as_ref(), &data, Precision::Int8).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("3 groups from 6 to 6 channels"),
        "{message}"
    );
}

#[test]
fn an_image_cannot_be_streamed() {
    let folder = Folder::new();
    let data = calibration(&folder, "upsample");
    let options = Options {
        form: Form::Stream,
        precision: Precision::Int8,
        range: RangeMethod::Mse,
        mixed: Mixed::None,
        ..Options::default()
    };
    let onnx = system("upsample").onnx("dynamo");
    let error = convert(
        Source::Model {
            onnx: &onnx,
            calibration: data.as_ref(),
        },
        &options,
        &silent,
    )
    .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("(ConvTranspose2d)") && message.contains("whole image"),
        "{message}"
    );
}

/// Transposing a tensor and reading it twice under two names keeps a ReLU behind one of them out of the layer before.
#[test]
fn a_layer_that_is_read_under_two_names_takes_nothing_in() {
    let folder = Folder::new();
    let data = calibration(&folder, "upsample");
    let both = |graph: &mut pb::GraphProto| {
        let identity = |input: &str, output: &str| pb::NodeProto {
            op_type: "Identity".into(),
            name: output.into(),
            input: vec![input.into()],
            output: vec![output.into()],
            ..Default::default()
        };
        let at = graph
            .node
            .iter()
            .position(|node| node.op_type == "Relu")
            .unwrap();
        let before = graph.node[at].input[0].clone();
        graph.node[at].input[0] = "twin".into();
        graph.node.insert(at, identity(&before, "twin"));
        graph.node.push(identity(&before, "other"));
        let mut output = graph.output[0].clone();
        output.name = "other".into();
        output.r#type = None;
        graph.output.push(output);
    };
    let onnx = folder.onnx_of(system("upsample").onnx("dynamo"), "twins.onnx", both);
    let conversion = converted(onnx.as_ref(), &data, Precision::Int16x8).unwrap();
    assert_eq!(
        operators(&conversion),
        ["ConvTranspose2d", "Relu", "ConvTranspose2d"]
    );
}

/// The trained classifier: what the model card says, on its whole test split.
#[test]
fn handwritten_digits_are_read_as_well_in_integers_as_in_float() {
    let folder = Folder::new();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let (onnx, other) = (
        models.join("cbam_digits.onnx"),
        fixtures("vision").join("cbam_digits_torchscript.onnx"),
    );
    let data = models.join("cbam_digits_calibration.npz");
    let test = models.join("cbam_digits_test.npz");
    for onnx in [&onnx, &other] {
        let file = converted(onnx, data.to_str().unwrap(), Precision::Int8)
            .unwrap()
            .file;
        let path = folder.write("digits.attn", file.bytes());
        let result = compare(
            Source::Model {
                onnx,
                calibration: &test,
            },
            path.as_ref(),
            &silent,
        )
        .unwrap();
        let top = result.top_one;
        println!("{top:?}, {:.1} dB", result.outputs.db());
        assert_eq!(top.samples, 450);
        assert!(top.float >= 440, "{top:?}");
        assert!(top.int8.abs_diff(top.float) <= 2, "{top:?}");
        assert!(result.outputs.db() >= 22.0);
    }
}

//! Attention over images as PyTorch exports it (training/attention/vision.py): the operators that come of it, what is refused, a
//! trained classifier. How close every system stays to PyTorch is in `systems.rs`.

use attn_converter::compare::compare;
use attn_converter::lower::Form;
use attn_converter::pipeline::{Conversion, Source};
use attn_converter::progress::silent;
use attn_converter::quantize::Precision;
use attn_test_support::folder::Folder;
use attn_test_support::graphs::{
    add_output, initializer, insert, int, ints, new_node, node, set, string,
};
use attn_test_support::pb;
use attn_test_support::systems::{convert_model, fixtures, operators, options, system};
use std::path::Path;

fn converted(name: &str, exporter: &str) -> Conversion {
    let conversion = system(name).convert(exporter, Precision::Int16x8, Form::Window);
    conversion.unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_gated_skip_connection_is_a_handful_of_operators() {
    let expected = "ConvTranspose2d Linear Linear Add Linear Sigmoid Gate Concat Conv2d Conv2d";
    let found = operators(&converted("attention_unet", "torchscript"));
    let up = found.find("ConvTranspose2d").unwrap();
    assert!(found[up..].starts_with(expected), "{found}");
}

#[test]
fn channel_and_spatial_attention_are_a_handful_of_operators() {
    let found = operators(&converted("cbam_cnn", "dynamo"));
    let stem_and_first_block = "Conv2d Conv2d Conv2d ";
    let by_channel = "MeanRows MaxPool2d Linear Linear Linear Linear Add Sigmoid Gate ";
    let by_pixel = "MeanChannels MaxChannels Concat Conv2d Sigmoid Gate Add MaxPool2d Conv2d ";
    let expected = [stem_and_first_block, by_channel, by_pixel].concat();
    assert!(found.starts_with(&expected), "{found}");
}

#[test]
fn forms_that_are_not_supported_are_refused_with_their_node_and_a_remedy() {
    let unet = "attention_unet";
    let pads = |pads: &[i64]| ints("pads", pads);
    let dilated = [ints("dilations", &[2, 2]), pads(&[0, 0, 1, 1])];
    let dilation = "dilation; use a larger kernel";
    let same = [string("auto_pad", "SAME_UPPER")];
    let explicit = "export with explicit pads";
    let ceiling = [int("ceil_mode", 1)];
    let pad = "ceil_mode; pad the input";
    let without = [
        int("count_include_pad", 0),
        pads(&[1, 1, 1, 1]),
        ints("strides", &[2, 2]),
        ints("kernel_shape", &[4, 4]),
    ];
    let include = "count_include_pad=True";
    let cases = [
        (unet, "MaxPool", &dilated[..], dilation),
        (unet, "Conv", &same, explicit),
        (unet, "ConvTranspose", &dilated, dilation),
        (unet, "MaxPool", &ceiling, pad),
        ("separable2d", "AveragePool", &ceiling, pad),
        ("separable2d", "AveragePool", &without, include),
    ];
    for (name, op, changes, expected) in cases {
        let message = system(name).refused(|graph| set(node(graph, op), changes));
        assert!(
            message.contains("node `") && message.contains(expected),
            "{changes:?}: {message}"
        );
    }
}

/// Three groups of two channels: neither full nor depthwise.
#[test]
fn groups_other_than_one_or_all_channels_are_refused() {
    let message = system("separable2d").refused(|graph| {
        let convolution = node(graph, "Conv");
        set(convolution, &[int("group", 3)]);
        let weight = convolution.input[1].clone();
        let weight = initializer(graph, &weight);
        weight.dims = vec![6, 2, 3, 3];
        weight.raw_data = weight.raw_data.repeat(2);
        graph.value_info.clear();
    });
    let groups = "3 groups from 6 to 6 channels";
    assert!(message.contains(groups), "{message}");
}

#[test]
fn an_image_cannot_be_streamed() {
    let refused = system("upsample").convert("dynamo", Precision::Int8, Form::Stream);
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("(ConvTranspose2d)") && message.contains("whole image"),
        "{message}"
    );
}

/// Transposing a tensor and reading it twice under two names keeps a ReLU behind one of them out of the layer before.
#[test]
fn a_layer_that_is_read_under_two_names_takes_nothing_in() {
    let both = |graph: &mut pb::GraphProto| {
        let relu = node(graph, "Relu");
        let before = std::mem::replace(&mut relu.input[0], "twin".into());
        let output = relu.output[0].clone();
        insert(graph, &output, new_node("Identity", &[&before], "twin"));
        graph.node.push(new_node("Identity", &[&before], "other"));
        add_output(graph, "other");
    };
    let options = options(Precision::Int16x8, Form::Window);
    let changed = system("upsample").convert_changed("dynamo", &options, both);
    let found = operators(&changed.unwrap().0);
    assert_eq!(found, "ConvTranspose2d Relu ConvTranspose2d");
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
    let options = options(Precision::Int8, Form::Window);
    let test = models.join("cbam_digits_test.npz");
    for onnx in [&onnx, &other] {
        let file = convert_model(onnx, &data, &options).unwrap().file;
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

//! Attention over images as PyTorch exports it (training/attention/vision.py): the operators that come of it, forms that fall back, what is
//! refused, a trained classifier. How close every system stays to PyTorch is in `systems.rs`.

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
use attn_test_support::systems::{
    convert_model, fixtures, operators, options, system, write_calibration,
};
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

/// SQNR in dB of a changed copy of a system in 8 bits.
fn changed(name: &str, change: impl FnOnce(&mut pb::GraphProto)) -> f64 {
    let folder = Folder::new();
    let onnx = folder.onnx_of(system(name).onnx("dynamo"), "changed.onnx", change);
    let data = folder.path("data.npz");
    write_calibration(onnx.as_ref(), data.as_ref()).unwrap();
    let options = options(Precision::Int8, Form::Window);
    let file = convert_model(&onnx, &data, &options).unwrap().file;
    let path = folder.write("changed.attn", file.bytes());
    let source = Source::Model {
        onnx: onnx.as_ref(),
        calibration: data.as_ref(),
    };
    let result = compare(source, path.as_ref(), &silent);
    result.unwrap().outputs.db()
}

#[test]
fn forms_without_an_operator_of_their_own_are_computed() {
    let unet = "attention_unet";
    let pads = |pads: &[i64]| ints("pads", pads);
    let dilated = [ints("dilations", &[2, 2]), pads(&[0, 0, 1, 1])];
    let same = [string("auto_pad", "SAME_UPPER")];
    let ceiling = [int("ceil_mode", 1)];
    let without = [
        int("count_include_pad", 0),
        pads(&[1, 1, 1, 1]),
        ints("strides", &[2, 2]),
        ints("kernel_shape", &[4, 4]),
    ];
    let cases = [
        (unet, "MaxPool", &dilated[..]),
        (unet, "Conv", &same),
        (unet, "ConvTranspose", &dilated),
        (unet, "MaxPool", &ceiling),
        ("separable2d", "AveragePool", &ceiling),
        ("separable2d", "AveragePool", &without),
    ];
    for (name, op, changes) in cases {
        let db = changed(name, |graph| set(node(graph, op), changes));
        assert!(
            db >= system(name).floor(Precision::Int8),
            "{changes:?}: {db:.1} dB"
        );
    }
}

/// Three groups of two channels: neither full nor depthwise.
#[test]
fn groups_other_than_one_or_all_channels_are_computed() {
    let db = changed("separable2d", |graph| {
        let convolution = node(graph, "Conv");
        set(convolution, &[int("group", 3)]);
        let weight = convolution.input[1].clone();
        let weight = initializer(graph, &weight);
        weight.dims = vec![6, 2, 3, 3];
        weight.raw_data = weight.raw_data.repeat(2);
        graph.value_info.clear();
    });
    assert!(db >= 28.0, "{db:.1} dB");
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

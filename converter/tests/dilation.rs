//! Dilated convolutions, from both exporters and in every precision: close to the float model, and on a stream the bits of the window.

use attn_converter::lower::Form;
use attn_converter::pipeline::{Conversion, Mixed, Options};
use attn_converter::quantize::Precision;
use attn_converter::reference::{Reference, to_f32};
use attn_converter::runner;
use attn_converter::sqnr::Sqnr;
use attn_test_support::folder::{Folder, fixture};
use attn_test_support::running::{assert_stream_equals_window, output, with_session};
use attn_test_support::systems::{PRECISIONS, convert_model, dilated};
use ndarray::{ArrayD, IxDyn};

fn options(precision: Precision, form: Form) -> Options {
    Options {
        precision,
        form,
        mixed: Mixed::None,
        ..Options::default()
    }
}

fn converted([onnx, data]: &[String; 2], precision: Precision, form: Form) -> Conversion {
    convert_model(onnx, data, &options(precision, form)).unwrap()
}

/// Noise for an input of this shape.
fn noise(shape: &[usize], seed: u32) -> ArrayD<f32> {
    let mut state = seed;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as f32 / 16_384.0 - 2.0
    })
}

/// SQNR in dB against the float model, run by tract.
fn against_float(files: &[String; 2], conversion: &Conversion) -> f64 {
    let reference = Reference::load(files[0].as_ref()).unwrap();
    let name = &reference.graph().output[0].name;
    let mut sqnr = Sqnr::default();
    with_session(conversion.file.model(), |session| {
        for seed in 0..4 {
            let x = noise(&reference.inputs()[0].shape, seed);
            let values = reference.run(std::slice::from_ref(&x)).unwrap();
            let exact: ArrayD<f32> = to_f32(&values[name]).unwrap();
            let exact: Vec<f32> = exact.iter().copied().collect();
            let got = output(session, &x);
            let record = session.output_record(0, 0).unwrap();
            sqnr.add(&exact, &runner::onnx_order(record, &got));
        }
    });
    sqnr.db()
}

fn holds(name: &str, dilation: i64) {
    let folder = Folder::new();
    let files = dilated(&folder, name, dilation);
    for (precision, floor) in PRECISIONS.into_iter().zip([28.0, 45.0, 55.0]) {
        let db = against_float(&files, &converted(&files, precision, Form::Window));
        assert!(db > floor, "{name} by {dilation} {precision:?}: {db:.1} dB");
    }
}

#[test]
fn dilated_convolutions_over_time_are_close_to_float() {
    for exporter in ["dynamo", "torchscript"] {
        // Depthwise, and full ones.
        holds(&format!("attention/separable_{exporter}.onnx"), 2);
        holds(&format!("attention/speech_encoder_{exporter}.onnx"), 3);
    }
}

#[test]
fn dilated_convolutions_over_images_are_close_to_float() {
    for exporter in ["dynamo", "torchscript"] {
        // Depthwise by strides, and full ones in blocks.
        holds(&format!("vision/separable2d_{exporter}.onnx"), 2);
        holds(&format!("vision/cbam_cnn_{exporter}.onnx"), 3);
    }
}

#[test]
fn on_a_stream_they_give_the_bits_of_the_window() {
    for exporter in ["dynamo", "torchscript"] {
        let folder = Folder::new();
        let files = dilated(&folder, &format!("attention/separable_{exporter}.onnx"), 3);
        for precision in PRECISIONS {
            let forms = [Form::Window, Form::Stream];
            let [window, stream] = forms.map(|form| converted(&files, precision, form));
            let (window, stream) = (window.file.model(), stream.file.model());
            assert_stream_equals_window(window, stream, &noise(&[1, 16, 32], 7));
        }
    }
}

#[test]
fn a_dilated_convolution_that_looks_ahead_is_not_streamed() {
    let [onnx, data] =
        ["onnx", "npz"].map(|end| fixture(&format!("cases/k04_dilated_conv1d.{end}")));
    let refused = convert_model(onnx, data, &options(Precision::Int8, Form::Stream));
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("must be causal, with 4 rows before"),
        "{message}"
    );
}

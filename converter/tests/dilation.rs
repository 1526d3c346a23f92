//! Dilated convolutions, from both exporters and in every precision: close to the float model, and on a stream the bits of the window.

use attn_converter::lower::Form;
use attn_converter::pipeline::{Conversion, Mixed, Options, Source, convert};
use attn_converter::progress::silent;
use attn_converter::quantize::Precision;
use attn_converter::reference::{Reference, to_f32};
use attn_converter::runner::{self, AlignedBytes};
use attn_converter::sqnr::Sqnr;
use attn_runtime::Session;
use attn_test_support::folder::{Folder, dilate, fixture};
use attn_test_support::systems::{PRECISIONS, write_calibration};
use ndarray::{ArrayD, IxDyn};

/// A fixture with dilated convolutions, and calibration data for it.
fn dilated(folder: &Folder, name: &str, dilation: i64) -> [String; 2] {
    let onnx = folder.onnx_of(fixture(name), "dilated.onnx", |graph| {
        dilate(graph, dilation)
    });
    let data = folder.path("data.npz");
    write_calibration(onnx.as_ref(), data.as_ref()).unwrap();
    [onnx, data]
}

fn converted(files: &[String; 2], precision: Precision, form: Form) -> Conversion {
    let [onnx, calibration] = files.each_ref().map(|file| file.as_ref());
    let options = Options {
        precision,
        form,
        mixed: Mixed::None,
        ..Options::default()
    };
    convert(Source::Model { onnx, calibration }, &options, &silent).unwrap()
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
    let output = &reference.graph().output[0].name;
    let model = conversion.file.model();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let mut sqnr = Sqnr::default();
    for seed in 0..4 {
        let x = noise(&reference.inputs()[0].shape, seed);
        let exact = to_f32(&reference.run(std::slice::from_ref(&x)).unwrap()[output]).unwrap();
        runner::fill(&mut session, 0, 0, x.iter()).unwrap();
        session.run(0).unwrap();
        let got = runner::output(&session, 0, 0).unwrap();
        let exact: Vec<f32> = exact.iter().copied().collect();
        sqnr.add(
            &exact,
            &runner::onnx_order(session.output_record(0, 0).unwrap(), &got),
        );
    }
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
            let [mut arena, mut step_arena] =
                [window, stream].map(|model| AlignedBytes::zeroed(model.arena_len()));
            let mut whole = Session::new(window, arena.as_mut_slice()).unwrap();
            let mut frames = Session::new(stream, step_arena.as_mut_slice()).unwrap();
            let x = noise(&[16, 32], 7);
            runner::fill(&mut whole, 0, 0, x.iter()).unwrap();
            whole.run(0).unwrap();
            let mut streamed = Vec::new();
            for frame in x.outer_iter() {
                runner::fill(&mut frames, 0, 0, frame.iter()).unwrap();
                frames.run(0).unwrap();
                streamed.extend(runner::output(&frames, 0, 0).unwrap());
            }
            let expected = runner::output(&whole, 0, 0).unwrap();
            assert_eq!(streamed, expected, "{exporter} {precision:?}");
        }
    }
}

#[test]
fn a_dilated_convolution_that_looks_ahead_is_not_streamed() {
    let [onnx, data] =
        ["onnx", "npz"].map(|end| fixture(&format!("cases/k04_dilated_conv1d.{end}")));
    let source = Source::Model {
        onnx: onnx.as_ref(),
        calibration: data.as_ref(),
    };
    let options = Options {
        form: Form::Stream,
        ..Options::default()
    };
    let message = convert(source, &options, &silent).unwrap_err().to_string();
    assert!(
        message.contains("must be causal, with 4 rows before"),
        "{message}"
    );
}

//! The whole conversion, on real exports: sizes, fidelity, and streaming against whole windows.

use attn_converter::calibrate::RangeMethod;
use attn_converter::compare::compare;
use attn_converter::emit::Metadata;
use attn_converter::files::read_array;
use attn_converter::lower::Form;
use attn_converter::pipeline::{Conversion, Mixed, Options, Source, convert};
use attn_converter::progress::silent;
use attn_converter::quantize::Precision;
use attn_converter::runner::{self, AlignedBytes};
use attn_converter::sqnr::Sqnr;
use attn_runtime::Session;
use attn_runtime::audio::{FRAME_LEN, MEL_BANDS, SAMPLE_RATE};
use attn_runtime::format::AudioMeta;
use ndarray::{Array2, Array3};
use std::path::{Path, PathBuf};

const WINDOW: usize = 50;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn fixture(name: &str) -> PathBuf {
    root("host-tests/fixtures").join(name)
}

fn options(form: Form) -> Options {
    let audio = AudioMeta {
        sample_rate: SAMPLE_RATE,
        frame_len: FRAME_LEN as u32,
        hop: 320,
        mel_bands: MEL_BANDS as u32,
    };
    let metadata = Metadata {
        audio: Some(audio),
        ..Metadata::default()
    };
    Options {
        form,
        precision: Precision::Int8,
        range: RangeMethod::Mse,
        mixed: Mixed::None,
        metadata,
        ..Options::default()
    }
}

fn converted(onnx: &str, calibration: &Path, form: Form) -> Conversion {
    convert(
        Source::Model {
            onnx: &fixture(onnx),
            calibration,
        },
        &options(form),
        &silent,
    )
    .unwrap()
}

/// Features of seeded noise that rises and falls: `[frames, 40]`.
fn features(frames: usize, seed: u32) -> Vec<i8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as i32 - 128
    };
    (0..frames * MEL_BANDS)
        .map(|i| (next() / 2 + (i as i32 / 160) % 120 - 60).clamp(-128, 127) as i8)
        .collect()
}

/// Raw outputs after every frame of a stream that starts from a reset.
fn streamed(conversion: &Conversion, features: &[i8]) -> Vec<Vec<u8>> {
    let model = conversion.file.model();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let id = model.entries()[0].outputs().next().unwrap();
    let frames = features.chunks_exact(MEL_BANDS);
    frames
        .map(|frame| {
            session.input::<i8>(0, 0).unwrap().copy_from_slice(frame);
            session.run(0).unwrap();
            session.tensor_bytes(id).unwrap().to_vec()
        })
        .collect()
}

/// Raw outputs of one whole window.
fn whole(conversion: &Conversion, features: &[i8]) -> Vec<u8> {
    let model = conversion.file.model();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    session.input::<i8>(0, 0).unwrap().copy_from_slice(features);
    session.run(0).unwrap();
    let id = model.entries()[0].outputs().next().unwrap();
    session.tensor_bytes(id).unwrap().to_vec()
}

#[test]
fn a_stream_equals_the_whole_window_bit_for_bit() {
    let calibration = root("models/kws_calibration.npz");
    for onnx in ["kws_random_dynamo.onnx", "kws_random_torchscript.onnx"] {
        let window = converted(onnx, &calibration, Form::Window);
        let stream = converted(onnx, &calibration, Form::Stream);
        for seed in 0..10 {
            let features = features(WINDOW, seed);
            let outputs = streamed(&stream, &features);
            assert_eq!(
                outputs[WINDOW - 1],
                whole(&window, &features),
                "{onnx}, seed {seed}"
            );
        }
    }
}

/// The model with a past longer than its attention window: the ring has wrapped, the GRU has seen 120 frames.
#[test]
fn a_long_stream_equals_recomputation_from_its_first_frame() {
    let folder = tempfile::tempdir().unwrap();
    let frames = 120;
    let calibration = noise_calibration(folder.path(), frames);
    let window = converted("kws_random_long.onnx", &calibration, Form::Window);
    let stream = converted("kws_random_long.onnx", &calibration, Form::Stream);
    for seed in 0..10 {
        let features = features(frames, seed);
        let outputs = streamed(&stream, &features);
        assert_eq!(
            outputs[frames - 1],
            whole(&window, &features),
            "seed {seed}"
        );
        assert_ne!(outputs[frames - 1], outputs[frames - 2]);
    }
}

/// An npz file of calibration features for a model that sees `frames` frames.
fn noise_calibration(folder: &Path, frames: usize) -> PathBuf {
    let path = folder.join("noise.npz");
    let real = |seed| {
        let features = features(frames, seed).into_iter();
        features.map(|q| f32::from(q) / 32.0).collect::<Vec<_>>()
    };
    let samples = (90..94).flat_map(real).collect();
    let samples = Array3::from_shape_vec((4, frames, MEL_BANDS), samples).unwrap();
    attn_converter::files::write_npz(&path, |npz| npz.add_array("features", &samples)).unwrap();
    path
}

/// The fixtures hold what PyTorch itself computed, so tract is checked along with us.
#[test]
fn integers_stay_close_to_what_pytorch_recorded() {
    let folder = tempfile::tempdir().unwrap();
    for (onnx, recorded, frames) in [
        ("kws_random_dynamo.onnx", "kws_random.npz", WINDOW),
        ("kws_random_torchscript.onnx", "kws_random.npz", WINDOW),
        ("kws_random_long.onnx", "kws_random_long.npz", 120),
    ] {
        let calibration = noise_calibration(folder.path(), frames);
        let window = converted(onnx, &calibration, Form::Window);
        let inputs: Array3<f32> = read_array(&fixture(recorded), "features").unwrap();
        let logits: Array2<f32> = read_array(&fixture(recorded), "logits").unwrap();
        let mut sqnr = Sqnr::default();
        let mut arena = AlignedBytes::zeroed(window.file.model().arena_len());
        let mut session = Session::new(window.file.model(), arena.as_mut_slice()).unwrap();
        for (x, y) in inputs.outer_iter().zip(logits.outer_iter()) {
            runner::fill(&mut session, 0, 0, x.iter()).unwrap();
            session.run(0).unwrap();
            sqnr.add(&y.to_vec(), &runner::output(&session, 0, 0).unwrap());
        }
        assert!(sqnr.db() > 25.0, "{onnx}: {:.1} dB", sqnr.db());
    }
}

#[test]
fn the_shipped_model_is_the_same_from_both_exporters() {
    let calibration = root("models/kws_calibration.npz");
    let [dynamo, torchscript] = ["../../models/kws.onnx", "kws_torchscript.onnx"]
        .map(|onnx| converted(onnx, &calibration, Form::Stream));
    let features = features(WINDOW, 1);
    assert_eq!(
        streamed(&dynamo, &features),
        streamed(&torchscript, &features)
    );
}

#[test]
fn integers_stay_close_to_the_float_model_in_both_forms() {
    let folder = tempfile::tempdir().unwrap();
    let data = root("models/kws_calibration.npz");
    for form in [Form::Window, Form::Stream] {
        let conversion = converted("kws_random_dynamo.onnx", &data, form);
        let file = folder.path().join("model.attn");
        attn_converter::files::write_bytes(&file, conversion.file.bytes()).unwrap();
        let result = compare(
            Source::Model {
                onnx: &fixture("kws_random_dynamo.onnx"),
                calibration: &data,
            },
            &file,
            &silent,
        )
        .unwrap();
        assert!(
            result.outputs.db() > 28.0,
            "{form:?}: {:.1} dB",
            result.outputs.db()
        );
        for layer in &result.layers {
            assert!(
                layer.sqnr.db() > 15.0,
                "{form:?}: {} has {:.1} dB",
                layer.name,
                layer.sqnr.db()
            );
        }
        assert_eq!(result.layers.len(), 10);
    }
}

#[test]
fn mixed_precision_pays_where_it_is_chosen() {
    let data = root("models/kws_calibration.npz");
    let mixed = Options {
        mixed: Mixed::Usual,
        ..options(Form::Window)
    };
    let conversion = convert(
        Source::Model {
            onnx: &fixture("kws_random_dynamo.onnx"),
            calibration: &data,
        },
        &mixed,
        &silent,
    )
    .unwrap();
    let [widened] = &conversion.widened[..] else {
        panic!("one graph");
    };
    assert!(!widened.is_empty());
    assert!(widened.iter().all(|wide| wide.gain_db >= 0.5));
}

#[test]
fn the_streamed_spotter_is_small() {
    let stream = converted(
        "kws_random_dynamo.onnx",
        &root("models/kws_calibration.npz"),
        Form::Stream,
    );
    let model = stream.file.model();
    assert!(
        model.arena_len() <= 24 * 1024,
        "arena {} bytes",
        model.arena_len()
    );
    assert!(
        model.weights_len() <= 160 * 1024,
        "weights {} bytes",
        model.weights_len()
    );
    assert!(model.arena_len() < stream.unshared_len);
}

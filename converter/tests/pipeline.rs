//! The whole conversion, on real exports: sizes, fidelity, and streaming against whole windows.

use attn_converter::compare::compare;
use attn_converter::emit::Metadata;
use attn_converter::files::read_array;
use attn_converter::lower::Form;
use attn_converter::pipeline::{Conversion, Mixed, Options, Source};
use attn_converter::progress::silent;
use attn_converter::quantize::Precision;
use attn_converter::sqnr::Sqnr;
use attn_runtime::audio::{FRAME_LEN, MEL_BANDS, SAMPLE_RATE};
use attn_runtime::format::AudioMeta;
use attn_test_support::running::{outputs, with_session};
use attn_test_support::systems::{self, convert_model, fixtures};
use ndarray::{Array2, Array3};
use std::path::{Path, PathBuf};

const WINDOW: usize = 50;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn fixture(name: &str) -> PathBuf {
    fixtures("").join(name)
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
        mixed: Mixed::None,
        metadata,
        ..systems::options(Precision::Int8, form)
    }
}

fn converted(onnx: &str, calibration: &Path, form: Form) -> Conversion {
    convert_model(fixture(onnx), calibration, &options(form)).unwrap()
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

/// Raw outputs after every run over as many frames as the input takes, from a reset on.
fn raw_outputs(conversion: &Conversion, features: &[i8]) -> Vec<Vec<u8>> {
    with_session(conversion.file.model(), |session| {
        let id = session.model().entries()[0].outputs().next().unwrap();
        let len = session.input_record(0, 0).unwrap().len();
        let runs = features.chunks_exact(len).map(|x| {
            session.input::<i8>(0, 0).unwrap().copy_from_slice(x);
            session.run(0).unwrap();
            session.tensor_bytes(id).unwrap().to_vec()
        });
        runs.collect()
    })
}

/// Raw outputs of a stream, which must end in those of the whole window.
fn streamed_as_whole(window: &Conversion, stream: &Conversion, features: &[i8]) -> Vec<Vec<u8>> {
    let outputs = raw_outputs(stream, features);
    assert_eq!(raw_outputs(window, features), outputs[outputs.len() - 1..]);
    outputs
}

#[test]
fn a_stream_equals_the_whole_window_bit_for_bit() {
    let calibration = root("models/kws_calibration.npz");
    for onnx in ["kws_random_dynamo.onnx", "kws_random_torchscript.onnx"] {
        let window = converted(onnx, &calibration, Form::Window);
        let stream = converted(onnx, &calibration, Form::Stream);
        for seed in 0..10 {
            streamed_as_whole(&window, &stream, &features(WINDOW, seed));
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
        let outputs = streamed_as_whole(&window, &stream, &features(frames, seed));
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
        let samples = inputs.outer_iter().map(|x| x.into_dyn());
        let found = outputs(window.file.model(), samples);
        for (y, found) in logits.outer_iter().zip(found) {
            sqnr.add(&y.to_vec(), &found);
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
        raw_outputs(&dynamo, &features),
        raw_outputs(&torchscript, &features)
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
        let db = result.outputs.db();
        assert!(db > 28.0, "{form:?}: {db:.1} dB");
        for layer in &result.layers {
            let (name, db) = (&layer.name, layer.sqnr.db());
            assert!(db > 15.0, "{form:?}: {name} has {db:.1} dB");
        }
        assert_eq!(result.layers.len(), 11);
    }
}

#[test]
fn mixed_precision_pays_where_it_is_chosen() {
    let data = root("models/kws_calibration.npz");
    let mixed = Options {
        mixed: Mixed::Usual,
        ..options(Form::Window)
    };
    let onnx = fixture("kws_random_dynamo.onnx");
    let conversion = convert_model(onnx, data, &mixed).unwrap();
    let [widened] = &conversion.widened[..] else {
        panic!("one graph");
    };
    assert!(!widened.is_empty());
    assert!(widened.iter().all(|wide| wide.gain_db >= 0.5));
}

#[test]
fn the_streamed_spotter_is_small() {
    let data = root("models/kws_calibration.npz");
    let stream = converted("kws_random_dynamo.onnx", &data, Form::Stream);
    let model = stream.file.model();
    let (arena, weights) = (model.arena_len(), model.weights_len());
    assert!(arena <= 24 * 1024, "arena {arena} bytes");
    assert!(weights <= 160 * 1024, "weights {weights} bytes");
    assert!(arena < stream.unshared_len);
}

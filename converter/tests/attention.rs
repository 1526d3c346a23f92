//! Attention systems as PyTorch exports them (training/attention/systems.py), converted and held against PyTorch's own
//! float outputs.

use attn_converter::calibrate::RangeMethod;
use attn_converter::convert::{Conversion, Options, convert};
use attn_converter::emit::Metadata;
use attn_converter::files::{read_array, write_npz};
use attn_converter::lower::Form;
use attn_converter::runner::{self, AlignedBytes};
use attn_converter::sqnr::Sqnr;
use attn_runtime::Session;
use indicatif::{MultiProgress, ProgressDrawTarget};
use ndarray::{Array3, ArrayD, Axis, IxDyn};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../host-tests/fixtures/attention")
        .join(name)
}

/// Normally distributed samples, other ones than the recorded inputs.
fn calibration(folder: &Path) -> PathBuf {
    let mut state = 5u64;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    // The sum of twelve uniform numbers (Irwin and Hall).
    let normal = move |_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
    let data: Vec<f32> = (0..32 * 16 * 32).map(normal).collect();
    let path = folder.join("calibration.npz");
    let samples = Array3::from_shape_vec((32, 16, 32), data).unwrap();
    write_npz(&path, |npz| npz.add_array("x", &samples)).unwrap();
    path
}

fn converted(onnx: &str, calibration: &Path) -> Conversion {
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let options = Options {
        form: Form::Window,
        range: RangeMethod::Mse,
        mixed: true,
        metadata: Metadata::default(),
    };
    convert(&fixture(onnx), calibration, &options, &bars)
        .unwrap_or_else(|error| panic!("{onnx}: {error}"))
}

/// SQNR in dB of a converted model against the outputs that PyTorch recorded.
fn against_pytorch(conversion: &Conversion, recorded: &str) -> f64 {
    let inputs: ArrayD<f32> = read_array::<f32, IxDyn>(&fixture(recorded), "x").unwrap();
    let outputs: ArrayD<f32> = read_array::<f32, IxDyn>(&fixture(recorded), "y").unwrap();
    let model = conversion.file.model();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let mut sqnr = Sqnr::default();
    for (x, y) in inputs.axis_iter(Axis(0)).zip(outputs.axis_iter(Axis(0))) {
        runner::fill(&mut session, 0, 0, x.iter()).unwrap();
        session.run(0).unwrap();
        let exact: Vec<f32> = y.iter().copied().collect();
        sqnr.add(&exact, &runner::output(&session, 0, 0).unwrap());
    }
    sqnr.db()
}

/// Floor in dB: 28 for one block, 22 for stacked ones.
const SYSTEMS: [(&str, f64); 8] = [
    ("self_attention", 28.0),
    ("self_attention_unscaled", 28.0),
    ("multi_head", 28.0),
    ("multi_head_bare", 28.0),
    ("packed_multi_head", 28.0),
    ("encoder_post_relu", 28.0),
    ("encoder_pre_gelu", 28.0),
    ("classifier", 22.0),
];

#[test]
fn every_system_converts_from_both_exporters_and_stays_close_to_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    let data = calibration(folder.path());
    for (name, floor) in SYSTEMS {
        let files = ["dynamo", "torchscript"]
            .map(|exporter| converted(&format!("{name}_{exporter}.onnx"), &data));
        let db = files
            .each_ref()
            .map(|conversion| against_pytorch(conversion, &format!("{name}.npz")));
        println!(
            "{name}: {:.1} and {:.1} dB, arena {} bytes",
            db[0],
            db[1],
            files[0].file.model().arena_len()
        );
        assert!(
            db.iter().all(|&db| db >= floor),
            "{name}: {db:?} dB, floor {floor}"
        );
        let operators = files.each_ref().map(|conversion| {
            conversion
                .graph
                .nodes
                .iter()
                .map(|node| node.op.name())
                .collect::<Vec<_>>()
        });
        assert_eq!(operators[0], operators[1], "{name}");
    }
}

#[test]
fn an_encoder_layer_is_a_handful_of_operators() {
    let folder = tempfile::tempdir().unwrap();
    let conversion = converted(
        "encoder_pre_gelu_torchscript.onnx",
        &calibration(folder.path()),
    );
    let names: Vec<_> = conversion
        .graph
        .nodes
        .iter()
        .map(|node| node.op.name())
        .collect();
    let expected = [
        "LayerNorm",
        "Linear",
        "Linear",
        "Linear",
        "Attention",
        "Linear",
        "Add",
        "LayerNorm",
        "Linear",
        "Gelu",
        "Linear",
        "Add",
    ];
    assert_eq!(names, expected);
}

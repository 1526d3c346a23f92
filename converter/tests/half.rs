//! Half-precision files (`--dtype fp16`): every attention system that has a fixture, against what PyTorch recorded.

mod common;

use attn_converter::calibrate::RangeMethod;
use attn_converter::convert::{Conversion, Options, convert};
use attn_converter::dataset::Dataset;
use attn_converter::emit::Metadata;
use attn_converter::files::read_array;
use attn_converter::lower::Form;
use attn_converter::quantize::Precision;
use attn_converter::reference::Reference;
use attn_converter::runner::{self, AlignedBytes};
use attn_converter::sqnr::Sqnr;
use attn_runtime::Session;
use attn_runtime::format::DType;
use indicatif::{MultiProgress, ProgressDrawTarget};
use ndarray::{ArrayD, Axis, IxDyn};
use std::path::{Path, PathBuf};

/// Floor in dB for every system.
const FLOOR: f64 = 55.0;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-tests/fixtures/attention")
}

fn converted(onnx: &Path, calibration: &Path, form: Form) -> Conversion {
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let options = Options {
        form,
        precision: Precision::Fp16,
        range: RangeMethod::Mse,
        mixed: true,
        metadata: Metadata::default(),
    };
    convert(onnx, calibration, &options, &bars)
        .unwrap_or_else(|e| panic!("{}: {e}", onnx.display()))
}

/// SQNR in dB of a converted model against the outputs that PyTorch recorded.
fn against_pytorch(conversion: &Conversion, onnx: &Path, recorded: &Path) -> f64 {
    let reference = Reference::load(onnx).unwrap();
    let data = Dataset::load(recorded, reference.inputs()).unwrap();
    let outputs: ArrayD<f32> = read_array::<f32, IxDyn>(recorded, "y").unwrap();
    let model = conversion.file.model();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let mut sqnr = Sqnr::default();
    for (index, y) in outputs.axis_iter(Axis(0)).enumerate() {
        for (slot, x) in data.sample(index).iter().enumerate() {
            runner::fill(&mut session, 0, slot, x.iter()).unwrap();
        }
        session.run(0).unwrap();
        let exact: Vec<f32> = y.iter().copied().collect();
        let got = runner::output(&session, 0, 0).unwrap();
        // PyTorch makes NaN of a softmax of nothing.
        let seen: Vec<(f32, f32)> = exact
            .into_iter()
            .zip(got)
            .filter(|pair| !pair.0.is_nan())
            .collect();
        let (exact, got): (Vec<f32>, Vec<f32>) = seen.into_iter().unzip();
        sqnr.add(&exact, &got);
    }
    sqnr.db()
}

#[test]
fn every_system_stays_within_55_db_of_pytorch_from_both_exporters() {
    let mut systems = 0;
    let mut files: Vec<_> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    for recorded in files
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "npz"))
    {
        for exporter in ["dynamo", "torchscript"] {
            let name = recorded.file_stem().unwrap().to_str().unwrap();
            let onnx = fixtures().join(format!("{name}_{exporter}.onnx"));
            let conversion = converted(&onnx, recorded, Form::Window);
            let db = against_pytorch(&conversion, &onnx, recorded);
            let model = conversion.file.model();
            println!(
                "{name} ({exporter}): {db:.1} dB, weights {}, arena {} bytes",
                model.weights_len(),
                model.arena_len()
            );
            assert!(db >= FLOOR, "{name} ({exporter}): {db:.1} dB");
            let half = |id: usize| model.tensor(id).unwrap().dtype() == DType::F16;
            assert!(
                model.ops().iter().flat_map(|op| op.outputs()).all(half),
                "{name}"
            );
        }
        systems += 1;
    }
    assert!(systems >= 25, "{systems} systems");
}

#[test]
fn a_causal_stack_on_a_stream_equals_the_whole_window_bit_for_bit() {
    let onnx = fixtures().join("causal_stack_dynamo.onnx");
    let recorded = fixtures().join("causal_stack.npz");
    let [window, stream] =
        [Form::Window, Form::Stream].map(|form| converted(&onnx, &recorded, form));
    let inputs: ArrayD<f32> = read_array::<f32, IxDyn>(&recorded, "x").unwrap();
    let (model, step) = (window.file.model(), stream.file.model());
    let (mut arena, mut step_arena) = (
        AlignedBytes::zeroed(model.arena_len()),
        AlignedBytes::zeroed(step.arena_len()),
    );
    let mut whole = Session::new(model, arena.as_mut_slice()).unwrap();
    let mut frames = Session::new(step, step_arena.as_mut_slice()).unwrap();
    for sample in inputs.axis_iter(Axis(0)) {
        runner::fill(&mut whole, 0, 0, sample.iter()).unwrap();
        whole.run(0).unwrap();
        let expected = runner::output(&whole, 0, 0).unwrap();
        frames.reset();
        for (frame, expected) in sample.outer_iter().zip(expected.chunks_exact(10)) {
            runner::fill(&mut frames, 0, 0, frame.iter()).unwrap();
            frames.run(0).unwrap();
            assert_eq!(runner::output(&frames, 0, 0).unwrap(), expected);
        }
    }
}

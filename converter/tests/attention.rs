//! Attention systems as PyTorch exports them (training/attention/systems.py), converted and held against PyTorch's own
//! float outputs.

mod common;

use attn_converter::calibrate::RangeMethod;
use attn_converter::convert::{Conversion, Options, convert};
use attn_converter::emit::Metadata;
use attn_converter::error::ConvertError;
use attn_converter::files::{read_array, write_npz};
use attn_converter::graph::Op;
use attn_converter::lower::Form;
use attn_converter::quantize::Precision;
use attn_converter::reference::{Reference, to_f32};
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
    let data: Vec<f32> = (0..16 * 16 * 32).map(normal).collect();
    let path = folder.join("calibration.npz");
    let samples = Array3::from_shape_vec((16, 16, 32), data).unwrap();
    write_npz(&path, |npz| npz.add_array("x", &samples)).unwrap();
    path
}

fn converted(onnx: &str, calibration: &Path, form: Form) -> Result<Conversion, ConvertError> {
    held_in(Precision::Int8, onnx, calibration, form)
}

fn held_in(
    precision: Precision,
    onnx: &str,
    calibration: &Path,
    form: Form,
) -> Result<Conversion, ConvertError> {
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let options = Options {
        form,
        precision,
        range: RangeMethod::Mse,
        mixed: true,
        metadata: Metadata::default(),
    };
    convert(&fixture(onnx), calibration, &options, &bars)
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
const SYSTEMS: [(&str, f64); 14] = [
    ("self_attention", 28.0),
    ("self_attention_unscaled", 28.0),
    ("multi_head", 28.0),
    ("multi_head_bare", 28.0),
    ("packed_multi_head", 28.0),
    ("encoder_post_relu", 28.0),
    ("encoder_pre_gelu", 28.0),
    ("causal_flag", 28.0),
    ("causal_added", 28.0),
    ("causal_filled", 28.0),
    ("causal_stack", 22.0),
    ("gated_block", 28.0),
    ("separable", 28.0),
    ("classifier", 22.0),
];

/// Floor in dB with int8 weights and int16 activations.
const INT8X16_FLOOR: f64 = 45.0;

#[test]
fn every_system_converts_from_both_exporters_and_stays_close_to_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    let data = calibration(folder.path());
    let mut below = Vec::new();
    let precisions = [Precision::Int8, Precision::Int8x16];
    for ((name, floor), precision) in
        (SYSTEMS.into_iter()).flat_map(|system| precisions.map(|precision| (system, precision)))
    {
        let floor = match precision {
            Precision::Int8 => floor,
            _ => INT8X16_FLOOR,
        };
        let files = ["dynamo", "torchscript"].map(|exporter| {
            let onnx = format!("{name}_{exporter}.onnx");
            held_in(precision, &onnx, &data, Form::Window).unwrap()
        });
        let db = files
            .each_ref()
            .map(|conversion| against_pytorch(conversion, &format!("{name}.npz")));
        println!(
            "{name} {precision:?}: {:.1} and {:.1} dB, arena {} bytes",
            db[0],
            db[1],
            files[0].file.model().arena_len()
        );
        if !db.iter().all(|&db| db >= floor) {
            below.push(format!("{name} {precision:?}: {db:?} dB, floor {floor}"));
        }
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
    assert!(below.is_empty(), "{below:#?}");
}

#[test]
fn an_encoder_layer_is_a_handful_of_operators() {
    let folder = tempfile::tempdir().unwrap();
    let conversion = converted(
        "encoder_pre_gelu_torchscript.onnx",
        &calibration(folder.path()),
        Form::Window,
    )
    .unwrap();
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

/// Causal blocks run on a stream: keys and values of every layer are kept, one frame costs one frame.
#[test]
fn a_causal_stack_on_a_stream_equals_the_whole_window_at_every_frame() {
    let folder = tempfile::tempdir().unwrap();
    let data = calibration(folder.path());
    let [window, stream] = [Form::Window, Form::Stream]
        .map(|form| converted("causal_stack_dynamo.onnx", &data, form).unwrap());
    let inputs: ArrayD<f32> = read_array::<f32, IxDyn>(&fixture("causal_stack.npz"), "x").unwrap();
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

#[test]
fn attention_that_cannot_be_streamed_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let data = calibration(folder.path());
    let refused = |onnx: &str| {
        converted(onnx, &data, Form::Stream)
            .unwrap_err()
            .to_string()
    };
    let message = refused("multi_head_dynamo.onnx");
    assert!(
        message.contains("(Attention)") && message.contains("mask causally"),
        "{message}"
    );
    let message = refused("classifier_dynamo.onnx");
    assert!(message.contains("(AddConstant)"), "{message}");
}

/// `causal_added` with another mask `[16, 16]` in place of its own, converted; and what `inputs` give with it in float.
fn masked(
    precision: Precision,
    change: &dyn Fn(&mut [f32]),
    inputs: &[ArrayD<f32>],
) -> Result<(Conversion, Vec<Vec<f32>>), ConvertError> {
    let folder = common::Folder::new();
    let data = calibration(folder.path("").as_ref());
    let model = folder.onnx_of(fixture("causal_added_dynamo.onnx"), "mask.onnx", |graph| {
        common::change_floats(graph, 16 * 16, change);
    });
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let options = Options {
        form: Form::Window,
        precision,
        range: RangeMethod::Mse,
        mixed: false,
        metadata: Metadata::default(),
    };
    let conversion = convert(model.as_ref(), &data, &options, &bars)?;
    let reference = Reference::load(model.as_ref())?;
    let output = &reference.graph().output[0].name;
    let float = |x: &ArrayD<f32>| {
        let values = reference.run(std::slice::from_ref(x))?;
        Ok(to_f32(&values[output]).unwrap().iter().copied().collect())
    };
    let outputs = inputs
        .iter()
        .map(float)
        .collect::<Result<_, ConvertError>>()?;
    Ok((conversion, outputs))
}

/// Recorded inputs, and what a converted model makes of each.
fn recorded(name: &str) -> Vec<ArrayD<f32>> {
    let inputs: ArrayD<f32> = read_array::<f32, IxDyn>(&fixture(name), "x").unwrap();
    inputs.axis_iter(Axis(0)).map(|x| x.to_owned()).collect()
}

fn integers(conversion: &Conversion, inputs: &[ArrayD<f32>]) -> Vec<Vec<f32>> {
    let model = conversion.file.model();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let run = |x: &ArrayD<f32>| {
        runner::fill(&mut session, 0, 0, x.iter()).unwrap();
        session.run(0).unwrap();
        runner::output(&session, 0, 0).unwrap()
    };
    inputs.iter().map(run).collect()
}

/// Any constant mask: a band of keys around the query, a block that only some see.
#[test]
fn any_constant_mask_hides_what_it_hides() {
    let inputs = recorded("causal_added.npz");
    let band = |mask: &mut [f32]| {
        for (at, x) in mask.iter_mut().enumerate() {
            let (row, column) = (at / 16, at % 16);
            let seen = row.abs_diff(column) <= 2 || row % 5 == 0;
            *x = if seen { 0.0 } else { f32::NEG_INFINITY };
        }
    };
    for (precision, floor) in [(Precision::Int8, 28.0), (Precision::Int8x16, 45.0)] {
        let (conversion, float) = masked(precision, &band, &inputs).unwrap();
        let mut sqnr = Sqnr::default();
        for (exact, got) in float.iter().zip(integers(&conversion, &inputs)) {
            sqnr.add(exact, &got);
        }
        println!("band mask, {precision:?}: {:.1} dB", sqnr.db());
        assert!(sqnr.db() >= floor, "{precision:?}: {} dB", sqnr.db());
    }
}

/// A softmax of nothing is NaN in float. Here its context is 0, so that the output projection's bias is left, and the other
/// rows are what they are.
#[test]
fn a_row_whose_mask_hides_every_key_gives_zero() {
    let inputs = recorded("causal_added.npz");
    let hide = |mask: &mut [f32]| mask[16 * 3..16 * 4].fill(f32::NEG_INFINITY);
    for precision in [Precision::Int8, Precision::Int8x16] {
        let (conversion, float) = masked(precision, &hide, &inputs).unwrap();
        let Some(Op::Linear { bias, .. }) = conversion.graph.nodes.last().map(|node| &node.op)
        else {
            panic!("the output projection is last");
        };
        for (exact, got) in float.iter().zip(integers(&conversion, &inputs)) {
            let mut sqnr = Sqnr::default();
            for (row, (exact, got)) in exact.chunks(32).zip(got.chunks(32)).enumerate() {
                if row != 3 {
                    sqnr.add(exact, got);
                    continue;
                }
                assert!(exact.iter().all(|x| x.is_nan()));
                let close = |(b, y): (&f32, &f32)| (b - y).abs() < 0.02;
                assert!(
                    bias.iter().zip(got).all(close),
                    "{precision:?}: {got:?}, bias {bias:?}"
                );
            }
            assert!(sqnr.db() >= 28.0, "{precision:?}: {} dB", sqnr.db());
        }
    }
}

#[test]
fn masks_that_are_neither_seen_nor_hidden_are_refused_with_their_node() {
    let message = |change: &dyn Fn(&mut [f32])| {
        let refused = masked(Precision::Int8, change, &[]);
        refused
            .err()
            .map_or(String::new(), |error| error.to_string())
    };
    let partly = message(&|mask| mask[5] = -1.5);
    assert!(
        partly.contains("0 where a key is seen") && partly.contains("node `"),
        "{partly}"
    );
    // Numbers that are only very small are the same for all keys of a row: its softmax would see all of them.
    let unsure = message(&|mask| mask[16..32].fill(-1e9));
    assert!(
        unsure.contains("row 1 of the mask hides every key"),
        "{unsure}"
    );
}

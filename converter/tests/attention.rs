//! Attention as PyTorch exports it: the operators that come of it, streams, masks. How close every system stays to PyTorch is
//! in `systems.rs`.

use attn_converter::calibrate::RangeMethod;
use attn_converter::error::ConvertError;
use attn_converter::files::read_array;
use attn_converter::graph::{Op, op};
use attn_converter::lower::Form;
use attn_converter::pipeline::{Conversion, Mixed, Options, Source, convert};
use attn_converter::progress::silent;
use attn_converter::quantize::Precision;
use attn_converter::reference::{Reference, to_f32};
use attn_converter::runner::{self, AlignedBytes};
use attn_converter::sqnr::Sqnr;
use attn_runtime::Session;
use attn_test_support::systems::{PRECISIONS, system, write_calibration};
use ndarray::{ArrayD, Axis, IxDyn};
use std::path::PathBuf;

#[test]
fn an_encoder_layer_is_a_handful_of_operators() {
    let layer = system("encoder_pre_gelu");
    let conversion = layer
        .convert("torchscript", Precision::Int8, Form::Window)
        .unwrap();
    let names: Vec<_> = conversion.graphs[0]
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
    for precision in PRECISIONS {
        equal_on_a_stream(precision);
    }
}

fn equal_on_a_stream(precision: Precision) {
    let stack = system("causal_stack");
    let [window, stream] =
        [Form::Window, Form::Stream].map(|form| stack.convert("dynamo", precision, form).unwrap());
    let inputs: ArrayD<f32> = read_array::<f32, IxDyn>(&stack.recorded(), "x").unwrap();
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
    let refused = |name: &str| {
        let refused = system(name).convert("dynamo", Precision::Int8, Form::Stream);
        refused.unwrap_err().to_string()
    };
    let message = refused("multi_head");
    assert!(
        message.contains("(Attention)") && message.contains("mask causally"),
        "{message}"
    );
    let message = refused("classifier");
    assert!(message.contains("(AddConstant)"), "{message}");
}

/// `causal_added` with another mask `[16, 16]` in place of its own, converted; and what `inputs` give with it in float.
fn masked(
    precision: Precision,
    change: &dyn Fn(&mut [f32]),
    inputs: &[ArrayD<f32>],
) -> Result<(Conversion, Vec<Vec<f32>>), ConvertError> {
    let folder = attn_test_support::folder::Folder::new();
    let from = system("causal_added").onnx("dynamo");
    let model = folder.onnx_of(from, "mask.onnx", |graph| {
        attn_test_support::folder::change_floats(graph, 16 * 16, change);
    });
    let data: PathBuf = folder.path("calibration.npz").into();
    write_calibration(&system("causal_added").onnx("dynamo"), &data)?;
    let options = Options {
        form: Form::Window,
        precision,
        range: RangeMethod::Mse,
        mixed: Mixed::None,
        ..Options::default()
    };
    let conversion = convert(
        Source::Model {
            onnx: model.as_ref(),
            calibration: &data,
        },
        &options,
        &silent,
    )?;
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
    let inputs: ArrayD<f32> = read_array::<f32, IxDyn>(&system(name).recorded(), "x").unwrap();
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
    let inputs = recorded("causal_added");
    let band = |mask: &mut [f32]| {
        for (at, x) in mask.iter_mut().enumerate() {
            let (row, column) = (at / 16, at % 16);
            let seen = row.abs_diff(column) <= 2 || row % 5 == 0;
            *x = if seen { 0.0 } else { f32::NEG_INFINITY };
        }
    };
    for (precision, floor) in [(Precision::Int8, 28.0), (Precision::Int16x8, 45.0)] {
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
    let inputs = recorded("causal_added");
    let hide = |mask: &mut [f32]| mask[16 * 3..16 * 4].fill(f32::NEG_INFINITY);
    for precision in [Precision::Int8, Precision::Int16x8] {
        let (conversion, float) = masked(precision, &hide, &inputs).unwrap();
        let Some(Op::Linear(op::Linear { bias, .. })) =
            conversion.graphs[0].nodes.last().map(|node| &node.op)
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

/// What converting a changed copy of a system says.
fn refused(name: &str, change: impl FnOnce(&mut tract_onnx::pb::GraphProto)) -> String {
    let folder = attn_test_support::folder::Folder::new();
    let model = folder.onnx_of(system(name).onnx("dynamo"), "changed.onnx", change);
    let data: PathBuf = folder.path("calibration.npz").into();
    write_calibration(&system(name).onnx("dynamo"), &data).unwrap();
    let options = Options {
        form: Form::Window,
        precision: Precision::Int8,
        range: RangeMethod::Mse,
        mixed: Mixed::None,
        ..Options::default()
    };
    let result = convert(
        Source::Model {
            onnx: model.as_ref(),
            calibration: &data,
        },
        &options,
        &silent,
    );
    match result {
        Ok(_) => panic!("{name}: the model is wrong"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn heads_that_do_not_divide_the_width_are_refused_with_their_node() {
    let message = refused("multi_head", |graph| {
        let shapes = graph.initializer.iter_mut();
        let view = shapes
            .into_iter()
            .find(|tensor| tensor.dims == [4] && tensor.raw_data[16] == 4)
            .unwrap();
        // [1, 16, 4, 8] becomes [1, 16, 5, 8].
        view.raw_data[16] = 5;
        graph.value_info.clear();
    });
    let named = message.contains("changed.onnx") && message.contains("\"node_view\"");
    assert!(named, "{message}");
}

#[test]
fn masks_of_another_rank_or_size_are_refused() {
    let mask = |dims: &'static [i64]| {
        refused("causal_added", move |graph| {
            let mut tensors = graph.initializer.iter_mut();
            let mask = tensors.find(|tensor| tensor.dims == [16, 16]);
            mask.unwrap().dims = dims.to_vec();
            graph.value_info.clear();
        })
    };
    for dims in [&[256][..], &[8, 32], &[2, 8, 16], &[4, 1, 4, 1, 16]] {
        let message = mask(dims);
        let named = message.contains("changed.onnx") && message.contains("\"node_");
        assert!(named, "{dims:?}: {message}");
    }
}

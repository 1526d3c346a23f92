//! Attention as PyTorch exports it: the operators that come of it, streams, masks. How close every system stays to PyTorch is
//! in `systems.rs`.

use attn_converter::error::ConvertError;
use attn_converter::graph::{Op, op};
use attn_converter::lower::Form;
use attn_converter::pipeline::{Conversion, Mixed, Options};
use attn_converter::quantize::Precision;
use attn_converter::reference::to_f32;
use attn_converter::sqnr::Sqnr;
use attn_test_support::graphs::change_floats;
use attn_test_support::running::{assert_stream_equals_window, outputs};
use attn_test_support::systems::{PRECISIONS, operators, options, system};
use ndarray::{ArrayD, Axis};

#[test]
fn an_encoder_layer_is_a_handful_of_operators() {
    let layer = system("encoder_pre_gelu");
    let conversion = layer.convert("torchscript", Precision::Int8, Form::Window);
    let attention = "LayerNorm Linear Linear Linear Attention Linear Add ";
    let expected = [attention, "LayerNorm Linear Gelu Linear Add"].concat();
    assert_eq!(operators(&conversion.unwrap()), expected);
}

/// Causal blocks run on a stream: keys and values of every layer are kept, one frame costs one frame.
#[test]
fn a_causal_stack_on_a_stream_equals_the_whole_window_at_every_frame() {
    let stack = system("causal_stack");
    for precision in PRECISIONS {
        let [window, stream] = [Form::Window, Form::Stream]
            .map(|form| stack.convert("dynamo", precision, form).unwrap());
        let (window, stream) = (window.file.model(), stream.file.model());
        assert_stream_equals_window(window, stream, &stack.array("x"));
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

/// `causal_added` with another mask `[16, 16]` in place of its own, converted; and what the recorded inputs give with it in float and
/// in the converted model.
type Masked = (Conversion, [Vec<Vec<f32>>; 2]);

fn masked(precision: Precision, change: &dyn Fn(&mut [f32])) -> Result<Masked, ConvertError> {
    let causal = system("causal_added");
    let options = Options {
        mixed: Mixed::None,
        ..options(precision, Form::Window)
    };
    let (conversion, reference) = causal.convert_changed("dynamo", &options, |graph| {
        change_floats(graph, 16 * 16, change);
    })?;
    let inputs = causal.array("x");
    let samples = inputs.axis_iter(Axis(0));
    let integers = outputs(conversion.file.model(), samples.clone());
    let output = &reference.graph().output[0].name;
    let float = samples.map(|x| {
        let values = reference.run(&[x.to_owned()]).unwrap();
        let y: ArrayD<f32> = to_f32(&values[output]).unwrap();
        y.iter().copied().collect()
    });
    let float = float.collect();
    Ok((conversion, [float, integers]))
}

/// Any constant mask: a band of keys around the query, a block that only some see.
#[test]
fn any_constant_mask_hides_what_it_hides() {
    let band = |mask: &mut [f32]| {
        for (at, x) in mask.iter_mut().enumerate() {
            let (row, column) = (at / 16, at % 16);
            let seen = row.abs_diff(column) <= 2 || row % 5 == 0;
            *x = if seen { 0.0 } else { f32::NEG_INFINITY };
        }
    };
    for (precision, floor) in [(Precision::Int8, 28.0), (Precision::Int16x8, 45.0)] {
        let (_, [float, integers]) = masked(precision, &band).unwrap();
        let mut sqnr = Sqnr::default();
        sqnr.add(&float.concat(), &integers.concat());
        println!("band mask, {precision:?}: {:.1} dB", sqnr.db());
        assert!(sqnr.db() >= floor, "{precision:?}: {} dB", sqnr.db());
    }
}

/// A softmax of nothing is NaN in float. Here its context is 0, so that the output projection's bias is left, and the other
/// rows are what they are.
#[test]
fn a_row_whose_mask_hides_every_key_gives_zero() {
    let hide = |mask: &mut [f32]| mask[16 * 3..16 * 4].fill(f32::NEG_INFINITY);
    for precision in [Precision::Int8, Precision::Int16x8] {
        let (conversion, [float, integers]) = masked(precision, &hide).unwrap();
        let Some(Op::Linear(op::Linear(op::Affine { bias, .. }))) =
            conversion.graphs[0].nodes.last().map(|node| &node.op)
        else {
            panic!("the output projection is last");
        };
        for (exact, got) in float.iter().zip(&integers) {
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

/// What is no mask of attention is added; numbers that are only very small are the same for all keys of a row, whose softmax would see all.
#[test]
fn masks_that_neither_show_nor_hide_are_added_and_hidden_rows_refused() {
    let biased = |change: &dyn Fn(&mut [f32])| {
        let (conversion, [float, integers]) = masked(Precision::Int16x8, change).unwrap();
        let mut sqnr = Sqnr::default();
        sqnr.add(&float.concat(), &integers.concat());
        assert!(sqnr.db() >= 40.0, "{} dB", sqnr.db());
        let graph = &conversion.graphs[0];
        assert!(graph.fallbacks.is_empty(), "{:?}", graph.fallbacks);
        let attention = graph.nodes.iter().find_map(|node| match &node.op {
            Op::Attention(attention) => Some(attention.biased),
            _ => None,
        });
        attention.unwrap()
    };
    assert!(!biased(&|_| {}));
    assert!(biased(&|mask| mask[5] = -1.5));
    let unsure = masked(Precision::Int8, &|mask| mask[16..32].fill(-1e9));
    let unsure = unsure
        .err()
        .map_or(String::new(), |error| error.to_string());
    assert!(
        unsure.contains("row 1 of the mask hides every key"),
        "{unsure}"
    );
}

#[test]
fn heads_that_do_not_divide_the_width_are_refused_with_their_node() {
    let message = system("multi_head").refused(|graph| {
        let mut shapes = graph.initializer.iter_mut();
        let view = shapes.find(|tensor| tensor.dims == [4] && tensor.raw_data[16] == 4);
        // [1, 16, 4, 8] becomes [1, 16, 5, 8].
        view.unwrap().raw_data[16] = 5;
        graph.value_info.clear();
    });
    let named = message.contains("changed.onnx") && message.contains("`node_view`");
    assert!(named, "{message}");
}

#[test]
fn masks_of_another_rank_or_size_are_refused() {
    for dims in [&[256][..], &[8, 32], &[2, 8, 16], &[4, 1, 4, 1, 16]] {
        let message = system("causal_added").refused(|graph| {
            let mut tensors = graph.initializer.iter_mut();
            let mask = tensors.find(|tensor| tensor.dims == [16, 16]);
            mask.unwrap().dims = dims.to_vec();
            graph.value_info.clear();
        });
        let named = message.contains("changed.onnx") && message.contains("`node_");
        assert!(named, "{dims:?}: {message}");
    }
}

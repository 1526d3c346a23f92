//! The wider attention family (training/attention/{transformers,llama,pooling}.py): converted from both exporters and held
//! against PyTorch's own float outputs. Systems may have several inputs.

mod common;

use attn_converter::calibrate::RangeMethod;
use attn_converter::convert::{Conversion, Options, convert};
use attn_converter::emit::Metadata;
use attn_converter::error::ConvertError;
use attn_converter::files::{read_array, write_npz};
use attn_converter::lower::Form;
use attn_converter::quantize::Precision;
use attn_converter::reference::Reference;
use attn_converter::runner::{self, AlignedBytes};
use attn_converter::sqnr::Sqnr;
use attn_runtime::Session;
use indicatif::{MultiProgress, ProgressDrawTarget};
use ndarray::{ArrayD, Axis, IxDyn};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../host-tests/fixtures/attention")
        .join(name)
}

/// Normally distributed samples for every input, other ones than the recorded inputs.
fn calibration(model: &Path, folder: &common::Folder) -> PathBuf {
    let mut state = 5u64;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    // The sum of twelve uniform numbers (Irwin and Hall).
    let mut normal = move || (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
    let path: PathBuf = folder.path("calibration.npz").into();
    let reference = Reference::load(model).unwrap();
    write_npz(&path, |npz| {
        for input in reference.inputs() {
            let mut shape = input.shape.clone();
            shape[0] = 16;
            let samples = ArrayD::from_shape_simple_fn(IxDyn(&shape), &mut normal);
            if input.integer {
                npz.add_array(&input.name, &samples.mapv(|x| (10.0 * x.abs()) as i64 % 50))?;
            } else {
                npz.add_array(&input.name, &samples)?;
            }
        }
        Ok(())
    })
    .unwrap();
    path
}

fn converted(model: &Path, form: Form) -> Result<Conversion, ConvertError> {
    let folder = common::Folder::new();
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let options = Options {
        form,
        precision: Precision::Int8,
        range: RangeMethod::Mse,
        mixed: true,
        metadata: Metadata::default(),
    };
    convert(model, &calibration(model, &folder), &options, &bars)
}

/// The recorded samples of each input.
fn recorded(conversion: &Conversion, npz: &Path) -> Vec<ArrayD<f32>> {
    let graph = &conversion.graph;
    let read = |id: &attn_converter::graph::ValueId| {
        let name = &graph.values[id.0].name;
        match graph.tokens.contains(id) {
            true => read_array::<i64, IxDyn>(npz, name)
                .unwrap()
                .mapv(|token| token as f32),
            false => read_array::<f32, IxDyn>(npz, name).unwrap(),
        }
    };
    graph.inputs.iter().map(read).collect()
}

/// SQNR in dB against the outputs that PyTorch recorded.
fn against_pytorch(conversion: &Conversion, name: &str) -> f64 {
    let npz = fixture(&format!("{name}.npz"));
    let inputs = recorded(conversion, &npz);
    let outputs: ArrayD<f32> = read_array::<f32, IxDyn>(&npz, "y").unwrap();
    let model = conversion.file.model();
    let mut arena = AlignedBytes::zeroed(model.arena_len());
    let mut session = Session::new(model, arena.as_mut_slice()).unwrap();
    let mut sqnr = Sqnr::default();
    for (sample, y) in outputs.axis_iter(Axis(0)).enumerate() {
        for (index, x) in inputs.iter().enumerate() {
            runner::fill(&mut session, 0, index, x.index_axis(Axis(0), sample).iter()).unwrap();
        }
        session.run(0).unwrap();
        let exact: Vec<f32> = y.iter().copied().collect();
        sqnr.add(&exact, &runner::output(&session, 0, 0).unwrap());
    }
    sqnr.db()
}

fn operators(conversion: &Conversion) -> Vec<&'static str> {
    let nodes = conversion.graph.nodes.iter();
    nodes.map(|node| node.op.name()).collect()
}

/// Both exporters' files: the same operators, and at least so many dB.
fn holds(name: &str, floor: f64) -> Vec<&'static str> {
    let [first, second] = ["dynamo", "torchscript"].map(|exporter| {
        let model = fixture(&format!("{name}_{exporter}.onnx"));
        let conversion = converted(&model, Form::Window).unwrap_or_else(|e| panic!("{name}: {e}"));
        let db = against_pytorch(&conversion, name);
        println!(
            "{name} {exporter}: {db:.1} dB, arena {} bytes",
            conversion.file.model().arena_len()
        );
        assert!(db >= floor, "{name} {exporter}: {db} dB, floor {floor}");
        operators(&conversion)
    });
    assert_eq!(first, second, "{name}");
    first
}

/// Floors in dB: 28 for one block, 22 for stacked ones.
#[test]
fn transformers_stay_close_to_pytorch() {
    holds("keyword_transformer", 22.0);
    holds("sinusoidal", 28.0);
    holds("time_first", 28.0);
    holds("split_scale", 28.0);
    holds("decoder_layer", 28.0);
    holds("speech_encoder", 22.0);
    let operators = holds("text_classifier", 22.0);
    assert_eq!(operators[0], "Embedding");
}

#[test]
fn rotary_positions_stay_close_to_pytorch_in_both_layouts() {
    for name in ["rotary_half", "rotary_interleaved"] {
        let operators = holds(name, 28.0);
        let expected = [
            "Linear",
            "Rotary",
            "Linear",
            "Rotary",
            "Linear",
            "Attention",
            "Linear",
        ];
        let mut sorted = operators.clone();
        sorted.sort_unstable();
        let mut wanted = expected;
        wanted.sort_unstable();
        assert_eq!(sorted, wanted, "{operators:?}");
    }
}

/// Heads of queries that share keys and values: those are projected, packed and kept once.
#[test]
fn grouped_queries_share_keys_and_values() {
    use attn_converter::graph::Op;
    for (name, shared) in [("grouped_query", 2), ("grouped_interleave", 1)] {
        holds(name, 28.0);
        let model = fixture(&format!("{name}_dynamo.onnx"));
        let conversion = converted(&model, Form::Window).unwrap();
        let found = conversion
            .graph
            .nodes
            .iter()
            .find_map(|node| match node.op {
                Op::Attention {
                    heads, key_heads, ..
                } => Some((heads, key_heads)),
                _ => None,
            });
        assert_eq!(found, Some((4, shared)), "{name}");
    }
    holds("llama_block", 28.0);
}

#[test]
fn weighted_sums_stay_close_to_pytorch() {
    assert_eq!(holds("forecast_fixed", 28.0), ["Constant", "WeightedRows"]);
    assert_eq!(holds("forecast_series", 28.0), ["Constant", "WeightedRows"]);
    for name in ["forecast_scored", "forecast_product"] {
        assert_eq!(holds(name, 28.0).last(), Some(&"WeightedRows"));
    }
    assert!(holds("learned_query", 28.0).contains(&"Constant"));
    let collaborative = holds("collaborative", 28.0);
    assert!(collaborative.contains(&"Attention"), "{collaborative:?}");
}

/// A class token is a constant row in front of the others, and the result is read off its row.
#[test]
fn a_class_token_is_one_constant_and_one_join() {
    let conversion = converted(&fixture("keyword_transformer_dynamo.onnx"), Form::Window).unwrap();
    let operators = operators(&conversion);
    let count = |name: &str| operators.iter().filter(|op| **op == name).count();
    assert_eq!((count("Constant"), count("ConcatRows")), (1, 1));
    assert_eq!(
        operators[operators.len() - 3..],
        ["SelectRows", "LayerNorm", "Linear"]
    );
}

/// Frame by frame the position is a counter: every step equals that row of the whole window bit for bit.
#[test]
fn rotary_attention_on_a_stream_equals_the_whole_window_at_every_frame() {
    let model = fixture("rotary_half_dynamo.onnx");
    let [window, stream] =
        [Form::Window, Form::Stream].map(|form| converted(&model, form).unwrap());
    let x = &recorded(&window, &fixture("rotary_half.npz"))[0];
    let (whole, step) = (window.file.model(), stream.file.model());
    let mut arena = AlignedBytes::zeroed(whole.arena_len());
    let mut session = Session::new(whole, arena.as_mut_slice()).unwrap();
    let mut step_arena = AlignedBytes::zeroed(step.arena_len());
    let mut steps = Session::new(step, step_arena.as_mut_slice()).unwrap();
    for sample in x.outer_iter().take(2) {
        runner::fill(&mut session, 0, 0, sample.iter()).unwrap();
        session.run(0).unwrap();
        let rows = runner::output(&session, 0, 0).unwrap();
        steps.reset();
        for (frame, row) in sample
            .outer_iter()
            .zip(rows.chunks_exact(rows.len() / sample.len_of(Axis(0))))
        {
            runner::fill(&mut steps, 0, 0, frame.iter()).unwrap();
            steps.run(0).unwrap();
            assert_eq!(runner::output(&steps, 0, 0).unwrap(), row);
        }
    }
}

/// Opset 23 has one node for what older opsets spell out: the same operators come of it.
#[test]
fn attention_as_one_node_is_the_attention_that_is_spelled_out() {
    for name in ["causal_flag", "gated_block", "grouped_query"] {
        let [one, spelled] = ["opset23", "dynamo"].map(|exporter| {
            converted(&fixture(&format!("{name}_{exporter}.onnx")), Form::Window).unwrap()
        });
        assert_eq!(operators(&one), operators(&spelled), "{name}");
        let db = against_pytorch(&one, name);
        assert!(db >= 28.0, "{name}: {db} dB");
    }
}

/// What the one node may ask for and attn does not have is refused by name.
#[test]
fn attention_nodes_of_other_forms_are_refused_with_their_node() {
    use tract_onnx::pb;
    let folder = common::Folder::new();
    let refused = |change: &dyn Fn(&mut pb::GraphProto, usize)| {
        let from = fixture("causal_flag_opset23.onnx");
        let model = folder.onnx_of(from, "changed.onnx", |graph| {
            let is_attention = |node: &pb::NodeProto| node.op_type == "Attention";
            let at = graph.node.iter().position(is_attention).unwrap();
            change(graph, at);
        });
        let message = Reference::load(model.as_ref()).err().unwrap().to_string();
        assert!(
            message.contains("node `node_scaled_dot_product_attention`"),
            "{message}"
        );
        message
    };
    let softcap = refused(&|graph, at| {
        let attributes = &mut graph.node[at].attribute;
        attributes
            .iter_mut()
            .find(|a| a.name == "softcap")
            .unwrap()
            .f = 30.0;
    });
    assert!(softcap.contains("softcap"), "{softcap}");
    let past = refused(&|graph, at| {
        graph.node[at]
            .input
            .extend(["", "past", "past"].map(String::from));
    });
    assert!(past.contains("past or present keys"), "{past}");
    let rank = refused(&|graph, at| {
        graph.node[at].input.push("mask".into());
        graph.initializer.push(pb::TensorProto {
            name: "mask".into(),
            data_type: pb::tensor_proto::DataType::Float as i32,
            dims: vec![16],
            raw_data: vec![0; 64],
            ..Default::default()
        });
    });
    assert!(rank.contains("a mask of rank 1"), "{rank}");
    let heads = refused(&|graph, at| {
        graph.node[at].input[0] = "x".into();
        let attribute = &mut graph.node[at].attribute;
        for name in ["q_num_heads", "kv_num_heads"] {
            attribute.push(pb::AttributeProto {
                name: name.into(),
                r#type: pb::attribute_proto::AttributeType::Int as i32,
                i: 5,
                ..Default::default()
            });
        }
    });
    assert!(
        heads.contains("5 heads do not divide 32 channels"),
        "{heads}"
    );
    let shapes = refused(&|graph, _| graph.value_info.clear());
    assert!(
        shapes.contains("does not say its inputs' shapes"),
        "{shapes}"
    );
}

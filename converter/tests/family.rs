//! The wider attention family (training/attention/{transformers,llama,pooling}.py): the operators that come of it, streams,
//! what is refused. How close every system stays to PyTorch is in `systems.rs`.

use attn_converter::files::read_array;
use attn_converter::lower::Form;
use attn_converter::pipeline::Conversion;
use attn_converter::quantize::Precision;
use attn_converter::reference::Reference;
use attn_converter::runner::{self, AlignedBytes};
use attn_runtime::Session;
use attn_test_support::systems::system;
use ndarray::{ArrayD, Axis, IxDyn};

fn operators(conversion: &Conversion) -> Vec<&'static str> {
    let nodes = conversion.graphs[0].nodes.iter();
    nodes.map(|node| node.op.name()).collect()
}

/// What a system is made of.
fn made_of(name: &str) -> Vec<&'static str> {
    operators(&converted(name, Form::Window))
}

fn converted(name: &str, form: Form) -> Conversion {
    let conversion = system(name).convert("dynamo", Precision::Int8, form);
    conversion.unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn words_are_embedded() {
    assert_eq!(made_of("text_classifier")[0], "Embedding");
}

#[test]
fn rotary_positions_are_one_operator_in_both_layouts() {
    for name in ["rotary_half", "rotary_interleaved"] {
        let mut operators = made_of(name);
        operators.sort_unstable();
        let expected = [
            "Attention",
            "Linear",
            "Linear",
            "Linear",
            "Linear",
            "Rotary",
            "Rotary",
        ];
        assert_eq!(operators, expected);
    }
}

/// Heads of queries that share keys and values: those are projected, packed and kept once.
#[test]
fn grouped_queries_share_keys_and_values() {
    use attn_converter::graph::{Op, op};
    for (name, shared) in [("grouped_query", 2), ("grouped_interleave", 1)] {
        let conversion = converted(name, Form::Window);
        let found = conversion.graphs[0]
            .nodes
            .iter()
            .find_map(|node| match node.op {
                Op::Attention(op::Attention {
                    heads, key_heads, ..
                }) => Some((heads, key_heads)),
                _ => None,
            });
        assert_eq!(found, Some((4, shared)), "{name}");
    }
}

#[test]
fn sums_with_weights_are_one_operator() {
    assert_eq!(made_of("forecast_fixed"), ["Constant", "WeightedRows"]);
    assert_eq!(made_of("forecast_series"), ["Constant", "WeightedRows"]);
    for name in ["forecast_scored", "forecast_product"] {
        assert_eq!(made_of(name).last(), Some(&"WeightedRows"));
    }
    assert!(made_of("learned_query").contains(&"Constant"));
    let collaborative = made_of("collaborative");
    assert!(collaborative.contains(&"Attention"), "{collaborative:?}");
}

/// A class token is a constant row in front of the others, and the result is read off its row.
#[test]
fn a_class_token_is_one_constant_and_one_join() {
    let conversion = converted("keyword_transformer", Form::Window);
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
    let [window, stream] = [Form::Window, Form::Stream].map(|form| converted("rotary_half", form));
    let recorded = system("rotary_half").recorded();
    let x: ArrayD<f32> = read_array::<f32, IxDyn>(&recorded, "x").unwrap();
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
        let one = system(name)
            .convert("opset23", Precision::Int8, Form::Window)
            .unwrap();
        assert_eq!(operators(&one), made_of(name), "{name}");
        let db = system(name).against_pytorch(&one);
        assert!(db >= 28.0, "{name}: {db} dB");
    }
}

/// What the one node may ask for and attn does not have is refused by name.
#[test]
fn attention_nodes_of_other_forms_are_refused_with_their_node() {
    use tract_onnx::pb;
    let folder = attn_test_support::folder::Folder::new();
    let refused = |change: &dyn Fn(&mut pb::GraphProto, usize)| {
        let from = system("causal_flag").onnx("opset23");
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

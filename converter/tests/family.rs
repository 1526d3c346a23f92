//! The wider attention family (training/attention/{transformers,llama,pooling}.py): the operators that come of it, streams,
//! what is refused. How close every system stays to PyTorch is in `systems.rs`.

use attn_converter::graph::{Op, op};
use attn_converter::lower::Form;
use attn_converter::pipeline::Conversion;
use attn_converter::quantize::Precision;
use attn_converter::reference::Reference;
use attn_test_support::folder::Folder;
use attn_test_support::graphs::{int, set};
use attn_test_support::pb;
use attn_test_support::running::assert_stream_equals_window;
use attn_test_support::systems::{operators, system};

/// What a system is made of.
fn made_of(name: &str) -> String {
    operators(&converted(name, Form::Window))
}

fn converted(name: &str, form: Form) -> Conversion {
    let conversion = system(name).convert("dynamo", Precision::Int8, form);
    conversion.unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn words_are_embedded() {
    assert!(made_of("text_classifier").starts_with("Embedding "));
}

#[test]
fn rotary_positions_are_one_operator_in_both_layouts() {
    for name in ["rotary_half", "rotary_interleaved"] {
        let found = made_of(name);
        let mut operators: Vec<&str> = found.split(' ').collect();
        operators.sort_unstable();
        let expected = "Attention Linear Linear Linear Linear Rotary Rotary";
        assert_eq!(operators.join(" "), expected);
    }
}

/// Heads of queries that share keys and values: those are projected, packed and kept once.
#[test]
fn grouped_queries_share_keys_and_values() {
    for (name, shared) in [("grouped_query", 2), ("grouped_interleave", 1)] {
        let conversion = converted(name, Form::Window);
        let mut nodes = conversion.graphs[0].nodes.iter();
        let found = nodes.find_map(|node| match &node.op {
            Op::Attention(op::Attention {
                heads, key_heads, ..
            }) => Some((*heads, *key_heads)),
            _ => None,
        });
        assert_eq!(found, Some((4, shared)), "{name}");
    }
}

#[test]
fn sums_with_weights_are_one_operator() {
    assert_eq!(made_of("forecast_fixed"), "Constant WeightedRows");
    assert_eq!(made_of("forecast_series"), "Constant WeightedRows");
    for name in ["forecast_scored", "forecast_product"] {
        assert!(made_of(name).ends_with(" WeightedRows"));
    }
    assert!(made_of("learned_query").contains("Constant"));
    let collaborative = made_of("collaborative");
    assert!(collaborative.contains("Attention"), "{collaborative:?}");
}

/// A class token is a constant row in front of the others, and the result is read off its row.
#[test]
fn a_class_token_is_one_constant_and_one_join() {
    let found = made_of("keyword_transformer");
    let count = |name: &str| found.split(' ').filter(|op| *op == name).count();
    assert_eq!((count("Constant"), count("ConcatRows")), (1, 1));
    assert!(found.ends_with(" SelectRows LayerNorm Linear"), "{found}");
}

/// Frame by frame the position is a counter: every step equals that row of the whole window bit for bit.
#[test]
fn rotary_attention_on_a_stream_equals_the_whole_window_at_every_frame() {
    let [window, stream] = [Form::Window, Form::Stream].map(|form| converted("rotary_half", form));
    let x = system("rotary_half").array("x");
    assert_stream_equals_window(window.file.model(), stream.file.model(), &x);
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

/// Shapes that the file leaves out are derived.
#[test]
fn an_attention_node_needs_no_shapes_in_the_file() {
    let folder = Folder::new();
    let from = system("causal_flag").onnx("opset23");
    let model = folder.onnx_of(&from, "bare.onnx", |graph| graph.value_info.clear());
    let operators = |path: &std::path::Path| -> Vec<String> {
        let reference = Reference::load(path).unwrap();
        let nodes = reference.graph().node.iter();
        nodes.map(|node| node.op_type.clone()).collect()
    };
    assert_eq!(operators(model.as_ref()), operators(&from));
}

/// What the one node may ask for and attn does not have is refused by name.
#[test]
fn attention_nodes_of_other_forms_are_refused_with_their_node() {
    type Change = fn(&mut pb::GraphProto, usize);
    let cases: [(Change, &str); 3] = [
        (
            |graph, at| set(&mut graph.node[at], &[int("new_attribute", 1)]),
            "attribute `new_attribute` is none of this operator",
        ),
        (
            |graph, at| {
                let past = graph.node[at].input[1].clone();
                graph.node[at].input.extend([String::new(), past]);
            },
            "past keys and values come together",
        ),
        (
            |graph, at| {
                graph.node[at].input[0] = "x".into();
                let heads = ["q_num_heads", "kv_num_heads"].map(|name| int(name, 5));
                set(&mut graph.node[at], &heads);
            },
            "5 heads do not divide 32 channels",
        ),
    ];
    let folder = Folder::new();
    for (change, expected) in cases {
        let from = system("causal_flag").onnx("opset23");
        let model = folder.onnx_of(from, "changed.onnx", |graph| {
            let is_attention = |node: &pb::NodeProto| node.op_type == "Attention";
            let at = graph.node.iter().position(is_attention).unwrap();
            change(graph, at);
        });
        let message = Reference::load(model.as_ref()).err().unwrap().to_string();
        for part in ["node `node_scaled_dot_product_attention`", expected] {
            assert!(message.contains(part), "{message}");
        }
    }
}

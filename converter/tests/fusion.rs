//! Attention in any spelling becomes the operator of that name: nothing of it is left to base operators.

use attn_converter::graph::Graph;
use attn_converter::pipeline::Options;
use attn_converter::quantize::Precision;
use attn_test_support::folder::fixture;
use attn_test_support::systems::convert_model;

/// What becomes slow if it is left.
const PRODUCTS: [&str; 4] = ["MatMul", "Gemm", "Softmax", "Einsum"];

/// Spellings that fusion reads, in `host-tests/fixtures/cases`, with the operators of the graph that they must have.
const SPELLINGS: &[(&str, &str)] = &[
    ("f01_values_wider_than_keys", "Attention"),
    ("f02_one_key_head_for_all", "Attention"),
    ("f03_einsum_of_heads_behind_time", "Attention"),
    ("f04_softmax_over_the_first_axis", "Attention"),
    ("f05_no_batch_axis", "Attention"),
    ("f06_interleaved_projection", "Attention"),
    ("f07_alibi", "Attention"),
    ("f08_relative_bias", "Attention"),
    ("f10_mask_among_inputs", "Attention"),
    ("f11_weights_averaged", "Attention"),
    ("f12_additive_with_bias", "AdditiveAttention"),
    ("f13_additive_joined_bmm", "AdditiveAttention"),
    ("f14_additive_with_coverage", "AdditiveAttention"),
    ("f15_added_mask_of_infinity", "Attention"),
    ("k16_bahdanau_v_bias", "AdditiveAttention"),
    ("k20_value_width", "Attention"),
    ("r06_additive_score_with_bias", "AdditiveAttention"),
    ("r09_bias_per_head", "Attention"),
    ("r13_mha_averaged_weights_as_output", "Attention"),
    ("r19_einsum", "Attention"),
    ("r21_values_narrower_than_keys", "Attention"),
    // The parameter is a learned query over energies.
    ("r24_v_parameter_bmm_permute", "Attention"),
    ("r27_attention_values_times_weights_transposed", "Attention"),
    ("r28_past_keys_and_values_of_2_heads", "Attention"),
];

fn graph(name: &str) -> Graph {
    let [onnx, data] = ["onnx", "npz"].map(|end| fixture(&format!("cases/{name}.{end}")));
    let options = Options {
        precision: Precision::Fp16,
        ..Options::default()
    };
    convert_model(&onnx, &data, &options)
        .unwrap()
        .graphs
        .remove(0)
}

fn names(graph: &Graph) -> Vec<&'static str> {
    graph.nodes.iter().map(|node| node.op.name()).collect()
}

#[test]
fn every_spelling_is_one_operator() {
    for (name, operator) in SPELLINGS {
        let graph = graph(name);
        let left = graph.fallbacks.iter();
        let left: Vec<_> = left
            .filter(|(_, op)| PRODUCTS.contains(&op.as_str()))
            .collect();
        assert!(left.is_empty(), "{name}: {left:?}, {:?}", names(&graph));
        let found = names(&graph)
            .iter()
            .filter(|found| *found == operator)
            .count();
        assert_eq!(found, 1, "{name}: {:?}", names(&graph));
        let products = ["MatMul", "Softmax"];
        let left = names(&graph).iter().any(|op| products.contains(op));
        assert!(!left, "{name}: {:?}", names(&graph));
    }
}

#[test]
fn scores_of_positions_are_a_product_that_the_attention_adds() {
    let graph = graph("f09_relative_shift");
    let count = |op: &str| names(&graph).iter().filter(|name| **name == op).count();
    assert_eq!(
        [count("Attention"), count("MatMul"), count("Softmax")],
        [1, 1, 0]
    );
    let attention = graph
        .nodes
        .iter()
        .find(|node| node.op.name() == "Attention");
    assert_eq!(attention.unwrap().inputs.len(), 4);
}

#[test]
fn weights_that_are_averaged_are_those_of_the_attention() {
    let graph = graph("f11_weights_averaged");
    let attention = graph
        .nodes
        .iter()
        .find(|node| node.op.name() == "Attention");
    let weights = attention.unwrap().second.unwrap();
    assert_eq!(graph.values[weights.0].dims, [6, 12]);
}

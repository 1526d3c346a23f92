//! Recurrent layers that only run backwards: import has an operator for them, tract runs them forwards. It runs layers in both directions
//! right, so for tract such a layer is the second direction of one that has the same weights twice.

use super::writer::{int, string_of};
use tract_onnx::pb;

/// ONNX inputs of a recurrent layer that have an axis of directions, which is the first: all but the rows and their lengths.
const OF_DIRECTIONS: [usize; 6] = [1, 2, 3, 5, 6, 7];

fn is_backward(node: &pb::NodeProto) -> bool {
    ["GRU", "LSTM", "RNN"].contains(&&*node.op_type)
        && string_of(node, "direction", "forward") == "reverse"
}

/// Rewrites a graph for tract; every value keeps its name.
pub fn reversed(graph: &mut pb::GraphProto) {
    if !graph.node.iter().any(is_backward) {
        return;
    }
    for mut node in std::mem::take(&mut graph.node) {
        if !is_backward(&node) {
            graph.node.push(node);
            continue;
        }
        let prefix = format!("{}.both", node.output.concat());
        for at in OF_DIRECTIONS {
            let Some(input) = node.input.get_mut(at).filter(|name| !name.is_empty()) else {
                continue;
            };
            let twice = format!("{prefix}.input{at}");
            let inputs = vec![input.clone(), input.clone()];
            graph.node.push(one("Concat", inputs, &twice, 0));
            *input = twice;
        }
        for attribute in &mut node.attribute {
            if attribute.name == "direction" {
                attribute.s = b"bidirectional".to_vec();
            }
            if attribute.name == "activations" {
                attribute.strings.extend_from_within(..);
            }
        }
        let second = pb::TensorProto {
            name: format!("{prefix}.second"),
            data_type: pb::tensor_proto::DataType::Int64 as i32,
            dims: vec![1],
            int64_data: vec![1],
            ..Default::default()
        };
        let mut taken = Vec::new();
        for (at, output) in node.output.iter_mut().enumerate() {
            if output.is_empty() {
                continue;
            }
            let both = format!("{prefix}.output{at}");
            let inputs = vec![both.clone(), second.name.clone()];
            taken.push(one("Gather", inputs, output, i64::from(at == 0)));
            *output = both;
        }
        graph.initializer.push(second);
        graph.node.push(node);
        graph.node.extend(taken);
    }
}

fn one(op: &str, input: Vec<String>, output: &str, axis: i64) -> pb::NodeProto {
    pb::NodeProto {
        name: output.into(),
        op_type: op.into(),
        input,
        output: vec![output.into()],
        attribute: vec![int("axis", axis)],
        ..Default::default()
    }
}

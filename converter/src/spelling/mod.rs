//! What stands between an ONNX file and import: forms that the float reference (tract) gets wrong, panics on or does not have are written
//! in operators that it computes exactly. Reference, calibration, comparison and import then see the same graph.
//!
//! - [`checked`]: what every graph must hold before anything reads it.
//! - [`functions`]: local functions and branches on constants become part of the graph.
//! - [`floats`]: half, bfloat16 and double become float.
//! - [`attention`], [`recurrent`], [`einsum`], [`moves`], [`resize`], [`rotary`], [`spectrum`], [`folded`]: operators, one by one.
//! - [`choices`]: operators that pick elements by their size, or set them by computed places.
//! - [`composed`]: operators that are a line or two of others.
//! - [`mod@reversed`]: what import understands and tract alone gets wrong.
//! - [`options`]: attributes, and inputs and results that may be left out: all are computed, or refused by name.
//! - [`refused`]: kinds of models that attn does not take, each with its remedy.

mod attention;
mod checked;
mod choices;
mod composed;
mod einsum;
mod facts;
mod floats;
mod folded;
mod functions;
mod moves;
mod options;
pub mod recurrent;
mod refused;
mod resize;
mod reversed;
mod rotary;
mod spectrum;
mod writer;

use crate::error::{ConvertError, Result};
use crate::schemas::NEWEST;
use std::collections::VecDeque;
use tract_onnx::pb;
use writer::Writer;

pub use options::limited;
pub use refused::{SPELLED_OUT, other_format};
pub use writer::{name_of, op_of};

/// Rewrites what import understands and tract alone gets wrong; every value keeps its name.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`] names the node whose form cannot be rewritten.
pub fn for_tract(model: &mut pb::ModelProto, folder: &str) -> Result<()> {
    recurrent::scans(model, folder)?;
    reversed::reversed(model.graph.get_or_insert_default());
    Ok(())
}

/// Rewrites the graph of `model`, whose inputs have fixed shapes; `folder` holds its external data.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`] names the node whose form cannot be rewritten.
pub fn spell_out(model: &mut pb::ModelProto, folder: &str) -> Result<()> {
    let functions = std::mem::take(&mut model.functions);
    let opset = opset(model);
    if opset > NEWEST {
        let newest = NEWEST;
        return Err(ConvertError::NewOpset { opset, newest });
    }
    let mut graph = model.graph.take().unwrap_or_default();
    checked::check(&graph)?;
    floats::widen(&mut graph, folder)?;
    let mut nodes: VecDeque<pb::NodeProto> = std::mem::take(&mut graph.node).into();
    let outputs = std::mem::take(&mut graph.output);
    let mut live = refused::Live::new(&graph);
    model.graph = Some(graph);
    let mut writer = Writer::new(model, folder, &outputs);
    let mut calls = functions::Calls::new(&functions, opset);
    while let Some(node) = nodes.pop_front() {
        if let Some(body) = calls.body(&node)? {
            functions::into_front(&mut nodes, body);
            continue;
        }
        live.check(&node, &mut writer)?;
        let node = options::complete(node, &writer);
        match node.op_type.as_str() {
            "If" => {
                let branch = functions::branch(&node, &mut writer)?;
                functions::into_front(&mut nodes, branch);
            }
            "Attention" => attention::write(&node, &mut writer)?,
            "GRU" | "LSTM" | "RNN" => recurrent::write(node, &mut writer)?,
            "Einsum" => einsum::write(node, &mut writer)?,
            "Upsample" | "Resize" => resize::write(node, &mut writer)?,
            "MatMul" => moves::vectors(node, &mut writer)?,
            "Slice" => moves::slice(node, &mut writer)?,
            "Pad" => moves::pad(node, &mut writer)?,
            "Gather" => moves::gather(node, &mut writer)?,
            "GatherElements" | "GatherND" => moves::gather_each(node, &mut writer)?,
            "TopK" => choices::top_k(node, &mut writer)?,
            "ArgMin" => choices::arg_min(node, &mut writer)?,
            "Hardmax" => choices::hardmax(node, &mut writer)?,
            "OneHot" => choices::one_hot(node, &mut writer)?,
            "ScatterElements" => choices::scatter(node, &mut writer)?,
            "RotaryEmbedding" => rotary::write(&node, &mut writer)?,
            "DFT" => spectrum::dft(&node, &mut writer)?,
            "STFT" => spectrum::stft(&node, &mut writer)?,
            "Col2Im" => folded::write(&node, &mut writer)?,
            op if composed::OPERATORS.contains(&op) => composed::write(&node, &mut writer)?,
            _ => writer.keep(node),
        }
    }
    live.check_outputs(&outputs)?;
    if let Some(graph) = &mut model.graph {
        graph.output = outputs;
    }
    Ok(())
}

/// The version of ONNX's operators that a model uses.
pub fn opset(model: &pb::ModelProto) -> i64 {
    let of_onnx = |opset: &&pb::OperatorSetIdProto| is_onnx(&opset.domain);
    let opset = model.opset_import.iter().find(of_onnx);
    opset.map_or(1, |opset| opset.version)
}

/// True for the domain of ONNX's own operators.
fn is_onnx(domain: &str) -> bool {
    ["", "ai.onnx"].contains(&domain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::attribute_proto::AttributeType;
    use tract_onnx::pb::tensor_proto::DataType;

    fn node(op: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
        pb::NodeProto {
            op_type: op.into(),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: vec![output.into()],
            ..Default::default()
        }
    }

    fn weight(name: &str, kind: DataType, raw_data: Vec<u8>) -> pb::TensorProto {
        pb::TensorProto {
            name: name.into(),
            data_type: kind as i32,
            raw_data,
            ..Default::default()
        }
    }

    fn named(name: &str) -> pb::ValueInfoProto {
        pb::ValueInfoProto {
            name: name.into(),
            ..Default::default()
        }
    }

    fn branch(name: &str, op: &str) -> pb::AttributeProto {
        let graph = pb::GraphProto {
            node: vec![node(op, &["h"], "inner")],
            output: vec![named("inner")],
            ..Default::default()
        };
        pb::AttributeProto {
            name: name.into(),
            r#type: AttributeType::Graph as i32,
            g: Some(graph),
            ..Default::default()
        }
    }

    fn model(nodes: Vec<pb::NodeProto>, weights: Vec<pb::TensorProto>) -> pb::ModelProto {
        let inputs = weights.iter().map(|weight| named(&weight.name)).collect();
        pb::ModelProto {
            opset_import: vec![pb::OperatorSetIdProto {
                version: 17,
                ..Default::default()
            }],
            graph: Some(pb::GraphProto {
                output: vec![named("y")],
                node: nodes,
                initializer: weights,
                input: inputs,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn operators(model: &pb::ModelProto) -> Vec<&str> {
        let nodes = model.graph.iter().flat_map(|graph| &graph.node);
        nodes.map(|node| node.op_type.as_str()).collect()
    }

    #[test]
    fn a_branch_on_a_constant_takes_the_place_of_its_if() {
        for (taken, expected) in [(1, "Tanh"), (0, "Exp")] {
            let mut choice = node("If", &["c"], "y");
            choice.attribute = vec![branch("then_branch", "Tanh"), branch("else_branch", "Exp")];
            let weights = vec![
                weight("c", DataType::Bool, vec![taken]),
                weight("h", DataType::Float, vec![0; 4]),
            ];
            let mut model = model(vec![choice], weights);
            spell_out(&mut model, ".").unwrap();
            assert_eq!(operators(&model), [expected]);
            assert_eq!(model.graph.unwrap().node[0].output, ["y"]);
        }
    }

    #[test]
    fn a_call_is_the_nodes_of_its_function_and_one_without_end_is_refused() {
        let mut call = node("Twice", &["h"], "y");
        call.domain = "mine".into();
        let function = |body: Vec<pb::NodeProto>| pb::FunctionProto {
            name: Some("Twice".into()),
            domain: Some("mine".into()),
            input: vec!["a".into()],
            output: vec!["b".into()],
            node: body,
            ..Default::default()
        };
        let weights = || vec![weight("h", DataType::Float, vec![0; 4])];
        let mut finite = model(vec![call.clone()], weights());
        finite.functions = vec![function(vec![
            node("Add", &["a", "a"], "t"),
            node("Relu", &["t"], "b"),
        ])];
        spell_out(&mut finite, ".").unwrap();
        assert_eq!(operators(&finite), ["Add", "Relu"]);
        let nodes = &finite.graph.as_ref().unwrap().node;
        assert_eq!((&*nodes[0].input[0], &*nodes[1].output[0]), ("h", "y"));
        let mut again = call.clone();
        (again.input, again.output) = (vec!["a".into()], vec!["b".into()]);
        let mut endless = model(vec![call], weights());
        endless.functions = vec![function(vec![again])];
        let error = spell_out(&mut endless, ".").unwrap_err().to_string();
        assert!(error.contains("are called more than"), "{error}");
    }

    /// A model of one operator on one input.
    fn of_input(op: pb::NodeProto, opset: i64) -> pb::ModelProto {
        let mut model = model(vec![op], Vec::new());
        model.opset_import[0].version = opset;
        model.graph.get_or_insert_default().input = vec![named("x")];
        model
    }

    #[test]
    fn what_is_left_out_has_the_default_of_its_opset() {
        for (opset, expected) in [(11, 1), (13, -1)] {
            let mut model = of_input(node("Softmax", &["x"], "y"), opset);
            spell_out(&mut model, ".").unwrap();
            let softmax = &model.graph.unwrap().node[0];
            assert_eq!(writer::int_of(softmax, "axis", 7), expected);
        }
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        let with = |op: &str, attribute| {
            let mut node = node(op, &["x"], "y");
            node.attribute = vec![attribute];
            of_input(node, 17)
        };
        let mut indices = node("MaxPool", &["x"], "p");
        indices.output.push("y".into());
        let mut mask = node("Dropout", &["x"], "y");
        mask.output.push("unused".into());
        let cases = [
            (
                with("Softmax", writer::float("beta", 2.0)),
                ["`beta`", "Softmax", "opset 17"],
            ),
            (
                with("Softmax", writer::float("axis", 2.0)),
                ["`axis`", "Softmax", "type int"],
            ),
            (
                with("Pad", writer::text("mode", "spiral")),
                ["`mode`", "spiral", "reflect"],
            ),
            (
                of_input(node("Relu", &["x", "x"], "y"), 17),
                ["number 1", "Relu", "too many"],
            ),
            (of_input(indices, 17), ["`Indices`", "MaxPool", "maxima"]),
            (
                of_input(node("Relu", &["x"], "y"), 99),
                ["opset 99", "knows", "export"],
            ),
        ];
        for (mut model, words) in cases {
            let error = spell_out(&mut model, ".").unwrap_err();
            let error = error.to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
        spell_out(&mut of_input(mask, 17), ".").unwrap();
    }

    #[test]
    fn other_floats_become_float() {
        let half = 0x3e00u16.to_le_bytes().to_vec();
        let upper = 0x3fc0u16.to_le_bytes().to_vec();
        let kinds = [
            (DataType::Float16, half),
            (DataType::Bfloat16, upper),
            (DataType::Double, 1.5f64.to_le_bytes().to_vec()),
        ];
        for (kind, bytes) in kinds {
            let mut model = model(
                vec![node("Relu", &["h"], "y")],
                vec![weight("h", kind, bytes)],
            );
            spell_out(&mut model, ".").unwrap();
            let weight = &model.graph.as_ref().unwrap().initializer[0];
            assert_eq!(weight.data_type, DataType::Float as i32);
            assert_eq!(weight.raw_data, 1.5f32.to_le_bytes());
        }
    }
}

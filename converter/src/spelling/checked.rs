//! What every graph must hold before anything reads it: names with one meaning, and attributes that make sense. Programs that read ONNX
//! take that for granted.

use super::writer::{attribute, name_of};
use crate::error::{ConvertError, Result};
use std::collections::HashSet;
use tract_onnx::pb;

/// Largest stride, dilation, kernel or padding.
const MOST: i64 = 1 << 20;

/// Checks a graph, its names in their order.
///
/// # Errors
/// [`ConvertError::BadGraph`] names the node.
pub fn check(graph: &pb::GraphProto) -> Result<()> {
    let bad = |node: &str, reason: String| ConvertError::BadGraph {
        node: node.into(),
        reason,
    };
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or("", |values| &values.name);
        let reason = format!("weight `{name}` is sparse: store it as a dense one");
        return Err(bad(&graph.name, reason));
    }
    let weights = graph.initializer.iter().map(|weight| weight.name.as_str());
    let mut names: HashSet<&str> = weights.collect();
    names.extend(graph.input.iter().map(|input| input.name.as_str()));
    for node in &graph.node {
        let unknown = |name: &&String| !name.is_empty() && !names.contains(name.as_str());
        if let Some(name) = node.input.iter().find(unknown) {
            let reason = format!("it reads `{name}`, which nothing before it computes");
            return Err(bad(name_of(node), reason));
        }
        if node.output.iter().all(String::is_empty) {
            let reason = format!("{} gives no result that has a name", node.op_type);
            return Err(bad(name_of(node), reason));
        }
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if !names.insert(output) {
                return Err(bad(name_of(node), format!("`{output}` is computed twice")));
            }
        }
        if let Some(reason) = wrong_attribute(node) {
            return Err(bad(name_of(node), reason));
        }
    }
    let mut outputs = HashSet::new();
    for output in &graph.output {
        let name = output.name.as_str();
        if !names.contains(name) || !outputs.insert(name) {
            let reason =
                format!("output `{name}` of the model is computed by nothing, or listed twice");
            return Err(bad(&graph.name, reason));
        }
    }
    Ok(())
}

/// What is wrong with an attribute.
fn wrong_attribute(node: &pb::NodeProto) -> Option<String> {
    if let Some(attribute) = node.attribute.iter().find(|attribute| attribute.f.is_nan()) {
        return Some(format!("attribute `{}` is not a number", attribute.name));
    }
    if let Some(epsilon) = attribute(node, "epsilon").filter(|epsilon| epsilon.f < 0.0) {
        return Some(format!("epsilon {} is below 0", epsilon.f));
    }
    let ints = |name: &str| attribute(node, name).map_or(&[][..], |list| &list.ints);
    if node.op_type == "Transpose" {
        let mut order = ints("perm").to_vec();
        order.sort_unstable();
        if !order.iter().copied().eq(0..order.len() as i64) {
            return Some(format!("perm {:?} is no order of axes", ints("perm")));
        }
    }
    if node.op_type.contains("Conv") || node.op_type.contains("Pool") {
        let lists = [
            ("strides", 1),
            ("dilations", 1),
            ("kernel_shape", 1),
            ("pads", 0),
        ];
        for (name, least) in lists {
            if let Some(n) = ints(name).iter().find(|n| !(least..=MOST).contains(*n)) {
                return Some(format!("{name} of {n}: it must be {least} to {MOST}"));
            }
        }
    }
    None
}

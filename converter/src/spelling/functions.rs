//! Nodes that hold graphs: calls of the model's own functions, and `If` on a condition that depends on no input. Their nodes take their
//! place.

use super::is_onnx;
use super::writer::{Writer, attribute, given, name_of};
use crate::error::{ConvertError, Result};
use std::collections::{HashMap, HashSet, VecDeque};
use tract_onnx::pb;

/// Calls that are put in place, at most: functions that call themselves have no end.
const MOST_CALLS: usize = 20_000;

/// Nodes take the place of one.
pub fn into_front(nodes: &mut VecDeque<pb::NodeProto>, body: Vec<pb::NodeProto>) {
    body.into_iter()
        .rev()
        .for_each(|node| nodes.push_front(node));
}

/// The functions of a model, and how often they were called.
pub struct Calls<'m> {
    functions: &'m [pb::FunctionProto],
    opset: i64,
    calls: usize,
}

impl<'m> Calls<'m> {
    /// No calls so far.
    pub fn new(functions: &'m [pb::FunctionProto], opset: i64) -> Self {
        Self {
            functions,
            opset,
            calls: 0,
        }
    }

    /// The nodes that a call stands for; none for a node that is no call.
    ///
    /// # Errors
    /// [`ConvertError::UnsupportedForm`] for a function that cannot be put in its place.
    pub fn body(&mut self, node: &pb::NodeProto) -> Result<Option<Vec<pb::NodeProto>>> {
        let called = |function: &&pb::FunctionProto| {
            function.name.as_ref() == Some(&node.op_type)
                && function.domain.as_deref().unwrap_or("") == node.domain
        };
        let Some(function) = self.functions.iter().find(called) else {
            return Ok(None);
        };
        let form = |reason: String| ConvertError::UnsupportedForm {
            node: name_of(node).into(),
            op: node.op_type.clone(),
            shapes: "?".into(),
            reason,
        };
        self.calls += 1;
        if self.calls > MOST_CALLS {
            return Err(form(format!(
                "functions are called more than {MOST_CALLS} times"
            )));
        }
        let of_onnx = |opset: &&pb::OperatorSetIdProto| is_onnx(&opset.domain);
        let opset = function.opset_import.iter().find(of_onnx);
        if let Some(other) = opset.filter(|opset| opset.version != self.opset) {
            return Err(form(format!(
                "a function in operators of version {}, the model is in version {}: inline it with onnx.inliner.inline_local_functions",
                other.version, self.opset
            )));
        }
        let mut names = Names::new(node, &function.node);
        names.bind(&function.input, &node.input);
        names.bind(&function.output, &node.output);
        let mut body = function.node.clone();
        for inner in &mut body {
            bind_attributes(inner, node, function).map_err(|name| {
                form(format!(
                    "its attribute `{name}` has a default that the file gives apart: inline the model's functions with \
                     onnx.inliner.inline_local_functions"
                ))
            })?;
            names.rename(inner);
        }
        let computed: HashSet<&String> = body.iter().flat_map(|node| &node.output).collect();
        let passed = function.output.iter().zip(&node.output);
        let passed = passed.filter(|(_, outer)| !outer.is_empty() && !computed.contains(outer));
        let passed: Vec<_> = passed
            .map(|(inner, outer)| identity(inner, outer, &function.input, &node.input))
            .collect();
        body.extend(passed);
        Ok(Some(body))
    }
}

/// An output of a function that is one of its inputs.
fn identity(inner: &String, outer: &str, formal: &[String], actual: &[String]) -> pb::NodeProto {
    let at = formal.iter().position(|name| name == inner);
    let input = at.and_then(|at| actual.get(at)).unwrap_or(inner);
    pb::NodeProto {
        op_type: "Identity".into(),
        input: vec![input.clone()],
        output: vec![outer.into()],
        ..Default::default()
    }
}

/// Attributes of a function's node that are those of the call. An error is the name of one that has neither a value nor none.
fn bind_attributes(
    inner: &mut pb::NodeProto,
    call: &pb::NodeProto,
    function: &pb::FunctionProto,
) -> Result<(), String> {
    let attributes = std::mem::take(&mut inner.attribute);
    for mut own in attributes {
        if let Some(graph) = &mut own.g {
            for node in &mut graph.node {
                bind_attributes(node, call, function)?;
            }
        }
        if own.ref_attr_name.is_empty() {
            inner.attribute.push(own);
            continue;
        }
        match attribute(call, &own.ref_attr_name) {
            Some(value) => inner.attribute.push(pb::AttributeProto {
                name: own.name,
                ..value.clone()
            }),
            None if function.attribute.contains(&own.ref_attr_name) => {}
            None => return Err(own.ref_attr_name),
        }
    }
    Ok(())
}

/// The nodes of the branch that an `If` takes, and its weights.
///
/// # Errors
/// [`ConvertError::UnsupportedOp`] where the model computes the condition.
pub fn branch(node: &pb::NodeProto, writer: &mut Writer) -> Result<Vec<pb::NodeProto>> {
    let condition = given(&node.input, 0).and_then(|name| writer.known(name));
    let Some(condition) = condition.and_then(|condition| condition.first().copied()) else {
        return Err(super::refused::error(node, writer));
    };
    let name = if condition != 0.0 {
        "then_branch"
    } else {
        "else_branch"
    };
    let Some(graph) = attribute(node, name).and_then(|branch| branch.g.clone()) else {
        return Err(writer.form(node, format!("it has no {name}")));
    };
    let mut names = Names::new(node, &graph.node);
    for weight in &graph.initializer {
        names.own(&weight.name);
    }
    let results: Vec<String> = graph
        .output
        .iter()
        .map(|output| output.name.clone())
        .collect();
    let computed: HashSet<&String> = graph.node.iter().flat_map(|node| &node.output).collect();
    let mut passed = Vec::new();
    let mut bound = HashSet::new();
    for (inner, outer) in results.iter().zip(&node.output) {
        if computed.contains(inner) && bound.insert(inner) {
            names.bind(std::slice::from_ref(inner), std::slice::from_ref(outer));
        } else if !outer.is_empty() {
            passed.push((inner.clone(), outer.clone()));
        }
    }
    for mut weight in graph.initializer {
        weight.name = names.of(&weight.name);
        writer.weight(weight);
    }
    let mut body = graph.node;
    body.iter_mut().for_each(|inner| names.rename(inner));
    for (inner, outer) in passed {
        body.push(pb::NodeProto {
            op_type: "Identity".into(),
            input: vec![names.of(&inner)],
            output: vec![outer],
            ..Default::default()
        });
    }
    Ok(body)
}

/// What names of an inner graph are called outside of it.
struct Names {
    prefix: String,
    outer: HashMap<String, String>,
}

impl Names {
    /// Results of `body` get names of their own.
    fn new(node: &pb::NodeProto, body: &[pb::NodeProto]) -> Self {
        let output = node.output.iter().find(|name| !name.is_empty());
        let mut names = Self {
            prefix: output.cloned().unwrap_or_default(),
            outer: HashMap::new(),
        };
        body.iter()
            .flat_map(|node| &node.output)
            .for_each(|name| names.own(name));
        names
    }

    fn own(&mut self, name: &str) {
        if !name.is_empty() {
            let outer = format!("{}/{name}", self.prefix);
            self.outer.insert(name.into(), outer);
        }
    }

    /// Inner names, from the first on, are outer ones. One that is left out outside is left out inside, or keeps its own name.
    fn bind(&mut self, inner: &[String], outer: &[String]) {
        for (at, inner) in inner.iter().enumerate() {
            match outer.get(at).filter(|outer| !outer.is_empty()) {
                Some(outer) => self.outer.insert(inner.clone(), outer.clone()),
                None if self.outer.contains_key(inner) => None,
                None => self.outer.insert(inner.clone(), String::new()),
            };
        }
    }

    fn of(&self, name: &str) -> String {
        self.outer.get(name).cloned().unwrap_or_else(|| name.into())
    }

    fn rename(&self, node: &mut pb::NodeProto) {
        for name in node.input.iter_mut().chain(&mut node.output) {
            *name = self.of(name);
        }
        if !node.name.is_empty() {
            node.name = format!("{}/{}", self.prefix, node.name);
        }
        let graphs = node
            .attribute
            .iter_mut()
            .filter_map(|attribute| attribute.g.as_mut());
        for graph in graphs {
            graph.node.iter_mut().for_each(|node| self.rename(node));
            graph
                .output
                .iter_mut()
                .for_each(|output| output.name = self.of(&output.name));
        }
    }
}

//! One ONNX node with its attributes, and errors that name it.

use crate::error::ConvertError;
use crate::reference::Values;
use tract_onnx::pb::NodeProto;

/// An ONNX node.
#[derive(Clone)]
pub struct OnnxNode<'n> {
    /// Its name, or the name of its first named output.
    pub name: String,
    /// Its operator.
    pub op: &'n str,
    /// Names of its inputs; empty where an optional one is left out.
    pub inputs: Vec<String>,
    /// Name of its first output.
    pub output: String,
    /// Names of all outputs.
    pub outputs: Vec<String>,
    /// Shapes of inputs, for errors.
    shapes: String,
    proto: &'n NodeProto,
}

impl<'n> OnnxNode<'n> {
    /// Reads a node; `values` give the shapes of its inputs.
    pub fn new(proto: &'n NodeProto, values: &Values) -> Self {
        let output = proto.output.first().cloned().unwrap_or_default();
        let shape = |name: &String| {
            values
                .get(name)
                .map_or("?".into(), |tensor| format!("{:?}", tensor.shape()))
        };
        // Exporters join what a loop cut off, also where that is nothing.
        let holds = |name: &&String| {
            proto.op_type != "Concat" || values.get(*name).is_none_or(|part| part.len() > 0)
        };
        let shapes: Vec<String> = proto
            .input
            .iter()
            .filter(|name| !name.is_empty())
            .map(shape)
            .collect();
        Self {
            name: [&proto.name]
                .into_iter()
                .chain(&proto.output)
                .find(|name| !name.is_empty())
                .cloned()
                .unwrap_or_default(),
            op: &proto.op_type,
            inputs: proto.input.iter().filter(holds).cloned().collect(),
            output,
            outputs: proto.output.clone(),
            shapes: shapes.join(", "),
            proto,
        }
    }

    /// The same node, for another one of its outputs.
    pub fn named(&self, output: &str) -> Self {
        Self {
            output: output.into(),
            ..self.clone()
        }
    }

    /// The same node with input number `input` as its first.
    pub fn reading(&self, input: usize) -> Self {
        Self {
            inputs: vec![self.inputs[input].clone()],
            ..self.clone()
        }
    }

    /// The node as it is in the file.
    pub fn proto(&self) -> &'n NodeProto {
        self.proto
    }

    fn attribute(&self, name: &str) -> Option<&'n tract_onnx::pb::AttributeProto> {
        self.proto
            .attribute
            .iter()
            .find(|attribute| attribute.name == name)
    }

    /// An integer attribute.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name)
            .map_or(default, |attribute| attribute.i)
    }

    /// A float attribute.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name)
            .map_or(default, |attribute| attribute.f)
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Option<&'n [i64]> {
        self.attribute(name)
            .map(|attribute| attribute.ints.as_slice())
    }

    /// A string attribute.
    pub fn string(&self, name: &str) -> Option<String> {
        self.attribute(name)
            .map(|attribute| String::from_utf8_lossy(&attribute.s).into_owned())
    }

    /// True when the attribute is given, whatever its value.
    pub fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// The operator is supported, this use of it is not.
    pub fn form(&self, reason: impl Into<String>) -> ConvertError {
        ConvertError::UnsupportedForm {
            node: self.name.clone(),
            op: crate::spelling::op_of(self.proto).into(),
            shapes: self.shapes.clone(),
            reason: reason.into(),
        }
    }

    /// The operator is not supported, or not for tensors of this kind.
    pub fn unsupported(&self) -> ConvertError {
        ConvertError::UnsupportedOp {
            node: self.name.clone(),
            op: self.op.into(),
            shapes: self.shapes.clone(),
            nearest: super::operators::nearest(self.op),
        }
    }
}

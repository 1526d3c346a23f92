//! A writer that replaces one ONNX node by others, and by constants.

use super::facts::Facts;
use super::opset;
use crate::error::{ConvertError, Result};
use crate::reference::{to_f32, to_i64};
use ndarray::ArrayD;
use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;

/// The graph that is being written.
pub struct Writer<'m> {
    model: &'m mut pb::ModelProto,
    facts: Facts,
    /// The version of the operators.
    pub opset: i64,
    /// Name of the node that is replaced, of its first output, and of its operator.
    node: (String, String, String),
}

impl<'m> Writer<'m> {
    /// A writer behind the inputs and weights of `model`.
    pub fn new(
        model: &'m mut pb::ModelProto,
        folder: &str,
        outputs: &[pb::ValueInfoProto],
    ) -> Self {
        let graph = model.graph.get_or_insert_default();
        let facts = Facts::declared(graph, outputs, folder);
        Self {
            opset: opset(model),
            facts,
            model,
            node: Default::default(),
        }
    }

    fn graph(&mut self) -> &mut pb::GraphProto {
        self.model.graph.get_or_insert_default()
    }

    /// A node as it is.
    pub fn keep(&mut self, node: pb::NodeProto) {
        self.graph().node.push(node);
    }

    /// What follows is written for `node`.
    pub fn replace(&mut self, node: &pb::NodeProto) {
        let output = node.output.first().cloned().unwrap_or_default();
        self.node = (node.name.clone(), output, op_of(node).into());
    }

    /// The shape of a value that is there already.
    pub fn shape(&mut self, name: &str) -> Option<Vec<usize>> {
        self.facts.shape(self.model, name)
    }

    /// A shape that the file declares.
    pub fn declared_shape(&self, name: &str) -> Option<&[usize]> {
        self.facts.declared_shape(name)
    }

    /// True for truth values.
    pub fn is_boolean(&mut self, name: &str) -> bool {
        self.facts.is_boolean(self.model, name)
    }

    /// True for integers.
    pub fn is_whole(&mut self, name: &str) -> bool {
        self.facts.is_whole(self.model, name)
    }

    /// A value that depends on no input, with its shape.
    pub fn known(&mut self, name: &str) -> Option<ArrayD<f32>> {
        to_f32(&*self.facts.constant(self.model, name)?)
    }

    /// Integers that depend on no input, flat.
    pub fn known_integers(&mut self, name: &str) -> Option<Vec<i64>> {
        to_i64(&*self.facts.constant(self.model, name)?)
    }

    /// The node that computes a value.
    pub fn producer(&mut self, name: &str) -> Option<pb::NodeProto> {
        let mut nodes = self.graph().node.iter();
        nodes
            .find(|node| node.output.iter().any(|output| output == name))
            .cloned()
    }

    /// True for a weight of the file.
    pub fn is_weight(&mut self, name: &str) -> bool {
        let weights = &self.graph().initializer;
        weights.iter().any(|tensor| tensor.name == name)
    }

    /// The node cannot be written so.
    pub fn form(&mut self, node: &pb::NodeProto, reason: impl Into<String>) -> ConvertError {
        ConvertError::UnsupportedForm {
            node: name_of(node).into(),
            op: op_of(node).into(),
            shapes: self.shapes(node),
            reason: reason.into(),
        }
    }

    /// Shapes of the inputs of a node, for errors.
    pub fn shapes(&mut self, node: &pb::NodeProto) -> String {
        let shapes: Vec<String> = (node.input.iter().filter(|name| !name.is_empty()))
            .map(|name| match self.shape(name) {
                Some(shape) => format!("{shape:?}"),
                None => "?".into(),
            })
            .collect();
        match shapes.is_empty() {
            true => "no inputs".into(),
            false => shapes.join(", "),
        }
    }

    /// Adds a node and returns the name of its result.
    pub fn add(
        &mut self,
        op: &str,
        inputs: &[&String],
        attribute: Vec<pb::AttributeProto>,
    ) -> String {
        let output = self.fresh(op);
        let part = output.rsplit('.').next().unwrap_or(op);
        let node = pb::NodeProto {
            name: format!("{}/{part}", self.node.0),
            op_type: op.into(),
            doc_string: format!("{WRITTEN_FOR}{}", self.node.2),
            input: inputs.iter().map(|&name| name.clone()).collect(),
            output: vec![output.clone()],
            attribute,
            ..Default::default()
        };
        self.keep(node);
        output
    }

    /// The nodes and weights that `write` adds, as a graph of their own.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn apart<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<(T, pb::GraphProto)> {
        let graph = self.graph();
        let (nodes, weights) = (graph.node.len(), graph.initializer.len());
        let result = write(self)?;
        let graph = self.graph();
        let apart = pb::GraphProto {
            name: "body".into(),
            node: graph.node.split_off(nodes),
            initializer: graph.initializer.split_off(weights),
            ..Default::default()
        };
        Ok((result, apart))
    }

    /// Gives an output, if it is asked for, the value `name`.
    pub fn give(&mut self, name: &String, output: Option<&String>) {
        if let Some(output) = output.filter(|output| !output.is_empty()) {
            let copy = self.add("Identity", &[name], vec![]);
            self.call(&copy, output);
        }
    }

    /// The result of the node that was added last has another name.
    pub fn call(&mut self, result: &str, name: &str) {
        let last = self.graph().node.last_mut();
        if let Some(last) = last.filter(|last| last.output[0] == result) {
            last.output[0] = name.into();
        }
    }

    /// A name that nothing has.
    pub fn fresh(&mut self, part: &str) -> String {
        let graph = self.graph();
        let number = graph.node.len() + graph.initializer.len();
        format!("{}.{part}.{number}", self.node.1)
    }

    /// A constant of numbers.
    pub fn constant(&mut self, shape: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.initializer(DataType::Float, shape, bytes)
    }

    /// One number.
    pub fn number(&mut self, value: f32) -> String {
        self.constant(&[], &[value])
    }

    /// A list of integers.
    pub fn integers(&mut self, values: &[i64]) -> String {
        self.indices(&[values.len()], values)
    }

    /// A tensor of integers.
    pub fn indices(&mut self, shape: &[usize], values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.initializer(DataType::Int64, shape, bytes)
    }

    fn initializer(&mut self, kind: DataType, shape: &[usize], raw_data: Vec<u8>) -> String {
        let name = self.fresh("constant");
        self.weight(pb::TensorProto {
            name: name.clone(),
            data_type: kind as i32,
            dims: shape.iter().map(|&d| d as i64).collect(),
            raw_data,
            ..Default::default()
        });
        name
    }

    /// Adds a weight.
    pub fn weight(&mut self, tensor: pb::TensorProto) {
        self.graph().initializer.push(tensor);
    }

    /// `a op b` for an operator with two inputs.
    pub fn with(&mut self, op: &str, a: &String, b: &String) -> String {
        self.add(op, &[a, b], vec![])
    }

    /// One place of an axis, which disappears.
    pub fn at(&mut self, x: &String, axis: i64, place: usize) -> String {
        let place = self.indices(&[], &[place as i64]);
        self.add("Gather", &[x, &place], vec![int("axis", axis)])
    }

    /// Places of an axis.
    pub fn places(&mut self, x: &String, axis: i64, places: impl Iterator<Item = usize>) -> String {
        let places: Vec<i64> = places.map(|at| at as i64).collect();
        let places = self.integers(&places);
        self.add("Gather", &[x, &places], vec![int("axis", axis)])
    }

    /// The elements under another shape.
    pub fn reshape(&mut self, x: &String, shape: &[i64]) -> String {
        let shape = self.integers(shape);
        self.add("Reshape", &[x, &shape], vec![])
    }

    /// Axes in another order.
    pub fn transpose(&mut self, x: &String, order: &[i64]) -> String {
        self.add("Transpose", &[x], vec![ints("perm", order)])
    }

    /// `x` between two bounds.
    pub fn clip(&mut self, x: &String, min: f32, max: f32) -> String {
        if self.opset < 11 {
            return self.add("Clip", &[x], vec![float("min", min), float("max", max)]);
        }
        let (min, max) = (self.number(min), self.number(max));
        self.add("Clip", &[x, &min, &max], vec![])
    }

    /// `x` padded with zeros at the end of every axis; `counts` has their number for each axis.
    pub fn pad_end(&mut self, x: &String, counts: &[i64]) -> String {
        let pads = [vec![0; counts.len()], counts.to_vec()].concat();
        if self.opset < 11 {
            return self.add("Pad", &[x], vec![ints("pads", &pads)]);
        }
        let pads = self.integers(&pads);
        self.add("Pad", &[x, &pads], vec![])
    }

    /// An axis reduced to one element, in the form of the opset.
    pub fn reduce(&mut self, op: &str, x: &String, axis: i64) -> String {
        let since = if op == "ReduceSum" { 13 } else { 18 };
        let kept = int("keepdims", 1);
        if self.opset < since {
            return self.add(op, &[x], vec![ints("axes", &[axis]), kept]);
        }
        let axes = self.integers(&[axis]);
        self.add(op, &[x, &axes], vec![kept])
    }

    /// Integers or truth values as numbers.
    pub fn as_float(&mut self, x: &String) -> String {
        self.add("Cast", &[x], vec![int("to", DataType::Float as i64)])
    }

    /// Numbers as integers: rounded towards 0.
    pub fn as_integer(&mut self, x: &String) -> String {
        self.add("Cast", &[x], vec![int("to", DataType::Int64 as i64)])
    }

    /// `x op number`
    pub fn by(&mut self, op: &str, x: &String, number: f32) -> String {
        let number = self.number(number);
        self.with(op, x, &number)
    }

    /// Tensors joined along an axis.
    pub fn concat(&mut self, parts: &[String], axis: i64) -> String {
        let parts: Vec<&String> = parts.iter().collect();
        self.add("Concat", &parts, vec![int("axis", axis)])
    }
}

/// In front of the operator that a node was written for, in its description.
const WRITTEN_FOR: &str = "\u{1}written for ";

/// The operator of the file that a node stands for.
pub fn op_of(node: &pb::NodeProto) -> &str {
    let written = node.doc_string.strip_prefix(WRITTEN_FOR);
    written.unwrap_or(&node.op_type)
}

/// A node's name, or that of its first named output.
pub fn name_of(node: &pb::NodeProto) -> &str {
    let names = [&node.name].into_iter().chain(&node.output);
    names
        .map(String::as_str)
        .find(|name| !name.is_empty())
        .unwrap_or("")
}

/// The name of an input or output that is there.
pub fn given(names: &[String], at: usize) -> Option<&String> {
    names.get(at).filter(|name| !name.is_empty())
}

/// An attribute of a node.
pub fn attribute<'n>(node: &'n pb::NodeProto, name: &str) -> Option<&'n pb::AttributeProto> {
    node.attribute
        .iter()
        .find(|attribute| attribute.name == name)
}

/// An integer attribute.
pub fn int_of(node: &pb::NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |attribute| attribute.i)
}

/// A string attribute.
pub fn string_of(node: &pb::NodeProto, name: &str, default: &str) -> String {
    let text = |attribute: &pb::AttributeProto| String::from_utf8_lossy(&attribute.s).into_owned();
    attribute(node, name).map_or_else(|| default.into(), text)
}

/// A string attribute to write.
pub fn text(name: &str, text: &str) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: AttributeType::String as i32,
        s: text.into(),
        ..Default::default()
    }
}

/// An integer attribute to write.
pub fn int(name: &str, i: i64) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i,
        ..Default::default()
    }
}

/// A float attribute to write.
pub fn float(name: &str, f: f32) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: AttributeType::Float as i32,
        f,
        ..Default::default()
    }
}

/// A graph to write as an attribute.
pub fn graph(name: &str, graph: pb::GraphProto) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: AttributeType::Graph as i32,
        g: Some(graph),
        ..Default::default()
    }
}

/// The declaration of a tensor of numbers.
pub fn info(name: &str, shape: &[usize]) -> pb::ValueInfoProto {
    let size = |&size: &usize| pb::tensor_shape_proto::Dimension {
        value: Some(pb::tensor_shape_proto::dimension::Value::DimValue(
            size as i64,
        )),
        ..Default::default()
    };
    let tensor = pb::type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(pb::TensorShapeProto {
            dim: shape.iter().map(size).collect(),
        }),
    };
    pb::ValueInfoProto {
        name: name.into(),
        r#type: Some(pb::TypeProto {
            value: Some(pb::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A list of integers to write as an attribute.
pub fn ints(name: &str, ints: &[i64]) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: ints.to_vec(),
        ..Default::default()
    }
}

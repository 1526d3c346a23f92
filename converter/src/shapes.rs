//! Shapes of a model's inputs: fixed ones, a batch axis that may be symbolic, and one axis of variable length if a bundle
//! gives its length.

use crate::error::{ConvertError, Result};
use crate::hiding::only_softmax;
use std::collections::HashSet;
use tract_onnx::pb;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;

/// An input of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its ONNX shape; a dynamic axis has the length that the model was loaded for.
    pub shape: Vec<usize>,
    /// Holds numbers of tokens, which rows of a table are looked up by.
    pub integer: bool,
    /// Number of the axis that was dynamic.
    pub dynamic: Option<usize>,
    /// It goes nowhere but to a softmax: minus infinity in it is taken as -200.
    pub hides: bool,
}

impl Input {
    /// An input of quantities with fixed shape.
    pub fn real(name: &str, shape: &[usize]) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            integer: false,
            dynamic: None,
            hides: false,
        }
    }
}

/// Sets the length of a dynamic axis of an input.
pub type LengthOf<'l> = &'l dyn Fn(&str) -> Option<usize>;

/// The inputs of a model, without constants.
///
/// # Errors
/// [`ConvertError::DynamicShape`].
pub fn fixed_inputs(graph: &pb::GraphProto, length_of: Option<LengthOf>) -> Result<Vec<Input>> {
    let constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    graph
        .input
        .iter()
        .filter(|input| !constant(&input.name))
        .map(|input| {
            let mut fixed = fixed_input(input, length_of)?;
            fixed.integer &= looks_up(graph, &fixed.name);
            fixed.hides = only_softmax(graph, &fixed.name);
            Ok(fixed)
        })
        .collect()
}

/// Operators that only move the elements of their first input.
pub const MOVES: [&str; 12] = [
    "Identity",
    "Dropout",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Slice",
    "Split",
    "Expand",
    "Tile",
    "Gather",
];

/// True if an input tells which rows of a table are taken: it holds numbers of tokens. Other whole numbers are quantities, such as masks.
fn looks_up(graph: &pb::GraphProto, input: &str) -> bool {
    let tokens = moved(graph, input);
    graph.node.iter().any(|node| looks_up_by(node, &tokens))
}

/// True for a node that takes from its first input what one of these tensors says.
pub fn looks_up_by(node: &pb::NodeProto, tokens: &[&str]) -> bool {
    let gathers = ["Gather", "GatherND", "GatherElements"].contains(&node.op_type.as_str());
    let indices = node.input.get(1);
    gathers && indices.is_some_and(|name| tokens.contains(&name.as_str()))
}

/// The names of an input and of the tensors that hold its elements in another order or type, or plus constants.
pub fn moved<'g>(graph: &'g pb::GraphProto, input: &'g str) -> Vec<&'g str> {
    let weights = graph.initializer.iter().map(|tensor| tensor.name.as_str());
    let mut constant: HashSet<&str> = weights.collect();
    let mut names = vec![input];
    for node in &graph.node {
        let results = node.output.iter().map(String::as_str);
        if node
            .input
            .iter()
            .all(|name| constant.contains(name.as_str()))
        {
            constant.extend(results);
            continue;
        }
        let reads = |at: usize| {
            let read = node.input.get(at).map(String::as_str);
            read.is_some_and(|name| names.contains(&name))
        };
        let known = |at: usize| {
            let read = node.input.get(at).map(String::as_str);
            read.is_some_and(|name| constant.contains(name))
        };
        let moves = match node.op_type.as_str() {
            "Add" => reads(0) && known(1) || reads(1) && known(0),
            "Sub" => reads(0) && known(1),
            "Cast" => reads(0),
            op => MOVES.contains(&op) && reads(0),
        };
        if moves {
            names.extend(results);
        }
    }
    names
}

fn fixed_input(input: &pb::ValueInfoProto, length_of: Option<LengthOf>) -> Result<Input> {
    let length = length_of.and_then(|length_of| length_of(&input.name));
    let dynamic = |axis, dim: String| ConvertError::DynamicShape {
        input: input.name.clone(),
        axis,
        dim,
    };
    let tensor = input.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let Some(pb::type_proto::Value::TensorType(tensor)) = tensor else {
        return Err(dynamic(0, "its type is unknown".into()));
    };
    let dims = tensor
        .shape
        .as_ref()
        .map(|shape| shape.dim.as_slice())
        .unwrap_or_default();
    let (mut shape, mut varies) = (Vec::new(), None);
    for (axis, dim) in dims.iter().enumerate() {
        match &dim.value {
            Some(Dim::DimValue(size)) if *size > 0 => shape.push(*size as usize),
            Some(Dim::DimParam(_)) if length.is_some() && varies.is_none() => {
                varies = Some(axis);
                shape.extend(length);
            }
            Some(Dim::DimParam(name)) => return Err(dynamic(axis, format!("`{name}`"))),
            _ => return Err(dynamic(axis, "no size given".into())),
        }
    }
    if tensor.shape.is_none() {
        return Err(dynamic(0, "its shape is unknown".into()));
    }
    Ok(Input {
        name: input.name.clone(),
        shape,
        integer: is_integer(tensor.elem_type),
        dynamic: varies,
        hides: false,
    })
}

/// Writes the lengths of dynamic axes into the model, and removes its shapes that depend on them.
pub fn fix_shapes(proto: &mut pb::ModelProto, inputs: &[Input]) {
    let Some(graph) = &mut proto.graph else {
        return;
    };
    graph.value_info.clear();
    for output in &mut graph.output {
        output.r#type = None;
    }
    for input in &mut graph.input {
        let fixed = inputs.iter().find(|fixed| fixed.name == input.name);
        let kind = input.r#type.as_mut().and_then(|kind| kind.value.as_mut());
        if let (Some(fixed), Some(pb::type_proto::Value::TensorType(tensor))) = (fixed, kind) {
            let dims = tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim);
            for (dim, &size) in dims.zip(&fixed.shape) {
                dim.value = Some(Dim::DimValue(size as i64));
            }
        }
    }
}

fn is_integer(elem_type: i32) -> bool {
    use pb::tensor_proto::DataType;
    [DataType::Int64, DataType::Int32, DataType::Bool]
        .iter()
        .any(|&integer| integer as i32 == elem_type)
}

/// Sets symbolic batch axes to 1 everywhere in the graph, and returns their names.
///
/// A batch axis is one that is called so, wherever it stands; besides, the first axis of an input with several. In a model `by_itself`
/// that may be the only symbolic axis; in a bundle it could as well be the length of a sequence, so another axis of the input must be
/// symbolic, too.
pub fn fix_batch(graph: &mut pb::GraphProto, by_itself: bool) -> Vec<String> {
    let mut names = Vec::new();
    let mut add = |name: Option<String>| names.extend(name.filter(|name| !names.contains(name)));
    for input in &mut graph.input {
        let several = dims(input).filter(|dim| symbol(dim).is_some()).count() > 1;
        let rank = dims(input).count();
        for (axis, dim) in dims(input).enumerate() {
            let name = symbol(dim);
            let called = name.as_ref().is_some_and(|name| is_batch(name));
            let first = axis == 0 && rank > 1 && (by_itself || several);
            if called || first {
                add(name);
                dim.value.get_or_insert(Dim::DimValue(1));
            }
        }
    }
    let named = graph.value_info.iter_mut().chain(&mut graph.output);
    for info in named.chain(&mut graph.input) {
        let batch = dims(info).filter(|dim| symbol(dim).is_some_and(|name| names.contains(&name)));
        batch.for_each(|dim| dim.value = Some(Dim::DimValue(1)));
    }
    names
}

/// True for what exporters and tutorials call a batch axis.
fn is_batch(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("batch") || ["n", "b", "bs", "bsz"].contains(&name.as_str())
}

/// The name of an axis without a size.
fn symbol(dim: &pb::tensor_shape_proto::Dimension) -> Option<String> {
    match &dim.value {
        Some(Dim::DimParam(name)) => Some(name.clone()),
        Some(Dim::DimValue(_)) => None,
        None => Some("unnamed".into()),
    }
}

fn dims(
    info: &mut pb::ValueInfoProto,
) -> impl Iterator<Item = &mut pb::tensor_shape_proto::Dimension> {
    let kind = info.r#type.as_mut().and_then(|kind| kind.value.as_mut());
    let tensor = kind.and_then(|kind| {
        let pb::type_proto::Value::TensorType(tensor) = kind;
        tensor.shape.as_mut()
    });
    tensor.into_iter().flat_map(|shape| &mut shape.dim)
}

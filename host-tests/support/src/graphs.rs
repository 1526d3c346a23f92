//! Changes to ONNX graphs.

use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;

/// The first node of this kind.
pub fn node<'g>(graph: &'g mut pb::GraphProto, op: &str) -> &'g mut pb::NodeProto {
    let mut found = graph.node.iter_mut().filter(|node| node.op_type == op);
    found.next().unwrap_or_else(|| panic!("no {op}"))
}

pub fn new_node(op: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
    pb::NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

/// Puts a node in front of the one that makes `before`.
pub fn insert(graph: &mut pb::GraphProto, before: &str, node: pb::NodeProto) {
    let place = graph.node.iter().position(|node| node.output[0] == before);
    graph.node.insert(place.unwrap(), node);
}

/// Has every node that reads `from` read `to`.
pub fn rewire(graph: &mut pb::GraphProto, from: &str, to: &str) {
    let inputs = graph.node.iter_mut().flat_map(|node| &mut node.input);
    inputs
        .filter(|input| *input == from)
        .for_each(|input| *input = to.into());
}

pub fn input<'g>(graph: &'g mut pb::GraphProto, name: &str) -> &'g mut pb::ValueInfoProto {
    let mut inputs = graph.input.iter_mut();
    inputs.find(|input| input.name == name).unwrap()
}

/// An output like the first, of another name.
pub fn add_output(graph: &mut pb::GraphProto, name: &str) {
    let mut output = graph.output[0].clone();
    (output.name, output.r#type) = (name.into(), None);
    graph.output.push(output);
}

pub fn initializer<'g>(graph: &'g mut pb::GraphProto, name: &str) -> &'g mut pb::TensorProto {
    let mut tensors = graph.initializer.iter_mut();
    tensors.find(|tensor| tensor.name == name).unwrap()
}

fn add(graph: &mut pb::GraphProto, name: &str, dims: &[i64], kind: DataType, raw_data: Vec<u8>) {
    graph.initializer.push(pb::TensorProto {
        name: name.into(),
        data_type: kind as i32,
        dims: dims.to_vec(),
        raw_data,
        ..Default::default()
    });
}

/// Adds a vector of int64.
pub fn add_integers(graph: &mut pb::GraphProto, name: &str, values: &[i64]) {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    add(graph, name, &[values.len() as i64], DataType::Int64, bytes);
}

/// Adds a tensor of one number.
pub fn add_floats(graph: &mut pb::GraphProto, name: &str, dims: &[i64], value: f32) {
    let count = dims.iter().product::<i64>() as usize;
    let bytes = value.to_le_bytes().repeat(count);
    add(graph, name, dims, DataType::Float, bytes);
}

fn attribute(name: &str, kind: AttributeType) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: kind as i32,
        ..Default::default()
    }
}

pub fn int(name: &str, i: i64) -> pb::AttributeProto {
    let kind = attribute(name, AttributeType::Int);
    pb::AttributeProto { i, ..kind }
}

pub fn ints(name: &str, ints: &[i64]) -> pb::AttributeProto {
    let (ints, kind) = (ints.to_vec(), attribute(name, AttributeType::Ints));
    pb::AttributeProto { ints, ..kind }
}

pub fn string(name: &str, text: &str) -> pb::AttributeProto {
    let (s, kind) = (
        text.as_bytes().to_vec(),
        attribute(name, AttributeType::String),
    );
    pb::AttributeProto { s, ..kind }
}

/// Sets attributes of a node, whether it has them or not.
pub fn set(node: &mut pb::NodeProto, attributes: &[pb::AttributeProto]) {
    for new in attributes {
        node.attribute.retain(|old| old.name != new.name);
        node.attribute.push(new.clone());
    }
}

/// Element type and shape of an input.
pub fn tensor(input: &mut pb::ValueInfoProto) -> &mut pb::type_proto::Tensor {
    match input.r#type.as_mut().and_then(|kind| kind.value.as_mut()) {
        Some(pb::type_proto::Value::TensorType(tensor)) => tensor,
        _ => panic!("no tensor"),
    }
}

/// Sets the shape of an input.
pub fn set_shape(input: &mut pb::ValueInfoProto, sizes: &[i64]) {
    let dims = &mut tensor(input).shape.as_mut().unwrap().dim;
    dims.resize(sizes.len(), Default::default());
    for (dim, &size) in dims.iter_mut().zip(sizes) {
        dim.value = Some(Dim::DimValue(size));
    }
}

/// Sets one axis of an input: a size, or a name for a size that is not known.
pub fn set_dim(input: &mut pb::ValueInfoProto, axis: usize, size: Result<i64, &str>) {
    tensor(input).shape.as_mut().unwrap().dim[axis].value = Some(match size {
        Ok(size) => Dim::DimValue(size),
        Err(name) => Dim::DimParam(name.into()),
    });
}

/// Changes the one float initializer that holds `len` numbers.
pub fn change_floats(graph: &mut pb::GraphProto, len: usize, change: impl FnOnce(&mut [f32])) {
    let mut tensors = graph.initializer.iter_mut();
    let tensor = tensors.find(|tensor| tensor.raw_data.len() == 4 * len);
    let data = &mut tensor.unwrap().raw_data;
    let words = data.as_chunks().0.iter();
    let mut floats: Vec<f32> = words.map(|&word| f32::from_le_bytes(word)).collect();
    change(&mut floats);
    *data = floats.into_iter().flat_map(f32::to_le_bytes).collect();
}

/// Dilates all convolutions with a kernel, and pads so much more that results keep their size: over time in front, over images half of it
/// on either side.
pub fn dilate(graph: &mut pb::GraphProto, dilation: i64) {
    for node in graph.node.iter_mut().filter(|node| node.op_type == "Conv") {
        let place = |name: &str| node.attribute.iter().position(|a| a.name == name);
        let [kernel, pads, dilations] =
            ["kernel_shape", "pads", "dilations"].map(|name| place(name).unwrap());
        let axes = node.attribute[kernel].ints.len();
        for axis in 0..axes {
            let more = (node.attribute[kernel].ints[axis] - 1) * (dilation - 1);
            let behind = if axes == 1 { 0 } else { more / 2 };
            node.attribute[pads].ints[axis] += more - behind;
            node.attribute[pads].ints[axes + axis] += behind;
            node.attribute[dilations].ints[axis] = if more > 0 { dilation } else { 1 };
        }
    }
}

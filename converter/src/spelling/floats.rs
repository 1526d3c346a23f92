//! Half, bfloat16 and double: weights, constants, casts and types of values become float.

use crate::error::{ConvertError, Result};
use tract_onnx::data_resolver::MmapDataResolver;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;
use tract_onnx::tensor::load_tensor;

/// Operators with an attribute that names a type.
const TYPED: &[(&str, &str)] = &[
    ("Cast", "to"),
    ("EyeLike", "dtype"),
    ("RandomNormal", "dtype"),
    ("RandomNormalLike", "dtype"),
    ("RandomUniform", "dtype"),
    ("RandomUniformLike", "dtype"),
    ("Bernoulli", "dtype"),
    ("BlackmanWindow", "output_datatype"),
    ("HammingWindow", "output_datatype"),
    ("HannWindow", "output_datatype"),
    ("MelWeightMatrix", "output_datatype"),
];

/// Makes every floating-point number of a graph a float; `folder` holds its external data.
///
/// # Errors
/// [`ConvertError::BadTensor`] names a tensor that cannot be read.
pub fn widen(graph: &mut pb::GraphProto, folder: &str) -> Result<()> {
    for tensor in &mut graph.initializer {
        widen_tensor(tensor, folder)?;
    }
    let types = graph.input.iter_mut().chain(&mut graph.output);
    for info in types.chain(&mut graph.value_info) {
        if let Some(pb::type_proto::Value::TensorType(tensor)) =
            info.r#type.as_mut().and_then(|kind| kind.value.as_mut())
        {
            tensor.elem_type = widened(tensor.elem_type);
        }
    }
    graph
        .node
        .iter_mut()
        .try_for_each(|node| widen_node(node, folder))
}

/// As [`widen`], for a node.
///
/// # Errors
/// Those of [`widen`].
pub fn widen_node(node: &mut pb::NodeProto, folder: &str) -> Result<()> {
    for attribute in &mut node.attribute {
        let names_type = |(op, name): &(&str, &str)| *op == node.op_type && *name == attribute.name;
        if TYPED.iter().any(names_type) {
            attribute.i = i64::from(widened(attribute.i as i32));
        }
        let tensors = attribute.t.iter_mut().chain(&mut attribute.tensors);
        tensors
            .into_iter()
            .try_for_each(|tensor| widen_tensor(tensor, folder))?;
        let graphs = attribute.g.iter_mut().chain(&mut attribute.graphs);
        graphs
            .into_iter()
            .try_for_each(|graph| widen(graph, folder))?;
    }
    Ok(())
}

fn is_other_float(kind: i32) -> bool {
    [DataType::Float16, DataType::Bfloat16, DataType::Double]
        .iter()
        .any(|&float| float as i32 == kind)
}

fn widened(kind: i32) -> i32 {
    match is_other_float(kind) {
        true => DataType::Float as i32,
        false => kind,
    }
}

fn widen_tensor(tensor: &mut pb::TensorProto, folder: &str) -> Result<()> {
    if !is_other_float(tensor.data_type) {
        return Ok(());
    }
    let values = floats_of(tensor, folder).map_err(|error| ConvertError::BadTensor {
        tensor: tensor.name.clone(),
        reason: error.root_cause().to_string(),
    })?;
    *tensor = pb::TensorProto {
        name: std::mem::take(&mut tensor.name),
        dims: std::mem::take(&mut tensor.dims),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ..Default::default()
    };
    Ok(())
}

/// The numbers of a tensor as f32. What is finite stays finite.
fn floats_of(tensor: &pb::TensorProto, folder: &str) -> TractResult<Vec<f32>> {
    let mut read = tensor.clone();
    let bfloat = tensor.data_type == DataType::Bfloat16 as i32;
    if bfloat {
        // tract has no bfloat16: its bits are the upper half of a float's.
        read.data_type = DataType::Uint16 as i32;
    }
    let loaded = load_tensor(&MmapDataResolver, &read, Some(folder))?;
    if bfloat {
        let bits = loaded.try_as_plain_ram()?.as_slice::<u16>()?;
        return Ok(bits
            .iter()
            .map(|&bits| f32::from_bits(u32::from(bits) << 16))
            .collect());
    }
    let wide = loaded.cast_to::<f64>()?;
    let narrow = |&x: &f64| match x.is_finite() {
        true => x.clamp(f32::MIN.into(), f32::MAX.into()) as f32,
        false => x as f32,
    };
    Ok(wide
        .try_as_plain_ram()?
        .as_slice::<f64>()?
        .iter()
        .map(narrow)
        .collect())
}

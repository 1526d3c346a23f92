//! The float reference: the original ONNX model run by tract, every value of it within reach.
//!
//! Import takes shapes and constants from here, calibration the ranges, the report the exact values. Nothing of attn
//! takes part in this arithmetic.

use crate::error::ConvertError;
use crate::opset23::spelled_out;
use ndarray::{ArrayD, IxDyn};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tract_onnx::pb;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{TractErrorContext, bail};

/// Every value of one run, by ONNX name.
pub type Values = HashMap<String, Arc<Tensor>>;

/// An input of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its ONNX shape; a dynamic axis has the length that the model was loaded for.
    pub shape: Vec<usize>,
    /// Holds numbers of tokens, not quantities.
    pub integer: bool,
    /// Number of the axis that was dynamic.
    pub dynamic: Option<usize>,
}

impl Input {
    /// An input of quantities with fixed shape.
    pub fn real(name: &str, shape: &[usize]) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            integer: false,
            dynamic: None,
        }
    }
}

/// An ONNX model that runs in float.
pub struct Reference {
    path: PathBuf,
    graph: pb::GraphProto,
    inputs: Vec<Input>,
    names: Vec<String>,
    plan: Arc<TypedRunnableModel>,
}

impl Reference {
    /// Loads an ONNX file with fixed shapes, with external data beside it.
    ///
    /// # Errors
    /// [`ConvertError::NotOnnx`], [`ConvertError::DynamicShape`], [`ConvertError::Batch`],
    /// [`ConvertError::Reference`].
    pub fn load(path: &Path) -> Result<Self, ConvertError> {
        Self::load_with(path, |graph| fixed_inputs(graph, None))
    }

    /// Loads one model of a bundle: its inputs may have one dynamic axis each, which `length_of` gives the input's length, and
    /// states of several layers in front of the batch.
    ///
    /// # Errors
    /// Those of [`Reference::load`]; [`ConvertError::DynamicShape`] where `length_of` knows no length.
    pub fn load_part(
        path: &Path,
        length_of: impl Fn(&str) -> Option<usize>,
    ) -> Result<Self, ConvertError> {
        Self::load_with(path, |graph| fixed_inputs(graph, Some(&length_of)))
    }

    fn load_with(
        path: &Path,
        inputs: impl FnOnce(&pb::GraphProto) -> Result<Vec<Input>, ConvertError>,
    ) -> Result<Self, ConvertError> {
        let (mut proto, graph) = read(path)?;
        let graph = spelled_out(&graph)?;
        proto.graph = Some(graph.clone());
        let inputs = inputs(&graph)?;
        if inputs.iter().any(|input| input.dynamic.is_some()) {
            fix_shapes(&mut proto, &inputs);
        }
        let folder = path
            .parent()
            .and_then(Path::to_str)
            .filter(|folder| !folder.is_empty())
            .unwrap_or(".");
        let (names, plan) =
            without_panic(|| runnable(&proto, folder, &inputs)).map_err(|error| {
                ConvertError::Reference {
                    path: path.into(),
                    action: "load",
                    reason: format!("{error:#}"),
                }
            })?;
        Ok(Self {
            path: path.into(),
            graph,
            inputs,
            names,
            plan,
        })
    }

    /// The ONNX graph.
    pub fn graph(&self) -> &pb::GraphProto {
        &self.graph
    }

    /// The inputs, constants left out.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Runs the model on one array for each input and returns every value in it.
    ///
    /// # Errors
    /// [`ConvertError::Reference`].
    pub fn run(&self, inputs: &[ArrayD<f32>]) -> Result<Values, ConvertError> {
        let tensors = inputs.iter().zip(&self.inputs).enumerate();
        let tensors = tensors.map(|(at, (array, input))| {
            let data: Vec<f32> = array.iter().copied().collect();
            let tensor = Tensor::from_shape(&input.shape, &data)?;
            let dtype = self.plan.model().input_fact(at)?.datum_type;
            Ok(TValue::from(tensor.cast_to_dt(dtype)?.into_owned()))
        });
        let run = |error: TractError| ConvertError::Reference {
            path: self.path.clone(),
            action: "run",
            reason: format!("{error:#}"),
        };
        let tensors = tensors
            .collect::<TractResult<TVec<TValue>>>()
            .map_err(run)?;
        let values = self.plan.run(tensors).map_err(run)?;
        Ok(self
            .names
            .iter()
            .cloned()
            .zip(values.into_iter().map(TValue::into_arc_tensor))
            .collect())
    }
}

/// The model ready to run, and the names of all values in it, which are its outputs.
fn runnable(
    proto: &pb::ModelProto,
    folder: &str,
    inputs: &[Input],
) -> TractResult<(Vec<String>, Arc<TypedRunnableModel>)> {
    let parsed = tract_onnx::onnx().parse(proto, Some(folder))?;
    let all = parsed.outlets_by_name.iter();
    let mut all: Vec<_> = all.filter(|(name, _)| !name.is_empty()).collect();
    all.sort();
    let names = all.iter().map(|(name, _)| name.to_string()).collect();
    let outlets: Vec<_> = all.iter().map(|(_, outlet)| **outlet).collect();
    let order = inputs.iter().map(|input| {
        let found = parsed.outlets_by_name.get(&input.name).copied();
        found.with_context(|| format!("input `{}` is not in the graph", input.name))
    });
    let order = order.collect::<TractResult<Vec<_>>>()?;
    let mut model = parsed.model;
    model.set_input_outlets(&order)?;
    model.select_output_outlets(&outlets)?;
    Ok((names, model.into_typed()?.into_runnable()?))
}

/// tract panics on some damaged models, such as a convolution whose list of paddings is empty: that is an error like others.
fn without_panic<T>(load: impl FnOnce() -> TractResult<T>) -> TractResult<T> {
    catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        bail!(
            "the model is damaged, or uses an operator in a way that tract does not expect: {}",
            text.unwrap_or("it panicked")
        )
    })
}

/// Names of the inputs of an ONNX file.
///
/// # Errors
/// [`ConvertError::NotOnnx`].
pub fn input_names(path: &Path) -> Result<Vec<String>, ConvertError> {
    let (_, graph) = read(path)?;
    Ok(graph.input.into_iter().map(|input| input.name).collect())
}

/// A file and the graph in it.
fn read(path: &Path) -> Result<(pb::ModelProto, pb::GraphProto), ConvertError> {
    let not_onnx = |reason: String| ConvertError::NotOnnx {
        path: path.into(),
        reason,
    };
    let proto = tract_onnx::onnx()
        .proto_model_for_path(path)
        .map_err(|error| not_onnx(error.root_cause().to_string()))?;
    let graph = proto
        .graph
        .clone()
        .ok_or_else(|| not_onnx("it holds no graph".into()))?;
    if graph.node.is_empty() || graph.output.is_empty() {
        return Err(not_onnx("its graph has no nodes or no outputs".into()));
    }
    Ok((proto, graph))
}

/// A tensor as f32, whatever its type.
pub fn to_f32(tensor: &Tensor) -> Option<ArrayD<f32>> {
    let tensor = tensor.cast_to::<f32>().ok()?;
    let data = tensor
        .try_as_plain_ram()
        .ok()?
        .as_slice::<f32>()
        .ok()?
        .to_vec();
    ArrayD::from_shape_vec(IxDyn(tensor.shape()), data).ok()
}

/// A tensor of integers, flat.
pub fn to_i64(tensor: &Tensor) -> Option<Vec<i64>> {
    let tensor = tensor.cast_to::<i64>().ok()?;
    Some(
        tensor
            .try_as_plain_ram()
            .ok()?
            .as_slice::<i64>()
            .ok()?
            .to_vec(),
    )
}

/// Gives a dynamic axis of an input its length.
type LengthOf<'l> = &'l dyn Fn(&str) -> Option<usize>;

fn fixed_inputs(
    graph: &pb::GraphProto,
    length_of: Option<LengthOf>,
) -> Result<Vec<Input>, ConvertError> {
    let constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    graph
        .input
        .iter()
        .filter(|input| !constant(&input.name))
        .map(|input| fixed_input(input, length_of))
        .collect()
}

fn fixed_input(
    input: &pb::ValueInfoProto,
    length_of: Option<LengthOf>,
) -> Result<Input, ConvertError> {
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
    match shape.first() {
        None => Err(dynamic(0, "its shape is unknown".into())),
        // States of several layers in a bundle are [layers, 1, hidden].
        Some(&batch)
            if shape.len() > 1
                && batch != 1
                && varies != Some(0)
                && (length_of.is_none() || shape.get(1) != Some(&1)) =>
        {
            Err(ConvertError::Batch {
                input: input.name.clone(),
                batch,
            })
        }
        Some(_) => Ok(Input {
            name: input.name.clone(),
            shape,
            integer: is_integer(tensor.elem_type),
            dynamic: varies,
        }),
    }
}

/// Writes the lengths that dynamic axes were given into the model, and forgets what it says of shapes that follow.
fn fix_shapes(proto: &mut pb::ModelProto, inputs: &[Input]) {
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

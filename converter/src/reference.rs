//! The float reference: tract runs the original ONNX model and gives every value.
//!
//! Import takes shapes and constants from here, calibration the ranges, the report the exact values. This arithmetic uses no
//! code of attn.

use crate::bundle::leads_out;
use crate::error::{ConvertError, Result};
use crate::guard::guarded;
use crate::shapes::{LengthOf, fix_batch, fix_shapes, fixed_inputs};
use crate::spelling;
use ndarray::{ArrayD, IxDyn};
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{DimLike, TractErrorContext};

pub use crate::shapes::Input;

/// Every value of one run, by ONNX name.
pub type Values = HashMap<String, Arc<Tensor>>;

/// Elements of all tensors of a model together, at most.
const MOST_ELEMENTS: usize = 1 << 28;

/// An ONNX model that runs in float.
pub struct Reference {
    path: PathBuf,
    graph: pb::GraphProto,
    inputs: Vec<Input>,
    batch: Vec<String>,
    opset: i64,
    names: Vec<String>,
    plan: Arc<TypedRunnableModel>,
}

impl Reference {
    /// Loads an ONNX file with fixed shapes, with external data beside it. A symbolic batch axis is taken as 1.
    ///
    /// # Errors
    /// [`ConvertError::NotOnnx`], [`ConvertError::DynamicShape`],
    /// [`ConvertError::Reference`].
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_with(path, None)
    }

    /// Loads one model of a bundle: with `length_of`, its inputs may have one dynamic axis each, whose length that gives, and states of
    /// several layers in front of the batch.
    ///
    /// # Errors
    /// Those of [`Reference::load`]; [`ConvertError::DynamicShape`] if `length_of` has no length.
    pub fn load_with(path: &Path, length_of: Option<LengthOf>) -> Result<Self> {
        let unexpected = |reason: String| ConvertError::Unexpected {
            path: path.into(),
            reason,
        };
        let mut proto = guarded(|| read(path)).map_err(unexpected)??;
        let folder = path
            .parent()
            .and_then(Path::to_str)
            .filter(|folder| !folder.is_empty())
            .unwrap_or(".");
        let graph = proto.graph.get_or_insert_default();
        let batch = fix_batch(graph, length_of.is_none());
        let inputs = fixed_inputs(graph, length_of)?;
        if !batch.is_empty() || inputs.iter().any(|input| input.dynamic.is_some()) {
            fix_shapes(&mut proto, &inputs);
        }
        guarded(|| spelling::spell_out(&mut proto, folder)).map_err(unexpected)??;
        let graph = proto.graph.clone().unwrap_or_default();
        guarded(|| spelling::for_tract(&mut proto, folder)).map_err(unexpected)??;
        if let Some(graph) = &mut proto.graph {
            drop_shared_names(graph);
        }
        let (names, plan) =
            without_panic(|| runnable(&proto, folder, &inputs)).map_err(|error| {
                ConvertError::Reference {
                    path: path.into(),
                    action: "loaded",
                    reason: reason(&error, &graph),
                }
            })?;
        Ok(Self {
            path: path.into(),
            graph,
            inputs,
            batch,
            opset: spelling::opset(&proto),
            names,
            plan,
        })
    }

    /// Names of the model's symbolic batch axes, which were taken as 1.
    pub fn batch(&self) -> &[String] {
        &self.batch
    }

    /// The version of ONNX's operators that the model uses.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The ONNX graph.
    pub fn graph(&self) -> &pb::GraphProto {
        &self.graph
    }

    /// Shape and type of a value.
    pub fn fact(&self, name: &str) -> Option<(Vec<usize>, String)> {
        let at = self.names.iter().position(|known| known == name)?;
        let fact = self.plan.model().output_fact(at).ok()?;
        let sizes = fact.shape.iter().map(|dim| dim.to_usize().ok());
        let kind = format!("{:?}", fact.datum_type).to_lowercase();
        Some((sizes.collect::<Option<_>>()?, kind))
    }

    /// The inputs, without constants.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Runs the model on one array for each input and returns every value in it.
    ///
    /// # Errors
    /// [`ConvertError::Reference`].
    pub fn run(&self, inputs: &[ArrayD<f32>]) -> Result<Values> {
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
            reason: reason(&error, &self.graph),
        };
        let tensors = tensors
            .collect::<TractResult<TVec<TValue>>>()
            .map_err(run)?;
        let values = without_panic(|| self.plan.run(tensors)).map_err(run)?;
        Ok(self
            .names
            .iter()
            .cloned()
            .zip(values.into_iter().map(TValue::into_arc_tensor))
            .collect())
    }
}

/// tract calls nodes and weights by one set of names: a node whose name is taken is called as its result, whose name no weight has.
fn drop_shared_names(graph: &mut pb::GraphProto) {
    let weights = graph.initializer.iter().map(|weight| weight.name.clone());
    let mut taken: HashSet<String> = weights.collect();
    taken.extend(graph.input.iter().map(|input| input.name.clone()));
    for node in &mut graph.node {
        if !taken.insert(node.name.clone()) {
            node.name.clear();
        }
    }
}

/// The model ready to run, and the names of its outputs, which are all values in it.
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
    let typed = model.into_typed()?;
    see_sizes(&typed)?;
    Ok((names, typed.into_runnable()?))
}

/// Refuses tensors that would not fit into memory: a run keeps all of them.
fn see_sizes(model: &TypedModel) -> TractResult<()> {
    let mut total = 0usize;
    let outputs = model.nodes().iter().flat_map(|node| &node.outputs);
    for output in outputs {
        let sizes = output
            .fact
            .shape
            .iter()
            .map(|dim| dim.to_usize().unwrap_or(1));
        let elements = sizes.fold(1usize, usize::saturating_mul);
        total = total.saturating_add(elements);
        if total > MOST_ELEMENTS {
            let reason = format!("its tensors have more than {MOST_ELEMENTS} elements in all");
            return Err(Own(reason).into());
        }
    }
    Ok(())
}

/// An error in words for the user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Own(String);

/// Why the float run refuses a model, in words that name its nodes and nothing inside a library.
fn reason(error: &TractError, graph: &pb::GraphProto) -> String {
    if let Some(Own(reason)) = error.downcast_ref::<Own>() {
        return reason.clone();
    }
    let text = format!("{error:#}");
    // `node #9 "name" Operator`, or `Evaluating #9 "name" Operator`.
    let mut names = text
        .split('#')
        .skip(1)
        .filter_map(|part| part.split('"').nth(1));
    let node = names.find_map(|name| {
        let named = |node: &&pb::NodeProto| {
            spelling::name_of(node) == name || node.output.iter().any(|output| output == name)
        };
        graph.node.iter().find(named)
    });
    let remedy = "check it with onnx.checker.check_model(model, full_check=True), and export it with fixed shapes";
    match node {
        Some(node) => {
            let (name, op) = (spelling::name_of(node), spelling::op_of(node));
            format!("the inputs of node `{name}` ({op}) do not fit it, or each other; {remedy}")
        }
        None => format!("an operator's inputs do not fit it, or each other; {remedy}"),
    }
}

/// A panic of tract as one of its errors.
fn without_panic<T>(work: impl FnOnce() -> TractResult<T>) -> TractResult<T> {
    guarded(work).unwrap_or_else(|panic| {
        let reason = match panic.contains("allocate") || panic.contains("capacity overflow") {
            true => "its tensors do not fit into memory",
            false => "the model is damaged, or uses an operator in an unusual way",
        };
        Err(Own(reason.into()).into())
    })
}

/// Names of the inputs of an ONNX file.
///
/// # Errors
/// [`ConvertError::NotOnnx`].
pub fn input_names(path: &Path) -> Result<Vec<String>> {
    let graph = read(path)?.graph.unwrap_or_default();
    Ok(graph.input.into_iter().map(|input| input.name).collect())
}

/// A file that holds a graph.
fn read(path: &Path) -> Result<pb::ModelProto> {
    let not_onnx = |reason: String| ConvertError::NotOnnx {
        path: path.into(),
        reason,
    };
    if let Some(format) = first_bytes(path)
        .as_deref()
        .and_then(spelling::other_format)
    {
        return Err(not_onnx(format!("it is {format}")));
    }
    let proto = tract_onnx::onnx()
        .proto_model_for_path(path)
        .map_err(|error| not_onnx(error.root_cause().to_string()))?;
    let graph = proto
        .graph
        .as_ref()
        .ok_or_else(|| not_onnx("it holds no graph".into()))?;
    if graph.node.is_empty() || graph.output.is_empty() {
        return Err(not_onnx("its graph has no nodes or no outputs".into()));
    }
    for tensor in &graph.initializer {
        let mut external = tensor.external_data.iter();
        let location = external.find(|entry| entry.key == "location");
        let outside = location.filter(|entry| leads_out(Path::new(&entry.value)));
        if let Some(entry) = outside {
            let reason = format!(
                "the data of `{}` are in `{}`, outside the model's folder",
                tensor.name, entry.value
            );
            return Err(not_onnx(reason));
        }
    }
    Ok(proto)
}

/// The start of a file, enough to tell what it is.
fn first_bytes(path: &Path) -> Option<Vec<u8>> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(8).read_to_end(&mut start).ok()?;
    Some(start)
}

/// A tensor of any type as f32.
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

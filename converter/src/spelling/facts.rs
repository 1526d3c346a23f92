//! Shapes and constants of the values that the graph has so far: those that the file declares, and those that tract derives.

use crate::guard::guarded;
use std::collections::HashMap;
use std::sync::Arc;
use tract_onnx::pb;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::InferenceModelExt;
use tract_onnx::tract_hir::internal::{DimLike, Factoid};

/// What is known about a value.
#[derive(Clone, Debug, Default)]
pub struct Fact {
    /// Its shape.
    pub shape: Option<Vec<usize>>,
    /// It holds truth values.
    pub boolean: bool,
    /// It holds integers.
    pub whole: bool,
    /// Its elements, if they depend on no input.
    pub constant: Option<Arc<Tensor>>,
}

/// Facts by name.
pub struct Facts {
    folder: String,
    declared: HashMap<String, Fact>,
    derived: HashMap<String, Fact>,
}

impl Facts {
    /// What the file declares: its weights, and types of values.
    pub fn declared(graph: &pb::GraphProto, outputs: &[pb::ValueInfoProto], folder: &str) -> Self {
        use pb::tensor_proto::DataType;
        let boolean = |kind: i32| kind == DataType::Bool as i32;
        let whole = |kind: i32| [DataType::Int32 as i32, DataType::Int64 as i32].contains(&kind);
        let mut declared = HashMap::new();
        for tensor in &graph.initializer {
            let fact = Fact {
                shape: Some(tensor.dims.iter().map(|&d| d as usize).collect()),
                boolean: boolean(tensor.data_type),
                whole: whole(tensor.data_type),
                constant: None,
            };
            declared.insert(tensor.name.clone(), fact);
        }
        let types = graph.value_info.iter().chain(&graph.input).chain(outputs);
        for info in types {
            let Some(pb::type_proto::Value::TensorType(tensor)) =
                info.r#type.as_ref().and_then(|kind| kind.value.as_ref())
            else {
                continue;
            };
            let fact = Fact {
                shape: tensor.shape.as_ref().and_then(shape_of),
                boolean: boolean(tensor.elem_type),
                whole: whole(tensor.elem_type),
                constant: None,
            };
            declared.entry(info.name.clone()).or_insert(fact);
        }
        Self {
            folder: folder.into(),
            declared,
            derived: HashMap::new(),
        }
    }

    /// The shape of a value as the file declares it.
    pub fn declared_shape(&self, name: &str) -> Option<&[usize]> {
        self.declared.get(name)?.shape.as_deref()
    }

    /// The shape of a value.
    pub fn shape(&mut self, model: &pb::ModelProto, name: &str) -> Option<Vec<usize>> {
        match self.declared_shape(name) {
            Some(shape) => Some(shape.to_vec()),
            None => self.derived(model, name)?.shape.clone(),
        }
    }

    /// True for truth values.
    pub fn is_boolean(&mut self, model: &pb::ModelProto, name: &str) -> bool {
        match self.declared.get(name) {
            Some(fact) => fact.boolean,
            None => self.derived(model, name).is_some_and(|fact| fact.boolean),
        }
    }

    /// True for integers.
    pub fn is_whole(&mut self, model: &pb::ModelProto, name: &str) -> bool {
        match self.declared.get(name) {
            Some(fact) => fact.whole,
            None => self.derived(model, name).is_some_and(|fact| fact.whole),
        }
    }

    /// The elements of a value that depends on no input.
    pub fn constant(&mut self, model: &pb::ModelProto, name: &str) -> Option<Arc<Tensor>> {
        self.derived(model, name)?.constant.clone()
    }

    fn derived(&mut self, model: &pb::ModelProto, name: &str) -> Option<&Fact> {
        if !self.derived.contains_key(name) {
            let all = guarded(|| derive(model, &self.folder)).ok()?.ok()?;
            self.derived = all;
        }
        self.derived.get(name)
    }
}

/// Everything that tract derives from the graph so far.
fn derive(model: &pb::ModelProto, folder: &str) -> TractResult<HashMap<String, Fact>> {
    let parsed = tract_onnx::onnx().parse(model, Some(folder))?;
    let mut inferred = parsed.model;
    // A part that cannot be analysed leaves the others as they are.
    let _ = inferred.analyse(true);
    let mut facts = HashMap::new();
    for (name, outlet) in parsed.outlets_by_name {
        let fact = inferred.outlet_fact(outlet)?;
        let shape = fact.shape.concretize();
        let shape = shape.and_then(|dims| dims.iter().map(|dim| dim.to_usize().ok()).collect());
        let kind = fact.datum_type.concretize();
        let known = Fact {
            shape,
            boolean: kind == Some(DatumType::Bool),
            whole: kind.is_some_and(|kind| kind.is_integer()),
            constant: fact.value.concretize(),
        };
        facts.insert(name, known);
    }
    Ok(facts)
}

/// A shape without symbols.
fn shape_of(shape: &pb::TensorShapeProto) -> Option<Vec<usize>> {
    let size = |dim: &pb::tensor_shape_proto::Dimension| match &dim.value {
        Some(Dim::DimValue(size)) => usize::try_from(*size).ok(),
        _ => None,
    };
    shape.dim.iter().map(size).collect()
}

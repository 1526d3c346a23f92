//! `attn inspect`: what is in an `.attn` file.

use super::{CommandResult, table};
use attn_converter::runner::ModelFile;
use attn_runtime::Model;
use attn_runtime::format::{OpRecord, Storage, TensorRecord};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Shows what an .attn file holds: sizes, entry points, operators, tensors.
#[derive(Args)]
pub struct Inspect {
    /// The .attn file.
    model: PathBuf,
    /// Also list the tensors.
    #[arg(long)]
    tensors: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(&self) -> CommandResult {
        let file = ModelFile::load(&self.model)?;
        let model = file.model();
        if self.json {
            println!("{:#}", to_json(model, file.bytes().len()));
            return Ok(());
        }
        println!(
            "{} bytes: weights {}; arena {} bytes, of which state {}",
            file.bytes().len(),
            model.weights_len(),
            model.arena_len(),
            model.state_len()
        );
        let labels: Vec<&str> = model.labels().collect();
        if !labels.is_empty() {
            println!("labels: {}", labels.join(", "));
        }
        if let Some(audio) = model.audio() {
            println!(
                "audio: {} Hz, hop {} samples, {} mel bands",
                audio.sample_rate, audio.hop, audio.mel_bands
            );
        }
        if let Some((spotter, _)) = model.spotter() {
            let (smoothing, refractory) = (spotter.smoothing_hops, spotter.refractory_hops);
            println!(
                "spotter: posteriors over {smoothing} hops, silent for {refractory} hops after an event"
            );
        }
        for entry in model.entries() {
            println!("\nentry point {}", model.name(entry.name));
            println!("{}", operators(model, &model.ops()[entry.ops()]));
        }
        if self.tensors {
            println!("\n{}", tensors(model));
        }
        Ok(())
    }
}

fn describe(model: Model, ids: impl Iterator<Item = usize>) -> String {
    let one = |id: usize| {
        model
            .tensor(id)
            .map(|t| format!("{} {:?}", t.dtype().name(), t.shape()))
    };
    ids.filter_map(one).collect::<Vec<_>>().join(", ")
}

fn operators(model: Model, ops: &[OpRecord]) -> comfy_table::Table {
    let mut table = table(&["operator", "name", "reads", "writes", "scratch"]);
    for op in ops {
        table.add_row([
            op.kind().map_or("?", |kind| kind.name()).to_owned(),
            model.name(op.name).to_owned(),
            describe(model, op.inputs()),
            describe(model, op.outputs()),
            op.scratch()
                .and_then(|id| model.tensor(id))
                .map_or(String::new(), |t| format!("{} B", t.byte_len())),
        ]);
    }
    table
}

fn storage(tensor: &TensorRecord) -> &'static str {
    match tensor.storage() {
        Storage::Arena => "arena",
        Storage::State => "state",
    }
}

fn tensors(model: Model) -> comfy_table::Table {
    let mut table = table(&[
        "tensor",
        "name",
        "type",
        "shape",
        "place",
        "offset",
        "scale",
        "zero point",
    ]);
    for (id, tensor) in model.tensors().iter().enumerate() {
        table.add_row([
            id.to_string(),
            model.name(tensor.name).to_owned(),
            tensor.dtype().name().to_owned(),
            format!("{:?}", tensor.shape()),
            storage(tensor).to_owned(),
            tensor.offset.to_string(),
            tensor.scale.to_string(),
            tensor.zero_point.to_string(),
        ]);
    }
    table
}

fn to_json(model: Model, len: usize) -> Value {
    let tensors: Vec<Value> = model
        .tensors()
        .iter()
        .map(|t| {
            json!({
                "name": model.name(t.name), "dtype": t.dtype().name(), "shape": t.shape(), "storage": storage(t),
                "offset": t.offset, "scale": t.scale, "zero_point": t.zero_point,
            })
        })
        .collect();
    let ops = |ops: &[OpRecord]| -> Vec<Value> {
        ops.iter()
            .map(|op| {
                json!({
                    "kind": op.kind().map(|kind| kind.name()), "name": model.name(op.name),
                    "inputs": op.inputs().collect::<Vec<_>>(), "outputs": op.outputs().collect::<Vec<_>>(),
                    "scratch": op.scratch(),
                })
            })
            .collect()
    };
    let entries: Vec<Value> = model
        .entries()
        .iter()
        .map(|entry| {
            json!({
                "name": model.name(entry.name), "operators": ops(&model.ops()[entry.ops()]),
                "inputs": entry.inputs().collect::<Vec<_>>(), "outputs": entry.outputs().collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "bytes": len, "weights": model.weights_len(), "arena": model.arena_len(), "state": model.state_len(),
        "labels": model.labels().collect::<Vec<_>>(), "entries": entries, "tensors": tensors,
    })
}

//! What is in an `.attn` file, as JSON. Tables for people are the command's.

use crate::runner::ModelFile;
use crate::thresholds;
use attn_runtime::format::{DecodeMeta, OpRecord, Storage, TensorRecord};
use serde_json::{Value, json};

/// All that a file holds but its weights: sizes, entry points with their operators, tensors, metadata. Tensors are named by number.
pub fn json(file: &ModelFile) -> Value {
    let model = file.model();
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
                "input_names": model.input_names(entry).collect::<Vec<_>>(),
                "output_names": model.output_names(entry).collect::<Vec<_>>(),
            })
        })
        .collect();
    let decode = model.decode().map(|decode| {
        json!({
            "encode": DecodeMeta::optional(decode.encode), "step": decode.step, "start": decode.start,
            "end": decode.end, "max_tokens": decode.max_tokens, "tokens": decode.tokens,
            "hypothesis": decode.hypothesis_len,
        })
    });
    let thresholds: Vec<_> = thresholds::of(model)
        .map(|(_, value)| thresholds::number(value))
        .collect();
    json!({
        "max_length": model.max_length(), "decode": decode, "token_names": model.tokens().collect::<Vec<_>>(),
        "symbol_names": model.symbols().collect::<Vec<_>>(),
        "bytes": file.bytes().len(), "weights": model.weights_len(), "arena": model.arena_len(), "state": model.state_len(),
        "labels": model.labels().collect::<Vec<_>>(), "thresholds": thresholds, "entries": entries, "tensors": tensors,
    })
}

/// Where a tensor is kept: `arena`, or `state` for what outlives a run.
pub fn storage(tensor: &TensorRecord) -> &'static str {
    match tensor.storage() {
        Storage::Arena => "arena",
        Storage::State => "state",
    }
}

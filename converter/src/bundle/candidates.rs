//! Turns the output layer of a step into TopK: the step then gives the best tokens and never stores a row of logits.

use crate::program::{Place, Program};
use crate::quantize::Quant;
use attn_runtime::format::{DType, MAX_CANDIDATES, OpKind};
use attn_runtime::kernels::int::softmax::score_multiplier;
use zerocopy::IntoBytes;

/// Replaces output number `logits` of entry point `entry` by its `count` best tokens. Appends their log-probabilities as a new
/// output and returns its number.
///
/// # Errors
/// The reason, in words.
pub fn fuse(
    program: &mut Program,
    entry: usize,
    logits: usize,
    count: usize,
) -> Result<usize, String> {
    let id = program.entries[entry].outputs[logits];
    let tokens = program.tensors[id].dims.iter().product::<usize>();
    if count == 0 || count > MAX_CANDIDATES.min(tokens) {
        return Err(format!(
            "candidates = {count}: 1 to {} are possible",
            MAX_CANDIDATES.min(tokens)
        ));
    }
    let mut ops = program.entries[entry].ops.clone();
    let layer = ops.find(|&op| program.ops[op].outputs.contains(&id));
    let layer = layer.filter(|&op| program.ops[op].kind == OpKind::Linear);
    let layer = layer.ok_or(
        "candidates: the logits are not what a linear layer puts out; leave `candidates` out",
    )?;
    let mut readers = program.ops.iter().flat_map(|op| &op.inputs);
    if readers.any(|&read| program.base(read).0 == id) {
        return Err("candidates: the step itself reads its logits; leave `candidates` out".into());
    }
    let mut tail = (tokens as u32).to_le_bytes().to_vec();
    match program.tensors[id].quant.dtype {
        DType::F16 => {}
        DType::I16 => {
            let multiplier = score_multiplier(program.tensors[id].quant.scale);
            tail.extend_from_slice(multiplier.as_bytes());
        }
        other => {
            return Err(format!(
                "candidates: the logits are {}; TopK makes int16 or float16",
                other.name()
            ));
        }
    }
    // The tensor of the logits becomes that of the best tokens.
    let name = program.tensors[id].name.clone();
    let best = &mut program.tensors[id];
    (best.name, best.dims, best.quant) = (format!("{name}.best"), vec![1, count], Quant::COUNTER);
    let scores = program.tensor(
        format!("{name}.scores"),
        &[1, count],
        Quant::COUNTER,
        Place::Arena,
    );
    let layer = &mut program.ops[layer];
    layer.kind = OpKind::TopK;
    layer.outputs.push(scores);
    layer.params.extend_from_slice(&tail);
    let outputs = &mut program.entries[entry].outputs;
    outputs.push(scores);
    Ok(outputs.len() - 1)
}

//! What a model costs on a Cortex-M4, estimated from shapes alone. Counts of real images come from an emulator or a board; this is a
//! first answer, within a factor of two, on any computer.

use crate::graph::{Graph, Node};
use attn_runtime::Model;
use attn_runtime::format::{DType, OpKind};

/// Cycles of one run over a whole window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Of all operators.
    pub cycles: u64,
    /// Of ONNX nodes that base operators compute, most costly first.
    pub fallbacks: Vec<Fallback>,
}

/// An ONNX node that no fusion took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Its name.
    pub node: String,
    /// Its operator in ONNX.
    pub operator: String,
    /// Cycles of the base operators that compute it.
    pub cycles: u64,
}

impl Estimate {
    /// The part of all cycles that fallbacks take, 0 to 1.
    pub fn fallback_share(&self) -> f64 {
        let fallbacks: u64 = self.fallbacks.iter().map(|fallback| fallback.cycles).sum();
        fallbacks as f64 / self.cycles.max(1) as f64
    }
}

/// Cycles of operator number `op` of a file, at the greatest length of a sequence; 0 for one that does not exist. What the emulator counts
/// is within [`SPREAD`] times that (`host-tests/tests/estimate.rs`).
pub fn operator(model: &Model, op: usize) -> u64 {
    let Some((record, work)) = model.ops().get(op).zip(model.op_work(op)) else {
        return 0;
    };
    let tensors = record.inputs().chain(record.outputs());
    let tensors: Vec<_> = tensors.filter_map(|id| model.tensor(id)).collect();
    let half = tensors.iter().any(|tensor| tensor.dtype() == DType::F16);
    let elements: usize = tensors.iter().map(|tensor| tensor.len()).sum();
    let [product, element] = costs(record.kind(), half);
    (START + element * elements as f64 + product * work.macs as f64) as u64
}

/// Factors between the cycles of a whole run that [`operator`] gives and those that the emulator counts, least and most.
pub const SPREAD: [f64; 2] = [0.5, 2.0];

/// Cycles of a product, and of an element that is read or written.
fn costs(kind: Option<OpKind>, half: bool) -> [f64; 2] {
    use OpKind as K;
    match kind {
        Some(K::Linear | K::Conv1d | K::TopK) => [if half { 3.4 } else { 1.25 }, 4.0],
        Some(K::Conv2d | K::ConvTranspose2d) => [if half { 3.4 } else { 1.5 }, 4.0],
        Some(K::DepthwiseConv1d | K::DepthwiseConv2d) => [6.0, 4.0],
        Some(K::Gru | K::Lstm | K::Recurrent) => [if half { 4.0 } else { 2.6 }, ELEMENT],
        Some(K::Attention | K::AdditiveAttention) => [if half { 4.0 } else { 1.8 }, ELEMENT],
        Some(K::MatMul) => [if half { 3.7 } else { 2.9 }, 4.0],
        Some(K::Softmax | K::LayerNorm) => [PRODUCT[0], 17.0],
        Some(K::Copy | K::Concat | K::PushKeyValue | K::ShiftRows | K::LastRow) => [0.0, 5.0],
        Some(K::Add | K::AddConstant | K::Mul | K::Lut | K::Requantize | K::Gate) => {
            [PRODUCT[0], if half { 17.0 } else { 4.5 }]
        }
        _ => [PRODUCT[usize::from(half)], ELEMENT],
    }
}

/// Cycles for a product and its sum: in integers, and in half precision, where every weight is converted.
const PRODUCT: [f64; 2] = [2.0, 3.4];
/// Cycles for an element that is read or written besides.
const ELEMENT: f64 = 12.0;
/// Cycles for starting an operator.
const START: f64 = 400.0;

/// The estimate for a graph in integers, or in half precision.
pub fn estimate(graph: &Graph, half: bool) -> Estimate {
    let mut costs = vec![0; graph.fallbacks.len()];
    let mut cycles = 0;
    for node in &graph.nodes {
        let cost = node_cycles(graph, node, half);
        cycles += cost;
        let fallback = node
            .outputs()
            .find_map(|value| graph.fallback_values.get(&value));
        if let Some(cost_of) = fallback.and_then(|&number| costs.get_mut(number)) {
            *cost_of += cost;
        }
    }
    let mut fallbacks: Vec<_> = (graph.fallbacks.iter().zip(costs))
        .map(|((node, operator), cycles)| Fallback {
            node: node.clone(),
            operator: operator.clone(),
            cycles,
        })
        .collect();
    fallbacks.sort_by_key(|fallback| std::cmp::Reverse(fallback.cycles));
    Estimate { cycles, fallbacks }
}

fn node_cycles(graph: &Graph, node: &Node, half: bool) -> u64 {
    let inputs: Vec<_> = (node.inputs.iter())
        .map(|input| &graph.values[input.0])
        .collect();
    let result = &graph.values[node.output.0];
    let read: usize = inputs.iter().map(|value| value.len()).sum();
    let products = node.op.products(&inputs, result) as f64;
    (START + ELEMENT * (read + result.len()) as f64 + PRODUCT[usize::from(half)] * products) as u64
}

//! What a model costs on a Cortex-M4, estimated from shapes alone. Counts of real images come from an emulator or a board; this is a
//! first answer, within a factor of two, on any computer.

use crate::graph::{Graph, Node};

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

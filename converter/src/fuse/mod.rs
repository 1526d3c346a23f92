//! Fusion: passes over the graph after import. Base operators that together are an attention-level operator become that operator.
//!
//! A pass is one file. It finds what it looks for with the `matcher`, which sees through everything that only moves elements, and
//! puts new nodes in place with `rewrite`. What no pass takes stays as it is and still runs.

mod additive;
mod attention;
mod bias;
mod cells;
mod columns;
mod dots;
mod functions;
mod guards;
mod heads;
mod hoist;
mod layers;
mod matcher;
mod moves;
mod normalization;
mod products;
mod rewrite;
mod scores;
#[cfg(test)]
mod testing;
mod weighing;

use crate::graph::{Graph, Op};
use std::collections::BTreeMap;

/// A pass: it changes the graph where it finds its pattern.
type Pass = fn(&mut Graph);

/// The passes, in the order in which they run.
const PASSES: &[Pass] = &[
    moves::run,
    products::run,
    layers::run,
    guards::run,
    additive::run,
    attention::run,
    cells::run,
    normalization::run,
    functions::run,
    layers::run,
    hoist::run,
    columns::run,
    moves::run,
];

/// Runs all passes. What a pass has fused is no fallback any more.
pub fn fuse(graph: &mut Graph) {
    for pass in PASSES {
        pass(graph);
        graph.drop_unused();
    }
    forget_fused(graph);
}

/// Removes the fallbacks of which no node is left, or one that is no base operator: that is what import makes of such a node.
fn forget_fused(graph: &mut Graph) {
    let is_base = |op: &Op| {
        matches!(
            op,
            Op::Copy(_) | Op::MatMul(_) | Op::Reduce(_) | Op::ArgMax(_)
        )
    };
    let mut nodes = BTreeMap::<usize, Vec<bool>>::new();
    for node in &graph.nodes {
        let values = node.outputs();
        for fallback in values.filter_map(|value| graph.fallback_values.get(&value)) {
            nodes.entry(*fallback).or_default().push(is_base(&node.op));
        }
    }
    nodes.retain(|_, nodes| *nodes != [false]);
    let numbers: Vec<usize> = nodes.into_keys().collect();
    let named = numbers
        .iter()
        .filter_map(|&number| graph.fallbacks.get(number));
    graph.fallbacks = named.cloned().collect();
    let place = |number: usize| numbers.binary_search(&number).ok();
    let values = std::mem::take(&mut graph.fallback_values).into_iter();
    graph.fallback_values = values
        .filter_map(|(value, number)| Some((value, place(number)?)))
        .collect();
}

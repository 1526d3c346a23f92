//! Fusion: passes over the graph after import. Base operators that together are an attention-level operator become that operator.
//!
//! A pass is one file. It finds what it looks for with the [`matcher`], which sees through everything that only moves elements, and
//! puts new nodes in place with [`rewrite`]. What no pass takes stays as it is and still runs.

mod attention;
mod dots;
mod heads;
mod matcher;
mod moves;
mod rewrite;
mod scores;
#[cfg(test)]
mod testing;
mod weighing;

use crate::graph::Graph;
use std::collections::BTreeSet;

/// A pass: it changes the graph where it finds its pattern.
type Pass = fn(&mut Graph);

/// The passes, in the order in which they run.
const PASSES: &[Pass] = &[moves::run, attention::run, moves::run];

/// Runs all passes. What a pass has fused is no fallback any more.
pub fn fuse(graph: &mut Graph) {
    for pass in PASSES {
        pass(graph);
        graph.drop_unused();
    }
    forget_fused(graph);
}

/// Removes the fallbacks of which no node is left.
fn forget_fused(graph: &mut Graph) {
    let outputs = graph.nodes.iter().flat_map(|node| node.outputs());
    let outputs: BTreeSet<_> = outputs.collect();
    let of = |computes: bool| -> BTreeSet<usize> {
        let values = graph.fallback_values.iter();
        let values = values.filter(|(value, _)| outputs.contains(value) == computes);
        values.map(|(_, &fallback)| fallback).collect()
    };
    let (left, gone) = (of(true), of(false));
    let mut number = 0..;
    let kept = |fallback: usize| left.contains(&fallback) || !gone.contains(&fallback);
    graph.fallbacks.retain(|_| number.next().is_some_and(kept));
    graph.fallback_values.clear();
}

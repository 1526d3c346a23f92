//! Fusion: passes over the graph after import. Base operators that together are an attention-level operator become that operator.
//!
//! A pass is one file. It finds what it looks for with the [`matcher`], which sees through everything that only moves elements, and
//! puts new nodes in place with [`rewrite`]. What no pass takes stays as it is and still runs.

mod additive;
mod attention;
mod bias;
mod dots;
mod guards;
mod heads;
mod layers;
mod matcher;
mod moves;
mod rewrite;
mod scores;
#[cfg(test)]
mod testing;
mod weighing;

use crate::graph::facts::Kind;
use crate::graph::{Graph, Node};
use std::collections::BTreeSet;

/// A pass: it changes the graph where it finds its pattern.
type Pass = fn(&mut Graph);

/// The passes, in the order in which they run.
const PASSES: &[Pass] = &[
    moves::run,
    layers::run,
    guards::run,
    additive::run,
    attention::run,
    moves::run,
];

/// Runs all passes. What a pass has fused is no fallback any more.
pub fn fuse(graph: &mut Graph) {
    let known = graph.fallback_values.iter();
    let known: Vec<bool> = known.map(|values| !values.is_empty()).collect();
    for pass in PASSES {
        pass(graph);
        graph.drop_unused();
    }
    forget_fused(graph, &known);
}

/// Removes the fallbacks that had values and have none left.
fn forget_fused(graph: &mut Graph, known: &[bool]) {
    // A view costs nothing.
    let computes = |node: &&Node| matches!(graph.facts(node).kind, Kind::Runtime(_));
    let nodes = graph.nodes.iter().filter(computes);
    let computed = nodes
        .flat_map(Node::outputs)
        .chain(graph.inputs.iter().copied());
    let computed: BTreeSet<_> = computed.collect();
    let values = std::mem::take(&mut graph.fallback_values);
    let left = |(values, known): (&BTreeSet<_>, &bool)| !known || !values.is_disjoint(&computed);
    let mut left = values.iter().zip(known).map(left);
    graph.fallbacks.retain(|_| left.next().unwrap_or(true));
}

//! Moves of moves become one move, and a move to where everything is already becomes none.

use super::matcher::{Matcher, Origin, places};
use super::rewrite::{Arranged, Arrangement, arrangement};
use crate::graph::{Graph, Op, ValueId, op};

/// Runs the pass. Views alone stay as they are: they cost nothing.
pub fn run(graph: &mut Graph) {
    for at in 0..graph.nodes.len() {
        let node = &graph.nodes[at];
        if places(graph, node).is_none() || !copies(graph, at) {
            continue;
        }
        let (value, before) = (node.output, node.inputs[0]);
        let origin = Matcher::new(graph).moved(value);
        let arranged = Arranged {
            base: origin.base,
            position: &origin.position,
            channels: graph.values[value.0].channels(),
        };
        let arrangement = arrangement(graph, &arranged);
        let whole = arrangement == Arrangement::Same;
        let alike = graph.values[value.0].dims == graph.values[origin.base.0].dims;
        if whole && alike && !graph.outputs.contains(&value) && !graph.tokens.contains(&value) {
            read_instead(graph, value, origin.base);
        } else if before != origin.base || whole {
            set(graph, at, origin, arrangement);
        }
    }
}

/// True if node number `at` or the moves before it copy.
fn copies(graph: &Graph, mut at: usize) -> bool {
    loop {
        let node = &graph.nodes[at];
        if places(graph, node).is_none() {
            return false;
        }
        if matches!(node.op, Op::Copy(_)) {
            return true;
        }
        // Producers stand in front of their readers.
        let input = node.inputs[0];
        let before = &graph.nodes[..at];
        match before.iter().rposition(|node| node.output == input) {
            Some(producer) => at = producer,
            None => return false,
        }
    }
}

/// Makes node number `at` the one move that its chain is.
fn set(graph: &mut Graph, at: usize, origin: Origin, arrangement: Arrangement) {
    let node = &mut graph.nodes[at];
    // An operator computes every output: an input under other dimensions is copied.
    let returned = graph.outputs.contains(&node.output) && graph.inputs.contains(&origin.base);
    node.inputs = vec![origin.base];
    let rows = graph.values[node.output.0].rows();
    node.op = match arrangement {
        Arrangement::Same if !returned => op::Reshape.into(),
        Arrangement::Rows(start) if !returned => op::SelectRows { start, rows }.into(),
        _ => op::Copy {
            index: origin.position,
        }
        .into(),
    };
}

/// Everything that reads `value` reads `base`.
fn read_instead(graph: &mut Graph, value: ValueId, base: ValueId) {
    for input in graph.nodes.iter_mut().flat_map(|node| &mut node.inputs) {
        if *input == value {
            *input = base;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::testing::Build;

    #[test]
    fn two_transpositions_are_none() {
        let mut build = Build::new();
        let x = build.input(&[3, 4]);
        let turned = build.copy(x, &[4, 3], |at| (at % 3 * 4 + at / 3) as u32);
        let back = build.copy(turned, &[3, 4], |at| (at % 4 * 3 + at / 4) as u32);
        let y = build.add_to(back, x);
        let mut graph = build.graph(&[y]);
        run(&mut graph);
        graph.drop_unused();
        assert_eq!(graph.nodes.len(), 1, "{:?}", graph.nodes);
        assert!(matches!(graph.nodes[0].op, Op::Add(_)));
        assert_eq!(graph.nodes[0].inputs, [x, x]);
    }

    #[test]
    fn an_output_stays_a_value_of_its_own() {
        let mut build = Build::new();
        let x = build.input(&[3, 4]);
        let first = build.copy(x, &[12], |at| at as u32);
        let y = build.copy(first, &[3, 4], |at| at as u32);
        let mut graph = build.graph(&[y]);
        run(&mut graph);
        graph.drop_unused();
        let ops: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(ops, ["Copy"]);
        assert_eq!(graph.nodes[0].inputs, [x]);
    }
}

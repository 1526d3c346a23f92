//! Parts of a layer's result that only moves read become layers of their own: the halves of a gate, the parts of a split.

use super::matcher::{Matcher, places};
use super::rewrite::{Arranged, Rewrite};
use crate::graph::{Graph, Op, ValueId};

/// Runs the pass.
pub fn run(graph: &mut Graph) {
    let bases: Vec<ValueId> = graph
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::Linear(_) | Op::Conv1d(_)))
        .map(|node| node.output)
        .collect();
    for base in bases {
        split(graph, base);
    }
}

/// Splits the layer that computes `base`, if every part that is read is columns of it and no two parts overlap.
fn split(graph: &mut Graph, base: ValueId) {
    let matcher = Matcher::new(graph);
    let parts: Vec<ValueId> = matcher.readers(base).map(|node| node.output).collect();
    let all = graph.values[base.0].channels();
    let mut taken = vec![false; all];
    for node in matcher.readers(base) {
        let Some(index) = places(graph, node).filter(|_| matches!(node.op, Op::Copy(_))) else {
            return;
        };
        let width = graph.values[node.output.0].channels();
        let columns = index.get(..width).unwrap_or_default();
        let free = columns
            .iter()
            .all(|&c| taken.get(c as usize) == Some(&false));
        columns
            .iter()
            .filter(|_| free)
            .for_each(|&c| taken[c as usize] = true);
        let rows = index.len() / width.max(1);
        let by_row = index
            .iter()
            .enumerate()
            .all(|(at, &p)| p as usize == at / width * all + columns[at % width] as usize);
        if !free || !by_row || rows != graph.values[base.0].rows() {
            return;
        }
    }
    if matcher.is_output(base) {
        return;
    }
    for part in parts {
        let Some(at) = graph.nodes.iter().position(|node| node.output == part) else {
            continue;
        };
        let Some(position) = places(graph, &graph.nodes[at]) else {
            continue;
        };
        let (channels, len) = (graph.values[part.0].channels(), position.len());
        let name = graph.nodes[at].name.clone();
        let mut rewrite = Rewrite { graph, at };
        let own = rewrite.arranged(
            &name,
            &Arranged {
                base,
                position: &position,
                channels,
            },
        );
        rewrite.replace(part, own, (0..len as u32).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::moves;
    use crate::fuse::testing::{Build, output};
    use crate::graph::{Clamp, op};
    use ndarray::ArrayD;

    fn halves(overlap: usize) -> Graph {
        let mut build = Build::new();
        let x = build.input(&[3, 4]);
        let weight =
            ArrayD::from_shape_fn(vec![8, 4], |at| (at[0] * 5 + at[1] * 3) as f32 / 16.0 - 1.0);
        let bias = (0..8).map(|at| at as f32).collect();
        let linear = op::Linear(op::Affine {
            weight,
            bias,
            clamp: Clamp::NONE,
        });
        let y = build.op(linear, &[x], &[3, 8]);
        let a = build.copy(y, &[3, 4], |at| (at / 4 * 8 + at % 4) as u32);
        let b = build.copy(y, &[3, 4], |at| (at / 4 * 8 + at % 4 + 4 - overlap) as u32);
        let gated = build.op(op::Mul { factor: 1.0 }, &[a, b], &[3, 4]);
        build.graph(&[gated])
    }

    #[test]
    fn halves_of_a_layer_are_two_layers() {
        let mut graph = halves(0);
        let exact = output(&graph);
        run(&mut graph);
        moves::run(&mut graph);
        graph.drop_unused();
        let ops: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(ops, ["Linear", "Linear", "Mul"]);
        assert_eq!(output(&graph), exact);
    }

    #[test]
    fn parts_that_overlap_stay_copies() {
        let mut graph = halves(1);
        run(&mut graph);
        let copies = graph
            .nodes
            .iter()
            .filter(|node| matches!(node.op, Op::Copy(_)));
        assert_eq!(copies.count(), 2);
    }
}

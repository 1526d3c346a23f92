//! Products with a constant matrix are layers.

use super::matcher::{Matcher, Origin};
use super::rewrite::{Arranged, Rewrite, each};
use crate::graph::op::Affine;
use crate::graph::{Graph, Op, op};
use ndarray::ArrayD;

/// Runs the pass.
pub fn run(graph: &mut Graph) {
    each(graph, |graph, at| {
        let (layer, rows) = layer(graph, at)?;
        Some(put(graph, at, layer, rows))
    });
}

/// The layer that node number `at` is, and its input `[rows, channels]`.
fn layer(graph: &Graph, at: usize) -> Option<(Affine, Origin)> {
    let node = &graph.nodes[at];
    let Op::MatMul(op::MatMul { batch, m, k, n }) = node.op else {
        return None;
    };
    let matcher = Matcher::new(graph);
    let right = matcher.moved(node.inputs[1]);
    let constant = graph.constant(right.base)?;
    let matrices: Vec<&[u32]> = right.position.chunks(k * n).collect();
    let same = matrices.iter().all(|matrix| *matrix == matrices[0]);
    if !same || batch * m == 0 || right.position.contains(&Origin::ZERO) {
        return None;
    }
    let weight = (0..n * k).map(|at| constant[matrices[0][at % k * n + at / k] as usize]);
    let weight = ArrayD::from_shape_vec(vec![n, k], weight.collect()).ok()?;
    let left = matcher.moved(node.inputs[0]);
    Some((Affine::new(weight, vec![0.0; n]), left))
}

/// Puts a layer in place of the product that is node number `at`; gives the number of the node behind it.
fn put(graph: &mut Graph, at: usize, layer: Affine, rows: Origin) -> usize {
    let product = graph.nodes[at].output;
    let name = Matcher::new(graph).onnx_name(&graph.nodes[at]);
    let channels = layer.weight.shape()[1];
    let mut rewrite = Rewrite { graph, at };
    let label = format!("{name}.rows");
    let arranged = Arranged {
        base: rows.base,
        position: &rows.position,
        channels,
    };
    let x = rewrite.arranged(&label, &arranged);
    let at = rewrite.at;
    rewrite.fused(product);
    let node = &mut graph.nodes[at];
    (node.name, node.op, node.inputs) = (name, op::Linear(layer).into(), vec![x]);
    at + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::testing::{Build, output};

    #[test]
    fn a_product_with_a_constant_and_a_sum_is_a_layer() {
        let mut build = Build::new();
        let x = build.input(&[3, 4]);
        let values = (0..8).map(|i| i as f32 - 3.0).collect();
        let w = build.op(op::Constant { values }, &[], &[4, 2]);
        let turned = build.copy(x, &[4, 3], |at| (at % 3 * 4 + at / 3) as u32);
        let back = build.copy(turned, &[3, 4], |at| (at % 4 * 3 + at / 4) as u32);
        let sizes = op::MatMul {
            batch: 1,
            m: 3,
            k: 4,
            n: 2,
        };
        let product = build.op(sizes, &[back, w], &[3, 2]);
        let constant = [1.0, -2.0].repeat(3);
        let sum = op::AddConstant {
            constant,
            clamp: crate::graph::Clamp::NONE,
        };
        let y = build.op(sum, &[product], &[3, 2]);
        let mut graph = build.graph(&[y]);
        graph.fallbacks.push(("sum".into(), "Add".into()));
        graph.fallback_values.insert(y, 0);
        let before = output(&graph);
        crate::fuse::fuse(&mut graph);
        let names: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
        // The view in place of the sum costs nothing.
        assert_eq!(names, ["Linear", "Reshape"]);
        assert_eq!(graph.nodes[0].inputs, [x]);
        assert_eq!(output(&graph), before);
    }
}

//! Weights times a number for each of their rows, before they weigh values: the number moves behind the product.
//!
//! PyTorch guards so against queries that see no key.

use super::matcher::{Matcher, Origin};
use super::rewrite::{Arranged, Rewrite};
use crate::graph::{Graph, Op, Value, op};

/// Runs the pass.
pub fn run(graph: &mut Graph) {
    let mut at = 0;
    while at < graph.nodes.len() {
        at = match Guard::at(graph, at) {
            Some(guard) => guard.put(graph, at),
            None => at + 1,
        };
    }
}

/// A product of rows of weights, each times a number, and values.
struct Guard {
    weights: Origin,
    /// For each row of the product its number.
    numbers: Origin,
    product: op::MatMul,
    factor: f32,
}

impl Guard {
    /// The one that is node number `at`.
    fn at(graph: &Graph, at: usize) -> Option<Self> {
        let node = &graph.nodes[at];
        let Op::MatMul(product) = node.op else {
            return None;
        };
        let matcher = Matcher::new(graph);
        let guarded = matcher.moved(node.inputs[0]);
        let times = matcher.producer(guarded.base)?;
        let Op::Mul(op::Mul { factor }) = times.op else {
            return None;
        };
        if guarded.position.contains(&Origin::ZERO) {
            return None;
        }
        let side = |side: usize| {
            let origin = matcher.moved(times.inputs[side]);
            let at = |&at: &u32| origin.position[at as usize];
            Origin {
                position: guarded.position.iter().map(at).collect(),
                ..origin
            }
        };
        let weights = |origin: &Origin| {
            let producer = matcher.producer(origin.base);
            producer.is_some_and(|node| matches!(node.op, Op::Softmax(_)))
        };
        let same = |row: &[u32]| row.iter().all(|place| *place == row[0]);
        let by_row = |origin: &Origin| origin.position.chunks(product.k).all(same);
        let (a, b) = (side(0), side(1));
        let (weights, mut numbers) = match (weights(&a) && by_row(&b), weights(&b) && by_row(&a)) {
            (true, _) => (a, b),
            (_, true) => (b, a),
            _ => return None,
        };
        numbers.position = numbers.position.into_iter().step_by(product.k).collect();
        Some(Self {
            weights,
            numbers,
            product,
            factor,
        })
    }

    /// Puts the product and then the numbers in place of node number `at`; gives the number of the node behind them.
    fn put(self, graph: &mut Graph, at: usize) -> usize {
        let node = graph.nodes[at].clone();
        let name = Matcher::new(graph).onnx_name(&node);
        let columns = self.product.n;
        let mut rewrite = Rewrite { graph, at };
        let weights = Arranged {
            base: self.weights.base,
            position: &self.weights.position,
            channels: self.product.k,
        };
        let weights = rewrite.arranged(&format!("{name}.weights"), &weights);
        let value = Value {
            name: format!("{name}.weighed"),
            dims: rewrite.graph.values[node.output.0].dims.clone(),
            source: None,
        };
        let weighed = rewrite.add(&name, self.product, vec![weights, node.inputs[1]], value);
        let each = self.numbers.position.iter();
        let each: Vec<u32> = each
            .flat_map(|&place| std::iter::repeat_n(place, columns))
            .collect();
        let numbers = Arranged {
            base: self.numbers.base,
            position: &each,
            channels: columns,
        };
        let numbers = rewrite.arranged(&format!("{name}.guard"), &numbers);
        let at = rewrite.at;
        let node = &mut rewrite.graph.nodes[at];
        let factor = self.factor;
        (node.op, node.inputs) = (op::Mul { factor }.into(), vec![weighed, numbers]);
        at + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::testing::{Build, output};

    #[test]
    fn the_number_of_a_row_moves_behind_the_product() {
        let mut build = Build::new();
        let [scores, guard, v] = [[3, 4], [3, 1], [4, 2]].map(|dims| build.input(&dims));
        let weights = build.op(op::Softmax, &[scores], &[3, 4]);
        let each = build.copy(guard, &[3, 4], |at| (at / 4) as u32);
        let guarded = build.op(op::Mul { factor: 1.0 }, &[each, weights], &[3, 4]);
        let sizes = op::MatMul {
            batch: 1,
            m: 3,
            k: 4,
            n: 2,
        };
        let y = build.op(sizes, &[guarded, v], &[3, 2]);
        let mut graph = build.graph(&[y]);
        let before = output(&graph);
        run(&mut graph);
        graph.drop_unused();
        let names: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(names, ["Softmax", "MatMul", "Copy", "Mul"]);
        let after = output(&graph);
        let close = before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close, "{before:?} {after:?}");
    }
}

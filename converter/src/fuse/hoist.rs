//! Element by element, it does not matter in which order elements stand: a move behind such operators goes in front of them, where other
//! moves take it up. So a gate over the channels of a convolution is computed in rows of channels.

use super::matcher::{Matcher, Origin, places};
use super::rewrite::{Arranged, Rewrite, each};
use crate::graph::{Graph, Op, Source, Value, ValueId};

/// Runs the pass.
pub fn run(graph: &mut Graph) {
    each(graph, |graph, at| Some(hoist(graph, at)? + 1));
}

/// True for operators that compute each element of their result from the same elements of their inputs alone.
fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Activation(_) | Op::Mul(_) | Op::Add(_))
}

/// True if element-wise operators make a value from moves, and nothing else reads what stands between.
fn is_of_moves(matcher: &Matcher, value: ValueId) -> bool {
    let Some(node) = matcher.producer(value) else {
        return false;
    };
    if matches!(node.op, Op::Copy(_)) {
        return true;
    }
    let alone = matcher.readers(value).count() == 1 && !matcher.is_output(value);
    let mut inputs = node.inputs.iter();
    alone && is_elementwise(&node.op) && inputs.all(|&input| is_of_moves(matcher, input))
}

/// Puts the move at node number `at` in front of what it moves; gives its new number.
fn hoist(graph: &mut Graph, at: usize) -> Option<usize> {
    let node = &graph.nodes[at];
    let index = match &node.op {
        Op::Copy(_) => places(graph, node)?,
        _ => return None,
    };
    let (input, output) = (node.inputs[0], node.output);
    let matcher = Matcher::new(graph);
    let inner = matcher.producer(input)?;
    let fallback = graph.fallback_values.contains_key(&input);
    let dims = graph.values[output.0].dims.clone();
    let whole = index.len() == graph.values[input.0].len() && !index.contains(&Origin::ZERO);
    if !fallback
        || !whole
        || dims.len() != 2
        || !is_elementwise(&inner.op)
        || !is_of_moves(&matcher, input)
    {
        return None;
    }
    let mut back = vec![Origin::ZERO; index.len()];
    for (to, &from) in index.iter().enumerate() {
        back[from as usize] = to as u32;
    }
    if back.contains(&Origin::ZERO) {
        return None;
    }
    let (op, inputs) = (inner.op.clone(), inner.inputs.clone());
    let moved = Moved { index, back, dims };
    let mut rewrite = Rewrite { graph, at };
    let inputs = inputs
        .into_iter()
        .map(|input| moved.lift(&mut rewrite, input))
        .collect();
    let at = rewrite.at;
    graph.nodes[at].op = op;
    graph.nodes[at].inputs = inputs;
    Some(at)
}

/// An order of elements, the way back, and the dimensions that it has.
struct Moved {
    index: Vec<u32>,
    back: Vec<u32>,
    dims: Vec<usize>,
}

impl Moved {
    /// A value in this order.
    fn lift(&self, rewrite: &mut Rewrite, value: ValueId) -> ValueId {
        let name = rewrite.graph.values[value.0].name.clone();
        let matcher = Matcher::new(rewrite.graph);
        let node = matcher
            .producer(value)
            .filter(|node| is_elementwise(&node.op));
        let Some(node) = node else {
            let origin = matcher.moved(value);
            let position: Vec<u32> = (self.index.iter())
                .map(|&at| origin.position[at as usize])
                .collect();
            let channels = self.dims[1];
            let arranged = Arranged {
                base: origin.base,
                position: &position,
                channels,
            };
            return rewrite.arranged(&format!("{name}.moved"), &arranged);
        };
        let (op, inputs, fallback) = (
            node.op.clone(),
            node.inputs.clone(),
            rewrite.graph.fallback_values.get(&value).copied(),
        );
        let inputs = inputs
            .into_iter()
            .map(|input| self.lift(rewrite, input))
            .collect();
        let place = |&p: &u32| self.back.get(p as usize).copied().unwrap_or(Origin::ZERO);
        let source = rewrite.graph.values[value.0]
            .source
            .as_ref()
            .map(|source| Source {
                onnx: source.onnx.clone(),
                position: source.position.iter().map(place).collect(),
            });
        let lifted = Value {
            name: format!("{name}.moved"),
            dims: self.dims.clone(),
            source,
        };
        let lifted = rewrite.add(&name, op, inputs, lifted);
        if let Some(fallback) = fallback {
            rewrite.graph.fallback_values.insert(lifted, fallback);
        }
        lifted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::{Function, Unary};
    use crate::fuse::testing::{Build, output};
    use crate::fuse::{columns, moves};
    use crate::graph::{Clamp, op};
    use ndarray::ArrayD;

    /// A gate over the channels of a layer that stand first: halves, turned, one through a sigmoid, a product, turned back.
    fn gate(read_twice: bool) -> Graph {
        let mut build = Build::new();
        let x = build.input(&[3, 4]);
        let weight =
            ArrayD::from_shape_fn(vec![8, 4], |at| (at[0] * 5 + at[1] * 3) as f32 / 16.0 - 1.0);
        let linear = op::Linear(op::Affine {
            weight,
            bias: vec![0.5; 8],
            clamp: Clamp::NONE,
        });
        let y = build.op(linear, &[x], &[3, 8]);
        let half = |first: usize| move |at: usize| (at % 3 * 8 + at / 3 + first) as u32;
        let a = build.copy(y, &[4, 3], half(0));
        let b = build.copy(y, &[4, 3], half(4));
        let b = build.op(
            op::Activation(Function::Input.then(Unary::Sigmoid)),
            &[b],
            &[4, 3],
        );
        let gated = build.op(op::Mul { factor: 1.0 }, &[a, b], &[4, 3]);
        let back = build.copy(gated, &[3, 4], |at| (at % 4 * 3 + at / 4) as u32);
        let outputs = if read_twice {
            vec![back, b]
        } else {
            vec![back]
        };
        let mut graph = build.graph(&outputs);
        graph.fallback_values.insert(gated, 0);
        graph
    }

    fn fused(mut graph: Graph) -> Vec<&'static str> {
        let exact = output(&graph);
        run(&mut graph);
        columns::run(&mut graph);
        moves::run(&mut graph);
        graph.drop_unused();
        for (a, b) in exact.iter().zip(output(&graph)) {
            assert!((a - b).abs() < 1e-5, "{b} for {a}");
        }
        graph.nodes.iter().map(|node| node.op.name()).collect()
    }

    #[test]
    fn a_gate_of_channels_in_front_is_one_of_rows() {
        assert_eq!(fused(gate(false)), ["Linear", "Linear", "Sigmoid", "Mul"]);
    }

    #[test]
    fn what_is_read_in_its_own_order_keeps_it() {
        let ops = fused(gate(true));
        assert!(ops.contains(&"Copy"), "{ops:?}");
    }
}

//! Factors and summands behind a layer with weights become part of its weights and biases, also where moves stand between: a bias after a
//! product, a batch normalisation over a reshaped convolution.

use super::matcher::{Matcher, Origin};
use crate::graph::{Clamp, Graph, Op, Source, ValueId, float, op};

/// Runs the pass.
pub fn run(graph: &mut Graph) {
    for at in 0..graph.nodes.len() {
        let fallback = graph.fallback_values.contains_key(&graph.nodes[at].output);
        let node = &graph.nodes[at].op;
        if fallback && matches!(node, Op::AddConstant(_) | Op::Activation(_)) {
            absorb(graph, at);
        }
    }
}

/// What is done to each channel of a layer.
struct Affine {
    factor: Vec<f32>,
    summand: Vec<f32>,
}

impl Affine {
    /// Reads a node so, for elements that come from these places of rows of so many channels.
    fn of(node: &Op, position: &[u32], channels: usize) -> Option<Self> {
        let (mut factor, mut summand) = (vec![None; channels], vec![None; channels]);
        for (at, &place) in position.iter().enumerate() {
            let channel = place as usize % channels;
            let (f, s) = match node {
                Op::AddConstant(op::AddConstant { constant, clamp }) if *clamp == Clamp::NONE => {
                    (1.0, *constant.get(at)?)
                }
                Op::Activation(op::Activation(function)) => {
                    let (slope, offset) = function.line()?;
                    (slope as f32, offset as f32)
                }
                _ => return None,
            };
            for (slot, value) in [(&mut factor[channel], f), (&mut summand[channel], s)] {
                if *slot.get_or_insert(value) != value {
                    return None;
                }
            }
        }
        let all = |values: Vec<Option<f32>>| values.into_iter().collect::<Option<Vec<f32>>>();
        Some(Self {
            factor: all(factor)?,
            summand: all(summand)?,
        })
    }
}

/// Makes node number `at` part of the layer that it reads, if it is the only reader.
fn absorb(graph: &mut Graph, at: usize) {
    let (value, input) = (graph.nodes[at].output, graph.nodes[at].inputs[0]);
    let matcher = Matcher::new(graph);
    let Origin { base, position, .. } = matcher.moved(input);
    let channels = graph.values[base.0].channels();
    let mut seen = vec![false; graph.values[base.0].len()];
    position.iter().for_each(|&p| {
        if let Some(seen) = seen.get_mut(p as usize) {
            *seen = true;
        }
    });
    let bijective = seen.iter().all(|&seen| seen) && position.len() == seen.len();
    let alone = matcher.consumers(base).len() == 1 && !matcher.is_returned(base);
    if !bijective || !alone {
        return;
    }
    let Some(affine) = Affine::of(&graph.nodes[at].op, &position, channels) else {
        return;
    };
    let Some(layer) = graph.nodes.iter().position(|node| node.output == base) else {
        return;
    };
    // The layer's new result is seen in the float run only as an ONNX tensor, or where it is computed besides.
    if graph.values[value.0].source.is_none() && !float::computes(&graph.nodes[layer].op) {
        return;
    }
    let Some((weights, axis)) = graph.nodes[layer].op.affine_mut() else {
        return;
    };
    if weights.clamp != Clamp::NONE || weights.bias.len() != channels {
        return;
    }
    for (mut channel, &f) in weights
        .weight
        .axis_iter_mut(ndarray::Axis(axis))
        .zip(&affine.factor)
    {
        channel *= f;
    }
    for ((bias, f), s) in weights
        .bias
        .iter_mut()
        .zip(&affine.factor)
        .zip(&affine.summand)
    {
        *bias = *bias * f + s;
    }
    // The layer computes what the node did.
    let place = |&p: &u32| position.get(p as usize).copied().unwrap_or(Origin::ZERO);
    let source = graph.values[value.0].source.as_ref();
    let source = source.map(|source| Source {
        onnx: source.onnx.clone(),
        position: source.position.iter().map(place).collect(),
    });
    graph.values[base.0].source = source;
    graph.fallback_values.remove(&value);
    let on_the_way = moves_between(graph, base, input);
    for value in on_the_way {
        graph.values[value.0].source = None;
    }
    graph.nodes[at].op = op::Copy { index: position }.into();
    graph.nodes[at].inputs = vec![base];
}

/// The values between a base and what moves make of it.
fn moves_between(graph: &Graph, base: ValueId, last: ValueId) -> Vec<ValueId> {
    let (mut all, mut value) = (Vec::new(), last);
    while value != base {
        all.push(value);
        match graph.producer(value) {
            Some(node) => value = node.inputs[0],
            None => break,
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::{Binary, Function};
    use crate::fuse::moves;
    use crate::fuse::testing::{Build, output};
    use ndarray::ArrayD;

    /// A layer, turned, times 3, plus constants of each column of the turned, or of each row.
    fn scaled(by_channel: bool) -> Graph {
        let mut build = Build::new();
        let x = build.input(&[3, 4]);
        let weight = ArrayD::from_shape_fn(vec![2, 4], |at| (at[0] * 5 + at[1] * 3) as f32 / 16.0);
        let linear = op::Linear(op::Affine {
            weight,
            bias: vec![1.0, -2.0],
            clamp: Clamp::NONE,
        });
        let y = build.op(linear, &[x], &[3, 2]);
        let turned = build.copy(y, &[2, 3], |at| (at % 3 * 2 + at / 3) as u32);
        let three = Function::Input.with(Binary::Mul, Function::Constant(3.0));
        let product = build.op(op::Activation(three), &[turned], &[2, 3]);
        let constant = (0..6)
            .map(|at| if by_channel { at / 3 } else { at % 3 } as f32)
            .collect();
        let sum = build.op(
            op::AddConstant {
                constant,
                clamp: Clamp::NONE,
            },
            &[product],
            &[2, 3],
        );
        let mut graph = build.graph(&[sum]);
        for value in [product, sum] {
            graph.fallback_values.insert(value, 0);
        }
        graph
    }

    #[test]
    fn factors_and_summands_of_channels_become_weights() {
        let mut graph = scaled(true);
        let exact = output(&graph);
        run(&mut graph);
        moves::run(&mut graph);
        graph.drop_unused();
        let ops: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(ops, ["Linear", "Copy"]);
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(exact.iter().zip(&output(&graph)).all(close));
    }

    #[test]
    fn summands_of_rows_stay() {
        let mut graph = scaled(false);
        let exact = output(&graph);
        run(&mut graph);
        moves::run(&mut graph);
        graph.drop_unused();
        assert!(
            graph
                .nodes
                .iter()
                .any(|node| matches!(node.op, Op::AddConstant(_)))
        );
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(exact.iter().zip(&output(&graph)).all(close));
    }

    #[test]
    fn a_factor_whose_result_is_no_tensor_stays_behind_a_layer_that_is_not_computed_besides() {
        let mut build = Build::new();
        let x = build.input(&[3, 4]);
        let affine = op::Affine {
            weight: ArrayD::from_elem(vec![2, 1, 4], 0.5),
            bias: vec![1.0, -2.0],
            clamp: Clamp::NONE,
        };
        let convolution = op::Conv1d {
            affine,
            window: op::Window1d::POINTWISE,
        };
        let y = build.op(convolution, &[x], &[3, 2]);
        let minus = Function::Input.with(Binary::Mul, Function::Constant(-1.0));
        let negative = build.op(op::Activation(minus), &[y], &[3, 2]);
        let mut graph = build.graph(&[negative]);
        graph.fallback_values.insert(negative, 0);
        run(&mut graph);
        assert_eq!(graph.nodes[1].op.name(), "Function");
    }
}

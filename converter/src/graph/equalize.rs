//! Equalisation of channels: a channel that is far larger than the others of its value gives the difference to the weights that read it.
//!
//! A value has one scale for all channels, so a large channel takes the resolution of the others. Where all readers are layers with
//! weights, a channel may be divided by a factor and its weights multiplied with it: the same function. Factors are powers of two, so it is
//! exact in float, and follow from the weights alone. `docs/reference/numerics.md` has the criterion.

use super::{Graph, ValueId};
use ndarray::{ArrayD, Axis};

/// A channel is moved if it, or its weights, are larger than the median by this factor,
const OUTLIER: f64 = 8.0;
/// and the factor that balances both is at least this.
const LEAST: f64 = 4.0;
/// Largest factor, as a power of two.
const MOST: f64 = 20.0;

/// Equalises all values of a graph. [`Graph::divided`] has the factors.
pub fn equalize(graph: &mut Graph) {
    for at in 0..graph.nodes.len() {
        let value = graph.nodes[at].output;
        let Some((passed, readers)) = readers(graph, value) else {
            continue;
        };
        let Some(sizes) = graph.nodes[at].op.channel_sizes() else {
            continue;
        };
        let weights = readers.iter().map(|&at| graph.nodes[at].op.columns());
        let Some(weights) = weights.collect::<Option<Vec<_>>>() else {
            continue;
        };
        let channels = graph.values[value.0].channels();
        let fits = |array: &&ArrayD<f32>| array.shape().last() == Some(&channels);
        if sizes.len() != channels || !weights.iter().all(fits) {
            continue;
        }
        let Some(factors) = factors(&sizes, &column_sizes(&weights, channels)) else {
            continue;
        };
        graph.nodes[at].op.divide(&factors);
        for reader in readers {
            if let Some(weights) = graph.nodes[reader].op.columns_mut() {
                let axis = Axis(weights.ndim() - 1);
                for (mut column, factor) in weights.axis_iter_mut(axis).zip(&factors) {
                    column.mapv_inplace(|w| w * factor);
                }
            }
        }
        for id in passed {
            graph.divided.insert(id, factors.clone());
        }
    }
}

/// The nodes with weights that read a value, directly or behind nodes that keep channels apart, and all values on the way; `None` if
/// others read it, too.
fn readers(graph: &Graph, value: ValueId) -> Option<(Vec<ValueId>, Vec<usize>)> {
    let (mut passed, mut found, mut open) = (Vec::new(), Vec::new(), vec![value]);
    while let Some(id) = open.pop() {
        // An output is for the caller; of a value that varies, calibration does not always know the channels.
        if graph.outputs.contains(&id) || graph.varying.contains_key(&id) {
            return None;
        }
        for (at, node) in graph.nodes.iter().enumerate() {
            if !node.inputs.contains(&id) {
                continue;
            }
            if node.op.keeps_channels() {
                open.push(node.output);
            } else if node.op.columns().is_some() && !node.inputs[1..].contains(&id) {
                found.push(at);
            } else {
                return None;
            }
        }
        passed.push(id);
    }
    (!found.is_empty()).then_some((passed, found))
}

/// How large the weights are that read each channel.
fn column_sizes(weights: &[&ArrayD<f32>], channels: usize) -> Vec<f64> {
    let mut squares = vec![0.0; channels];
    for array in weights {
        for (at, &w) in array.iter().enumerate() {
            squares[at % channels] += f64::from(w).powi(2);
        }
    }
    squares.into_iter().map(f64::sqrt).collect()
}

/// The factor of each channel; `None` if nothing is to be moved.
fn factors(sizes: &[f64], columns: &[f64]) -> Option<Vec<f32>> {
    let (size, column) = (median(sizes)?, median(columns)?);
    let factor = |(&s, &c): (&f64, &f64)| {
        let (s, c) = (s / size, c / column);
        let factor = (s / c).sqrt();
        let large = s >= OUTLIER && factor >= LEAST || c >= OUTLIER && factor <= 1.0 / LEAST;
        match large && factor.is_finite() && factor > 0.0 {
            true => factor.log2().round().clamp(-MOST, MOST).exp2() as f32,
            false => 1.0,
        }
    };
    let factors: Vec<f32> = sizes.iter().zip(columns).map(factor).collect();
    factors.iter().any(|f| *f != 1.0).then_some(factors)
}

/// The median of what is not 0.
fn median(sizes: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = sizes.iter().copied().filter(|size| *size > 0.0).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::float::evaluate;
    use crate::graph::{Clamp, Node, Op, Value, op};

    /// A norm or linear layer of four channels, and two linear layers that read it.
    fn graph(first: Op, columns: [f32; 4]) -> Graph {
        let value = |name: &str| Value {
            name: name.into(),
            dims: vec![1, 4],
            source: None,
        };
        let linear = |factor: f32| {
            let weight = ArrayD::from_shape_fn(vec![4, 4], |at| {
                factor * (1.0 + at[0] as f32) * columns[at[1]]
            });
            Op::from(op::Linear(op::Affine::new(weight, vec![0.5; 4])))
        };
        let node = |op: Op, input: usize, output: usize| Node {
            name: String::new(),
            op,
            inputs: vec![ValueId(input)],
            output: ValueId(output),
            second: None,
        };
        Graph {
            values: ["x", "h", "y", "z"].map(value).into(),
            nodes: vec![
                node(first, 0, 1),
                node(linear(1.0), 1, 2),
                node(linear(-0.25), 1, 3),
            ],
            inputs: vec![ValueId(0)],
            outputs: vec![ValueId(2), ValueId(3)],
            ..Graph::default()
        }
    }

    fn norm(gamma: [f32; 4]) -> Op {
        op::LayerNorm {
            gamma: gamma.into(),
            beta: vec![0.1; 4],
            epsilon: 1e-5,
            centre: true,
        }
        .into()
    }

    fn dense(clamp: Clamp) -> Op {
        let size = [1.0, 1.0, 100.0, 1.0];
        let weight = ArrayD::from_shape_fn(vec![4, 4], |at| size[at[0]] * (at[1] as f32 - 1.5));
        let bias = vec![0.25; 4];
        op::Linear(op::Affine {
            weight,
            bias,
            clamp,
        })
        .into()
    }

    fn results(graph: &Graph) -> Vec<Vec<f32>> {
        let mut all = vec![vec![0.5, -1.0, 2.0, 0.25]];
        for node in &graph.nodes {
            let inputs = [&all[node.inputs[0].0][..]];
            all.push(evaluate(graph, node, &inputs).unwrap());
        }
        all
    }

    #[test]
    fn a_large_channel_is_moved_into_its_readers_exactly() {
        for first in [
            norm([1.0, 1.1, 300.0, 0.9]),
            dense(Clamp::NONE),
            dense(Clamp::RELU),
        ] {
            let plain = graph(first, [1.0, 1.0, 0.01, 1.0]);
            let mut equal = plain.clone();
            equalize(&mut equal);
            let factors = &equal.divided[&ValueId(1)];
            assert!(factors[2] >= 64.0 && factors[0] == 1.0, "{factors:?}");
            let (plain, equal) = (results(&plain), results(&equal));
            assert_eq!(plain[2..], equal[2..]);
            assert_eq!(plain[1][2], equal[1][2] * factors[2]);
        }
    }

    #[test]
    fn channels_of_usual_sizes_stay() {
        for (gamma, columns) in [
            ([1.0, 3.0, 0.5, 2.0], [1.0, 0.3, 2.0, 0.5]),
            // A large channel that large weights read is large on purpose.
            ([1.0, 1.0, 300.0, 1.0], [1.0, 1.0, 300.0, 1.0]),
            ([1.0, 1.0, 0.0, 1.0], [1.0; 4]),
        ] {
            let mut graph = graph(norm(gamma), columns);
            equalize(&mut graph);
            assert!(graph.divided.is_empty(), "{gamma:?}: {:?}", graph.divided);
        }
    }

    #[test]
    fn what_others_see_is_not_changed() {
        let outlier = || graph(norm([1.0, 1.0, 300.0, 1.0]), [1.0, 1.0, 0.01, 1.0]);
        let mut output = outlier();
        output.outputs.push(ValueId(1));
        let mut sum = outlier();
        sum.nodes[2].op = op::Add { clamp: Clamp::NONE }.into();
        sum.nodes[2].inputs.push(ValueId(2));
        let six = Clamp { min: 0.0, max: 6.0 };
        for mut graph in [output, sum, graph(dense(six), [1.0, 1.0, 0.01, 1.0])] {
            equalize(&mut graph);
            assert!(graph.divided.is_empty());
        }
    }
}

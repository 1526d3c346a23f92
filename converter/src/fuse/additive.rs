//! Additive attention: weights are the softmax of `v . tanh(query + key)`, in any spelling of the sum and of the product with `v`.
//!
//! The sum may have any number of summands, among them a layer over query and keys joined. Those that are the same for all keys make the
//! query, the others the keys.

use super::dots::{Dots, is_product};
use super::matcher::{Matcher, Origin};
use super::rewrite::{Arranged, Rewrite, each};
use super::scores::Scores;
use super::weighing::{Replaced, Weighing};
use crate::graph::op::Affine;
use crate::graph::{Clamp, Graph, Node, Op, ValueId, op};
use ndarray::{ArrayD, Axis, Slice};

/// Runs the pass.
pub fn run(graph: &mut Graph) {
    each(graph, |graph, at| {
        let found = Found::at(graph, at)?;
        Some(found.put(graph, at))
    });
}

/// The products of `v` and energies: one row of energies for each key.
struct Energies {
    v: Vec<f32>,
    rows: Origin,
}

/// A summand of the energies before their function.
enum Summand {
    /// Elements `[keys, width]`.
    Value(Origin),
    /// A layer without bias over elements `[keys, channels]`.
    Layer(Origin, ArrayD<f32>),
    /// Elements `[keys, width]`.
    Constant(Vec<f32>),
}

/// An additive attention in place of a product of weights and values.
struct Found {
    v: Vec<f32>,
    keys: usize,
    summands: Vec<Summand>,
    values: Origin,
    result: Replaced,
}

impl Found {
    /// The attention that ends with node number `at`, if one does.
    fn at(graph: &Graph, at: usize) -> Option<Self> {
        if !is_product(&graph.nodes[at]) {
            return None;
        }
        let matcher = Matcher::new(graph);
        let weighing = Weighing::of(&matcher, &graph.nodes[at])?;
        let [used] = &weighing.uses[..] else {
            return None;
        };
        let [scores] = &Scores::of(&matcher, weighing.softmax)[..] else {
            return None;
        };
        let hidden = scores.hidden()?;
        if hidden.contains(&true) || scores.bias(&hidden).is_some() || !scores.summands.is_empty() {
            return None;
        }
        let row = used.row * weighing.keys..(used.row + 1) * weighing.keys;
        let energies = Energies::of(&matcher, scores, &scores.place[row])?;
        let activation = matcher.producer(energies.rows.base)?;
        let Op::Activation(op::Activation(function)) = &activation.op else {
            return None;
        };
        let width = energies.v.len();
        let mut summands = Vec::new();
        split(
            &matcher,
            activation.inputs[0],
            &energies.rows.position,
            width,
            &mut summands,
        );
        let (query, keys) = (
            |s: &Summand| s.is_row(width),
            |s: &Summand| !s.is_row(width),
        );
        let both = summands.iter().any(query) && summands.iter().any(keys);
        if function.name() != "Tanh" || !both || weighing.keys < 2 {
            return None;
        }
        let value = |&at: &u32| used.columns.iter().map(move |&column| (column, at));
        let values = used.order.iter().flat_map(value);
        let values = values.map(|(column, at)| weighing.values.at(column)[at as usize]);
        let place = weighing.place.iter().map(|place| place.1);
        Some(Self {
            v: energies.v,
            keys: weighing.keys,
            summands,
            values: Origin {
                position: values.collect(),
                ..weighing.values.origin.clone()
            },
            result: weighing.replaced(&matcher, place.collect(), |_| 0)?,
        })
    }

    /// Puts it in place of node number `at`; gives the number of the node behind it.
    fn put(self, graph: &mut Graph, at: usize) -> usize {
        let name = graph.values[self.result.product.0].name.clone();
        let mut rewrite = Rewrite { graph, at };
        let (query, keys): (Vec<_>, Vec<_>) = self
            .summands
            .into_iter()
            .partition(|summand| summand.is_row(self.v.len()));
        let width = self.v.len();
        let query = total(&mut rewrite, &format!("{name}.query"), query, 1, width);
        let keys = total(
            &mut rewrite,
            &format!("{name}.keys"),
            keys,
            self.keys,
            width,
        );
        let values = Arranged {
            base: self.values.base,
            position: &self.values.position,
            channels: self.values.position.len() / self.keys,
        };
        let values = rewrite.arranged(&format!("{name}.values"), &values);
        let op = op::AdditiveAttention {
            v: self.v,
            tanh: true,
        };
        self.result
            .put(&mut rewrite, op.into(), vec![query, keys, values], 1)
    }
}

impl Energies {
    /// The products that these places of the value that scores come from are, if `v` is the same in all.
    fn of(matcher: &Matcher, scores: &Scores, places: &[u32]) -> Option<Self> {
        let node = matcher.producer(scores.from)?;
        if let Op::Linear(op::Linear(layer)) = &node.op {
            let outs = layer.bias.len();
            let (out, k) = (*places.first()? as usize % outs, layer.weight.len() / outs);
            let same = places.iter().all(|&at| at as usize % outs == out);
            if !same || layer.clamp != Clamp::NONE {
                return None;
            }
            let x = matcher.moved(node.inputs[0]);
            let row = |&at: &u32| {
                let start = at as usize / outs * k;
                x.position[start..start + k].to_vec()
            };
            return Some(Self {
                v: layer
                    .weight
                    .index_axis(Axis(0), out)
                    .iter()
                    .map(|v| v * scores.factor)
                    .collect(),
                rows: Origin {
                    position: places.iter().flat_map(row).collect(),
                    ..x
                },
            });
        }
        let dots = Dots::of(matcher, node, &|value| matcher.moved(value))?;
        let constant = |side: usize| matcher.graph.constant(dots.sides[side].origin.base);
        let (side, constant) = [0, 1]
            .into_iter()
            .find_map(|side| Some((side, constant(side)?)))?;
        let v = |at: u32| -> Option<Vec<f32>> {
            let places = dots.sides[side].at(dots.of[at as usize][side]);
            places
                .iter()
                .map(|&place| constant.get(place as usize).copied())
                .collect()
        };
        let first = v(*places.first()?)?;
        if !places.iter().all(|&at| v(at).as_ref() == Some(&first)) {
            return None;
        }
        let other = &dots.sides[1 - side];
        let row = |&at: &u32| other.at(dots.of[at as usize][1 - side]);
        let factor = scores.factor * dots.factor;
        Some(Self {
            v: first.into_iter().map(|v| v * factor).collect(),
            rows: Origin {
                position: places.iter().flat_map(row).copied().collect(),
                ..other.origin.clone()
            },
        })
    }
}

/// Adds the summands of these elements of a value to the list.
fn split(
    matcher: &Matcher,
    value: ValueId,
    position: &[u32],
    width: usize,
    list: &mut Vec<Summand>,
) {
    let origin = matcher.moved(value);
    let at = |&at: &u32| match at {
        Origin::ZERO => Origin::ZERO,
        at => origin.position[at as usize],
    };
    let origin = Origin {
        position: position.iter().map(at).collect(),
        ..origin
    };
    let known = !origin.position.contains(&Origin::ZERO);
    let node = matcher.producer(origin.base).filter(|_| known);
    match node.map(|node| (&node.op, &node.inputs[..])) {
        Some((Op::Add(op::Add { clamp }), [a, b])) if *clamp == Clamp::NONE => {
            split(matcher, *a, &origin.position, width, list);
            split(matcher, *b, &origin.position, width, list);
        }
        Some((Op::AddConstant(op::AddConstant { constant, clamp }), [x]))
            if *clamp == Clamp::NONE =>
        {
            let constant = origin.position.iter().map(|&at| constant[at as usize]);
            list.push(Summand::Constant(constant.collect()));
            split(matcher, *x, &origin.position, width, list);
        }
        Some((Op::Constant(op::Constant { values }), _)) => {
            let constant = origin.position.iter().map(|&at| values[at as usize]);
            list.push(Summand::Constant(constant.collect()));
        }
        Some((Op::Linear(op::Linear(layer)), _)) => {
            let parts = node.and_then(|node| joined(matcher, node, layer, &origin.position, width));
            match parts {
                Some(parts) => list.extend(parts),
                None => list.push(Summand::Value(origin)),
            }
        }
        _ => list.push(Summand::Value(origin)),
    }
}

/// A layer over joined tensors as a sum of layers over each, if that tells a query from keys.
fn joined(
    matcher: &Matcher,
    node: &Node,
    layer: &Affine,
    position: &[u32],
    width: usize,
) -> Option<Vec<Summand>> {
    let join = matcher.producer(matcher.moved(node.inputs[0]).base)?;
    let moved = matcher.moved(node.inputs[0]);
    let whole = moved
        .position
        .iter()
        .enumerate()
        .all(|(i, &p)| i == p as usize);
    let rows: Vec<usize> = position
        .iter()
        .step_by(width)
        .map(|&p| p as usize / width)
        .collect();
    let by_row = |(at, &p): (usize, &u32)| p as usize == rows[at / width] * width + at % width;
    let fits = matches!(join.op, Op::Concat(_))
        && whole
        && layer.clamp == Clamp::NONE
        && layer.bias.len() == width
        && position.iter().enumerate().all(by_row);
    if !fits {
        return None;
    }
    let (mut parts, mut at) = (Vec::new(), 0);
    for &input in &join.inputs {
        let channels = matcher.graph.values[input.0].channels();
        let weight = layer
            .weight
            .slice_axis(Axis(1), Slice::from(at..at + channels));
        at += channels;
        let origin = matcher.moved(input);
        let row = |&row: &usize| origin.position[row * channels..(row + 1) * channels].to_vec();
        let origin = Origin {
            position: rows.iter().flat_map(row).collect(),
            ..origin
        };
        parts.push(Summand::Layer(origin, weight.to_owned()));
    }
    let mixed =
        parts.iter().any(|part| part.is_row(width)) && !parts.iter().all(|part| part.is_row(width));
    let bias = layer.bias.iter().copied().cycle().take(position.len());
    parts.push(Summand::Constant(bias.collect()));
    mixed.then_some(parts)
}

impl Summand {
    /// True if it is the same for all keys.
    fn is_row(&self, width: usize) -> bool {
        fn same<T: PartialEq>(all: &[T], width: usize) -> bool {
            all.chunks(width.max(1)).all(|row| *row == all[..width])
        }
        match self {
            Self::Value(origin) => same(&origin.position, width),
            Self::Layer(origin, weight) => same(&origin.position, weight.shape()[1]),
            Self::Constant(all) => same(all, width),
        }
    }
}

/// The sum of `rows` rows of each summand.
fn total(
    rewrite: &mut Rewrite,
    name: &str,
    summands: Vec<Summand>,
    rows: usize,
    width: usize,
) -> ValueId {
    let dims = match rows {
        1 => vec![width],
        rows => vec![rows, width],
    };
    let mut values = Vec::new();
    let mut constant = vec![0.0; rows * width];
    for summand in summands {
        values.push(match summand {
            Summand::Constant(own) => {
                let sums = constant.iter_mut().zip(own);
                sums.for_each(|(sum, own)| *sum += own);
                continue;
            }
            Summand::Value(origin) => rewrite.arranged(name, &arranged(&origin, rows, width)),
            Summand::Layer(origin, weight) => {
                let channels = weight.shape()[1];
                let x = rewrite.arranged(name, &arranged(&origin, rows, channels));
                let layer = op::Linear(Affine::new(weight, vec![0.0; width]));
                rewrite.add_inner(name, layer, vec![x], &dims)
            }
        });
    }
    rewrite.sum(name, values, constant, &dims)
}

/// The first rows of what comes from somewhere.
fn arranged(origin: &Origin, rows: usize, channels: usize) -> Arranged<'_> {
    Arranged {
        base: origin.base,
        position: &origin.position[..rows * channels],
        channels,
    }
}

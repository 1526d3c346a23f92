//! One step of a GRU or an LSTM spelled out: PyTorch's GRUCell and LSTMCell, and cells written by hand in their form.

use super::matcher::{Matcher, Origin};
use crate::function::{Function, Unary};
use crate::graph::op::RecurrentWeights;
use crate::graph::{Clamp, Graph, Node, Op, ValueId, op};
use ndarray::{ArrayD, Axis};

/// Runs the pass.
pub fn run(graph: &mut Graph) {
    let mut at = 0;
    while at < graph.nodes.len() {
        if matches!(graph.nodes[at].op, Op::Add(_) | Op::Mul(_)) {
            let matcher = Matcher::new(graph);
            let node = &graph.nodes[at];
            let found = Cell::gru(&matcher, node).or_else(|| Cell::lstm(&matcher, node));
            if let Some(cell) = found {
                at = cell.put(graph, at);
            }
        }
        at += 1;
    }
}

/// Sums of rows of linear layers: for each input, a matrix and biases.
struct Sums(Vec<(ValueId, ArrayD<f32>, Vec<f32>)>);

impl Sums {
    /// Reads a vector so.
    fn of(matcher: &Matcher, value: ValueId) -> Option<Self> {
        let mut sums = Self(Vec::new());
        sums.add(matcher, matcher.moved(value))?;
        Some(sums)
    }

    fn add(&mut self, matcher: &Matcher, origin: Origin) -> Option<()> {
        let node = matcher.producer(origin.base)?;
        if matcher.graph.values[origin.base.0].rows() != 1
            || origin.position.contains(&Origin::ZERO)
        {
            return None;
        }
        let rows: Vec<usize> = origin.position.iter().map(|&p| p as usize).collect();
        match &node.op {
            Op::Linear(op::Linear(layer)) if layer.clamp == Clamp::NONE => {
                let weight = layer.weight.select(Axis(0), &rows);
                let bias = rows.iter().map(|&row| layer.bias[row]).collect();
                self.0
                    .push((matcher.moved(node.inputs[0]).base, weight, bias));
                // The layer reads all of its input, in order.
                (matcher.moved(node.inputs[0]) == matcher.moved(self.0.last()?.0)).then_some(())
            }
            Op::Add(op::Add { clamp }) if *clamp == Clamp::NONE => {
                for &input in &node.inputs {
                    let inner = matcher.moved(input);
                    let position = rows.iter().map(|&row| inner.position[row]);
                    let position = position.collect();
                    self.add(matcher, Origin { position, ..inner })?;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// What reads an input, if something does: matrix and biases.
    fn from(&self, input: ValueId) -> Option<(&ArrayD<f32>, &[f32])> {
        let mut all = self.0.iter().filter(|(from, ..)| *from == input);
        let (_, weight, bias) = all.next()?;
        all.next().is_none().then_some((weight, bias))
    }
}

/// Both sides of gates.
struct Sides {
    x: ValueId,
    h: ValueId,
    gates: Vec<[(ArrayD<f32>, Vec<f32>); 2]>,
}

impl Sides {
    /// Gates as sums of a part of `x` and a part of `h`.
    fn of(gates: &[[&Sums; 2]], x: ValueId, h: ValueId) -> Option<Self> {
        let one = |[input, state]: &[&Sums; 2]| {
            let owned = |(weight, bias): (&ArrayD<f32>, &[f32])| (weight.clone(), bias.to_vec());
            Some([owned(input.from(x)?), owned(state.from(h)?)])
        };
        let gates: Option<Vec<_>> = gates.iter().map(one).collect();
        Some(Self {
            x,
            h,
            gates: gates?,
        })
    }

    fn weights(self) -> Option<RecurrentWeights> {
        let side = |side: usize| {
            let matrices: Vec<_> = self.gates.iter().map(|gate| gate[side].0.view()).collect();
            let joined = ndarray::concatenate(Axis(0), &matrices).ok()?;
            let bias = self
                .gates
                .iter()
                .flat_map(|gate| gate[side].1.clone())
                .collect::<Vec<f32>>();
            Some((joined, bias))
        };
        let ((w, bias_w), (r, bias_r)) = (side(0)?, side(1)?);
        let hidden = r.shape()[1];
        let fits = r.shape() == [self.gates.len() * hidden, hidden] && w.shape()[0] == r.shape()[0];
        fits.then_some(RecurrentWeights {
            w,
            r,
            bias_w,
            bias_r,
            reverse: false,
        })
    }
}

/// A step that was found.
struct Cell {
    op: Op,
    inputs: Vec<ValueId>,
    /// The new cell of an LSTM.
    second: Option<ValueId>,
}

/// The node that computes what a value is.
fn node<'g>(matcher: &Matcher<'g>, value: ValueId) -> Option<&'g Node> {
    matcher.producer(matcher.same(value)?)
}

/// What a function is applied to.
fn through(matcher: &Matcher, value: ValueId, unary: Unary) -> Option<ValueId> {
    let node = node(matcher, value)?;
    let Op::Activation(op::Activation(function)) = &node.op else {
        return None;
    };
    let expected = Function::Input.then(unary);
    let alike = |x: f64| (function.eval(x) - expected.eval(x)).abs() < 1e-9;
    let alike = (-40..=40).map(|i| f64::from(i) / 8.0).all(alike);
    alike.then_some(node.inputs[0])
}

/// The two inputs of a product or a sum, in both orders.
fn operands(matcher: &Matcher, value: ValueId, product: bool) -> Option<[[ValueId; 2]; 2]> {
    let node = node(matcher, value)?;
    let is = match &node.op {
        Op::Mul(op::Mul { factor }) => product && *factor == 1.0,
        Op::Add(op::Add { clamp }) => !product && *clamp == Clamp::NONE,
        _ => false,
    };
    let [a, b] = [node.inputs.first().copied()?, node.inputs.get(1).copied()?];
    is.then_some([[a, b], [b, a]])
}

/// `slope * x + offset` of what a value is.
fn line(matcher: &Matcher, value: ValueId, expected: (f64, f64)) -> Option<ValueId> {
    let node = node(matcher, value)?;
    match &node.op {
        Op::Activation(op::Activation(function)) if function.line() == Some(expected) => {
            matcher.same(node.inputs[0])
        }
        _ => None,
    }
}

impl Cell {
    /// `n + z * (h - n)` or `(1 - z) * n + z * h`.
    fn gru(matcher: &Matcher, last: &Node) -> Option<Self> {
        let (z, n, h) = update(matcher, last.output)?;
        let z = Sums::of(matcher, through(matcher, z, Unary::Sigmoid)?)?;
        for [inner, product] in operands(matcher, through(matcher, n, Unary::Tanh)?, false)? {
            let Some(pairs) = operands(matcher, product, true) else {
                continue;
            };
            for [r, recurrent] in pairs {
                let Some(r) = through(matcher, r, Unary::Sigmoid) else {
                    continue;
                };
                let (Some(r), Some(n), Some(recurrent)) = (
                    Sums::of(matcher, r),
                    Sums::of(matcher, inner),
                    Sums::of(matcher, recurrent),
                ) else {
                    continue;
                };
                let [(x, ..)] = &n.0[..] else {
                    continue;
                };
                // Where input and state are one value, their parts cannot be told apart.
                if recurrent.0.len() != 1 || *x == h || z.0.len() != 2 || r.0.len() != 2 {
                    continue;
                }
                let sides = Sides::of(&[[&z, &z], [&r, &r], [&n, &recurrent]], *x, h)?;
                let inputs = vec![sides.x, sides.h];
                return Some(Self {
                    op: op::Gru(sides.weights()?).into(),
                    inputs,
                    second: None,
                });
            }
        }
        None
    }

    /// `o * tanh(c')` with `c' = f * c + i * g`.
    fn lstm(matcher: &Matcher, last: &Node) -> Option<Self> {
        for [o, out] in operands(matcher, last.output, true)? {
            let (Some(o), Some(new)) = (
                through(matcher, o, Unary::Sigmoid),
                through(matcher, out, Unary::Tanh),
            ) else {
                continue;
            };
            let new = matcher.same(new)?;
            for [kept, added] in operands(matcher, new, false)? {
                for [f, c] in operands(matcher, kept, true)? {
                    for [i, g] in operands(matcher, added, true)? {
                        let gates = [(i, Unary::Sigmoid), (f, Unary::Sigmoid), (g, Unary::Tanh)];
                        let gates = gates.map(|(value, unary)| through(matcher, value, unary));
                        let ([Some(i), Some(f), Some(g)], Some(c)) = (gates, matcher.same(c))
                        else {
                            continue;
                        };
                        let gates: Option<Vec<Sums>> = [i, o, f, g]
                            .into_iter()
                            .map(|gate| Sums::of(matcher, gate))
                            .collect();
                        let gates = gates?;
                        let hidden = matcher.graph.values[c.0].len();
                        let [x, h] = input_and_state(matcher, &gates, hidden)?;
                        let pairs: Vec<[&Sums; 2]> =
                            gates.iter().map(|gate| [gate, gate]).collect();
                        let sides = Sides::of(&pairs, x, h)?;
                        return Some(Self {
                            op: op::Lstm(sides.weights()?).into(),
                            inputs: vec![x, h, c],
                            second: Some(new),
                        });
                    }
                }
            }
        }
        None
    }

    /// Replaces node number `at`, or the node that computes the new cell, by the step, and gives its number.
    fn put(self, graph: &mut Graph, at: usize) -> usize {
        let (output, name) = (graph.nodes[at].output, graph.nodes[at].name.clone());
        let node = Node {
            name,
            op: self.op,
            inputs: self.inputs,
            output,
            second: self.second,
        };
        graph.fallback_values.remove(&output);
        let Some(second) = self.second else {
            graph.nodes[at] = node;
            return at;
        };
        graph.fallback_values.remove(&second);
        graph.nodes.remove(at);
        let cell = graph.nodes.iter().position(|node| node.output == second);
        let at = cell.unwrap_or(at);
        graph.nodes[at] = node;
        at
    }
}

/// Update gate, new state and old state of a mean of two states.
fn update(matcher: &Matcher, value: ValueId) -> Option<(ValueId, ValueId, ValueId)> {
    for [a, b] in operands(matcher, value, false)? {
        let Some(pairs) = operands(matcher, b, true) else {
            continue;
        };
        for [z, other] in pairs {
            // n + z * (h - n)
            for [h, minus] in operands(matcher, other, false).into_iter().flatten() {
                if line(matcher, minus, (-1.0, 0.0)).is_some_and(|n| matcher.same(a) == Some(n)) {
                    return Some((z, a, matcher.same(h)?));
                }
            }
            // (1 - z) * n + z * h
            for [rest, n] in operands(matcher, a, true).into_iter().flatten() {
                if line(matcher, rest, (-1.0, 1.0))
                    .is_some_and(|inner| matcher.same(z) == Some(inner))
                {
                    return Some((z, n, matcher.same(other)?));
                }
            }
        }
    }
    None
}

/// Of the two values that all gates read, the input and the state: a state has as many elements as the cell. Where both have, what the
/// caller gives is the state.
fn input_and_state(matcher: &Matcher, gates: &[Sums], hidden: usize) -> Option<[ValueId; 2]> {
    let [(a, ..), (b, ..)] = gates.first()?.0[..] else {
        return None;
    };
    let two = gates.iter().all(|gate| gate.0.len() == 2);
    let fits = |value: ValueId| matcher.graph.values[value.0].len() == hidden;
    let given = |value: ValueId| (matcher.graph.inputs.contains(&value), value);
    if !two || a == b {
        return None;
    }
    match (fits(a), fits(b)) {
        (true, true) if given(a) > given(b) => Some([b, a]),
        (true, true) | (false, true) => Some([a, b]),
        (true, false) => Some([b, a]),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::Binary;
    use crate::fuse::testing::{Build, numbers, output};
    use ndarray::Array2;

    const K: usize = 3;
    const H: usize = 2;

    fn layer(build: &mut Build, x: ValueId, gates: usize, k: usize, seed: usize) -> ValueId {
        let weight = Array2::from_shape_vec((gates * H, k), numbers(gates * H * k, seed)).unwrap();
        let linear = op::Linear(op::Affine {
            weight: weight.into_dyn(),
            bias: numbers(gates * H, seed + 1),
            clamp: Clamp::NONE,
        });
        build.op(linear, &[x], &[gates * H])
    }

    fn gate(build: &mut Build, all: ValueId, number: usize) -> ValueId {
        build.copy(all, &[H], |at| (number * H + at) as u32)
    }

    fn function(build: &mut Build, x: ValueId, function: Function) -> ValueId {
        build.op(op::Activation(function), &[x], &[H])
    }

    fn product(build: &mut Build, a: ValueId, b: ValueId) -> ValueId {
        build.op(op::Mul { factor: 1.0 }, &[a, b], &[H])
    }

    fn of(unary: Unary) -> Function {
        Function::Input.then(unary)
    }

    /// PyTorch's GRUCell, gates r, z, n; or with the update written as a mean, or with a reset gate that is no gate of the state.
    fn gru(mean: bool, wrong: bool) -> Graph {
        let mut build = Build::new();
        let (x, h) = (build.input(&[K]), build.input(&[H]));
        let (w, r) = (layer(&mut build, x, 3, K, 1), layer(&mut build, h, 3, H, 5));
        let [wr, wz, wn] = [0, 1, 2].map(|number| gate(&mut build, w, number));
        let [rr, rz, rn] = [0, 1, 2].map(|number| gate(&mut build, r, number));
        let reset = build.add_to(wr, if wrong { wz } else { rr });
        let reset = function(&mut build, reset, of(Unary::Sigmoid));
        let z = build.add_to(wz, rz);
        let z = function(&mut build, z, of(Unary::Sigmoid));
        let kept = product(&mut build, reset, rn);
        let n = build.add_to(kept, wn);
        let n = function(&mut build, n, of(Unary::Tanh));
        let y = if mean {
            let rest = Function::Constant(1.0).with(Binary::Sub, Function::Input);
            let rest = function(&mut build, z, rest);
            let (new, old) = (product(&mut build, rest, n), product(&mut build, z, h));
            build.add_to(new, old)
        } else {
            let minus = function(&mut build, n, Function::scaled(-1.0));
            let difference = build.add_to(h, minus);
            let part = product(&mut build, difference, z);
            build.add_to(part, n)
        };
        build.graph(&[y])
    }

    /// PyTorch's LSTMCell: gates i, f, g, o of one sum.
    fn lstm() -> Graph {
        let mut build = Build::new();
        let (x, h, c) = (build.input(&[K]), build.input(&[H]), build.input(&[H]));
        let (w, r) = (layer(&mut build, x, 4, K, 1), layer(&mut build, h, 4, H, 5));
        let all = build.add_to(w, r);
        let gates = [Unary::Sigmoid, Unary::Sigmoid, Unary::Tanh, Unary::Sigmoid];
        let mut number = 0;
        let [i, f, g, o] = gates.map(|unary| {
            let sum = gate(&mut build, all, number);
            number += 1;
            function(&mut build, sum, of(unary))
        });
        let (kept, added) = (product(&mut build, f, c), product(&mut build, i, g));
        let cell = build.add_to(kept, added);
        let squashed = function(&mut build, cell, of(Unary::Tanh));
        let y = product(&mut build, o, squashed);
        build.graph(&[y, cell])
    }

    /// Pre-activations of all gates from the input and from the state.
    fn sides(weights: &RecurrentWeights) -> [Vec<f32>; 2] {
        let side = |matrix: &ArrayD<f32>, bias: &[f32], x: &[f32]| -> Vec<f32> {
            let rows = matrix.outer_iter().zip(bias);
            rows.map(|(row, bias)| bias + row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>())
                .collect()
        };
        [
            side(&weights.w, &weights.bias_w, &numbers(K, 0)),
            side(&weights.r, &weights.bias_r, &numbers(H, 1)),
        ]
    }

    fn sigmoid(x: f32) -> f32 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn a_gru_cell_is_one_step_of_a_gru() {
        for mean in [false, true] {
            let mut graph = gru(mean, false);
            let exact = output(&graph);
            run(&mut graph);
            graph.drop_unused();
            let [
                Node {
                    op: Op::Gru(op::Gru(weights)),
                    inputs,
                    ..
                },
            ] = &graph.nodes[..]
            else {
                panic!("{:?}", graph.nodes);
            };
            assert_eq!(inputs, &graph.inputs);
            let ([w, r], h) = (sides(weights), numbers(H, 1));
            for (u, exact) in exact.into_iter().enumerate() {
                let z = sigmoid(w[u] + r[u]);
                let n = (w[2 * H + u] + sigmoid(w[H + u] + r[H + u]) * r[2 * H + u]).tanh();
                assert!((n + z * (h[u] - n) - exact).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn what_only_looks_like_a_gru_cell_stays() {
        let mut graph = gru(false, true);
        let exact = output(&graph);
        run(&mut graph);
        assert!(
            graph
                .nodes
                .iter()
                .all(|node| !matches!(node.op, Op::Gru(_)))
        );
        assert_eq!(output(&graph), exact);
    }

    #[test]
    fn an_lstm_cell_is_one_step_of_an_lstm() {
        let mut graph = lstm();
        let exact = output(&graph);
        let cell = graph.outputs[1];
        run(&mut graph);
        graph.drop_unused();
        let [
            Node {
                op: Op::Lstm(op::Lstm(weights)),
                inputs,
                second,
                ..
            },
        ] = &graph.nodes[..]
        else {
            panic!("{:?}", graph.nodes);
        };
        assert_eq!((inputs, *second), (&graph.inputs, Some(cell)));
        let ([w, r], c) = (sides(weights), numbers(H, 2));
        for (u, exact) in exact.into_iter().enumerate() {
            let [i, o, f, g] = [0, 1, 2, 3].map(|gate| w[gate * H + u] + r[gate * H + u]);
            let c = sigmoid(f) * c[u] + sigmoid(i) * g.tanh();
            assert!((sigmoid(o) * c.tanh() - exact).abs() < 1e-5);
        }
    }
}

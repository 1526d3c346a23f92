//! Normalisation spelled out: `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon)` in whatever order and over whatever axes, with or
//! without the mean, and the factors and summands behind it.

use super::matcher::{Matcher, Origin};
use super::rewrite::{Arranged, Rewrite};
use crate::function::Function;
use crate::graph::op::{LayerNorm, Reduction};
use crate::graph::{Clamp, Graph, Node, Op, Value, ValueId, op};

#[cfg(test)]
mod tests;

/// Most elements that the operator normalises together.
const MOST: usize = 1024;
/// How far a spelling may be from the operator, as a share: epsilon may stand outside of the root.
const TOLERANCE: f64 = 2e-3;

/// Runs the pass.
pub fn run(graph: &mut Graph) {
    for at in 0..graph.nodes.len() {
        if matches!(graph.nodes[at].op, Op::Mul(_))
            && let Some(norm) = Norm::of(&Matcher::new(graph), &graph.nodes[at])
        {
            norm.put(graph, at);
        }
    }
    if !graph
        .nodes
        .iter()
        .any(|node| matches!(node.op, Op::LayerNorm(_)))
    {
        return;
    }
    for at in 0..graph.nodes.len() {
        centre(graph, at);
        absorb(graph, at);
    }
}

/// Elements in groups of `n`: for each element of the groups, one after the other, its place in a value.
#[derive(Clone, Debug, PartialEq)]
struct Groups {
    base: ValueId,
    position: Vec<u32>,
    n: usize,
}

/// One number for each group, spread over a value.
struct Spread<'g> {
    /// What computes them from the groups' elements: the input of the reduction.
    reduced: ValueId,
    n: usize,
    by: Reduction,
    /// What happens to the number.
    function: Function,
    /// For each element of the value, its group.
    group: Vec<u32>,
    matcher: &'g Matcher<'g>,
}

impl<'g> Spread<'g> {
    /// Reads a value so.
    fn of(matcher: &'g Matcher<'g>, value: ValueId) -> Option<Self> {
        let mut origin = matcher.moved(value);
        let mut function = Function::Input;
        loop {
            let node = matcher.producer(origin.base)?;
            let (n, by) = match &node.op {
                Op::Activation(op::Activation(inner)) => {
                    function = function.of(inner);
                    let before = matcher.moved(node.inputs[0]);
                    origin.base = before.base;
                    for place in &mut origin.position {
                        *place = *before.position.get(*place as usize)?;
                    }
                    continue;
                }
                Op::Reduce(op::Reduce {
                    n,
                    by: by @ (Reduction::Mean | Reduction::Sum),
                }) => (*n, *by),
                Op::MeanChannels(_) => (
                    matcher.graph.values[node.inputs[0].0].channels(),
                    Reduction::Mean,
                ),
                _ => return None,
            };
            return Some(Self {
                reduced: node.inputs[0],
                n,
                by,
                function,
                group: origin.position,
                matcher,
            });
        }
    }

    /// The groups as elements of what the moves before the reduction start from.
    fn groups(&self) -> Option<Groups> {
        let Origin { base, position, .. } = self.matcher.moved(self.reduced);
        let whole = !position.contains(&Origin::ZERO)
            && position.len() == self.matcher.graph.values[base.0].len();
        whole.then_some(Groups {
            base,
            position,
            n: self.n,
        })
    }

    /// True if each element of the groups' base gets the number of its own group.
    fn is_own(&self, groups: &Groups) -> bool {
        let place =
            |(at, &p): (usize, &u32)| self.group.get(p as usize) == Some(&((at / groups.n) as u32));
        self.group.len() == groups.position.len() && groups.position.iter().enumerate().all(place)
    }
}

/// `x - mean(x)` over groups.
fn centred(matcher: &Matcher, value: ValueId) -> Option<Groups> {
    let node = matcher.producer(value)?;
    let Op::Add(op::Add { clamp }) = &node.op else {
        return None;
    };
    let minus_mean = |x: ValueId, mean: ValueId| {
        let spread = Spread::of(matcher, mean)?;
        let (slope, offset) = spread.function.line()?;
        let by = match spread.by {
            Reduction::Sum => spread.n as f64,
            _ => 1.0,
        };
        let groups = spread.groups()?;
        let mean = offset == 0.0 && (slope * by + 1.0).abs() < 1e-6;
        (mean && groups.base == matcher.same(x)? && spread.is_own(&groups)).then_some(groups)
    };
    let (a, b) = (node.inputs[0], node.inputs[1]);
    (*clamp == Clamp::NONE).then(|| minus_mean(a, b).or_else(|| minus_mean(b, a)))?
}

/// A normalisation of groups.
struct Norm {
    groups: Groups,
    factor: f64,
    epsilon: f64,
    centre: bool,
}

impl Norm {
    /// Reads a product as `x / root(mean square)`.
    fn of(matcher: &Matcher, node: &Node) -> Option<Self> {
        let Op::Mul(op::Mul { factor }) = node.op else {
            return None;
        };
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let one = |x: ValueId, root: ValueId| {
            let spread = Spread::of(matcher, root)?;
            let (squared, squares) = square(matcher, spread.reduced)?;
            let by = match spread.by {
                Reduction::Sum => spread.n as f64,
                _ => 1.0,
            };
            let (slope, epsilon) = inverse_root(&|v| spread.function.eval(v * by * squares))?;
            let mean_free = centred(matcher, squared.base);
            let scaled = matcher.scaled(x);
            let groups = Groups {
                n: spread.n,
                ..squared
            };
            if groups.n > MOST || !spread.is_own(&groups) {
                return None;
            }
            // The dividend is the value that was squared, or a second computation of it.
            let in_order = scaled
                .position
                .iter()
                .enumerate()
                .all(|(at, &p)| p as usize == at);
            let same = scaled.base == groups.base
                || (mean_free.is_some() && centred(matcher, scaled.base) == mean_free);
            let centre = mean_free.is_some();
            let groups = match mean_free {
                Some(outer) if outer.n == groups.n && alike(&outer, &groups) => outer,
                Some(_) => return None,
                None => groups,
            };
            (in_order && same).then(|| Self {
                groups,
                factor: f64::from(factor) * f64::from(scaled.factor) / slope.sqrt(),
                epsilon,
                centre,
            })
        };
        one(a, b).or_else(|| one(b, a))
    }

    /// Replaces node number `at` by the operator.
    fn put(self, graph: &mut Graph, at: usize) {
        let Groups { base, position, n } = self.groups;
        let norm = LayerNorm {
            gamma: vec![self.factor as f32; n],
            beta: vec![0.0; n],
            epsilon: self.epsilon as f32,
            centre: self.centre,
        };
        let in_order = position.iter().enumerate().all(|(at, &p)| p as usize == at);
        let output = graph.nodes[at].output;
        graph.fallback_values.remove(&output);
        if in_order
            && graph.values[output.0].channels() == n
            && graph.values[base.0].channels() == n
        {
            graph.nodes[at].op = norm.into();
            graph.nodes[at].inputs = vec![base];
            return;
        }
        let name = graph.nodes[at].name.clone();
        let mut back = vec![0u32; position.len()];
        for (to, &from) in position.iter().enumerate() {
            back[from as usize] = to as u32;
        }
        let mut rewrite = Rewrite { graph, at };
        let arranged = Arranged {
            base,
            position: &position,
            channels: n,
        };
        let rows = rewrite.arranged(&format!("{name}.groups"), &arranged);
        let dims = rewrite.graph.values[rows.0].dims.clone();
        let value = Value {
            name: format!("{name}.normal"),
            dims,
            source: None,
        };
        let normal = rewrite.add(&name, norm, vec![rows], value);
        rewrite.replace(output, normal, back);
    }
}

/// True if two groupings of values with the same elements have the same elements together.
fn alike(a: &Groups, b: &Groups) -> bool {
    let groups = |groups: &Groups| -> Vec<Vec<u32>> {
        let sorted = |group: &[u32]| {
            let mut group = group.to_vec();
            group.sort_unstable();
            group
        };
        let mut all: Vec<Vec<u32>> = groups
            .position
            .chunks(groups.n.max(1))
            .map(sorted)
            .collect();
        all.sort();
        all
    };
    groups(a) == groups(b)
}

/// What a value is the square of, and by which factor.
fn square(matcher: &Matcher, value: ValueId) -> Option<(Groups, f64)> {
    let origin = matcher.moved(value);
    let node = matcher.producer(origin.base)?;
    let (base, factor) = match &node.op {
        Op::Activation(op::Activation(function)) => {
            let factor = function.eval(1.0);
            let is = |x: f64| (function.eval(x) - factor * x * x).abs() <= 1e-9 * (1.0 + x * x);
            let square = factor > 0.0 && [-3.0, -0.5, 0.0, 0.25, 7.0].into_iter().all(is);
            (square.then(|| matcher.same(node.inputs[0]))??, factor)
        }
        Op::Mul(op::Mul { factor }) if *factor > 0.0 => {
            let [a, b] = [0, 1].map(|slot| matcher.same(node.inputs[slot]));
            (a.filter(|_| a == b)?, f64::from(*factor))
        }
        _ => return None,
    };
    let all = origin.position.len() == matcher.graph.values[base.0].len()
        && !origin.position.contains(&Origin::ZERO);
    let groups = Groups {
        base,
        position: origin.position,
        n: 0,
    };
    all.then_some((groups, factor))
}

/// `(k, e)` for a function that is `1 / sqrt(k * (v + e))`.
fn inverse_root(function: &dyn Fn(f64) -> f64) -> Option<(f64, f64)> {
    let inverse_square = |v: f64| function(v).powi(-2);
    let slope = (inverse_square(4.0) - inverse_square(1.0)) / 3.0;
    let epsilon = (inverse_square(1.0) / slope - 1.0).max(0.0);
    // What cancels in 1 + epsilon is seen near 0.
    let near = inverse_square(0.0) / slope;
    let epsilon = if near.is_finite() && (near - epsilon).abs() < 1e-3 {
        near.max(0.0)
    } else {
        epsilon
    };
    let close = |v: f64| (function(v) * (slope * (v + epsilon)).sqrt() - 1.0).abs() < TOLERANCE;
    let positive = slope > 0.0 && slope.is_finite() && function(1.0) > 0.0;
    (positive && [1e-4, 1e-2, 0.3, 1.0, 30.0, 1e4].into_iter().all(close))
        .then_some((slope, epsilon))
}

/// A normalisation of what has no mean any more takes the mean off itself.
fn centre(graph: &mut Graph, at: usize) {
    let Op::LayerNorm(norm) = &graph.nodes[at].op else {
        return;
    };
    let (n, input) = (norm.gamma.len(), graph.nodes[at].inputs[0]);
    let groups = centred(&Matcher::new(graph), input);
    let in_order = |groups: &Groups| {
        groups.n == n
            && groups
                .position
                .iter()
                .enumerate()
                .all(|(at, &p)| p as usize == at)
    };
    if let Some(groups) = groups.filter(in_order)
        && graph.values[groups.base.0].dims == graph.values[input.0].dims
        && let Op::LayerNorm(norm) = &mut graph.nodes[at].op
    {
        norm.centre = true;
        graph.nodes[at].inputs = vec![groups.base];
    }
}

/// A factor or a summand for each channel becomes part of the normalisation before it, if it is the only reader.
fn absorb(graph: &mut Graph, at: usize) {
    let node = &graph.nodes[at];
    let matcher = Matcher::new(graph);
    let Some(before) = node
        .inputs
        .first()
        .and_then(|&input| matcher.producer(input))
    else {
        return;
    };
    let Op::LayerNorm(norm) = &before.op else {
        return;
    };
    let n = norm.gamma.len();
    if matcher.consumers(before.output).len() != 1 || matcher.is_returned(before.output) {
        return;
    }
    let row = |values: &[f32]| {
        let first = values.get(..n)?;
        values
            .chunks(n)
            .all(|row| row == first)
            .then(|| first.to_vec())
    };
    let (factors, summands) = match &node.op {
        Op::AddConstant(op::AddConstant { constant, clamp }) if *clamp == Clamp::NONE => {
            match row(constant) {
                Some(summands) => (vec![1.0; n], summands),
                None => return,
            }
        }
        Op::Activation(op::Activation(function)) => match function.line() {
            Some((slope, offset)) => (vec![slope as f32; n], vec![offset as f32; n]),
            None => return,
        },
        Op::Mul(op::Mul { factor })
        | Op::Gate(op::Gate {
            per_row: false,
            factor,
        }) => match graph.constant(node.inputs[1]).and_then(row) {
            Some(factors) => (factors.iter().map(|x| x * factor).collect(), vec![0.0; n]),
            None => return,
        },
        _ => return,
    };
    let each = |values: &[f32]| {
        values
            .iter()
            .zip(&factors)
            .map(|(x, f)| x * f)
            .collect::<Vec<f32>>()
    };
    let merged = LayerNorm {
        gamma: each(&norm.gamma),
        beta: each(&norm.beta)
            .iter()
            .zip(summands)
            .map(|(x, s)| x + s)
            .collect(),
        ..*norm
    };
    let (inputs, output, normal) = (before.inputs.clone(), node.output, before.output);
    graph.fallback_values.remove(&output);
    if graph.values[output.0].channels() == n {
        graph.nodes[at].op = merged.into();
        graph.nodes[at].inputs = inputs;
        return;
    }
    // The result has other dimensions: the normalisation changes where it is.
    graph.values[normal.0].source = None;
    for node in &mut graph.nodes {
        if node.output == normal {
            node.op = merged.clone().into();
        }
    }
    graph.nodes[at].op = op::Reshape.into();
    graph.nodes[at].inputs = vec![normal];
}

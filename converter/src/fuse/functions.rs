//! Sums and products of functions of one value become one function: the parts of a PRelu, and whatever else base operators compute of
//! one value element by element.

use super::matcher::Matcher;
use crate::function::{Binary, Function};
use crate::graph::op::{Activation, Add, Mul};
use crate::graph::{Clamp, Graph, Op, ValueId};

/// Most elementary functions in one.
const MOST: usize = 64;

/// Runs the pass.
pub fn run(graph: &mut Graph) {
    for at in 0..graph.nodes.len() {
        let output = graph.nodes[at].output;
        if !graph.fallback_values.contains_key(&output) {
            continue;
        }
        let found = of(&Matcher::new(graph), output);
        // A node that is such a function already needs no other.
        let Some((base, function)) = found.filter(|(base, _)| graph.nodes[at].inputs != [*base])
        else {
            continue;
        };
        if graph.values[base.0].dims == graph.values[output.0].dims {
            graph.nodes[at].op = Activation(function).into();
            graph.nodes[at].inputs = vec![base];
        }
    }
}

/// A value as a function of another one, the farthest that there is.
fn of(matcher: &Matcher, value: ValueId) -> Option<(ValueId, Function)> {
    let node = matcher.producer(value)?;
    let deeper = |input: ValueId| {
        let fallback = matcher.graph.fallback_values.contains_key(&input);
        let found = if fallback { of(matcher, input) } else { None };
        found.unwrap_or((input, Function::Input))
    };
    let (base, function) = match &node.op {
        Op::Activation(Activation(function)) => {
            let (base, inner) = deeper(node.inputs[0]);
            (base, function.of(&inner))
        }
        Op::Add(Add {
            clamp: Clamp { min, max },
        }) => {
            let (base, sum) = joined(&node.inputs, deeper, Binary::Add)?;
            let bounds = [(Binary::Max, *min), (Binary::Min, *max)].into_iter();
            let bounds = bounds.filter(|(_, bound)| bound.is_finite());
            (
                base,
                bounds.fold(sum, |f, (limit, bound)| {
                    f.with(limit, Function::Constant(bound.into()))
                }),
            )
        }
        Op::Mul(Mul { factor }) => {
            let (base, product) = joined(&node.inputs, deeper, Binary::Mul)?;
            let factor = Function::Constant(f64::from(*factor));
            (base, product.with(Binary::Mul, factor))
        }
        _ => return None,
    };
    (function.size() <= MOST).then_some((base, function))
}

/// Two functions of one value as one.
fn joined(
    inputs: &[ValueId],
    of: impl Fn(ValueId) -> (ValueId, Function),
    binary: Binary,
) -> Option<(ValueId, Function)> {
    let &[a, b] = inputs else {
        return None;
    };
    let ((a, f), (b, g)) = (of(a), of(b));
    (a == b).then(|| (a, f.with(binary, g)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::Unary;
    use crate::fuse::testing::{Build, output};

    /// `max(x, 0) + 0.25 * min(x, 0)`, or with the minimum of another value.
    fn prelu(own: bool) -> Graph {
        let mut build = Build::new();
        let (x, other) = (build.input(&[2, 3]), build.input(&[2, 3]));
        let activation = |function: Function| Activation(function);
        let below = Function::Input.with(Binary::Min, Function::Constant(0.0));
        let below = build.op(activation(below), &[if own { x } else { other }], &[2, 3]);
        let above = build.op(activation(Function::Input.then(Unary::Relu)), &[x], &[2, 3]);
        let scaled = build.op(activation(Function::scaled(0.25)), &[below], &[2, 3]);
        let y = build.add_to(above, scaled);
        let mut graph = build.graph(&[y]);
        for value in [below, above, scaled, y] {
            graph.fallback_values.insert(value, 0);
        }
        graph
    }

    #[test]
    fn functions_of_one_value_are_one() {
        let mut graph = prelu(true);
        let exact = output(&graph);
        run(&mut graph);
        graph.drop_unused();
        assert_eq!(graph.nodes.len(), 1, "{:?}", graph.nodes);
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(exact.iter().zip(&output(&graph)).all(close));
    }

    #[test]
    fn functions_of_two_values_stay_two() {
        let mut graph = prelu(false);
        let exact = output(&graph);
        run(&mut graph);
        graph.drop_unused();
        assert_eq!(graph.nodes.len(), 3, "{:?}", graph.nodes);
        assert_eq!(output(&graph), exact);
    }
}

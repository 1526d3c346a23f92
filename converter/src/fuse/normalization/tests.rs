//! Every spelling of a normalisation.

use super::*;
use crate::function::{Binary, Unary};
use crate::fuse::testing::{Build, output};

const SHAPE: [usize; 2] = [3, 4];

/// How a normalisation is written.
#[derive(Clone, Copy, Debug)]
struct Spelling {
    /// The mean is taken off.
    centre: bool,
    /// It is taken off once more for the variance.
    twice: bool,
    /// Squares are products, and means are sums.
    products: bool,
    /// Over the columns, not the rows.
    columns: bool,
    /// Some other mean is taken off.
    wrong: bool,
}

fn spelled(spelling: Spelling) -> Graph {
    let mut build = Build::new();
    let x = build.input(&SHAPE);
    let n = if spelling.columns { SHAPE[0] } else { SHAPE[1] };
    let group = |at: usize| {
        if spelling.columns {
            at % SHAPE[1]
        } else {
            at / SHAPE[1]
        }
    };
    let mean = |build: &mut Build, x: ValueId| {
        let rows = match spelling.columns {
            true => build.copy(x, &[4, 3], |at| (at % 3 * 4 + at / 3) as u32),
            false => x,
        };
        match spelling.products {
            false => build.op(
                op::Reduce {
                    n,
                    by: Reduction::Mean,
                },
                &[rows],
                &[12 / n],
            ),
            true => {
                let sum = build.op(
                    op::Reduce {
                        n,
                        by: Reduction::Sum,
                    },
                    &[rows],
                    &[12 / n],
                );
                build.op(
                    op::Activation(Function::scaled(1.0 / n as f64)),
                    &[sum],
                    &[12 / n],
                )
            }
        }
    };
    let spread =
        |build: &mut Build, value: ValueId| build.copy(value, &SHAPE, |at| group(at) as u32);
    let centred = |build: &mut Build| {
        let mean = mean(build, x);
        let minus = if spelling.wrong { -0.5 } else { -1.0 };
        let minus = build.op(op::Activation(Function::scaled(minus)), &[mean], &[12 / n]);
        let minus = spread(build, minus);
        build.add_to(x, minus)
    };
    let above = if spelling.centre {
        centred(&mut build)
    } else {
        x
    };
    let below = if spelling.twice {
        centred(&mut build)
    } else {
        above
    };
    let squares = match spelling.products {
        true => build.op(op::Mul { factor: 1.0 }, &[below, below], &SHAPE),
        false => build.op(
            op::Activation(Function::Input.with(Binary::Mul, Function::Input)),
            &[below],
            &SHAPE,
        ),
    };
    let variance = mean(&mut build, squares);
    let root = Function::Input
        .with(Binary::Add, Function::Constant(1e-3))
        .then(Unary::Sqrt);
    let inverse = Function::Constant(2.0).with(Binary::Div, root);
    let inverse = build.op(op::Activation(inverse), &[variance], &[12 / n]);
    let inverse = spread(&mut build, inverse);
    let normal = build.op(op::Mul { factor: 1.0 }, &[above, inverse], &SHAPE);
    let constant = (0..12).map(|at| (at % 4) as f32).collect();
    let y = build.op(
        op::AddConstant {
            constant,
            clamp: Clamp::NONE,
        },
        &[normal],
        &SHAPE,
    );
    build.graph(&[y])
}

fn fused(mut graph: Graph) -> (Graph, usize) {
    let exact = output(&graph);
    run(&mut graph);
    graph.drop_unused();
    for (a, b) in exact.iter().zip(output(&graph)) {
        assert!((a - b).abs() < 1e-4, "{b} for {a}");
    }
    let norms = graph
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::LayerNorm(_)));
    let count = norms.count();
    (graph, count)
}

#[test]
fn every_spelling_is_one_operator() {
    for bits in 0..16 {
        let [centre, twice, products, columns] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
        let spelling = Spelling {
            centre,
            twice: twice && centre,
            products,
            columns,
            wrong: false,
        };
        let (graph, norms) = fused(spelled(spelling));
        assert_eq!(norms, 1, "{spelling:?}");
        // Summands of columns are not those of a column's channels.
        let rest = if columns { 3 } else { 0 };
        assert_eq!(
            graph.nodes.len(),
            1 + rest,
            "{spelling:?}: {:?}",
            graph.nodes
        );
        let centred = graph
            .nodes
            .iter()
            .any(|node| matches!(&node.op, Op::LayerNorm(norm) if norm.centre));
        assert_eq!(centred, centre, "{spelling:?}");
    }
}

#[test]
fn what_is_not_centred_by_its_mean_keeps_its_own() {
    let spelling = Spelling {
        centre: true,
        twice: true,
        products: false,
        columns: false,
        wrong: false,
    };
    let twice = Spelling {
        twice: false,
        wrong: true,
        ..spelling
    };
    let (graph, norms) = fused(spelled(twice));
    // The mean square of what is left: no mean is taken off by the operator.
    assert_eq!(norms, 1);
    assert!(
        graph
            .nodes
            .iter()
            .all(|node| !matches!(&node.op, Op::LayerNorm(norm) if norm.centre))
    );
}

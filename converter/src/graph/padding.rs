//! Padding elimination: what is read only through the sequence's rows need not be computed for the padding either.
//!
//! The nodes that take the sequence's rows ([`Rows::Valid`]) move towards the inputs, over every operator whose rows come from the same
//! rows of its inputs, or from those before them. [`super::variable_length`] then finds that what lies behind them varies with the length
//! of the sequence.

use super::facts::Rows;
use super::{Graph, Node, ValueId};
use std::collections::BTreeSet;

/// Moves every [`Rows::Valid`] as far towards the inputs as it goes.
pub fn eliminate(graph: &mut Graph) {
    let mut at = graph.nodes.len();
    while let Some(before) = at.checked_sub(1) {
        at = before;
        let node = graph.nodes[at].clone();
        if !in_part(graph, node.output) {
            continue;
        }
        if graph.facts(&node).rows == Rows::Cleared {
            // What is cleared is not looked at.
            bypass(graph, node.output, node.inputs[0]);
        } else if let Some(inputs) = by_row(graph, &node) {
            bypass(graph, node.output, node.output);
            for slot in 0..inputs {
                let input = graph.nodes[at].inputs[slot];
                let narrowed = sequence_before(graph, &mut at, input);
                graph.nodes[at].inputs[slot] = narrowed;
            }
        }
    }
    graph.drop_unused();
}

/// The inputs of which nothing but the sequence's rows is read.
pub fn inputs_in_part(graph: &Graph) -> BTreeSet<ValueId> {
    let inputs = graph.inputs.iter().copied();
    inputs.filter(|&input| in_part(graph, input)).collect()
}

/// True for a value of which only rows of the sequence are read: through [`Rows::Valid`], and maybe the first by itself.
fn in_part(graph: &Graph, value: ValueId) -> bool {
    let (mut narrowed, mut all) = (false, false);
    for node in readers(graph, value) {
        match graph.facts(node).rows {
            Rows::Valid => narrowed = true,
            Rows::Select { start: 0, rows: 1 } => {}
            _ => all = true,
        }
    }
    narrowed && !all && !graph.outputs.contains(&value)
}

fn readers(graph: &Graph, value: ValueId) -> impl Iterator<Item = &Node> {
    let nodes = graph.nodes.iter();
    nodes.filter(move |node| node.inputs.contains(&value))
}

/// Readers of the sequence's rows of `value`, or of its first row, read `instead`.
fn bypass(graph: &mut Graph, value: ValueId, instead: ValueId) {
    let is_valid = |node: &&Node| graph.facts(node).rows == Rows::Valid;
    let narrowed = readers(graph, value).filter(is_valid);
    let narrowed: Vec<ValueId> = narrowed.map(|node| node.output).collect();
    let selects = |node: &Node| matches!(graph.facts(node).rows, Rows::Select { .. });
    let selects: Vec<bool> = graph.nodes.iter().map(selects).collect();
    for (node, selects) in graph.nodes.iter_mut().zip(selects) {
        for id in &mut node.inputs {
            if narrowed.contains(id) || (selects && *id == value) {
                *id = instead;
            }
        }
    }
    for id in &mut graph.outputs {
        if narrowed.contains(id) {
            *id = instead;
        }
    }
}

/// How many of its inputs, the first ones, a node reads row by row: row `i` of its result comes from their rows up to `i`.
/// `None` when rows depend on others, or when their number must be known.
fn by_row(graph: &Graph, node: &Node) -> Option<usize> {
    let rows = |id: ValueId| graph.values[id.0].rows();
    let (all, facts) = (node.inputs.len(), graph.facts(node));
    let count = match facts.rows {
        Rows::Each if facts.shortens => all,
        Rows::Window(window) if window.is_pointwise() => all,
        Rows::Recurrent { reverse: false } if node.second.is_none() => 1,
        // Which keys a query sees by a causal mask is counted from the last query and the last key.
        Rows::Queries { causal, .. }
            if !causal || graph.whole_sequence(node.inputs[1]).is_some() =>
        {
            1
        }
        Rows::Each
        | Rows::Window(_)
        | Rows::Recurrent { .. }
        | Rows::Queries { .. }
        | Rows::Select { .. }
        | Rows::Valid
        | Rows::Cleared
        | Rows::Constant
        | Rows::All { .. } => return None,
    };
    let own = node.inputs[..count].iter();
    let same = own.copied().all(|input| rows(input) == rows(node.output));
    (same && rows(node.output) > 1).then_some(count)
}

/// The sequence's rows of `value`, made before node `at`, whose new place is written there.
fn sequence_before(graph: &mut Graph, at: &mut usize, value: ValueId) -> ValueId {
    if graph.whole_sequence(value).is_some() {
        return value;
    }
    let made = |node: &Node| graph.facts(node).rows == Rows::Valid && node.inputs == [value];
    match graph.nodes.iter().position(made) {
        Some(place) if place < *at => return graph.nodes[place].output,
        Some(place) => {
            let node = graph.nodes.remove(place);
            graph.nodes.insert(*at, node);
        }
        None => {
            graph.add_sequence(value);
            let node = graph.nodes.pop().expect("it was just added");
            graph.nodes.insert(*at, node);
        }
    }
    let output = graph.nodes[*at].output;
    *at += 1;
    output
}

/// Writes causal masks out where a fixed number of queries sees a variable number of keys: they cannot be counted from the last key. To
/// be called when it is known what varies.
pub fn write_out_causal(graph: &mut Graph) {
    for at in 0..graph.nodes.len() {
        let node = &graph.nodes[at];
        let varies = |slot: usize| {
            let input = node.inputs.get(slot);
            input.is_some_and(|input| graph.varying.contains_key(input))
        };
        if let Rows::Queries { causal: true, .. } = graph.facts(node).rows
            && varies(1)
            && !varies(0)
        {
            let [queries, keys] = [0, 1].map(|slot| graph.values[node.inputs[slot].0].rows());
            graph.nodes[at].op.write_out_causal(queries, keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::variable_length;
    use crate::graph::{Clamp, Op, Value, Window1d, op};
    use ndarray::{ArrayD, IxDyn};
    use std::collections::BTreeMap;

    const ROWS: usize = 5;

    fn value(graph: &mut Graph, dims: &[usize]) -> ValueId {
        graph.values.push(Value {
            name: graph.values.len().to_string(),
            dims: dims.to_vec(),
            source: None,
        });
        ValueId(graph.values.len() - 1)
    }

    fn add(graph: &mut Graph, op: Op, inputs: &[ValueId], dims: &[usize]) -> ValueId {
        let output = value(graph, dims);
        graph.nodes.push(Node {
            name: op.name().into(),
            op,
            inputs: inputs.to_vec(),
            output,
            second: None,
        });
        output
    }

    fn linear() -> Op {
        Op::Linear(op::Linear {
            weight: ArrayD::zeros(IxDyn(&[2, 2])),
            bias: vec![0.0; 2],
            clamp: Clamp::NONE,
        })
    }

    fn attention(causal: bool) -> Op {
        Op::Attention(op::Attention {
            heads: 1,
            scale: 1.0,
            causal,
            visible: None,
            key_heads: 1,
        })
    }

    /// Self-attention over padding that is hidden, behind a layer.
    fn encoder(causal: bool) -> (Graph, ValueId) {
        let mut graph = Graph::default();
        let input = value(&mut graph, &[ROWS, 2]);
        graph.inputs.push(input);
        let x = add(&mut graph, linear(), &[input], &[ROWS, 2]);
        let keys = add(&mut graph, linear(), &[x], &[ROWS, 2]);
        let keys = graph.add_sequence(keys);
        let values = graph.add_sequence(x);
        let y = add(
            &mut graph,
            attention(causal),
            &[x, keys, values],
            &[ROWS, 2],
        );
        (graph, y)
    }

    fn follow(graph: &mut Graph) {
        eliminate(graph);
        let rule = |id| (id, variable_length::ALL);
        let inputs: BTreeMap<_, _> = inputs_in_part(graph).into_iter().map(rule).collect();
        variable_length::follow(graph, &inputs).unwrap();
        write_out_causal(graph);
    }

    #[test]
    fn rows_that_are_read_stay() {
        let (mut graph, y) = encoder(false);
        graph.outputs.push(y);
        follow(&mut graph);
        let varies = |id: usize| graph.varying.contains_key(&ValueId(id));
        // Queries are those of all rows, and so is what they come of; the keys' layer is only needed for the sequence.
        assert!(!varies(0) && !varies(1) && varies(2) && !varies(y.0));
        assert_eq!(
            graph
                .nodes
                .iter()
                .filter(|n| matches!(n.op, Op::Sequence(op::Sequence)))
                .count(),
            1
        );
    }

    #[test]
    fn padding_that_is_never_read_is_never_computed() {
        for causal in [false, true] {
            let (mut graph, y) = encoder(causal);
            let cleared = graph.add_sequence(y);
            let cleared = add(
                &mut graph,
                Op::ClearRows(op::ClearRows),
                &[cleared],
                &[ROWS, 2],
            );
            let y = add(&mut graph, linear(), &[cleared], &[ROWS, 2]);
            let y = graph.add_sequence(y);
            graph.outputs.push(y);
            follow(&mut graph);
            for node in &graph.nodes {
                let all = node.outputs().chain(node.inputs.iter().copied());
                assert!(
                    all.into_iter().all(|id| graph.varying.contains_key(&id)),
                    "{}",
                    node.name
                );
                assert!(!matches!(node.op, Op::ClearRows(op::ClearRows)));
            }
            let visible = |node: &Node| {
                matches!(
                    &node.op,
                    Op::Attention(op::Attention {
                        visible: Some(_),
                        ..
                    })
                )
            };
            assert!(!graph.nodes.iter().any(visible));
        }
    }

    #[test]
    fn a_causal_mask_over_all_queries_is_written_out() {
        let (mut graph, y) = encoder(true);
        graph.outputs.push(y);
        follow(&mut graph);
        let seen = graph.nodes.iter().find_map(|node| match &node.op {
            Op::Attention(op::Attention {
                causal: false,
                visible: Some(visible),
                ..
            }) => Some(visible.clone()),
            _ => None,
        });
        let expected: Vec<bool> = (0..ROWS * ROWS).map(|at| at % ROWS <= at / ROWS).collect();
        assert_eq!(seen, Some(expected));
    }

    #[test]
    fn operators_that_mix_rows_see_all_of_them() {
        let reverse = Op::Gru(op::Gru(op::Recurrent {
            w: ArrayD::zeros(IxDyn(&[6, 2])),
            r: ArrayD::zeros(IxDyn(&[6, 2])),
            bias_w: vec![0.0; 6],
            bias_r: vec![0.0; 6],
            reverse: true,
        }));
        let convolution = Op::DepthwiseConv1d(op::DepthwiseConv1d {
            weight: ArrayD::zeros(IxDyn(&[3, 2])),
            bias: vec![0.0; 2],
            window: Window1d {
                kernel: 3,
                stride: 1,
                dilation: 1,
                padding: (1, 1),
            },
            clamp: Clamp::NONE,
        });
        for op in [reverse, convolution] {
            let mut graph = Graph::default();
            let input = value(&mut graph, &[ROWS, 2]);
            graph.inputs.push(input);
            let y = add(&mut graph, op, &[input], &[ROWS, 2]);
            let y = graph.add_sequence(y);
            graph.outputs.push(y);
            follow(&mut graph);
            assert_eq!(graph.varying.keys().collect::<Vec<_>>(), [&y]);
        }
    }
}

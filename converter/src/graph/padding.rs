//! Padding elimination: operators skip padding rows if consumers read only the sequence's rows of their results.
//!
//! The nodes that select the sequence's rows ([`Rows::Valid`]) move towards the inputs, over every operator whose rows depend only on the
//! same or earlier rows of its inputs. For [`super::variable_length`], the values after such a node then vary with the length of the
//! sequence.

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
            // Cleared rows are not read.
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

/// The inputs of which only the sequence's rows are read.
pub fn inputs_in_part(graph: &Graph) -> BTreeSet<ValueId> {
    let inputs = graph.inputs.iter().copied();
    inputs.filter(|&input| in_part(graph, input)).collect()
}

/// True for a value of which only the sequence's rows are read: through [`Rows::Valid`], and possibly the first row directly.
fn in_part(graph: &Graph, value: ValueId) -> bool {
    let (mut narrowed, mut all) = (false, false);
    for node in readers(graph, value) {
        match graph.facts(node).rows {
            Rows::Valid => narrowed = true,
            Rows::Select { start: 0, rows: 1 } => {}
            Rows::Each
            | Rows::Window(_)
            | Rows::Recurrent { .. }
            | Rows::Queries { .. }
            | Rows::Select { .. }
            | Rows::Cleared
            | Rows::Constant
            | Rows::All { .. } => all = true,
        }
    }
    narrowed && !all && !graph.outputs.contains(&value)
}

fn readers(graph: &Graph, value: ValueId) -> impl Iterator<Item = &Node> {
    let nodes = graph.nodes.iter();
    nodes.filter(move |node| node.inputs.contains(&value))
}

/// Makes readers of the sequence's rows of `value`, or of its first row, read `instead`.
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

/// Number of a node's first inputs that it reads row by row: row `i` of its result depends on their rows up to `i`. `None` if rows depend
/// on later ones, or if the operator needs the number of rows.
fn by_row(graph: &Graph, node: &Node) -> Option<usize> {
    let rows = |id: ValueId| graph.values[id.0].rows();
    let (all, facts) = (node.inputs.len(), graph.facts(node));
    let count = match facts.rows {
        Rows::Each if facts.shortens => all,
        Rows::Window(window) if window.is_pointwise() => all,
        Rows::Recurrent { reverse: false } if node.second.is_none() => 1,
        // A causal mask counts from the last query and the last key.
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

/// The sequence's rows of `value`, computed before node `at`. Updates `at` to the node's new place.
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

/// Replaces causal masks by explicit ones where a fixed number of queries sees a variable number of keys: those cannot be counted from the
/// last key. Call it after [`super::variable_length::follow`].
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
    use crate::graph::{Op, Value, Window1d, op};
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
        let weight = ArrayD::zeros(IxDyn(&[2, 2]));
        op::Linear(op::Affine::new(weight, vec![0.0; 2])).into()
    }

    fn attention(causal: bool) -> Op {
        Op::Attention(op::Attention {
            heads: 1,
            scale: 1.0,
            causal,
            visible: None,
            key_heads: 1,
            biased: false,
        })
    }

    /// Self-attention with hidden padding, after a layer.
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
        // The queries and their layer have all rows; the layer of the keys is only needed for the sequence.
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
        let reverse = Op::Gru(op::Gru(op::RecurrentWeights {
            w: ArrayD::zeros(IxDyn(&[6, 2])),
            r: ArrayD::zeros(IxDyn(&[6, 2])),
            bias_w: vec![0.0; 6],
            bias_r: vec![0.0; 6],
            reverse: true,
        }));
        let convolution = Op::DepthwiseConv1d(op::DepthwiseConv1d {
            affine: op::Affine::new(ArrayD::zeros(IxDyn(&[3, 2])), vec![0.0; 2]),
            window: Window1d {
                kernel: 3,
                stride: 1,
                dilation: 1,
                padding: (1, 1),
            },
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

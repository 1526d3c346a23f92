//! Rows of variable number: which values have as many rows as the sequence at hand asks for, and how many.
//!
//! A model is imported for sequences of the greatest length. Here the axis that varies is followed from the inputs through
//! the operators; what shorter sequences mean at run time is in [`attn_runtime::format::RowRule`].

use crate::error::ConvertError;
use crate::graph::{Graph, Node, Op, ValueId};
use attn_runtime::format::RowRule;
use std::collections::BTreeMap;

/// As many rows as the sequence is long.
pub const ALL: RowRule = RowRule { add: 0, divisor: 1 };

/// Follows `inputs` whose rows vary through the graph and fills in [`Graph::varying`].
///
/// # Errors
/// [`ConvertError::Limit`] for an operator that needs to know the number of rows.
pub fn follow(graph: &mut Graph, inputs: &BTreeMap<ValueId, RowRule>) -> Result<(), ConvertError> {
    let mut varying = inputs.clone();
    for node in &graph.nodes {
        let rule = after(graph, node, &varying).map_err(|reason| ConvertError::Limit {
            node: node.name.clone(),
            reason,
        })?;
        if let Some(rule) = rule {
            varying.insert(node.output, rule);
        }
        if let (Op::Attention { .. } | Op::AdditiveAttention { .. }, Some(weights)) =
            (&node.op, node.second)
            && let Some(&rule) = varying.get(&node.inputs[1])
        {
            varying.insert(weights, rule);
        }
    }
    graph.varying = varying;
    Ok(())
}

fn after(
    graph: &Graph,
    node: &Node,
    varying: &BTreeMap<ValueId, RowRule>,
) -> Result<Option<RowRule>, String> {
    let of = |id: &ValueId| varying.get(id).copied();
    match node.op {
        Op::Sequence => return Ok(node.inputs.first().and_then(of).or(Some(ALL))),
        Op::ClearRows => return Ok(None),
        _ => {}
    }
    if node.inputs.iter().all(|id| of(id).is_none()) {
        return Ok(None);
    }
    let first = node.inputs.first().and_then(of);
    match &node.op {
        Op::Conv1d {
            weight,
            stride,
            padding,
            ..
        } => convolved(first, weight.shape()[1], *stride, *padding),
        Op::DepthwiseConv1d {
            weight,
            stride,
            padding,
            ..
        } => convolved(first, weight.shape()[0], *stride, *padding),
        Op::Attention { .. } => Ok(first),
        Op::AdditiveAttention { .. } => Ok(None),
        Op::SelectRows { start, rows } => {
            let all = graph.values[node.inputs[0].0].rows();
            match (*rows, *start == 0, start + rows == all) {
                (1, true, _) | (1, _, true) => Ok(None),
                _ => Err(
                    "of a sequence of variable length only the first or the last row can be taken"
                        .into(),
                ),
            }
        }
        Op::Linear { .. }
        | Op::Gru { .. }
        | Op::Lstm { .. }
        | Op::Activation(_)
        | Op::Add { .. }
        | Op::Mul { .. }
        | Op::AddConstant { .. }
        | Op::LayerNorm { .. }
        | Op::Concat
        | Op::Softmax
        | Op::Embedding { .. } => {
            let same = |id: &ValueId| {
                of(id) == first || matches!(node.op, Op::Gru { .. } | Op::Lstm { .. })
            };
            match node.inputs.iter().all(same) {
                true => Ok(first),
                false => Err(
                    "it joins a sequence of variable length with rows of fixed or other number"
                        .into(),
                ),
            }
        }
        _ => Err(format!(
            "{} over a sequence of variable length: pool with attention or take the last row, or export with fixed shapes",
            node.op.name()
        )),
    }
}

/// `(rows + before + after - kernel) / stride + 1`, of rows that are themselves `(length + add) / divisor`.
fn convolved(
    rows: Option<RowRule>,
    kernel: usize,
    stride: usize,
    padding: (usize, usize),
) -> Result<Option<RowRule>, String> {
    let Some(rows) = rows else { return Ok(None) };
    let more = (padding.0 + padding.1 + stride) as i64 - kernel as i64;
    let add = i64::from(rows.add) + more * i64::from(rows.divisor);
    let divisor = u64::from(rows.divisor) * stride as u64;
    match (i32::try_from(add), u32::try_from(divisor)) {
        (Ok(add), Ok(divisor)) => Ok(Some(RowRule { add, divisor })),
        _ => Err("its stride leaves 32 bits".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_behind_strided_convolutions_are_those_of_the_shapes() {
        let once = convolved(Some(ALL), 3, 2, (1, 1)).unwrap();
        let twice = convolved(once, 5, 2, (2, 0)).unwrap().unwrap();
        for length in 8..60usize {
            let rows = (length + 2 - 3) / 2 + 1;
            let rows = (rows + 2 - 5) / 2 + 1;
            assert_eq!(twice.rows(length), rows, "length {length}");
        }
    }
}

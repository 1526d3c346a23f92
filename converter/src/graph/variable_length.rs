//! Variable length: which values have rows that follow the sequence, and by which rule.
//!
//! A model is imported for sequences of the greatest length. This module follows the varying axis from the inputs through the operators.
//! [`attn_runtime::format::RowRule`] gives the number of rows at run time.

use super::facts::{Rows, Second};
use super::{Graph, Node, ValueId, Window1d};
use crate::error::{ConvertError, Result};
use attn_runtime::format::RowRule;
use std::collections::BTreeMap;

/// One row for each element of the sequence.
pub const ALL: RowRule = RowRule { add: 0, divisor: 1 };

/// Follows `inputs` with varying rows through the graph and fills in [`Graph::varying`].
///
/// # Errors
/// [`ConvertError::Limit`] for an operator that needs a fixed number of rows.
pub fn follow(graph: &mut Graph, inputs: &BTreeMap<ValueId, RowRule>) -> Result<()> {
    let mut varying = inputs.clone();
    for node in &graph.nodes {
        let rule = after(graph, node, &varying).map_err(|reason| ConvertError::Limit {
            node: node.name.clone(),
            reason,
        })?;
        if let Some(rule) = rule {
            varying.insert(node.output, rule);
        }
        if graph.facts(node).second == Second::Weights
            && let Some(weights) = node.second
            && let Some(&rule) = varying.get(&node.inputs[1])
        {
            varying.insert(weights, rule);
        }
    }
    graph.varying = varying;
    Ok(())
}

/// The rule for the rows of a node's result.
fn after(
    graph: &Graph,
    node: &Node,
    varying: &BTreeMap<ValueId, RowRule>,
) -> Result<Option<RowRule>, String> {
    let of = |id: &ValueId| varying.get(id).copied();
    let (facts, first) = (graph.facts(node), node.inputs.first().and_then(of));
    let varies = node.inputs.iter().any(|id| of(id).is_some());
    match facts.rows {
        Rows::Valid => Ok(first.or(Some(ALL))),
        Rows::Cleared => Ok(None),
        _ if !varies => Ok(None),
        _ if !facts.shortens => Err(format!(
            "{} over a sequence of variable length: pool with attention or take the last row, or export with fixed shapes",
            node.op.name()
        )),
        Rows::Each => match node.inputs.iter().all(|id| of(id) == first) {
            true => Ok(first),
            false => Err(
                "it joins a sequence of variable length with rows of fixed or other number".into(),
            ),
        },
        Rows::Window(window) => convolved(first, window),
        Rows::Recurrent { .. } | Rows::Queries { .. } => Ok(first),
        Rows::Select { start, rows } => {
            let all = graph.values[node.inputs[0].0].rows();
            match (rows, start == 0, start + rows == all) {
                (1, true, _) | (1, _, true) => Ok(None),
                _ => Err(
                    "of a sequence of variable length only the first or the last row can be taken"
                        .into(),
                ),
            }
        }
        Rows::Constant | Rows::All { .. } => Ok(None),
    }
}

/// The rule of `(rows + before + after - reach) / stride + 1`, with rows `(length + add) / divisor`.
fn convolved(rows: Option<RowRule>, window: Window1d) -> Result<Option<RowRule>, String> {
    let Some(rows) = rows else { return Ok(None) };
    let (stride, padding) = (window.stride, window.padding);
    let more = (padding.0 + padding.1 + stride) as i64 - window.reach() as i64;
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
        let window = |kernel, padding| Window1d {
            kernel,
            stride: 2,
            dilation: 1,
            padding,
        };
        let once = convolved(Some(ALL), window(3, (1, 1))).unwrap();
        let twice = convolved(once, window(5, (2, 0))).unwrap().unwrap();
        for length in 8..60usize {
            let rows = (length + 2 - 3) / 2 + 1;
            let rows = (rows + 2 - 5) / 2 + 1;
            assert_eq!(twice.rows(length), rows, "length {length}");
        }
    }
}

//! Streaming: checks whether a model over a whole window can run one frame at a time, and gives the reason if not.
//!
//! A value has either one row for each frame, or one row for the newest frame. An operator that keeps to this needs only its own past:
//! rows under a kernel, a state, keys and values. Its facts tell. [`crate::lower`] then makes the streaming operators.
//!
//! A step of a bundle that was exported over a whole sequence of tokens is such a model too. Its frames are tokens, the stream ends, and the
//! step may read values that an encoder shares.

use super::facts::{Facts, Positions, Rows as Relation};
use super::{Graph, Node, ValueId, Window1d};
use crate::error::{ConvertError, Result, Setting};
use std::collections::BTreeSet;

/// How a value relates to the frames of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// One row for each frame; the last is the newest.
    Frames,
    /// The newest frame only.
    Newest,
    /// The same for all frames: a value of the encoder.
    Shared,
}

/// Checks that every node of `graph` can run frame by frame, on an endless stream.
///
/// # Errors
/// [`ConvertError::NotStreamable`], which names the node and says what to change in the model.
pub fn check(graph: &Graph) -> Result<()> {
    let [_] = graph.inputs[..] else {
        let reason = format!(
            "a streamed model has one input, this one has {}",
            graph.inputs.len()
        );
        return Err(ConvertError::Setting {
            setting: Setting::Stream,
            reason,
        });
    };
    walk(graph, &BTreeSet::new(), true).map(drop)
}

/// How every value relates to the frames; the inputs `shared` are the same for all frames.
///
/// # Errors
/// [`ConvertError::NotStreamable`], which names the node and says what to change in the model.
pub fn follow(graph: &Graph, shared: &BTreeSet<ValueId>) -> Result<Vec<Rows>> {
    walk(graph, shared, false)
}

fn walk(graph: &Graph, shared: &BTreeSet<ValueId>, endless: bool) -> Result<Vec<Rows>> {
    let mut rows = vec![Rows::Frames; graph.values.len()];
    shared.iter().for_each(|id| rows[id.0] = Rows::Shared);
    for node in &graph.nodes {
        let found = check_node(graph, node, &rows, endless);
        let found = found.map_err(|reason| ConvertError::NotStreamable {
            node: node.name.clone(),
            op: node.op.name(),
            reason,
        })?;
        node.outputs().for_each(|output| rows[output.0] = found);
    }
    Ok(rows)
}

fn check_node(graph: &Graph, node: &Node, rows: &[Rows], endless: bool) -> Result<Rows, String> {
    let of = |id: &ValueId| rows[id.0];
    if !node.inputs.is_empty() && node.inputs.iter().all(|id| of(id) == Rows::Shared) {
        return Ok(Rows::Shared);
    }
    let Some(first) = node.inputs.first().map(of) else {
        return match graph.values[node.output.0].rows() {
            1 => Ok(Rows::Newest),
            rows => Err(format!("a constant of {rows} rows; one row can be kept")),
        };
    };
    let inputs: Vec<Rows> = node.inputs.iter().map(of).collect();
    let facts = graph.facts(node);
    match facts.rows {
        Relation::Each => check_each(&facts, first, &inputs, endless),
        Relation::Window(window) => check_window(first, window),
        Relation::Recurrent { .. } if first == Rows::Newest => {
            Err("its input must have one row for each frame".into())
        }
        Relation::Recurrent { reverse: true } => {
            Err("it runs backwards, from frames that are not there yet".into())
        }
        Relation::Recurrent { reverse: false } if inputs.len() > 1 => {
            Err("its first state is given: on a stream it must start from zero".into())
        }
        Relation::Recurrent { reverse: false } => Ok(first),
        Relation::Queries { causal, masked } => check_queries(&inputs, causal, masked),
        Relation::Select { start, rows } => {
            let all = graph.values[node.inputs[0].0].rows();
            match (start + rows == all, rows) {
                (true, 1) => Ok(Rows::Newest),
                (true, _) => Ok(first),
                (false, _) => Err(format!(
                    "it takes rows {start} to {} of {all}: take the last ones",
                    start + rows - 1
                )),
            }
        }
        Relation::Valid | Relation::Cleared => {
            Err("it tells a sequence from its padding: a stream has none".into())
        }
        Relation::Constant => Ok(first),
        Relation::All { reason } => Err(reason.into()),
    }
}

/// Row by row: all inputs must have the same rows.
fn check_each(facts: &Facts, first: Rows, inputs: &[Rows], endless: bool) -> Result<Rows, String> {
    if inputs.iter().any(|rows| *rows != first) {
        return Err(match inputs.contains(&Rows::Shared) {
            true => {
                "it joins rows of the tokens with what the encoder has read: only attention may"
            }
            false => "it joins rows of all frames with the row of the newest",
        }
        .into());
    }
    if endless && first == Rows::Frames && facts.positions == Positions::Listed {
        return Err(
            "its constant differs from frame to frame of the window, and a stream has no end"
                .into(),
        );
    }
    Ok(first)
}

/// Queries, keys and values.
fn check_queries(inputs: &[Rows], causal: bool, masked: bool) -> Result<Rows, String> {
    if masked {
        return Err(
            "its mask says for each step of the window what it sees: mask causally, or not at all"
                .into(),
        );
    }
    let &[query, keys, values] = inputs else {
        return Err("it has no queries, keys and values".into());
    };
    if (keys, values) == (Rows::Shared, Rows::Shared) {
        return match causal {
            true => Err("a causal mask over what the encoder has read".into()),
            false => Ok(query),
        };
    }
    if query == Rows::Shared {
        return Err("it queries the tokens with what the encoder has read".into());
    }
    if query == Rows::Frames && !causal {
        return Err("queries of all frames see frames behind them: query with the last row, or mask causally".into());
    }
    if keys != Rows::Frames || values != Rows::Frames {
        return Err("keys and values must have one row for each frame".into());
    }
    Ok(query)
}

fn check_window(rows: Rows, window: Window1d) -> Result<Rows, String> {
    let (stride, reach, (before, behind)) = (window.stride, window.reach(), window.padding);
    if rows == Rows::Newest {
        return Err("its input must have one row for each frame".into());
    }
    if stride != 1 {
        return Err(format!(
            "stride {stride}: a streamed convolution needs stride 1"
        ));
    }
    if (before, behind) != (reach - 1, 0) {
        return Err(format!(
            "{before} and {behind} rows of padding: a streamed convolution must be causal, with {} rows before (all under the kernel but one) and none behind",
            reach - 1
        ));
    }
    Ok(rows)
}

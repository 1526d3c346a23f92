//! Streaming: may a model that sees a whole window be run one frame at a time?
//!
//! A value is either one row for each frame, or one row for the newest frame. Operators that keep to that need no
//! more than their own past: convolutions their last inputs, a GRU its state, attention its keys and values. What
//! becomes of them is for [`crate::lower`]; here is the check, with reasons.
//!
//! The step of a bundle that was exported over a whole sequence of tokens is such a model, too: its frames are tokens, it has an
//! end, and it may read what an encoder shares with it.

use crate::error::{ConvertError, Setting};
use crate::graph::{Graph, Node, Op, ValueId};
use std::collections::BTreeSet;

/// How a value relates to the frames of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// One row for each frame; the last is the newest.
    Frames,
    /// The newest frame alone.
    Newest,
    /// The same for all frames: what an encoder has read.
    Shared,
}

/// Checks that every node of `graph` can run frame by frame, for as long as frames come.
///
/// # Errors
/// [`ConvertError::NotStreamable`], which names the node and says what to change in the model.
pub fn check(graph: &Graph) -> Result<(), ConvertError> {
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

/// How every value relates to the frames, where the inputs `shared` are the same for all of them.
///
/// # Errors
/// [`ConvertError::NotStreamable`], which names the node and says what to change in the model.
pub fn follow(graph: &Graph, shared: &BTreeSet<ValueId>) -> Result<Vec<Rows>, ConvertError> {
    walk(graph, shared, false)
}

fn walk(
    graph: &Graph,
    shared: &BTreeSet<ValueId>,
    endless: bool,
) -> Result<Vec<Rows>, ConvertError> {
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
    match &node.op {
        Op::ConcatRows | Op::WeightedRows | Op::Reshape => Err(
            "it reads the whole window: pool with attention over the window in its place".into(),
        ),
        Op::Conv1d {
            weight,
            stride,
            padding,
            ..
        } => check_convolution(first, weight.shape()[1], *stride, *padding),
        Op::DepthwiseConv1d {
            weight,
            stride,
            padding,
            ..
        } => check_convolution(first, weight.shape()[0], *stride, *padding),
        Op::Gru { .. } | Op::Lstm { .. } if first == Rows::Newest => {
            Err("its input must have one row for each frame".into())
        }
        Op::Gru { reverse: true, .. } | Op::Lstm { reverse: true, .. } => {
            Err("it runs backwards, from frames that are not there yet".into())
        }
        Op::Gru { .. } | Op::Lstm { .. } if node.inputs.len() > 1 => {
            Err("its first state is given: on a stream it must start from zero".into())
        }
        Op::SelectRows { start, rows } => {
            let all = graph.values[node.inputs[0].0].rows();
            match (start + rows == all, *rows) {
                (true, 1) => Ok(Rows::Newest),
                (true, _) => Ok(first),
                (false, _) => Err(format!(
                    "it takes rows {start} to {} of {all}: take the last ones",
                    start + rows - 1
                )),
            }
        }
        Op::Attention {
            causal, visible, ..
        } => {
            if visible.is_some() {
                return Err("its mask says for each step of the window what it sees: mask causally, or not at all".into());
            }
            let [query, keys, values] = [0, 1, 2].map(|i| of(&node.inputs[i]));
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
        Op::Add { .. } | Op::Mul { .. } | Op::Concat
            if node.inputs.iter().any(|id| of(id) != first) =>
        {
            let shared = node.inputs.iter().any(|id| of(id) == Rows::Shared);
            Err(match shared {
                true => {
                    "it joins rows of the tokens with what the encoder has read: only attention may"
                        .into()
                }
                false => "it joins rows of all frames with the row of the newest".into(),
            })
        }
        Op::AddConstant { constant, .. }
            if endless && first == Rows::Frames && has_positions(graph, node, constant) =>
        {
            Err(
                "its constant differs from frame to frame of the window, and a stream has no end"
                    .into(),
            )
        }
        Op::Gate { .. } if node.inputs.iter().any(|id| of(id) != first) => {
            Err("it multiplies rows of all frames with factors of the newest".into())
        }
        Op::AdditiveAttention { .. } => {
            Err("additive attention has one query in each run: export a step for one token".into())
        }
        Op::Conv2d { .. }
        | Op::DepthwiseConv2d { .. }
        | Op::ConvTranspose2d { .. }
        | Op::MaxPool2d { .. }
        | Op::AveragePool2d { .. } => {
            Err("it works on a whole image: convert the whole window, or convolve over time".into())
        }
        Op::Sequence | Op::ClearRows => {
            Err("it tells a sequence from its padding: a stream has none".into())
        }
        Op::MeanRows => {
            Err("a mean over the window: pool with attention over the window in its place".into())
        }
        _ => Ok(first),
    }
}

/// True when the rows of a constant are not all alike.
fn has_positions(graph: &Graph, node: &Node, constant: &[f32]) -> bool {
    let mut rows = constant.chunks(graph.values[node.output.0].channels().max(1));
    let first = rows.next();
    rows.any(|row| Some(row) != first)
}

fn check_convolution(
    rows: Rows,
    kernel: usize,
    stride: usize,
    padding: (usize, usize),
) -> Result<Rows, String> {
    if rows == Rows::Newest {
        return Err("its input must have one row for each frame".into());
    }
    if stride != 1 {
        return Err(format!(
            "stride {stride}: a streamed convolution needs stride 1"
        ));
    }
    if padding != (kernel - 1, 0) {
        return Err(format!(
            "{} and {} rows of padding: a streamed convolution must be causal, with kernel - 1 = {} rows before and none behind",
            padding.0,
            padding.1,
            kernel - 1
        ));
    }
    Ok(rows)
}

//! Streaming: may a model that sees a whole window be run one frame at a time?
//!
//! A value is either one row for each frame, or one row for the newest frame. Operators that keep to that need no
//! more than their own past: convolutions their last inputs, a GRU its state, attention its keys and values. What
//! becomes of them is for [`crate::lower`]; here is the check, with reasons.

use crate::error::ConvertError;
use crate::graph::{Graph, Node, Op, ValueId};

/// How a value relates to the frames of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// One row for each frame; the last is the newest.
    Frames,
    /// The newest frame alone.
    Newest,
}

/// Checks that every node of `graph` can run frame by frame.
///
/// # Errors
/// [`ConvertError::NotStreamable`], which names the node and says what to change in the model.
pub fn check(graph: &Graph) -> Result<(), ConvertError> {
    let mut rows = vec![Rows::Frames; graph.values.len()];
    let [_] = graph.inputs[..] else {
        let reason = format!(
            "a streamed model has one input, this one has {}",
            graph.inputs.len()
        );
        return Err(ConvertError::Option {
            option: "--stream",
            reason,
        });
    };
    for node in &graph.nodes {
        rows[node.output.0] =
            check_node(graph, node, &rows).map_err(|reason| ConvertError::NotStreamable {
                node: node.name.clone(),
                op: node.op.name(),
                reason,
            })?;
    }
    Ok(())
}

fn check_node(graph: &Graph, node: &Node, rows: &[Rows]) -> Result<Rows, String> {
    let of = |id: &ValueId| rows[id.0];
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
            Err("it joins rows of all frames with the row of the newest".into())
        }
        Op::AddConstant { .. }
            if first == Rows::Frames && graph.values[node.inputs[0].0].rows() > 1 =>
        {
            Err("its constant differs from frame to frame of the window".into())
        }
        Op::Gate { .. } if node.inputs.iter().any(|id| of(id) != first) => {
            Err("it multiplies rows of all frames with factors of the newest".into())
        }
        Op::Conv2d { .. }
        | Op::DepthwiseConv2d { .. }
        | Op::ConvTranspose2d { .. }
        | Op::MaxPool2d { .. }
        | Op::AveragePool2d { .. } => {
            Err("it works on a whole image: convert without --stream, or convolve over time".into())
        }
        Op::MeanRows => {
            Err("a mean over the window: pool with attention over the window in its place".into())
        }
        _ => Ok(first),
    }
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

//! The typed graph that a conversion works on: what the model computes, in float, at attention level.
//!
//! Import builds it, fusion rewrites it, quantization and planning read it. Values are held in the
//! runtime's physical layout: the batch axis (always 1) is gone, channels are last, and rows are time
//! steps or tokens. How each value maps back to the ONNX tensor it came from is kept in [`Source`], so
//! that the float reference can be compared value by value. Integers live in `quantize`, not here.

use crate::function::Function;
use attn_runtime::format::RowRule;
use ndarray::ArrayD;
use std::collections::{BTreeMap, BTreeSet};

/// Index of a [`Value`] in [`Graph::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// A float model with static shapes, in topological order.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Every tensor that flows between nodes (weights are inside the nodes).
    pub values: Vec<Value>,
    /// The operators, each after the producers of its inputs.
    pub nodes: Vec<Node>,
    /// What the caller provides.
    pub inputs: Vec<ValueId>,
    /// What the caller reads.
    pub outputs: Vec<ValueId>,
    /// Names of the outputs in the ONNX model, in the same order.
    pub output_names: Vec<String>,
    /// Those inputs that are numbers of tokens, `[n, 1]`, not quantities, and rows of them.
    pub tokens: BTreeSet<ValueId>,
    /// Values whose first axis varies with the length of the sequence, and how; the others have all their rows.
    pub varying: BTreeMap<ValueId, RowRule>,
}

impl Graph {
    /// Removes nodes whose results nobody needs.
    pub fn drop_unused(&mut self) {
        let mut needed: std::collections::HashSet<ValueId> = self.outputs.iter().copied().collect();
        for node in self.nodes.iter().rev() {
            if node.outputs().any(|output| needed.contains(&output)) {
                needed.extend(&node.inputs);
            }
        }
        self.nodes
            .retain(|node| node.outputs().any(|output| needed.contains(&output)));
    }

    /// Adds the node for the rows of `value` that the sequence has, and gives its result.
    pub fn add_sequence(&mut self, value: ValueId) -> ValueId {
        let whole = &self.values[value.0];
        let rows = Value {
            name: format!("{}[..length]", whole.name),
            ..whole.clone()
        };
        let output = ValueId(self.values.len());
        if self.tokens.contains(&value) {
            self.tokens.insert(output);
        }
        self.nodes.push(Node {
            name: rows.name.clone(),
            op: Op::Sequence,
            inputs: vec![value],
            output,
            second: None,
        });
        self.values.push(rows);
        output
    }

    /// The node that computes a value; `None` for an input.
    pub fn producer(&self, value: ValueId) -> Option<&Node> {
        self.nodes
            .iter()
            .find(|node| node.outputs().any(|output| output == value))
    }
}

/// One tensor between nodes.
#[derive(Clone, Debug)]
pub struct Value {
    /// Name for people: that of the ONNX value.
    pub name: String,
    /// Physical dimensions, channels last: `[channels]`, `[rows, channels]` or `[height, width, channels]`.
    pub dims: Vec<usize>,
    /// Where the float reference finds it; `None` for a value that exists in no ONNX file.
    pub source: Option<Source>,
}

impl Value {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// True when the value holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the last axis.
    pub fn channels(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// Number of rows: all axes but the last.
    pub fn rows(&self) -> usize {
        self.len() / self.channels().max(1)
    }
}

/// The ONNX tensor behind a [`Value`].
#[derive(Clone, Debug)]
pub struct Source {
    /// Name of the value in the ONNX graph.
    pub onnx: String,
    /// For each element of the ONNX tensor, in its order, the position in the physical layout.
    pub position: Vec<u32>,
}

/// One operator.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name for people: that of the ONNX node that gave it its meaning.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Its inputs, in the order that [`Op`] documents.
    pub inputs: Vec<ValueId>,
    /// Its result.
    pub output: ValueId,
    /// A second result, where [`Op`] has one and somebody reads it.
    pub second: Option<ValueId>,
}

impl Node {
    /// All results.
    pub fn outputs(&self) -> impl Iterator<Item = ValueId> {
        [Some(self.output), self.second].into_iter().flatten()
    }
}

/// What a node computes. Shapes are those of [`Value::dims`].
#[derive(Clone, Debug)]
pub enum Op {
    /// `y[r, o] = clamp(sum_i x[r, i] * weight[o, i] + bias[o])`; input `x: [rows, in]`.
    Linear {
        /// `[out, in]`
        weight: ArrayD<f32>,
        /// `[out]`
        bias: Vec<f32>,
        /// Clamp fused behind it.
        clamp: Clamp,
    },
    /// Convolution over time, channels last; input `x: [t, in]`, result `[t_out, out]`.
    Conv1d {
        /// `[out, kernel, in]`
        weight: ArrayD<f32>,
        /// `[out]`
        bias: Vec<f32>,
        /// Step between results, in rows.
        stride: usize,
        /// Zero rows before and after the input.
        padding: (usize, usize),
        /// Clamp fused behind it.
        clamp: Clamp,
    },
    /// Depthwise convolution over time; input `x: [t, c]`, result `[t_out, c]`.
    DepthwiseConv1d {
        /// `[kernel, channels]`
        weight: ArrayD<f32>,
        /// `[channels]`
        bias: Vec<f32>,
        /// Step between results, in rows.
        stride: usize,
        /// Zero rows before and after the input.
        padding: (usize, usize),
        /// Clamp fused behind it.
        clamp: Clamp,
    },
    /// Gated recurrent unit, one layer in one direction; inputs `x: [t, in]` and, unless it starts from zero, the first
    /// state `[hidden]`; result `[t, hidden]`.
    /// Gates in ONNX order z, r, h; the reset gate multiplies `R_h h + b_Rh` (`linear_before_reset = 1`, PyTorch's form).
    Gru {
        /// `[3 * hidden, in]`
        w: ArrayD<f32>,
        /// `[3 * hidden, hidden]`
        r: ArrayD<f32>,
        /// `[3 * hidden]`, input side
        bias_w: Vec<f32>,
        /// `[3 * hidden]`, recurrent side
        bias_r: Vec<f32>,
        /// From the last row to the first.
        reverse: bool,
    },
    /// Long short-term memory, one layer in one direction, without peepholes; inputs `x: [t, in]` and, unless it starts
    /// from zero, the first state and cell, both `[hidden]`; results `[t, hidden]` and the last cell `[hidden]`. Gates
    /// in ONNX order i, o, f, g.
    Lstm {
        /// `[4 * hidden, in]`
        w: ArrayD<f32>,
        /// `[4 * hidden, hidden]`
        r: ArrayD<f32>,
        /// `[4 * hidden]`, input side
        bias_w: Vec<f32>,
        /// `[4 * hidden]`, recurrent side
        bias_r: Vec<f32>,
        /// From the last row to the first.
        reverse: bool,
    },
    /// `softmax(scale * q k^T) v` per head; inputs `q: [tq, heads * d]`, `k: [tk, heads * d]`, `v: [tk, heads * dv]`,
    /// result `[tq, heads * dv]`.
    Attention {
        /// Number of heads; heads are adjacent channel blocks.
        heads: usize,
        /// Factor on the scores before the softmax.
        scale: f32,
        /// Query `i` of `tq` sees keys up to number `tk - tq + i` only.
        causal: bool,
        /// Which keys each query sees, `[tq, tk]`, where they are not all or those of `causal`. A query that sees none
        /// gets 0.
        visible: Option<Vec<bool>>,
        /// Heads of keys and values, a divisor of `heads`: adjacent query heads share one (grouped-query attention).
        /// `k` is then `[tk, key_heads * d]`, `v` likewise.
        key_heads: usize,
    },
    /// `softmax_t(v . f(q + k_t))` over rows of values, `f` tanh or nothing; inputs `q: [a]`, `k: [t, a]` and values
    /// `[t, c]`, results `[c]` and the weights `[t]`.
    AdditiveAttention {
        /// `[a]`
        v: Vec<f32>,
        /// `f` is tanh.
        tanh: bool,
    },
    /// Elementwise function.
    Activation(Function),
    /// Elementwise sum of two inputs of the same shape.
    Add {
        /// Clamp fused behind it.
        clamp: Clamp,
    },
    /// Adjacent rows of `x: [t, c]`; result `[rows, c]`, or `[c]` for a single row.
    SelectRows {
        /// First row.
        start: usize,
        /// Number of rows.
        rows: usize,
    },
    /// The same elements in rows of another length.
    Reshape,
    /// The rows that the sequence has, the first of `x: [t, c]`; those of the padding behind them are not looked at.
    Sequence,
    /// The rows that the sequence has, `[t, c]` of variable number, and rows of 0 in the place of its padding; result
    /// `[t, c]`.
    ClearRows,
    /// Elementwise product of two inputs of the same shape, times a constant.
    Mul {
        /// The constant.
        factor: f32,
    },
    /// Sum with a constant of the same shape.
    AddConstant {
        /// In the order of the input.
        constant: Vec<f32>,
        /// Clamp fused behind it.
        clamp: Clamp,
    },
    /// Normalisation of every row: `(x - mean) / sqrt(variance + epsilon) * gamma + beta`.
    LayerNorm {
        /// `[channels]`
        gamma: Vec<f32>,
        /// `[channels]`
        beta: Vec<f32>,
        /// Added to the variance.
        epsilon: f32,
        /// Subtract the mean; without, the mean square takes the variance's place (RmsNorm).
        centre: bool,
    },
    /// Mean over rows: `x: [rows, c]`, result `[c]`.
    MeanRows,
    /// Joins any number of inputs along channels; rows are equal.
    Concat,
    /// Rows of a table; input: tokens `[n, 1]`, result `[n, channels]`.
    Embedding {
        /// `[tokens, channels]`
        table: ArrayD<f32>,
    },
    /// Joins any number of inputs along rows; channels are equal.
    ConcatRows,
    /// A tensor that the model always has, such as a class token or a learned query; no input.
    Constant {
        /// In the order of the result.
        values: Vec<f32>,
    },
    /// Rotary positions: pairs of channels turned by an angle that grows with the row; `x: [rows, heads * head_dim]`.
    Rotary(Rotation),
    /// `y[q, c] = sum_t w[q, t] * x[t, c]`; inputs `w: [q, t]`, `x: [t, c]`.
    WeightedRows,
    /// Softmax over channels.
    Softmax,
    /// Convolution over an image; `x: [h, w, in]`, result `[h_out, w_out, out]`.
    Conv2d {
        /// `[out, kernel height, kernel width, in]`
        weight: ArrayD<f32>,
        /// `[out]`
        bias: Vec<f32>,
        /// The kernel's way over the image.
        window: Window,
        /// Clamp fused behind it.
        clamp: Clamp,
    },
    /// Depthwise convolution over an image; `x: [h, w, c]`, result `[h_out, w_out, c]`.
    DepthwiseConv2d {
        /// `[kernel height, kernel width, channels]`
        weight: ArrayD<f32>,
        /// `[channels]`
        bias: Vec<f32>,
        /// The kernel's way over the image.
        window: Window,
        /// Clamp fused behind it.
        clamp: Clamp,
    },
    /// Transposed convolution over an image; `x: [h, w, in]`, result `[h_out, w_out, out]`.
    ConvTranspose2d {
        /// `[out, kernel height, kernel width, in]`
        weight: ArrayD<f32>,
        /// `[out]`
        bias: Vec<f32>,
        /// Pixels of the result from one pixel of the input to the next.
        stride: [usize; 2],
        /// Rows and columns that the full result loses above and to the left.
        crop: [usize; 2],
        /// Clamp fused behind it.
        clamp: Clamp,
    },
    /// Largest value under a window, for each channel; padding does not count. `x: [h, w, c]`.
    MaxPool2d {
        /// The window's way over the image.
        window: Window,
    },
    /// Mean under a window, for each channel; padding counts as 0. `x: [h, w, c]`.
    AveragePool2d {
        /// The window's way over the image.
        window: Window,
    },
    /// Largest channel of every row: `x: [rows, c]`, result `[rows, 1]`.
    MaxChannels,
    /// Mean over the channels of every row: `x: [rows, c]`, result `[rows, 1]`.
    MeanChannels,
    /// `x: [rows, c]` times one factor for each channel, `[c]`, or each row, `[rows]`, times a constant.
    Gate {
        /// The factors are those of rows.
        per_row: bool,
        /// The constant.
        factor: f32,
    },
}

/// How a window moves over an image; pairs are (vertical, horizontal), in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Size of the window.
    pub kernel: [usize; 2],
    /// From one position to the next.
    pub stride: [usize; 2],
    /// Padding above and to the left.
    pub pad_before: [usize; 2],
    /// Padding below and to the right.
    pub pad_after: [usize; 2],
}

impl Window {
    /// One window over a whole image of this height and width.
    pub fn over(kernel: [usize; 2]) -> Self {
        let none = [0; 2];
        Self {
            kernel,
            stride: [1; 2],
            pad_before: none,
            pad_after: none,
        }
    }

    /// True when every result is that of one pixel and every pixel has one.
    pub fn is_pointwise(&self) -> bool {
        *self == Self::over([1; 2])
    }
}

impl Op {
    /// The operator's name, the same in IR, format, report and documentation.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Linear { .. } => "Linear",
            Op::Conv1d { .. } => "Conv1d",
            Op::DepthwiseConv1d { .. } => "DepthwiseConv1d",
            Op::Gru { .. } => "Gru",
            Op::Lstm { .. } => "Lstm",
            Op::Attention { .. } => "Attention",
            Op::AdditiveAttention { .. } => "AdditiveAttention",
            Op::Activation(function) => function.name(),
            Op::Add { .. } => "Add",
            Op::SelectRows { .. } => "SelectRows",
            Op::Reshape => "Reshape",
            Op::Sequence => "Sequence",
            Op::ClearRows => "ClearRows",
            Op::Mul { .. } => "Mul",
            Op::AddConstant { .. } => "AddConstant",
            Op::LayerNorm { centre: true, .. } => "LayerNorm",
            Op::LayerNorm { centre: false, .. } => "RmsNorm",
            Op::MeanRows => "MeanRows",
            Op::Concat => "Concat",
            Op::Embedding { .. } => "Embedding",
            Op::ConcatRows => "ConcatRows",
            Op::Constant { .. } => "Constant",
            Op::Rotary(_) => "Rotary",
            Op::WeightedRows => "WeightedRows",
            Op::Softmax => "Softmax",
            Op::Conv2d { .. } => "Conv2d",
            Op::DepthwiseConv2d { .. } => "DepthwiseConv2d",
            Op::ConvTranspose2d { .. } => "ConvTranspose2d",
            Op::MaxPool2d { .. } => "MaxPool2d",
            Op::AveragePool2d { .. } => "AveragePool2d",
            Op::MaxChannels => "MaxChannels",
            Op::MeanChannels => "MeanChannels",
            Op::Gate { .. } => "Gate",
        }
    }
}

/// How [`Op::Rotary`] turns a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// Channels of one head; all heads are turned alike.
    pub head_dim: usize,
    /// Pairs of channels that are turned, the first `2 * pairs` of each head; the rest stays.
    pub pairs: usize,
    /// Pairs are neighbours `(2i, 2i + 1)`, not halves `(i, pairs + i)`.
    pub interleaved: bool,
    /// `[rows, pairs]`: cosine and sine.
    pub table: Vec<[f32; 2]>,
}

/// Range that a result is clamped to: ReLU is `(0, inf)`, ReLU6 `(0, 6)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// Lower bound.
    pub min: f32,
    /// Upper bound.
    pub max: f32,
}

impl Clamp {
    /// No clamp at all.
    pub const NONE: Clamp = Clamp {
        min: f32::NEG_INFINITY,
        max: f32::INFINITY,
    };
    /// ReLU.
    pub const RELU: Clamp = Clamp {
        min: 0.0,
        max: f32::INFINITY,
    };
}

//! The ONNX operators that import knows, and their limits. Import dispatches by this table, `attn operators` prints
//! `docs/reference/operators.md` from it, and the error for an unknown operator searches it. The text on forms is for readers; the code of
//! each operator decides.

use super::node::OnnxNode;
use super::{Importer, attributes};
use crate::error::Result;
use crate::graph::Clamp;
use crate::spelling::SPELLED_OUT;
use std::fmt::Write;

/// A row of the table.
struct Row {
    /// ONNX operators.
    onnx: &'static [&'static str],
    /// Operators of the graph that they become.
    becomes: &'static str,
    /// Supported forms.
    limits: &'static str,
    import: Import,
}

type Import = fn(&mut Importer<'_>, &OnnxNode) -> Result<()>;

/// The rows: ONNX operators, the method that imports them, what they become, supported forms.
macro_rules! operators {
    ($($($onnx:ident),+ => $import:ident, $becomes:expr, $limits:expr;)*) => {
        const ROWS: &[Row] = &[$(Row {
            onnx: &[$(stringify!($onnx)),+],
            becomes: $becomes,
            limits: $limits,
            import: |importer, node| importer.$import(node),
        }),*];
    };
}

/// ONNX operators and what to use instead.
macro_rules! alternatives {
    ($($($onnx:ident),+ => $instead:expr;)*) => {
        const NEAREST: &[(&[&str], &str)] = &[$((&[$(stringify!($onnx)),+], $instead)),*];
    };
}

const POSITIONS: &str = "positions: no data moves";

operators! {
    MatMul => matmul, "Linear, Attention, WeightedRows",
        "a constant matrix on the right; queries times transposed keys; softmax weights or a constant matrix times rows; \
         heads of 1 to 64, of which any may share keys and values; summands of the scores";
    Gemm => gemm, "Linear", "constant weights, no transA";
    Softmax => softmax, "Attention, Softmax",
        "of scores: over the keys; of a tensor: over the last axis, or over time if it has one channel";
    Where => choose, "a mask of scores, ClearRows",
        "on scores: the condition is a constant or a padding mask, the hidden side a constant below -10000; on rows: 0 in \
         the padding; of functions of one tensor, by one: Lut; of other tensors: base operators";
    Conv => conv, "Conv1d, DepthwiseConv1d, Conv2d, DepthwiseConv2d",
        "over time or over an image; any dilation; one group or depthwise; explicit padding (no auto_pad)";
    ConvTranspose => conv_transpose, "ConvTranspose2d", "over an image, one group, no dilation";
    MaxPool, AveragePool => pool, "Pool2d", "over an image, no dilation; averages count padding";
    GlobalMaxPool, GlobalAveragePool => global_pool, "the mean or maximum of an image", "";
    GRU, LSTM => recurrent, "Gru, Lstm",
        "PyTorch's form (linear_before_reset = 1, sigmoid and tanh, one sequence); forward, backward or both";
    LayerNormalization, RMSNormalization => layer_norm, "LayerNorm, RmsNorm",
        "over the last axis, at most 1024 channels; RMSNorm may be spelled x / sqrt(mean(x^2) + epsilon)";
    BatchNormalization => batch_norm, "part of the layer before it, or DepthwiseConv1d, DepthwiseConv2d",
        "constant parameters";
    ReduceMean, ReduceMax => mean, "MeanRows, the mean or maximum of an image or of channels, RmsNorm",
        "over time, over an image or over its channels; the mean over channels of a square as part of an RMSNorm";
    ReduceSum => sum, "Linear, WeightedRows, Attention", "over one axis: the channels of a row, or weighted rows";
    Add, Sub => add, "Add, AddConstant, a bias, a mask, part of a function or of a Rotary",
        "tensors of one shape; constants that broadcast; a constant mask or a padding mask on scores";
    Mul, Div => multiply, "Mul, ClearRows, a factor, a gate of an image, part of a function, of a Rotary, of a sum",
        "tensors of one shape; constants; a padding mask; weights [t, 1] times rows [t, channels], with a sum over the \
         rows next";
    Concat => concat, "Concat, ConcatRows",
        "along channels, along rows, or joining the parts of one tensor; at most 5 inputs";
    Gather => gather, "Embedding, SelectRows, positions",
        "a constant table indexed by an integer input of the model; constant indices";
    Relu => relu, "a clamp of the layer before it, or Lut", "";
    Clip => clip, "a clamp of the layer before it, or Lut", "constant bounds";
    Floor, Ceil, Round, Log, Sin, Cos, Selu, Celu, Softsign, Mish, Swish,
    Sigmoid, Tanh, Erf, Exp, Sqrt, Abs, Softplus, Neg, Reciprocal, Gelu, HardSwish, HardSigmoid, LeakyRelu,
    Elu, Pow => function, "Lut",
        "a chain of these, sums, products and clamps on one tensor becomes one table";
    Reshape, Flatten, Squeeze, Unsqueeze => reshape, POSITIONS, "";
    Transpose => transpose, POSITIONS, "the next operator that computes must get rows of adjacent channels, or heads";
    Slice, Split => slice_or_split, "SelectRows, part of a layer, positions", "constant ranges, no negative steps";
    Expand, Tile => repeat, POSITIONS, "heads of keys and values that queries share; constants";
    Pad => pad, "padding of the next convolution", "constant zeros";
    LogSoftmax, ArgMax => base_node, "base operators", "along any axis";
    ReduceMin, ReduceL1, ReduceL2, ReduceSumSquare, ReduceLogSum, ReduceLogSumExp => base_node, "base operators",
        "over any axes";
    Max, Min, Sum, Mean, PRelu => base_node, "base operators", "tensors that broadcast";
    InstanceNormalization, GroupNormalization => base_node, "base operators", "";
    Sign, ThresholdedRelu => base_node, "base operators", "numbers that differ by a thousandth are told apart";
    CumSum => base_node, "base operators", "along any axis";
    Einsum => base_node, "part of an Attention, or base operators", "products of tensors, such as bij,bjk->bik";
    Resize => base_node, "base operators", "nearest, linear and cubic; no antialias, no region of interest";
    DepthToSpace, SpaceToDepth => base_node, POSITIONS, "";
    Identity, Dropout => identity, POSITIONS, "";
    Cast => cast, "Lut, or positions: no data moves", "from float to integers, rounded towards 0, and back; to bool; other casts change nothing";
    IsNaN => is_undefined, "nothing: a query that sees no key gets 0", "of attention weights, to replace NaN by 0";
    Not, And, Or, Xor, Equal, Less, LessOrEqual, Greater, GreaterOrEqual => compared,
        "Lut; base operators; nothing as part of a padding mask",
        "of one tensor and numbers; of several tensors, where numbers that differ by a thousandth are told apart";
}

// Operators that are unsupported, or not supported for all shapes, and their alternatives.
alternatives! {
    Conv, ConvTranspose =>
        "nn.Conv1d on [batch, channels, time], nn.Conv2d or nn.ConvTranspose2d on [batch, channels, height, width]";
    ScatterND, ScatterElements => "torch.cat of the parts instead of an assignment to a slice";
    LpPool, GlobalLpPool => "nn.AvgPool of a power, and the root of it";
    TopK => "leave the choice to the caller, or bundle a decoder: attn decode picks the best tokens";
    If, Loop, Scan => "a model without branches on data; loops over steps as a bundle of an encoder and a step";
    QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, QLinearConv, QLinearMatMul, QLinearAdd, QLinearMul, QLinearSigmoid,
    QLinearLeakyRelu, QLinearSoftmax, QLinearConcat, QLinearAveragePool, QLinearGlobalAveragePool, QGemm, QAttention,
    ConvInteger, MatMulInteger, DynamicQuantizeMatMul, DynamicQuantizeLSTM =>
        "the float ONNX model that this one was quantized from: attn quantizes it";
    SequenceAt, SequenceConstruct, SequenceEmpty, SequenceErase, SequenceInsert, SequenceLength, SequenceMap, SplitToSequence,
    ConcatFromSequence, Optional, OptionalGetElement, OptionalHasElement =>
        "tensors instead of lists of tensors and optional values: torch.split and torch.cat with constant sizes";
}

/// For any other operator.
const ANY: &str = "Linear (MatMul, Gemm), convolution, GRU, LSTM, softmax attention, normalisation, Add, Mul, Concat, elementwise \
     functions; docs/reference/operators.md lists all";

impl Importer<'_> {
    fn relu(&mut self, node: &OnnxNode) -> Result<()> {
        self.clamp(node, Clamp::RELU)
    }

    pub(super) fn node(&mut self, node: &OnnxNode) -> Result<()> {
        if self.masked_node(node)? {
            return Ok(());
        }
        if !ROWS.iter().any(|row| row.onnx.contains(&node.op)) {
            return Err(node.unsupported());
        }
        attributes::check(node)?;
        let by = (node.op == "Div").then(|| self.constant(node, 1)).flatten();
        if by.is_some_and(|by| by.iter().any(|&x| x == 0.0)) {
            return Err(node.form("it divides by a constant that is 0"));
        }
        if node.op == "Div" && self.is_integer(&node.output) {
            return self.integer_quotient(node);
        }
        // What was tried says better what is wrong than that there is no base operator for it.
        self.recognised(node)
            .or_else(|error| self.base_node(node).map_err(|_| error))
    }

    /// Imports a node as a pattern, or a part of one.
    pub(super) fn recognised(&mut self, node: &OnnxNode) -> Result<()> {
        let row = ROWS.iter().find(|row| row.onnx.contains(&node.op));
        (row.ok_or_else(|| node.unsupported())?.import)(self, node)
    }
}

/// The alternative to an unsupported operator.
pub(crate) fn nearest(op: &str) -> &'static str {
    let known = NEAREST.iter().find(|(ops, _)| ops.contains(&op));
    known.map_or(ANY, |(_, nearest)| nearest)
}

/// The table as `docs/reference/operators.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# ONNX operators\n\n\
         `attn operators` prints this page; a test of the converter fails when it is stale.\n\
         A *constant* is any value that does not depend on the model's inputs: weights, shapes, positions, masks. *Positions* means that\n\
         the operator becomes an index map. Shapes are fixed, except one axis of variable length. The limits are those of the fast operators; what\n\
         goes beyond them, and what has a row with *base operators*, is computed by those, on tensors of any shape. Any operator may be\n\
         constant.\n\n\
         | ONNX | becomes | supported forms |\n|---|---|---|\n",
    );
    let mut line = |onnx: &[&str], becomes: &str, limits: &str| {
        let names: Vec<String> = onnx.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(text, "| {} | {becomes} | {limits} |", names.join(", "));
    };
    for (onnx, becomes, limits) in SPELLED_OUT {
        line(onnx, becomes, limits);
    }
    for row in ROWS {
        line(row.onnx, row.becomes, row.limits);
    }
    text.push_str("\n## Alternatives to unsupported operators\n\n| ONNX | use |\n|---|---|\n");
    for (onnx, nearest) in NEAREST {
        let names: Vec<String> = onnx.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(text, "| {} | {nearest} |", names.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_operator_stands_in_one_row() {
        let known = ROWS.iter().flat_map(|row| row.onnx);
        let mut seen = HashSet::new();
        for name in known {
            assert!(seen.insert(*name), "{name} stands in two rows");
        }
    }
}

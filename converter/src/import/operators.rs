//! The ONNX operators that import knows, and their limits. Import dispatches by this table, `attn operators` prints
//! `docs/reference/operators.md` from it, and the error for an unknown operator searches it. The text on forms is for readers; the code of
//! each operator decides.

use super::Importer;
use super::node::OnnxNode;
use crate::error::Result;
use crate::graph::Clamp;
use crate::schemas::{NEWEST, Schema};
use crate::spelling::{SPELLED_OUT, limited};
use std::collections::BTreeSet;
use std::fmt::Write;

/// A row of the table.
struct Row {
    /// ONNX operators.
    onnx: &'static [&'static str],
    /// Operators of the graph that they become.
    becomes: &'static str,
    /// Supported forms.
    limits: &'static str,
    /// Attributes and optional inputs, by their names in ONNX, that the code of these operators computes.
    computes: &'static str,
    import: Import,
}

type Import = fn(&mut Importer<'_>, &OnnxNode) -> Result<()>;

/// The rows: ONNX operators, the method that imports them with the attributes that it computes, what they become, supported forms.
macro_rules! operators {
    ($($($onnx:ident),+ => $import:ident($computes:expr), $becomes:expr, $limits:expr;)*) => {
        const ROWS: &[Row] = &[$(Row {
            onnx: &[$(stringify!($onnx)),+],
            becomes: $becomes,
            limits: $limits,
            computes: $computes,
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

/// What several rows compute.
const REDUCED: &str = "axes keepdims noop_with_empty_axes";
const SLID: &str = "B auto_pad dilations group kernel_shape pads strides";
pub(crate) const RECURRENT: &str = "B P Y Y_c Y_h activation_alpha activation_beta activations clip direction hidden_size initial_c initial_h input_forget \
     layout linear_before_reset sequence_lens";

operators! {
    MatMul => matmul(""), "Linear, Attention, WeightedRows",
        "a constant matrix on the right; queries times transposed keys; softmax weights or a constant matrix times rows; \
         heads of 1 to 64, of which any may share keys and values; summands of the scores";
    Gemm => gemm("C alpha beta transA transB"), "Linear", "constant weights, no transA";
    Softmax => softmax("axis"), "Attention, Softmax",
        "of scores: over the keys; of a tensor: over the last axis, or over time if it has one channel";
    Where => choose(""), "a mask of scores, ClearRows",
        "on scores: the condition is a constant or a padding mask, the hidden side a constant below -10000; on rows: 0 in \
         the padding; of functions of one tensor, by one: Lut; of other tensors: base operators";
    Conv => conv(SLID), "Conv1d, DepthwiseConv1d, Conv2d, DepthwiseConv2d",
        "over time or over an image; any dilation; one group or depthwise; explicit padding (no auto_pad)";
    ConvTranspose => conv_transpose("B auto_pad dilations group kernel_shape output_padding output_shape pads strides"),
        "ConvTranspose2d", "over an image, one group, no dilation";
    MaxPool, AveragePool => pool("auto_pad ceil_mode count_include_pad dilations kernel_shape pads strides"),
        "Pool2d", "over an image, no dilation; averages count padding";
    GlobalMaxPool, GlobalAveragePool => global_pool(""), "the mean or maximum of an image", "";
    GRU, LSTM, RNN => recurrent(RECURRENT), "Gru, Lstm, Recurrent",
        "constant weights; forward, backward or both; Gru and Lstm are PyTorch's forms, Recurrent any other: any activation, clip, \
         peepholes, input_forget, linear_before_reset = 0; layout, constant sequence lengths, at most 64 sequences";
    LayerNormalization, RMSNormalization => layer_norm("B InvStdDev Mean axis epsilon"), "LayerNorm, RmsNorm",
        "over the last axis, at most 16384 channels; RMSNorm may be spelled x / sqrt(mean(x^2) + epsilon)";
    BatchNormalization => batch_norm("epsilon"), "part of the layer before it, or DepthwiseConv1d, DepthwiseConv2d",
        "constant parameters";
    ReduceMean, ReduceMax => mean(REDUCED), "MeanRows, the mean or maximum of an image or of channels, RmsNorm",
        "over time, over an image or over its channels; the mean over channels of a square as part of an RMSNorm";
    ReduceSum => sum(REDUCED), "Linear, WeightedRows, Attention", "over one axis: the channels of a row, or weighted rows";
    Add, Sub => add(""), "Add, AddConstant, a bias, a mask, part of a function or of a Rotary",
        "tensors of one shape; constants that broadcast; a constant mask or a padding mask on scores";
    Mul, Div => multiply(""), "Mul, ClearRows, a factor, a gate of an image, part of a function, of a Rotary, of a sum",
        "tensors of one shape; constants; a padding mask; weights [t, 1] times rows [t, channels], with a sum over the \
         rows next";
    Concat => concat("axis"), "Concat, ConcatRows",
        "along channels, along rows, or joining the parts of one tensor; at most 5 inputs";
    Gather => gather("axis"), "Embedding, SelectRows, positions",
        "a constant table indexed by an integer input of the model, also plus constants; constant indices; computed indices: base operators";
    Relu => relu(""), "a clamp of the layer before it, or Lut", "";
    Clip => clip("min max"), "a clamp of the layer before it, or Lut", "constant bounds";
    Floor, Ceil, Round, Log, Sin, Cos, Tan, Asin, Acos, Atan, Sinh, Cosh, Asinh, Acosh, Atanh, Selu, Celu, Softsign, Mish, Swish,
    Sigmoid, Tanh, Erf, Exp, Sqrt, Abs, Softplus, Neg, Reciprocal, Gelu, HardSwish, HardSigmoid, LeakyRelu,
    Elu, Pow => function("alpha approximate beta gamma"), "Lut",
        "a chain of these, sums, products and clamps on one tensor becomes one table";
    Reshape, Flatten, Squeeze, Unsqueeze => reshape("allowzero axes axis"), POSITIONS, "";
    Transpose => transpose("perm"), POSITIONS, "the next operator that computes must get rows of adjacent channels, or heads";
    Slice, Split => slice_or_split("axes axis ends num_outputs split starts steps"), "SelectRows, part of a layer, positions", "constant ranges, no negative steps";
    Expand, Tile => repeat(""), POSITIONS, "heads of keys and values that queries share; constants";
    Pad => pad("axes constant_value mode pads value"), "padding of the next convolution", "constant zeros";
    GatherElements, GatherND => base_node("axis batch_dims"), "base operators", "one computed index for each element, along one axis";
    ScatterElements, ScatterND => base_node("axis reduction"), POSITIONS, "constant indices";
    GridSample => base_node("align_corners"), "base operators", "one image, between pixels; zeros or the border around it";
    LogSoftmax, ArgMax => base_node("axis keepdims select_last_index"), "base operators", "along any axis";
    ReduceMin, ReduceL1, ReduceL2, ReduceSumSquare, ReduceLogSum, ReduceLogSumExp => base_node(REDUCED), "base operators",
        "over any axes";
    Max, Min, Sum, Mean, PRelu => base_node(""), "base operators", "tensors that broadcast";
    InstanceNormalization, GroupNormalization => base_node("epsilon num_groups"), "base operators", "";
    Sign, ThresholdedRelu => base_node("alpha"), "base operators", "numbers that differ by a thousandth are told apart";
    CumSum => base_node("exclusive reverse"), "base operators", "along any axis";
    Einsum => base_node("equation"), "part of an Attention, or base operators", "products of tensors, such as bij,bjk->bik";
    Resize => base_node("axes coordinate_transformation_mode cubic_coeff_a exclude_outside mode nearest_mode scales \
         sizes"), "base operators", "nearest, linear and cubic; no antialias, no region of interest";
    DepthToSpace, SpaceToDepth => base_node("blocksize mode"), POSITIONS, "";
    Identity, Dropout => identity(""), POSITIONS, "";
    Cast => cast("to"), "Lut, or positions: no data moves", "from float to integers, rounded towards 0, and back; to bool; other casts change nothing";
    IsNaN => is_undefined(""), "nothing: a query that sees no key gets 0", "of attention weights, to replace NaN by 0";
    Not, And, Or, Xor, Equal, Less, LessOrEqual, Greater, GreaterOrEqual => compared(""),
        "Lut; base operators; nothing as part of a padding mask",
        "of one tensor and numbers; of several tensors, where numbers that differ by a thousandth are told apart";
}

// Operators that are unsupported, or not supported for all shapes, and their alternatives.
alternatives! {
    Conv, ConvTranspose =>
        "nn.Conv1d on [batch, channels, time], nn.Conv2d or nn.ConvTranspose2d on [batch, channels, height, width]";
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
        let by = (node.op == "Div").then(|| self.constant(node, 1)).flatten();
        if by.is_some_and(|by| by.iter().any(|&x| x == 0.0)) {
            return Err(node.form("it divides by a constant that is 0"));
        }
        if self.shifted_tokens(node)? {
            return Ok(());
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

/// Attributes, optional inputs and optional results that the code of an operator computes; none for an operator that is not in the table.
pub(crate) fn computed(op: &str) -> Option<impl Iterator<Item = &'static str>> {
    let rows = ROWS.iter().filter(|row| row.onnx.contains(&op));
    let spelled = SPELLED_OUT.iter().filter(|row| row.0.contains(&op));
    let lists = rows.map(|row| row.computes).chain(spelled.map(|row| row.3));
    let lists: Vec<&str> = lists.collect();
    (!lists.is_empty()).then(|| lists.into_iter().flat_map(str::split_whitespace))
}

/// The operators of the table, in its order, without repetition.
pub(crate) fn known() -> Vec<&'static str> {
    let spelled = SPELLED_OUT.iter().flat_map(|row| row.0);
    let mut known: Vec<&str> = spelled
        .chain(ROWS.iter().flat_map(|row| row.onnx))
        .copied()
        .collect();
    known.sort_unstable();
    known.dedup();
    known
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
    for (onnx, becomes, limits, _) in SPELLED_OUT {
        line(onnx, becomes, limits);
    }
    for row in ROWS {
        line(row.onnx, row.becomes, row.limits);
    }
    options(&mut text);
    text.push_str("\n## Alternatives to unsupported operators\n\n| ONNX | use |\n|---|---|\n");
    for (onnx, nearest) in NEAREST {
        let names: Vec<String> = onnx.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(text, "| {} | {nearest} |", names.join(", "));
    }
    text
}

/// The part of the page on attributes.
fn options(text: &mut String) {
    text.push_str(
        "\n## Attributes\n\n\
         What each operator computes of its attributes, and of inputs and results that may be left out, in the opsets up to ",
    );
    let _ = write!(text, "{NEWEST}");
    text.push_str(
        ".\nWhat is left out has the default of the model's opset. Anything else that a node has is refused by name, except what changes no\n\
         result of a trained float model. A test holds this table against ONNX's own schemas.\n\n\
         | ONNX | computed | of these values only |\n|---|---|---|\n",
    );
    for op in known() {
        let schemas: Vec<Schema> = Schema::all(op).collect();
        let options: BTreeSet<&str> = schemas.iter().flat_map(|schema| schema.options()).collect();
        let computed = computed(op).into_iter().flatten();
        let computed: BTreeSet<&str> = computed.filter(|name| options.contains(name)).collect();
        let limits = limited(op).map(|(name, values)| match values.is_empty() {
            true => format!("`{name}`: none"),
            false => format!("`{name}`: {}", values.join(", ")),
        });
        let limits = limits.collect::<Vec<_>>().join("; ");
        if !computed.is_empty() || !limits.is_empty() {
            let names: Vec<String> = computed.iter().map(|name| format!("`{name}`")).collect();
            let _ = writeln!(text, "| `{op}` | {} | {limits} |", names.join(", "));
        }
    }
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

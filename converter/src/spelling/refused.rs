//! Kinds of models that attn does not take, told from the file: quantized ones, loops, lists of tensors, operators that are unknown.

use super::is_onnx;
use super::options::Options;
use super::writer::{Writer, given, int_of, name_of};
use crate::error::{ConvertError, Result};
use crate::import::RECURRENT;
use std::collections::HashSet;
use tract_onnx::model::Onnx;
use tract_onnx::pb;

/// Operators that are written in others before import, what they become, their forms, and the attributes, optional inputs and optional
/// results that are computed: rows of the page of operators.
pub const SPELLED_OUT: &[(&[&str], &str, &str, &str)] = &[
    (
        &["Attention"],
        "Attention",
        "opset 23 and later: masks, windows, is_causal, softcap, past and present keys and values, fewer heads of keys and values",
        "attn_mask is_causal kv_num_heads left_window_size nonpad_kv_seqlen past_key past_value present_key present_value \
         q_num_heads qk_matmul_output qk_matmul_output_mode right_window_size scale softcap",
    ),
    (
        &["GRU", "LSTM", "RNN"],
        "base operators, step by step",
        "weights that the model computes; at most 128 steps",
        RECURRENT,
    ),
    (
        &["GatherElements", "GatherND"],
        "positions",
        "constant indices",
        "axis batch_dims",
    ),
    (
        &["Upsample"],
        "positions, or Linear",
        "nearest and linear",
        "mode scales",
    ),
    (
        &["ArgMin"],
        "ArgMax",
        "as ArgMax",
        "axis keepdims select_last_index",
    ),
    (
        &["TopK"],
        "base operators, one after the other",
        "along any axis, a constant k of at most 64: the k largest or smallest and their places",
        "axis k largest",
    ),
    (
        &["ScatterElements"],
        "base operators, one after the other",
        "computed indices, or a reduction: indices of the tensor's shape, but at most 64 along the axis",
        "axis reduction",
    ),
    (
        &["Hardmax", "OneHot"],
        "base operators",
        "along any axis",
        "axis",
    ),
    (
        &["LpNormalization", "MeanVarianceNormalization", "LRN"],
        "base operators",
        "",
        "alpha axes axis beta bias p size",
    ),
    (&["Shrink"], "Lut", "", "bias lambd"),
    (
        &["Mod"],
        "base operators",
        "of numbers with fmod = 1, of integers",
        "fmod",
    ),
    (
        &["ReduceProd"],
        "products of two, one after the other",
        "at most 64 factors",
        "axes keepdims noop_with_empty_axes",
    ),
    (
        &["LpPool", "GlobalLpPool"],
        "base operators",
        "any p, explicit padding",
        "auto_pad ceil_mode dilations kernel_shape p pads strides",
    ),
    (
        &["RotaryEmbedding"],
        "Rotary, or base operators",
        "both orders of the channels, a part of them, position_ids",
        "interleaved num_heads position_ids rotary_embedding_dim",
    ),
    (
        &["Col2Im"],
        "a transposed convolution",
        "of 1 or 2 dimensions",
        "dilations pads strides",
    ),
    (
        &["AffineGrid"],
        "base operators",
        "of an image, a constant size",
        "align_corners",
    ),
    (
        &["DFT"],
        "Linear",
        "a constant length and axis",
        "axis dft_length inverse onesided",
    ),
    (
        &["STFT"],
        "Conv1d",
        "of real signals, constant lengths and window",
        "frame_length onesided window",
    ),
    (
        &["If"],
        "the branch that is taken",
        "a condition that depends on no input",
        "else_branch then_branch",
    ),
];

/// The values that depend on the model's inputs, and the operators that the float reference has.
pub struct Live {
    names: HashSet<String>,
    known: Onnx,
    options: Options,
}

impl Live {
    /// The inputs of a graph.
    pub fn new(graph: &pb::GraphProto) -> Self {
        let weights: HashSet<&String> =
            (graph.initializer.iter().map(|weight| &weight.name)).collect();
        let inputs = graph.input.iter().map(|input| &input.name);
        let names = inputs.filter(|name| !weights.contains(name)).cloned();
        Self {
            names: names.collect(),
            known: tract_onnx::onnx(),
            options: Options::default(),
        }
    }

    /// Takes the results of a node to the others, and refuses a node that nothing can run, or not with all that it is given.
    ///
    /// # Errors
    /// [`ConvertError::UnsupportedOp`], [`ConvertError::UnsupportedForm`], [`ConvertError::UnsupportedAttribute`].
    pub fn check(&mut self, node: &pb::NodeProto, writer: &mut Writer) -> Result<()> {
        let reads = node.input.iter().any(|name| self.names.contains(name));
        if reads && node.op_type != "Shape" {
            self.names.extend(node.output.iter().cloned());
        }
        let own = SPELLED_ONLY.contains(&&*node.op_type);
        let known = own || self.known.op_register.0.contains_key(&node.op_type);
        let refused = is_refused(&node.op_type) && (reads || node.input.is_empty());
        if !known || refused || !is_domain(&node.domain) {
            return Err(error(node, writer));
        }
        if reads && trains(node, writer) {
            let reason = "it is in training mode: export the model after model.eval()";
            return Err(writer.form(node, reason));
        }
        self.options.check(node, reads, writer)
    }

    /// Refuses outputs of the model that a node does not compute.
    ///
    /// # Errors
    /// [`ConvertError::UnsupportedAttribute`].
    pub fn check_outputs(&mut self, outputs: &[pb::ValueInfoProto]) -> Result<()> {
        outputs
            .iter()
            .try_for_each(|output| self.options.check_use(&output.name))
    }
}

/// Operators that the float reference does not have, and that are written in others.
const SPELLED_ONLY: &[&str] = &[
    "AffineGrid",
    "Attention",
    "Col2Im",
    "DFT",
    "LpPool",
    "GlobalLpPool",
    "MeanVarianceNormalization",
    "RotaryEmbedding",
    "STFT",
    "Upsample",
];

/// True for ONNX's operators and for those of onnxruntime that have the same meaning.
fn is_domain(domain: &str) -> bool {
    is_onnx(domain) || domain.starts_with("ai.onnx.") || domain == "com.microsoft"
}

/// True for operators that the float reference cannot run, or not as a model of float.
fn is_refused(op: &str) -> bool {
    let quantized = op.starts_with("QLinear")
        || op.starts_with("DynamicQuantize")
        || [
            "QuantizeLinear",
            "DequantizeLinear",
            "ConvInteger",
            "MatMulInteger",
            "QGemm",
            "QAttention",
        ]
        .contains(&op);
    let lists = op.contains("Sequence") && op != "ReverseSequence" || op.starts_with("Optional");
    quantized || lists || ["Loop", "Scan"].contains(&op)
}

/// True for a node that does something else in training, and is told to.
fn trains(node: &pb::NodeProto, writer: &mut Writer) -> bool {
    let mut is_true = |name: &String| {
        let flag = writer.known(name);
        flag.is_none_or(|flag| flag.iter().any(|&x| x != 0.0))
    };
    match node.op_type.as_str() {
        "BatchNormalization" => int_of(node, "training_mode", 0) != 0,
        "Dropout" => given(&node.input, 2).is_some_and(&mut is_true),
        _ => false,
    }
}

/// The error for a node that cannot be part of a model.
pub fn error(node: &pb::NodeProto, writer: &mut Writer) -> ConvertError {
    ConvertError::UnsupportedOp {
        node: name_of(node).into(),
        op: match is_onnx(&node.domain) {
            true => node.op_type.clone(),
            false => format!("{}.{}", node.domain, node.op_type),
        },
        shapes: writer.shapes(node),
        nearest: crate::import::nearest(&node.op_type),
    }
}

/// What a file is that is no ONNX model, by its first bytes.
pub fn other_format(start: &[u8]) -> Option<&'static str> {
    Some(match start {
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => {
            "a TensorFlow Lite model; give the float ONNX model, attn quantizes it"
        }
        [b'P', b'K', 3, 4, ..] => "a zip archive, such as a PyTorch checkpoint",
        [0x89, b'H', b'D', b'F', ..] => "an HDF5 file, such as a Keras model",
        [_, _, _, _, b'O', b'R', b'T', b'M', ..] => "a model in ONNX Runtime's own format",
        [0x80, 2..=5, b'c' | 0x8a | 0x95, ..] => "a Python pickle, such as a PyTorch checkpoint",
        _ => return None,
    })
}

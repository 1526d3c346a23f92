//! The attributes of ONNX operators that import understands. Any other is refused by name: none is ignored.

use super::node::OnnxNode;
use crate::error::Result;

/// By operator. Of attributes that are missing here only those of [`HARMLESS`] change nothing. Shapes come from the float model, so an
/// attribute that only says a shape is understood.
const UNDERSTOOD: &[(&[&str], &[&str])] = &[
    (
        &["Concat", "Flatten", "Gather", "LogSoftmax", "Softmax"],
        &["axis"],
    ),
    (&["Squeeze", "Unsqueeze"], &["axes"]),
    (&["Split"], &["axis", "num_outputs", "split"]),
    (&["Slice"], &["axes", "ends", "starts"]),
    (&["Reshape"], &["allowzero", "shape"]),
    (&["Transpose"], &["perm"]),
    (&["Cast"], &["to", "saturate", "round_mode"]),
    (&["Dropout"], &["ratio", "seed", "is_test"]),
    (&["Clip"], &["min", "max"]),
    (&["Pad"], &["mode", "pads", "value"]),
    (&["Gelu"], &["approximate"]),
    (
        &["Celu", "Elu", "LeakyRelu", "Swish", "ThresholdedRelu"],
        &["alpha"],
    ),
    (&["HardSigmoid"], &["alpha", "beta"]),
    (&["Selu"], &["alpha", "gamma"]),
    (&["Gemm"], &["alpha", "beta", "transA", "transB"]),
    (
        &["Conv"],
        &[
            "auto_pad",
            "dilations",
            "group",
            "kernel_shape",
            "pads",
            "strides",
        ],
    ),
    (
        &["ConvTranspose"],
        &[
            "auto_pad",
            "dilations",
            "group",
            "kernel_shape",
            "output_padding",
            "output_shape",
            "pads",
            "strides",
        ],
    ),
    (
        &["MaxPool"],
        &[
            "auto_pad",
            "ceil_mode",
            "dilations",
            "kernel_shape",
            "pads",
            "storage_order",
            "strides",
        ],
    ),
    (
        &["AveragePool"],
        &[
            "auto_pad",
            "ceil_mode",
            "count_include_pad",
            "dilations",
            "kernel_shape",
            "pads",
            "strides",
        ],
    ),
    (
        &["BatchNormalization"],
        &["epsilon", "is_test", "momentum", "training_mode"],
    ),
    (&["InstanceNormalization"], &["epsilon"]),
    (
        &["GroupNormalization"],
        &["epsilon", "num_groups", "stash_type"],
    ),
    (
        &["LayerNormalization", "RMSNormalization"],
        &["axis", "epsilon", "stash_type"],
    ),
    (
        &[
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceSum",
            "ReduceSumSquare",
        ],
        &["axes", "keepdims", "noop_with_empty_axes"],
    ),
    (
        &["Resize"],
        &[
            "antialias",
            "axes",
            "coordinate_transformation_mode",
            "cubic_coeff_a",
            "exclude_outside",
            "extrapolation_value",
            "keep_aspect_ratio_policy",
            "mode",
            "nearest_mode",
            "scales",
        ],
    ),
    (&["DepthToSpace", "SpaceToDepth"], &["blocksize", "mode"]),
    (
        &["GRU", "LSTM", "RNN"],
        &[
            "activation_alpha",
            "activation_beta",
            "activations",
            "clip",
            "direction",
            "hidden_size",
            "input_forget",
            "layout",
            "linear_before_reset",
        ],
    ),
    (
        &["Attention"],
        &[
            "is_causal",
            "kv_num_heads",
            "left_window_size",
            "q_num_heads",
            "qk_matmul_output_mode",
            "right_window_size",
            "scale",
            "softcap",
            "softmax_precision",
        ],
    ),
    (&["Einsum"], &["equation"]),
    (&["CumSum"], &["exclusive", "reverse"]),
    (&["ArgMax"], &["axis", "keepdims", "select_last_index"]),
];

/// Hints of old versions, which change no result.
const HARMLESS: &[&str] = &["consumed_inputs"];

/// The first of these attributes of an operator that is not understood.
pub(crate) fn unknown<'n>(op: &str, mut names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let known = UNDERSTOOD.iter().find(|(ops, _)| ops.contains(&op));
    let known = known.map_or(&[][..], |(_, attributes)| attributes);
    names.find(|name| !known.contains(name) && !HARMLESS.contains(name))
}

/// Refuses an attribute that is not understood.
///
/// # Errors
/// [`crate::error::ConvertError::UnsupportedForm`].
pub(super) fn check(node: &OnnxNode) -> Result<()> {
    match unknown(node.op, node.attributes()) {
        Some(name) => Err(node.form(format!("attribute `{name}` is not understood"))),
        None => Ok(()),
    }
}

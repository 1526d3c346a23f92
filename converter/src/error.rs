//! Errors of a conversion, with remedies.

use crate::features::FeatureError;
use crate::files::FileError;
use crate::npz::NpzError;
use attn_runtime::{ModelError, SessionError};
use std::fmt;
use std::path::PathBuf;
use thiserror::Error;

/// What fallible functions of this crate return.
pub type Result<T, E = ConvertError> = std::result::Result<T, E>;

/// A setting of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Frame by frame, or the whole window.
    Stream,
    /// Names of the classes.
    Labels,
    /// Samples between two frames of the audio front end.
    AudioHop,
    /// Element types of inputs.
    InputType,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "stream",
            Self::Labels => "labels",
            Self::AudioHop => "audio hop",
            Self::InputType => "input type",
        })
    }
}

/// Why a state of a model cannot be kept.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StateFault {
    /// The model has no such input; those that it has.
    #[error("the model has no input `{0}`; it has {known}", known = .1.join(", "))]
    NoInput(String, Vec<String>),
    /// The model has no such output; those that it has.
    #[error("the model has no output `{0}`; it has {known}", known = .1.join(", "))]
    NoOutput(String, Vec<String>),
    /// The model has not one output that writes it.
    #[error("{0} outputs write it: name one")]
    Writers(usize),
    /// Two states are read by this input.
    #[error("input `{0}` reads another state, too: name each input once")]
    ReadTwice(String),
    /// Two states are written by this output.
    #[error("output `{0}` is kept for another input, too: name each output once")]
    WrittenTwice(String),
    /// Output and input with their shapes.
    #[error(
        "output `{0}` is {1:?}, input `{2}` takes {3:?}: both must have one shape. Export a cache of fixed length, which drops its oldest \
         row or is written at a position; a cache that grows needs none: give the decoder over a whole sequence as a step"
    )]
    Shape(String, Vec<usize>, String, Vec<usize>),
    /// Output and input with their types.
    #[error("output `{0}` is {1}, input `{2}` takes {3}: both must have one type")]
    Type(String, String, String, String),
    /// The input tells which rows of a table are taken.
    #[error(
        "input `{0}` holds numbers of tokens, which are given at every step: leave it out of the states"
    )]
    Token(String),
    /// Nothing else is an input, or an output.
    #[error("the model has no other {0}: what a caller gives or gets cannot be kept")]
    NothingLeft(&'static str),
    /// The model has a mask or inputs of variable length.
    #[error("a model that runs step by step has no axis of variable length and no padding mask")]
    Varies,
    /// The steps come frame by frame already.
    #[error("a model with states runs step by step as it is")]
    Streamed,
}

/// An error of a conversion, a run or a comparison.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The file is not an ONNX model.
    #[error(
        "{path}: not a readable ONNX model: {reason}. Export one with torch.onnx.export; a model with external data needs its .onnx.data file beside it"
    )]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// The reader's error.
        reason: String,
    },
    /// An input has an axis without a fixed size.
    #[error(
        "input `{input}`: axis {axis} is dynamic ({dim}); export the model with fixed shapes (no dynamic_axes or dynamic_shapes), or say how long the longest sequence is"
    )]
    DynamicShape {
        /// The input.
        input: String,
        /// Number of the axis.
        axis: usize,
        /// The model's name for its size.
        dim: String,
    },
    /// A weight is not finite.
    #[error(
        "weight `{tensor}` of node `{node}` holds NaN or infinity: the training has diverged or the file is damaged"
    )]
    BadWeights {
        /// Node that uses the weight.
        node: String,
        /// Name of the weight.
        tensor: String,
    },
    /// A graph that makes no sense.
    #[error("node `{node}`: {reason}; the file is damaged, or was written by a faulty program")]
    BadGraph {
        /// ONNX node, or the graph's name.
        node: String,
        /// What is wrong.
        reason: String,
    },
    /// A model that is newer than what attn knows.
    #[error(
        "the model uses opset {opset}, attn knows those up to {newest}: export it with opset {newest} or older"
    )]
    NewOpset {
        /// The model's opset.
        opset: i64,
        /// The newest that is known.
        newest: i64,
    },
    /// A weight or constant cannot be read.
    #[error("weight `{tensor}` cannot be read: {reason}")]
    BadTensor {
        /// Name of the weight.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An operator that attn does not have.
    #[error(
        "node `{node}`: operator {op} of {shapes} is not supported; nearest supported form: {nearest}"
    )]
    UnsupportedOp {
        /// ONNX node.
        node: String,
        /// ONNX operator.
        op: String,
        /// Shapes of its inputs.
        shapes: String,
        /// What to use instead.
        nearest: &'static str,
    },
    /// A known operator in a form that attn does not have.
    #[error("node `{node}` ({op} of {shapes}): {reason}")]
    UnsupportedForm {
        /// ONNX node.
        node: String,
        /// ONNX operator.
        op: String,
        /// Shapes of its inputs.
        shapes: String,
        /// What is wrong with the form, and what to do.
        reason: String,
    },
    /// A known operator with an attribute, input or result that attn does not compute.
    #[error("node `{node}` ({op}): {what} `{name}` {reason}")]
    UnsupportedAttribute {
        /// ONNX node.
        node: String,
        /// ONNX operator.
        op: String,
        /// `attribute`, `input` or `result`.
        what: &'static str,
        /// Its name in ONNX.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The float reference could not load or run the model.
    #[error("{path}: the model cannot be {action} in float: {reason}")]
    Reference {
        /// The ONNX file.
        path: PathBuf,
        /// `loaded` or `run`.
        action: &'static str,
        /// Its error.
        reason: String,
    },
    /// A model that made import panic, or of which calibration cannot see a value.
    #[error(
        "{path}: the model is damaged, or of a form that is not tested ({reason}); if other programs run it, please report it"
    )]
    Unexpected {
        /// The ONNX file.
        path: PathBuf,
        /// The panic's message, or the value.
        reason: String,
    },
    /// Calibration or evaluation data do not fit the model.
    #[error("{path}: array `{array}`: {reason}")]
    Data {
        /// The npz file.
        path: PathBuf,
        /// The array.
        array: String,
        /// What is wrong, with expected and found shape.
        reason: String,
    },
    /// A quantity outgrows what the runtime can hold.
    #[error("node `{node}`: {reason}")]
    Limit {
        /// Node in the graph.
        node: String,
        /// Limit, value and remedy.
        reason: String,
    },
    /// The model cannot be run frame by frame.
    #[error("node `{node}` ({op}) cannot run frame by frame: {reason}")]
    NotStreamable {
        /// Node in the graph.
        node: String,
        /// Its operator.
        op: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// A setting of the conversion does not fit the model.
    #[error("{setting}: {reason}")]
    Setting {
        /// The setting.
        setting: Setting,
        /// The error and the remedy.
        reason: String,
    },
    /// A value that is to be kept between runs cannot be.
    #[error("state `{state}`: {fault}")]
    State {
        /// Its name.
        state: String,
        /// What is wrong, and what to do.
        fault: Box<StateFault>,
    },
    /// A file was not made from the model that it is compared with.
    #[error("{path}: it was not converted from this ONNX model: the output's name is not in it")]
    OtherModel {
        /// The `.attn` file.
        path: PathBuf,
    },
    /// An `.attn` file is refused.
    #[error("{path}: {source}")]
    Model {
        /// The file.
        path: PathBuf,
        /// The runtime's reason.
        source: ModelError,
    },
    /// An output whose integers are asked for has none.
    #[error("output `{output}` is in half precision and has no integers: take its real values")]
    NoIntegers {
        /// Its name.
        output: String,
    },
    /// The runtime refuses to run a model.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A manifest is invalid, or does not fit its models.
    #[error("{path}: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The error and the remedy.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// An array of an npz file cannot be read.
    #[error(transparent)]
    Npz(#[from] NpzError),
    /// Audio cannot be read.
    #[error(transparent)]
    Features(#[from] FeatureError),
}

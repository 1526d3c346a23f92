"""What tf2onnx writes of Keras models, built from ONNX's operators: channels last, `auto_pad`, reset_after=False, einsum attention."""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "onnx_node_suite"))
import layers  # noqa: E402
from inputs import System, real  # noqa: E402
from layers import integers, noise  # noqa: E402

T, D, HEADS = 12, 16, 2


def model(shape, build):
    builder = layers.Builder()
    made = builder.model([1, *shape], build(builder))
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info(made.graph.output[0].name, TensorProto.FLOAT, None))
    return onnx.shape_inference.infer_shapes(made)


def dense(b, x, into, out):
    return b.add("Add", b.add("MatMul", x, noise(into, out) / np.sqrt(into).astype(np.float32)), noise(out) * np.float32(0.2))


def recurrent(b, op, gates, width, whole, **attributes):
    """Time first, a recurrent layer, then all rows or the last."""
    x = b.add("Transpose", "x", perm=[1, 0, 2])
    w, r, bias = noise(1, gates * width, D) / 4, noise(1, gates * width, width) / 4, noise(1, 2 * gates * width) / 5
    y = b.add(op, x, w.astype(np.float32), r.astype(np.float32), bias.astype(np.float32), hidden_size=width, **attributes)
    y = b.add("Squeeze", y, integers(1))
    y = b.add("Transpose", y, perm=[1, 0, 2])
    return y if whole else b.add("Squeeze", b.add("Slice", y, integers(-1), integers(np.iinfo(np.int64).max), integers(1)), integers(1))


def gru_classifier(b):
    return b.add("Softmax", dense(b, recurrent(b, "GRU", 3, 20, False, linear_before_reset=0), 20, 5), axis=-1)


def additive(b):
    """AdditiveAttention: q and k expanded, tanh, a scale, the sum; softmax; weighted values."""
    rows = recurrent(b, "LSTM", 4, D, True)
    q = b.add("Unsqueeze", dense(b, rows, D, D), integers(2))
    k = b.add("Unsqueeze", dense(b, rows, D, D), integers(1))
    scores = b.add("ReduceSum", b.add("Mul", b.add("Tanh", b.add("Add", q, k)), noise(D)), integers(-1), keepdims=0)
    return b.add("MatMul", b.add("Softmax", scores, axis=-1), rows)


def dot_attention(b):
    """Attention of a layer on its own output, use_scale, joined with it and averaged."""
    rows = recurrent(b, "GRU", 3, D, True, linear_before_reset=1)
    scores = b.add("Mul", b.add("MatMul", rows, b.add("Transpose", rows, perm=[0, 2, 1])), np.float32(0.7))
    context = b.add("MatMul", b.add("Softmax", scores, axis=-1), rows)
    joined = b.add("Concat", rows, context, axis=-1)
    return dense(b, b.add("ReduceMean", joined, axes=[1], keepdims=0), 2 * D, 4)


def multi_head(b):
    """MultiHeadAttention: einsums become products with [D, heads * d] and reshapes, biases [heads, d]."""
    d = D // HEADS

    def project():
        y = b.add("MatMul", b.add("Reshape", "x", integers(-1, D)), noise(D, D) / np.float32(4))
        return b.add("Add", b.add("Reshape", y, integers(1, T, HEADS, d)), noise(HEADS, d) * np.float32(0.2))

    q, k, v = b.add("Mul", project(), np.float32(d**-0.5)), project(), project()
    scores = b.add("Einsum", k, q, equation="aecd,abcd->acbe")
    y = b.add("Einsum", b.add("Softmax", scores, axis=-1), v, equation="acbe,aecd->abcd")
    y = b.add("MatMul", b.add("Reshape", y, integers(-1, D)), noise(D, D) / np.float32(4))
    return b.add("Add", b.add("Reshape", y, integers(1, T, D)), noise(D))


def separable(b):
    """Channels last; a strided convolution with padding "same", a depthwise and a pointwise one, mean over pixels, softmax."""
    x = b.add("Transpose", "x", perm=[0, 3, 1, 2])
    x = b.add("Relu", b.add("Conv", x, noise(8, 3, 3, 3) / np.float32(5), noise(8), auto_pad="SAME_UPPER", strides=[2, 2]))
    x = b.add("Conv", x, noise(8, 1, 3, 3) / np.float32(3), auto_pad="SAME_UPPER", group=8)
    x = b.add(
        "BatchNormalization", b.add("Conv", x, noise(12, 8, 1, 1) / np.float32(3)), noise(12), noise(12), noise(12), abs(noise(12)) + 1
    )
    x = b.add("Clip", x, np.float32(0), np.float32(6))
    x = b.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER")
    x = b.add("Transpose", x, perm=[0, 2, 3, 1])
    return b.add("Softmax", dense(b, b.add("ReduceMean", x, axes=[1, 2], keepdims=0), 12, 4), axis=-1)


def flattened(b):
    """Channels last into Flatten: the order of the dense layer's weights is height, width, channel."""
    x = b.add("Transpose", "x", perm=[0, 3, 1, 2])
    x = b.add("Relu", b.add("Conv", x, noise(4, 3, 3, 3) / np.float32(5), noise(4), auto_pad="SAME_LOWER", strides=[2, 2]))
    x = b.add("Reshape", b.add("Transpose", x, perm=[0, 2, 3, 1]), integers(-1, 6 * 6 * 4))
    return dense(b, x, 144, 5)


def normalised(b):
    """LayerNormalization as squared difference, mean, root and reciprocal; softplus gate; a causal Conv1D by padding."""
    mean = b.add("ReduceMean", "x", axes=[2], keepdims=1)
    centred = b.add("Sub", "x", mean)
    variance = b.add("ReduceMean", b.add("Mul", centred, centred), axes=[2], keepdims=1)
    inverse = b.add("Mul", b.add("Reciprocal", b.add("Sqrt", b.add("Add", variance, np.float32(1e-3)))), noise(D))
    y = b.add("Add", b.add("Mul", "x", inverse), b.add("Sub", noise(D), b.add("Mul", mean, inverse)))
    y = b.add("Transpose", y, perm=[0, 2, 1])
    y = b.add("Pad", y, integers(0, 0, 4, 0, 0, 0))
    y = b.add("Unsqueeze", y, integers(2))
    y = b.add("Conv", y, noise(D, D, 1, 3) / np.float32(6), dilations=[1, 2])
    return b.add("Transpose", b.add("Squeeze", y, integers(2)), perm=[0, 2, 1])


def conv_lstm_front(b):
    """TimeDistributed convolution over frames, then an LSTM on the flattened channels."""
    x = b.add("Reshape", "x", integers(-1, 1, 8, 6))
    x = b.add("Relu", b.add("Conv", x, noise(4, 1, 3, 3) / np.float32(2), pads=[1, 1, 1, 1], strides=[2, 2]))
    x = b.add("Reshape", b.add("Transpose", x, perm=[0, 2, 3, 1]), integers(1, T, 48))
    x = b.add("Transpose", dense(b, x, 48, D), perm=[1, 0, 2])
    w, r = noise(2, 4 * 10, D) / np.float32(4), noise(2, 4 * 10, 10) / np.float32(4)
    y = b.add("LSTM", x, w, r, noise(2, 80) / np.float32(5), hidden_size=10, direction="bidirectional")
    y = b.add("Reshape", b.add("Transpose", y, perm=[2, 0, 1, 3]), integers(1, T, 20))
    return dense(b, y, 20, 5)


def keras(shape, build, stack=True):
    return System(lambda: model(shape, build), {"x": real(1, *shape)}, stack, exporters=("tf2onnx",))


rows, image = (T, D), (12, 12, 3)
SYSTEMS = {
    "keras_gru_before": keras(rows, gru_classifier),
    "keras_gru_sequence": keras(rows, lambda b: recurrent(b, "GRU", 3, 20, True, linear_before_reset=0)),
    "keras_gru_hard_sigmoid": keras(
        rows,
        lambda b: recurrent(
            b,
            "GRU",
            3,
            20,
            True,
            linear_before_reset=0,
            activations=["HardSigmoid", "Tanh"],
            activation_alpha=[0.2],
            activation_beta=[0.5],
        ),
    ),
    "keras_lstm_relu": keras(rows, lambda b: recurrent(b, "LSTM", 4, 20, True, activations=["Sigmoid", "Relu", "Relu"])),
    "keras_lstm_reverse": keras(rows, lambda b: recurrent(b, "LSTM", 4, 20, True, direction="reverse")),
    "keras_simple_rnn": keras(rows, lambda b: recurrent_rnn(b)),
    "keras_additive_attention": keras(rows, additive),
    "keras_dot_attention": keras(rows, dot_attention),
    "keras_multi_head": keras(rows, multi_head, False),
    "keras_separable": keras(image, separable),
    "keras_flattened": keras(image, flattened),
    "keras_layer_norm": keras(rows, normalised, False),
    "keras_time_distributed": keras((T, 8, 6), conv_lstm_front),
}


def recurrent_rnn(b):
    x = b.add("Transpose", "x", perm=[1, 0, 2])
    y = b.add("RNN", x, noise(1, 20, D) / np.float32(4), noise(1, 20, 20) / np.float32(5), noise(1, 40) / np.float32(5), hidden_size=20)
    return b.add("Transpose", b.add("Squeeze", y, integers(1)), perm=[1, 0, 2])

#!/usr/bin/env python3
"""Layers and small systems as others write them, for batches of 1, 2 and 3, against ONNX's own reference.

    pip install onnx numpy
    layers.py PATH_TO_ATTN WORK_FOLDER [--only causal2]

Each is converted in every precision and run over 24 samples. Prints what is refused and what is further off than its floor, then a
count. WORK_FOLDER keeps the last model as m.onnx with its data m.npz and its expected outputs m.expected.npz.
"""
import argparse, pathlib, subprocess
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

FLOORS = {"fp16": 45, "int8": 22, "int16x8": 35}
TIME, WIDTH = 6, 8
rng = np.random.default_rng(1)


def noise(*shape):
    return rng.normal(0, 1, shape).astype(np.float32)


def integers(*values):
    return np.array(values, dtype=np.int64)


class Builder:
    """A model with one input `x`."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, op, *inputs, **attributes):
        inputs = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"n{len(self.nodes)}", **attributes))
        return name

    def model(self, shape, output):
        value = helper.make_tensor_value_info
        inputs, outputs = [value("x", TensorProto.FLOAT, shape)], [value(output, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


def attention(b):
    q, k, v = (b.add("MatMul", "x", noise(WIDTH, WIDTH)) for _ in range(3))
    scores = b.add("MatMul", q, b.add("Transpose", k, perm=[0, 2, 1]))
    return b.add("MatMul", b.add("Softmax", b.add("Mul", scores, np.float32(0.35)), axis=-1), v)


def heads(b, batch):
    def split(x):
        x = b.add("Reshape", x, integers(batch, TIME, 2, WIDTH // 2))
        return b.add("Transpose", x, perm=[0, 2, 1, 3])

    q, k, v = (split(b.add("MatMul", "x", noise(WIDTH, WIDTH))) for _ in range(3))
    scores = b.add("MatMul", q, b.add("Transpose", k, perm=[0, 1, 3, 2]))
    context = b.add("MatMul", b.add("Softmax", b.add("Mul", scores, np.float32(0.5)), axis=-1), v)
    context = b.add("Transpose", context, perm=[0, 2, 1, 3])
    context = b.add("Reshape", context, integers(batch, TIME, WIDTH))
    return b.add("MatMul", context, noise(WIDTH, WIDTH))


def causal(b):
    scores = b.add("MatMul", "x", b.add("Transpose", "x", perm=[0, 2, 1]))
    mask = np.triu(np.full((TIME, TIME), -1e9, np.float32), 1)
    return b.add("MatMul", b.add("Softmax", b.add("Add", scores, mask), axis=-1), "x")


def recurrent(b, op, gates, **attributes):
    w, r = noise(1, gates * 5, WIDTH) * 0.3, noise(1, gates * 5, 5) * 0.3
    return b.add(op, "x", w, r, noise(1, 2 * gates * 5) * 0.1, hidden_size=5, **attributes)


def gated(b):
    half = WIDTH // 2
    first = b.add("Slice", "x", integers(0), integers(half), integers(2))
    second = b.add("Slice", "x", integers(half), integers(WIDTH), integers(2))
    return b.add("Mul", first, b.add("Sigmoid", second))


def systems(batch):
    """Yields (name, shape of the input, what builds the model)."""
    rows, image = [batch, TIME, WIDTH], [batch, 4, 6, 6]
    sequence, channels = [TIME, batch, WIDTH], [batch, WIDTH, TIME]
    projected = lambda b: b.add("MatMul", "x", noise(WIDTH, WIDTH))
    yield "attention", rows, attention
    yield "heads", rows, lambda b: heads(b, batch)
    yield "causal", rows, causal
    for axis in (0, 1, 2, -1):
        yield f"mean{axis}_", rows, lambda b, a=axis: b.add("ReduceMean", projected(b), axes=[a], keepdims=0)
        yield f"max{axis}_", rows, lambda b, a=axis: b.add("ReduceMax", projected(b), axes=[a], keepdims=1)
        yield f"softmax{axis}_", rows, lambda b, a=axis: b.add("Softmax", projected(b), axis=a)
        yield f"concat{axis}_", rows, lambda b, a=axis: b.add("Concat", projected(b), b.add("Relu", "x"), axis=a)
    yield "gru", sequence, lambda b: recurrent(b, "GRU", 3, linear_before_reset=1)
    yield "gru_before", sequence, lambda b: recurrent(b, "GRU", 3)
    yield "lstm", sequence, lambda b: recurrent(b, "LSTM", 4)
    yield "conv1d", channels, lambda b: b.add("Relu", b.add("Conv", "x", noise(5, WIDTH, 3) * 0.3, noise(5), pads=[1, 1]))
    yield "conv1d_groups", channels, lambda b: b.add(
        "Conv", "x", noise(2 * WIDTH, 1, 3), noise(2 * WIDTH), group=WIDTH, pads=[2, 0])
    yield "conv2d", [batch, 4, 7, 7], lambda b: b.add(
        "MaxPool", b.add("Relu", b.add("Conv", "x", noise(6, 4, 3, 3) * 0.3, pads=[1] * 4, strides=[2, 2])), kernel_shape=[2, 2])
    yield "flattened", image, lambda b: b.add(
        "Gemm", b.add("Flatten", b.add("Conv", "x", noise(3, 4, 3, 3) * 0.3)), noise(48, 5))
    yield "batch_norm", image, lambda b: b.add(
        "BatchNormalization", "x", noise(4), noise(4), noise(4), abs(noise(4)) + 0.5)
    yield "layer_norm", rows, lambda b: b.add("LayerNormalization", projected(b), noise(WIDTH), noise(WIDTH), axis=-1)
    yield "gather", rows, lambda b: b.add("Gather", projected(b), integers(2, 0, 5), axis=1)
    yield "last", rows, lambda b: b.add("MatMul", b.add("Gather", "x", np.array(-1, np.int64), axis=1), noise(WIDTH, 3))
    yield "centred", rows, lambda b: b.add("Sub", "x", b.add("ReduceMean", "x", axes=[1], keepdims=1))
    yield "gated", rows, gated
    yield "unit", rows, lambda b: b.add("Div", "x", b.add("ReduceL2", "x", axes=[2], keepdims=1))
    yield "squeeze", image, lambda b: b.add(
        "Mul", "x", b.add("Sigmoid", b.add("Conv", b.add("GlobalAveragePool", "x"), noise(4, 4, 1, 1))))
    yield "positions", rows, lambda b: b.add("Add", "x", noise(1, TIME, WIDTH))
    yield "factors", rows, lambda b: b.add("Mul", "x", noise(batch, 1, WIDTH))


def sqnr(want, got):
    want, got = want.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    return 10 * np.log10(np.square(want).sum() / (np.square(want - got).sum() + 1e-30))


def outcome(attn, folder, precision, want):
    def run(*words):
        return subprocess.run([attn, *map(str, words)], capture_output=True, text=True)

    done = run("convert", folder / "m.onnx", "--calibrate", folder / "m.npz", "--dtype", precision, "-o", folder / "m.attn")
    if done.returncode:
        return f"refused: {done.stderr.strip()[:160]}"
    done = run("run", folder / "m.attn", folder / "m.npz", "-o", folder / "out.npz")
    if done.returncode:
        return f"does not run: {done.stderr.strip()[:160]}"
    results = np.load(folder / "out.npz")
    db = sqnr(want, results[results.files[0]])
    return None if db >= FLOORS[precision] else f"{db:.1f} dB"


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("attn")
    words.add_argument("work", type=pathlib.Path)
    words.add_argument("--only")
    given = words.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    count = bad = 0
    for batch in (1, 2, 3):
        for name, shape, build in systems(batch):
            builder = Builder()
            model = builder.model(shape, build(builder))
            name = f"{name}{batch}"
            if given.only not in (None, name):
                continue
            x = noise(24, *shape)
            evaluator = ReferenceEvaluator(model)
            want = np.stack([evaluator.run(None, {"x": sample})[0] for sample in x])
            onnx.save(model, given.work / "m.onnx")
            np.savez(given.work / "m.npz", x=x)
            np.savez(given.work / "m.expected.npz", **{model.graph.output[0].name: want[:8]})
            count += 1
            for precision in FLOORS:
                what = outcome(given.attn, given.work, precision, want)
                if what:
                    bad += 1
                    print(f"{name} {precision}: {what}")
    print(f"{count} models, {bad} of {3 * count} conversions refused or below their floor")


if __name__ == "__main__":
    main()

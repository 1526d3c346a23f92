"""The keyword spotter: causal convolutions, a GRU, and attention over the last second.

Every part is causal, so the converter runs it frame by frame: the convolutions keep their last inputs, the GRU its state, the
attention its keys and values of the last `WINDOW` frames.
"""

from typing import NamedTuple

import numpy as np
import onnx
import onnx.numpy_helper
import torch
import torch.nn.functional as F
from torch import nn

BANDS = 40
WINDOW = 50  # frames that attention looks back: 1 s
HEADS = 2


class Sizes(NamedTuple):
    """Widths of the layers: by default about 200 000 cycles of a Cortex-M4 in 20 ms with the front end, 10 M a second."""

    channels: int = 48  # of the convolutions
    hidden: int = 64  # of the GRU
    width: int = 32  # of queries, keys and values, all heads together
    inner: int = 40  # of the layer before the logits


class KeywordSpotter(nn.Module):
    def __init__(self, labels, sizes=Sizes()):
        super().__init__()
        channels, hidden, width, inner = self.sizes = sizes
        self.conv1 = nn.Conv1d(BANDS, channels, 5)
        self.norm1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, 3)
        self.norm2 = nn.BatchNorm1d(channels)
        self.gru = nn.GRU(channels, hidden, batch_first=True)
        self.query = nn.Linear(hidden, width)
        self.key = nn.Linear(hidden, width)
        self.value = nn.Linear(hidden, width)
        self.hidden = nn.Linear(width + hidden, inner)
        self.logits = nn.Linear(inner, labels)
        self.dropout = nn.Dropout(0.1)
        self.folded = False  # the norms are part of the convolutions: a model that was read from ONNX

    def train(self, mode=True):
        super().train(mode)
        if self.folded:
            self.norm1.eval()
            self.norm2.eval()
        return self

    def frames(self, x, state=None):
        """x [batch, t, 40] -> GRU outputs [batch, t, hidden], from a state [1, batch, hidden] or zeros."""
        x = x.transpose(1, 2)
        x = F.relu(self.norm1(self.conv1(F.pad(x, (4, 0)))))
        x = self.dropout(x)
        x = F.relu(self.norm2(self.conv2(F.pad(x, (2, 0)))))
        x = self.dropout(x).transpose(1, 2)
        return self.gru(x, state)[0]

    def heads(self, x):
        """[batch, t, width] -> [batch, heads, t, d]"""
        return x.view(x.shape[0], x.shape[1], HEADS, self.sizes.width // HEADS).transpose(1, 2)

    def classify(self, context, h):
        joined = self.dropout(torch.cat([context, h], dim=-1))
        return self.logits(F.relu(self.hidden(joined)))

    def forward(self, x):
        """The last frame's logits: x [1, WINDOW, 40] -> [1, labels]. This is what is exported."""
        h = self.frames(x)
        last = h[:, -1:, :]
        q, k, v = self.heads(self.query(last)), self.heads(self.key(h)), self.heads(self.value(h))
        context = F.scaled_dot_product_attention(q, k, v)
        context = context.transpose(1, 2).reshape(x.shape[0], self.sizes.width)
        return self.classify(context, h[:, -1, :])

    def attend(self, h):
        """Logits at every frame from GRU outputs [batch, t, hidden]; attention sees the last WINDOW frames, fewer at the start."""
        t = h.shape[1]
        age = torch.arange(t)[:, None] - torch.arange(t)[None, :]
        visible = (age >= 0) & (age < WINDOW)
        q, k, v = self.heads(self.query(h)), self.heads(self.key(h)), self.heads(self.value(h))
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        context = context.transpose(1, 2).reshape(h.shape[0], t, self.sizes.width)
        return self.classify(context, h)

    def stream(self, features, block=400):
        """Logits [t, labels] of one long stream of int8 features [t, 40]."""
        self.eval()
        with torch.no_grad():
            h = self.frames(torch.from_numpy(features.astype(np.float32) / 32)[None])
            parts = []
            for start in range(0, h.shape[1], block):
                before = min(start, WINDOW - 1)
                parts.append(self.attend(h[:, start - before: start + block])[0, before:].numpy())
        return np.concatenate(parts)

    def batch(self, features, size=128):
        """Logits [n, t, labels] of streams of equal length, each from a fresh start."""
        self.eval()
        with torch.no_grad():
            return np.concatenate([self.attend(self.frames(torch.from_numpy(features[i: i + size].astype(np.float32) / 32))).numpy()
                                   for i in range(0, len(features), size)])

    def load(self, arrays, rows=None):
        """Takes weights of `onnx_arrays`. `rows`: for each label its row in that file's logits, None for a new one."""
        state = self.state_dict()
        for name, value in state.items():
            if name.startswith("logits"):
                for label, row in enumerate(rows or range(len(value))):
                    if row is not None:
                        value[label] = arrays[name][row]
            elif name.startswith("norm"):
                value.fill_(1 if name.endswith(("weight", "running_var")) else 0)
            else:
                value.copy_(arrays[name])
        self.load_state_dict(state)
        return self.fold()

    def fold(self):
        """From here on the norms do nothing: they are part of the convolutions."""
        self.norm1.eps = self.norm2.eps = 0.0
        self.folded = True
        return self


def onnx_arrays(path):
    """The weights of an exported spotter, by their names here."""
    graph = onnx.load(str(path)).graph
    arrays = {i.name: torch.from_numpy(onnx.numpy_helper.to_array(i).copy()) for i in graph.initializer}
    after = {node.input[0]: node.input[1] for node in graph.node if node.op_type == "Add"}
    for node in graph.node:  # the exporter holds these matrices transposed and without their names
        bias = after.get(node.output[0], "")
        if node.op_type == "MatMul" and bias.endswith(".bias"):
            arrays[bias.replace("bias", "weight")] = arrays[node.input[1]].T
    gru = next(node for node in graph.node if node.op_type == "GRU")
    biases = arrays[gru.input[3]][0].view(6, -1)[[1, 0, 2, 4, 3, 5]]  # ONNX: z, r, h; PyTorch: r, z, n
    arrays["gru.bias_ih_l0"], arrays["gru.bias_hh_l0"] = biases[:3].flatten(), biases[3:].flatten()
    return arrays


def from_onnx(path, rows=None):
    """A spotter with an exported one's sizes and weights; `rows` as for `load`, by default all of its labels."""
    arrays = onnx_arrays(path)
    sizes = Sizes(len(arrays["conv1.bias"]), arrays["gru.weight_hh_l0"].shape[1], len(arrays["query.bias"]), len(arrays["hidden.bias"]))
    return KeywordSpotter(len(rows or arrays["logits.bias"]), sizes).load(arrays, rows)

"""The keyword spotter: causal convolutions, a GRU, and attention over the last second.

Every part is causal, so the converter runs it frame by frame: the convolutions keep their last inputs, the GRU its state, the
attention its keys and values of the last `WINDOW` frames.
"""

import numpy as np
import onnx
import onnx.numpy_helper
import torch
import torch.nn.functional as F
from torch import nn

BANDS = 40
WINDOW = 50  # frames that attention looks back: 1 s
CHANNELS, HIDDEN, HEADS = 64, 96, 2


class KeywordSpotter(nn.Module):
    def __init__(self, labels):
        super().__init__()
        self.conv1 = nn.Conv1d(BANDS, CHANNELS, 5)
        self.norm1 = nn.BatchNorm1d(CHANNELS)
        self.conv2 = nn.Conv1d(CHANNELS, CHANNELS, 3)
        self.norm2 = nn.BatchNorm1d(CHANNELS)
        self.gru = nn.GRU(CHANNELS, HIDDEN, batch_first=True)
        self.query = nn.Linear(HIDDEN, CHANNELS)
        self.key = nn.Linear(HIDDEN, CHANNELS)
        self.value = nn.Linear(HIDDEN, CHANNELS)
        self.hidden = nn.Linear(CHANNELS + HIDDEN, CHANNELS)
        self.logits = nn.Linear(CHANNELS, labels)
        self.dropout = nn.Dropout(0.1)
        self.folded = False  # the norms are part of the convolutions: a model that was read from ONNX

    def train(self, mode=True):
        super().train(mode)
        if self.folded:
            self.norm1.eval()
            self.norm2.eval()
        return self

    def frames(self, x, state=None):
        """x [batch, t, 40] -> GRU outputs [batch, t, HIDDEN], from a state [1, batch, HIDDEN] or zeros."""
        x = x.transpose(1, 2)
        x = F.relu(self.norm1(self.conv1(F.pad(x, (4, 0)))))
        x = self.dropout(x)
        x = F.relu(self.norm2(self.conv2(F.pad(x, (2, 0)))))
        x = self.dropout(x).transpose(1, 2)
        return self.gru(x, state)[0]

    def heads(self, x):
        """[batch, t, CHANNELS] -> [batch, heads, t, d]"""
        return x.view(x.shape[0], x.shape[1], HEADS, CHANNELS // HEADS).transpose(1, 2)

    def classify(self, context, h):
        joined = self.dropout(torch.cat([context, h], dim=-1))
        return self.logits(F.relu(self.hidden(joined)))

    def forward(self, x):
        """The last frame's logits: x [1, WINDOW, 40] -> [1, labels]. This is what is exported."""
        h = self.frames(x)
        last = h[:, -1:, :]
        q, k, v = self.heads(self.query(last)), self.heads(self.key(h)), self.heads(self.value(h))
        context = F.scaled_dot_product_attention(q, k, v)
        context = context.transpose(1, 2).reshape(x.shape[0], CHANNELS)
        return self.classify(context, h[:, -1, :])

    def attend(self, h):
        """Logits at every frame from GRU outputs [batch, t, HIDDEN]; attention sees the last WINDOW frames, fewer at the start."""
        t = h.shape[1]
        age = torch.arange(t)[:, None] - torch.arange(t)[None, :]
        visible = (age >= 0) & (age < WINDOW)
        q, k, v = self.heads(self.query(h)), self.heads(self.key(h)), self.heads(self.value(h))
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        context = context.transpose(1, 2).reshape(h.shape[0], t, CHANNELS)
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

    def load_onnx(self, path, rows=None):
        """Takes the weights of an exported spotter. `rows`: for each label its row in that file's logits, None for a new one."""
        graph = onnx.load(str(path)).graph
        arrays = {i.name: torch.from_numpy(onnx.numpy_helper.to_array(i).copy()) for i in graph.initializer}
        after = {node.input[0]: node.input[1] for node in graph.node if node.op_type == "Add"}
        for node in graph.node:  # the exporter holds these matrices transposed and without their names
            bias = after.get(node.output[0], "")
            if node.op_type == "MatMul" and bias.endswith(".bias"):
                arrays[bias.replace("bias", "weight")] = arrays[node.input[1]].T
        gru = next(node for node in graph.node if node.op_type == "GRU")
        biases = arrays[gru.input[3]][0].view(6, HIDDEN)[[1, 0, 2, 4, 3, 5]]  # ONNX: z, r, h; PyTorch: r, z, n
        arrays["gru.bias_ih_l0"], arrays["gru.bias_hh_l0"] = biases[:3].flatten(), biases[3:].flatten()
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
        self.norm1.eps = self.norm2.eps = 0.0
        self.load_state_dict(state)
        self.folded = True
        return self

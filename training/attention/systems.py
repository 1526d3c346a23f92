"""The attention systems that attn must convert, each with seeded random weights: definition, example shape, export.

Usage: python systems.py --outputs ../../host-tests/fixtures/attention

writes for each system NAME_dynamo.onnx, NAME_torchscript.onnx (for some NAME_opset23.onnx) and NAME.npz: an array
[samples, ...] for each input (`x`) and `y` of PyTorch's own float outputs.
"""

import argparse
import math
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import llama  # noqa: E402
import onnx_files  # noqa: E402
import pooling  # noqa: E402
import transformers  # noqa: E402

T, D = 16, 32
SAMPLES = 8


class SelfAttention(nn.Module):
    """One head: softmax(Q K^T * scale) V."""

    def __init__(self, scaled):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(D, D) for _ in range(3))
        self.scale = 1 / math.sqrt(D) if scaled else 1.0

    def forward(self, x):
        scores = self.q(x) @ self.k(x).transpose(1, 2)
        return torch.softmax(scores * self.scale, dim=-1) @ self.v(x)


class MultiHead(nn.Module):
    """Several heads over a sequence, three projections, with or without an output projection."""

    def __init__(self, heads, project):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(D, D) for _ in range(3))
        self.out = nn.Linear(D, D) if project else nn.Identity()

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, D // self.heads).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(x.shape))


class CausalMultiHead(MultiHead):
    """Every step sees itself and the past: masked by is_causal, by an added mask, or by masked_fill."""

    def __init__(self, spelling):
        super().__init__(4, True)
        self.spelling = spelling

    def forward(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        if self.spelling == "is_causal":
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(2, 3) / math.sqrt(D // self.heads)
            future = torch.ones(T, T, dtype=torch.bool).triu(1)
            if self.spelling == "added":
                scores = scores + torch.zeros(T, T).masked_fill(future, -math.inf)
            else:
                scores = scores.masked_fill(future, -math.inf)
            y = torch.softmax(scores, dim=-1) @ v
        return self.out(y.transpose(1, 2).reshape(x.shape))


class CausalStack(nn.Module):
    """Pre-norm causal blocks and a last normalisation, one row of logits for every step; runs on a stream."""

    def __init__(self, layers):
        super().__init__()
        self.attention = nn.ModuleList(CausalMultiHead("is_causal") for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(2 * layers + 1))
        mlp = lambda: nn.Sequential(nn.Linear(D, 64), nn.SiLU(), nn.Linear(64, D))
        self.mlp = nn.ModuleList(mlp() for _ in range(layers))
        self.head = nn.Linear(D, 10)

    def forward(self, x):
        for i, (attention, mlp) in enumerate(zip(self.attention, self.mlp)):
            x = x + attention(self.norms[2 * i](x))
            x = x + mlp(self.norms[2 * i + 1](x))
        return self.head(self.norms[-1](x))


class RmsNorm(nn.Module):
    """As llama-style models write it; the TorchScript exporter does not know nn.RMSNorm."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(0.5 + torch.rand(D))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class Gated(nn.Module):
    """A llama-style block without positions: RMSNorm, causal attention, SwiGLU."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = RmsNorm(), RmsNorm()
        self.attention = CausalMultiHead("is_causal")
        self.gate, self.up, self.down = nn.Linear(D, 64, bias=False), nn.Linear(D, 64, bias=False), nn.Linear(64, D, bias=False)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y = self.norm2(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


class Separable(nn.Module):
    """A causal depthwise and a pointwise convolution, ReLU6, and the softmax over channels."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv1d(D, D, 3, groups=D)
        self.pointwise = nn.Conv1d(D, D, 1)

    def forward(self, x):
        y = nn.functional.pad(x.transpose(1, 2), (2, 0))
        y = self.pointwise(nn.functional.relu6(self.depthwise(y)))
        return torch.softmax(y.transpose(1, 2), dim=-1)


class PackedMultiHead(nn.Module):
    """nn.MultiheadAttention: one packed in-projection."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(D, 4, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class EncoderLayer(nn.TransformerEncoderLayer):
    """As it is, except that the TorchScript exporter can trace it: it turns `is_causal` into a tensor."""

    def _sa_block(self, x, attn_mask, key_padding_mask, is_causal=False):
        return self.dropout1(self.self_attn(x, x, x, need_weights=False)[0])


def encoder_layer(norm_first, activation):
    return EncoderLayer(D, 4, 64, dropout=0.0, activation=activation, batch_first=True, norm_first=norm_first)


class Classifier(nn.Module):
    """Learned positions, encoder layers, the mean over time, a linear head."""

    def __init__(self, layers, norm_first, activation):
        super().__init__()
        self.position = nn.Parameter(0.3 * torch.randn(1, T, D))
        layer = encoder_layer(norm_first, activation)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(D, 10)

    def forward(self, x):
        return self.head(self.layers(x + self.position).mean(dim=1))


SYSTEMS = {
    "self_attention": lambda: SelfAttention(True),
    "self_attention_unscaled": lambda: SelfAttention(False),
    "multi_head": lambda: MultiHead(4, True),
    "multi_head_bare": lambda: MultiHead(8, False),
    "packed_multi_head": PackedMultiHead,
    "encoder_post_relu": lambda: encoder_layer(False, "relu"),
    "encoder_pre_gelu": lambda: encoder_layer(True, "gelu"),
    "causal_flag": lambda: CausalMultiHead("is_causal"),
    "causal_added": lambda: CausalMultiHead("added"),
    "causal_filled": lambda: CausalMultiHead("filled"),
    "causal_stack": lambda: CausalStack(2),
    "gated_block": Gated,
    "separable": Separable,
    "classifier": lambda: Classifier(2, True, "gelu"),
}


# Those of the other modules: a maker, and name and shape of each input.
OTHERS = {**transformers.SYSTEMS, **llama.SYSTEMS, **pooling.SYSTEMS}
# Written once more with opset 23, whose operators Attention and RMSNormalization stand for a dozen nodes.
OPSET23 = ["causal_flag", "gated_block", "grouped_query"]


def export(name, model, shapes, folder):
    """Both files and the recording of one system."""
    model.eval()
    rng = np.random.default_rng(7)
    def samples(key, shape):
        if key == "tokens":  # shape: how many, and the size of the vocabulary
            return rng.integers(shape[1], size=(SAMPLES, shape[0]))
        return rng.normal(size=(SAMPLES, *shape)).astype(np.float32)

    inputs = {key: samples(key, shape) for key, shape in shapes.items()}
    sample = lambda i: tuple(torch.from_numpy(array[i : i + 1]) for array in inputs.values())
    with torch.no_grad():
        outputs = np.concatenate([model(*sample(i)).numpy() for i in range(SAMPLES)])
    np.savez(folder / f"{name}.npz", **inputs, y=outputs)
    for exporter in ["dynamo", "torchscript"]:
        path = folder / f"{name}_{exporter}.onnx"
        onnx_files.export(model, sample(0), path, exporter == "dynamo", list(inputs), ["y"])
    if name in OPSET23:
        path = folder / f"{name}_opset23.onnx"
        onnx_files.export(model, sample(0), path, True, list(inputs), ["y"], opset=23)


def main():
    torch.backends.mha.set_fastpath_enabled(False)  # the TorchScript exporter cannot trace the fused layer
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, required=True)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    arguments.outputs.mkdir(parents=True, exist_ok=True)
    wanted = lambda name: not arguments.only or name in arguments.only
    for number, (name, make) in enumerate(SYSTEMS.items()):
        if wanted(name):
            torch.manual_seed(number)
            export(name, make(), {"x": (T, D)}, arguments.outputs)
    for name, (make, shapes) in {**OTHERS, **transformers.LARGE}.items():
        if wanted(name) and (arguments.only or name in OTHERS):
            torch.manual_seed(zlib.crc32(name.encode()))
            export(name, make(), shapes, arguments.outputs)


if __name__ == "__main__":
    main()

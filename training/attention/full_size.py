"""Systems at full size, with random weights: too large to commit, made where they are measured.

Usage: python full_size.py --outputs FOLDER

writes NAME_dynamo.onnx, NAME_torchscript.onnx, NAME.npz (inputs `x`, PyTorch's outputs `y`) and NAME.calibration.npz (other
inputs) of the Keyword Transformer with 1 and with 3 heads (40 bands, 98 frames, 12 layers; Berg et al., 2021) and of 8 heads over 512 channels. Then, for each:

    attn convert NAME_dynamo.onnx --calibrate NAME.calibration.npz --dtype int8 -o NAME.attn
    attn compare NAME_dynamo.onnx NAME.attn --data NAME.npz
"""

import argparse
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

import llama
import systems
import transformers


def keyword_transformer(heads):
    model = transformers.KeywordTransformer(40, 98, 64 * heads, heads, 256 * heads, 12, 35)
    for layer in model.layers.layers:  # nn.TransformerEncoder starts all layers with the same weights
        for part in layer.modules():
            if isinstance(part, nn.Linear):
                part.reset_parameters()
            elif isinstance(part, nn.MultiheadAttention):
                part._reset_parameters()
    return model


SYSTEMS = {
    "kwt1": (lambda: keyword_transformer(1), {"x": (98, 40)}),
    "kwt3": (lambda: keyword_transformer(3), {"x": (98, 40)}),
    "eight_heads_of_64": (lambda: llama.Attention(8, 8, rotary=None, width=512, causal=False), {"x": (32, 512)}),
}


def main():
    torch.backends.mha.set_fastpath_enabled(False)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.outputs.mkdir(parents=True, exist_ok=True)
    for name, (make, shapes) in SYSTEMS.items():
        torch.manual_seed(zlib.crc32(name.encode()))
        systems.export(name, make(), shapes, arguments.outputs)
        others = {key: torch.randn(16, *shape).numpy() for key, shape in shapes.items()}
        np.savez(arguments.outputs / f"{name}.calibration.npz", **others)


if __name__ == "__main__":
    main()

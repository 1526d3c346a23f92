"""Writes the trained model as an encoder and a step, by both of PyTorch's exporters, and all that belongs to it.

Usage: python export.py

models/digits.{encode,step}.onnx (dynamo), digits.tokens.txt, digits.calibration.npz, digits.bundle.toml, and in
host-tests/fixtures/seq2seq the TorchScript twins with digits_torchscript.bundle.toml.

The calibration data is of synthetic voices alone, so that it may be shared freely.
"""

import numpy as np
import torch

from model import BANDS, HIDDEN, MEMORY, Listener
from setting import CACHE, END, FIXTURES, HOP, MAX_FRAMES, MODELS, SCALE, START, TOKENS
from strings import build, synthetic

import bundles  # from .., whose door setting.py is

CALIBRATION_STRINGS = 120
ROWS = (MAX_FRAMES + 3) // 4
FIRST = TOKENS.index("zero")

BUNDLE = bundles.Bundle(
    "digits", "Spoken digit strings", "features", MAX_FRAMES, ROWS, max_tokens=8, start=START, end=END, hop=HOP
)


def calibration():
    """Features [n, MAX_FRAMES, 40], their frames, and the tokens of each string from the start token to the end token."""
    rng = np.random.default_rng(12)
    quiet = [rng.normal(size=MAX_FRAMES * HOP).astype(np.float32)]  # in place of recorded noise
    voices = synthetic()
    rows, frames, digits = build(lambda _: voices, quiet, CALIBRATION_STRINGS, False, rng)
    features = np.zeros((len(frames), MAX_FRAMES, BANDS), np.int8)
    for i, row in enumerate(np.split(rows, np.cumsum(frames)[:-1])):
        features[i, : len(row)] = row
    tokens = np.full((len(frames), digits.shape[1] + 2), -1, np.int64)
    for i, row in enumerate(digits):
        said = [0, *(row[row >= 0].astype(int) + FIRST), 1]
        tokens[i, : len(said)] = said
    return {"features": features, "scale": np.float32(SCALE), "features_len": frames, "tokens": tokens}


def main():
    torch.set_num_threads(1)
    model = Listener(len(TOKENS))
    model.load_state_dict(torch.load(CACHE / "digits.pt"))
    model.eval()
    (MODELS / "digits.tokens.txt").write_text("".join(f"{token}\n" for token in TOKENS))
    data = calibration()
    np.savez_compressed(MODELS / "digits.calibration.npz", **data)
    example = (torch.zeros(1, 40, BANDS), torch.zeros(1, 1, HIDDEN), torch.zeros(1, 10, MEMORY))
    probes = [data["features"][i: i + 1, : data["features_len"][i]].astype(np.float32) * SCALE for i in range(2)]
    bundles.write(model, BUNDLE, example, probes, MODELS, FIXTURES)


if __name__ == "__main__":
    main()

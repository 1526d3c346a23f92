"""Writes the trained model as an encoder and a step, by both of PyTorch's exporters, and all that belongs to it.

In the models' folder: digits.{encode,step}.onnx (dynamo), digits.tokens.txt, digits.calibration.npz, digits.bundle.toml; in
host-tests/fixtures/seq2seq the TorchScript twins with digits_torchscript.bundle.toml.

The calibration data is of synthetic voices and made noise alone, so that it may be shared freely.
"""

import bundles  # beside this package
import numpy as np
import torch

from ..words.places import HOP, ROOT, SCALE
from . import fit, said
from .model import BANDS, HIDDEN, MEMORY
from .pool import Synthetic
from .strings import MAX_FRAMES, Maker, Strings

FIXTURES = ROOT / "host-tests" / "fixtures" / "seq2seq"
CALIBRATION_STRINGS = 120
LINES = {"espeak": 300, "flite": 90}  # of the voices in the calibration data: those that need no download
BUNDLE = bundles.Bundle("digits", "Spoken digit strings", "features", MAX_FRAMES, fit.ROWS, max_tokens=fit.MAX_TOKENS, start=fit.START,
                        end=fit.END, hop=HOP)


class Quiet(Maker):
    """A maker with made noise and made rooms only."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        super().__init__([rng.normal(scale=1000, size=16000)], [decay(rng) for _ in range(20)], seed)


def decay(rng):
    """An impulse response: the direct sound, and noise that dies away."""
    n = int(16000 * rng.uniform(0.08, 0.45))
    tail = rng.normal(size=n) * 10 ** (-3 * np.arange(n) / n) * rng.uniform(0.02, 0.12)
    tail[:32] = 0
    tail[0] = 1
    return tail.astype(np.float32)


def calibration():
    """Features [n, longest, 40], their frames, and the tokens of each string from the start token to the end token."""
    maker, voices = Quiet(12), Synthetic(said.synthetic(LINES))
    made = [maker.string(voices, np.random.default_rng([12, i])) for i in range(CALIBRATION_STRINGS)]
    heard = Strings.heard([one for one in made if len(one.digits) < fit.MAX_TOKENS], [-1] * sum(len(one.digits) < fit.MAX_TOKENS for one in made))
    frames = np.array([len(row) for row in heard.features])
    features = np.zeros((len(frames), frames.max(), BANDS), np.int8)
    tokens = np.full((len(frames), fit.MAX_TOKENS + 1), -1, np.int64)
    for i, (row, digits) in enumerate(zip(heard.features, heard.digits)):
        features[i, : len(row)] = row
        tokens[i, : len(digits) + 2] = [0, *(digits + fit.FIRST), 1]
    return {"features": features, "scale": np.float32(SCALE), "features_len": frames, "tokens": tokens}


def write(model, out, fixtures=FIXTURES):
    model.encoder.freeze()
    model.eval()
    (out / "digits.tokens.txt").write_text("".join(f"{token}\n" for token in fit.TOKENS))
    data = calibration()
    np.savez_compressed(out / "digits.calibration.npz", **data)
    example = (torch.zeros(1, 40, BANDS), torch.zeros(1, 1, HIDDEN), torch.zeros(1, 10, MEMORY))
    probes = [data["features"][i: i + 1, : data["features_len"][i]].astype(np.float32) * SCALE for i in range(2)]
    bundles.write(model, BUNDLE, example, probes, out, fixtures)

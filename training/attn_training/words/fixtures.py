"""Untrained spotters with what PyTorch computes from them, for the converter's tests: `python -m attn_training fixtures`.

Writes host-tests/fixtures/kws_random{_dynamo,_torchscript,_long}.onnx and .npz, and kws_torchscript.onnx of the shipped weights.
"""

import numpy as np
import onnx_files  # beside this package
import torch
import torch.nn.functional as F

from .model import BANDS, WINDOW, KeywordSpotter, Sizes, from_onnx
from .places import ROOT

FIXTURES = ROOT / "host-tests" / "fixtures"
LABELS, SIZES = 20, Sizes(64, 96, 64, 64)
LONG = 120  # frames


class LongKeywordSpotter(KeywordSpotter):
    """The same weights over more frames than attention looks back, as a stream has them after a while."""

    def forward(self, x):
        """x [1, LONG, 40] -> [1, labels]: the GRU sees every frame, attention the last WINDOW."""
        h = self.frames(x)
        last, recent = h[:, -1:, :], h[:, -WINDOW:, :]
        q, k, v = self.heads(self.query(last)), self.heads(self.key(recent)), self.heads(self.value(recent))
        context = F.scaled_dot_product_attention(q, k, v)
        context = context.transpose(1, 2).reshape(x.shape[0], self.sizes.width)
        return self.classify(context, h[:, -1, :])


def export(model, path, dynamo, frames=WINDOW):
    onnx_files.export(model, (torch.zeros(1, frames, BANDS),), path, dynamo, ["features"], ["logits"])


def record(model, path, count, frames):
    """Inputs drawn at random, and what PyTorch makes of them."""
    features = np.random.default_rng(3).integers(-100, 100, (count, frames, BANDS)).astype(np.float32) / 32
    with torch.no_grad():
        logits = np.concatenate([model(torch.from_numpy(x[None])).numpy() for x in features])
    np.savez(path, features=features, logits=logits)


def main():
    torch.manual_seed(3)
    model = KeywordSpotter(LABELS, SIZES)
    export(model, FIXTURES / "kws_random_dynamo.onnx", True)
    export(model, FIXTURES / "kws_random_torchscript.onnx", False)
    record(model, FIXTURES / "kws_random.npz", 8, WINDOW)
    long = LongKeywordSpotter(LABELS, SIZES)
    long.load_state_dict(model.state_dict())
    export(long, FIXTURES / "kws_random_long.onnx", True, LONG)
    record(long, FIXTURES / "kws_random_long.npz", 4, LONG)
    shipped()


def shipped():
    export(from_onnx(ROOT / "models" / "kws.onnx"), FIXTURES / "kws_torchscript.onnx", False)

"""Writes the keyword spotter as ONNX, by both of PyTorch's exporters.

Usage: python export.py            cache/kws.pt -> models/kws.onnx and host-tests/fixtures/kws_torchscript.onnx
       python export.py --random   untrained models with what PyTorch computes from them, for tests:
                                   host-tests/fixtures/kws_random{_dynamo,_torchscript,_long}.onnx and .npz
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from model import BANDS, CHANNELS, WINDOW, KeywordSpotter
from paths import CACHE, ROOT

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import onnx_files  # noqa: E402

FIXTURES = ROOT / "host-tests" / "fixtures"
LONG = 120  # frames


class LongKeywordSpotter(KeywordSpotter):
    """The same weights over more frames than attention looks back, as a stream has them after a while."""

    def forward(self, x):
        """x [1, LONG, 40] -> [1, labels]: the GRU sees every frame, attention the last WINDOW."""
        h = self.frames(x)
        last, recent = h[:, -1:, :], h[:, -WINDOW:, :]
        q, k, v = self.heads(self.query(last)), self.heads(self.key(recent)), self.heads(self.value(recent))
        context = F.scaled_dot_product_attention(q, k, v)
        context = context.transpose(1, 2).reshape(x.shape[0], CHANNELS)
        return self.classify(context, h[:, -1, :])


def export(model, path, dynamo, frames=WINDOW):
    onnx_files.export(model, (torch.zeros(1, frames, BANDS),), path, dynamo, ["features"], ["logits"])


def record(model, path, count, frames):
    """Inputs drawn at random, and what PyTorch makes of them."""
    features = np.random.default_rng(3).integers(-100, 100, (count, frames, BANDS)).astype(np.float32) / 32
    with torch.no_grad():
        logits = np.concatenate([model(torch.from_numpy(x[None])).numpy() for x in features])
    np.savez(path, features=features, logits=logits)


def export_random():
    torch.manual_seed(3)
    model = KeywordSpotter()
    export(model, FIXTURES / "kws_random_dynamo.onnx", True)
    export(model, FIXTURES / "kws_random_torchscript.onnx", False)
    record(model, FIXTURES / "kws_random.npz", 8, WINDOW)
    long = LongKeywordSpotter()
    long.load_state_dict(model.state_dict())
    export(long, FIXTURES / "kws_random_long.onnx", True, LONG)
    record(long, FIXTURES / "kws_random_long.npz", 4, LONG)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", action="store_true", help="write the untrained fixtures")
    arguments = parser.parse_args()
    if arguments.random:
        export_random()
        return
    model = KeywordSpotter()
    model.load_state_dict(torch.load(CACHE / "kws.pt"))
    print(sum(p.numel() for p in model.parameters()), "parameters")
    (ROOT / "models").mkdir(exist_ok=True)
    export(model, ROOT / "models" / "kws.onnx", True)
    export(model, FIXTURES / "kws_torchscript.onnx", False)


if __name__ == "__main__":
    main()

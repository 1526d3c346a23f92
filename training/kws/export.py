"""Writes the trained keyword spotter as ONNX, by both of PyTorch's exporters.

Usage: python export.py                  cache/kws.pt -> models/kws.onnx and host-tests/fixtures/kws_torchscript.onnx
       python export.py --random --outputs DIR   untrained, for tests: DIR/kws_random_{dynamo,torchscript}.onnx and .npz
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from model import BANDS, WINDOW, KeywordSpotter
from paths import CACHE, ROOT


def export(model, path, dynamo):
    model.eval()
    x = torch.zeros(1, WINDOW, BANDS)
    names = {"input_names": ["features"], "output_names": ["logits"]}
    if dynamo:
        program = torch.onnx.export(model, (x,), dynamo=True, opset_version=18, verbose=False, **names)
        program.save(path, external_data=False)
    else:
        torch.onnx.export(model, (x,), str(path), dynamo=False, opset_version=17, **names)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--outputs", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(3)
    model = KeywordSpotter()
    if arguments.random:
        prefix = arguments.outputs / "kws_random"
        export(model, f"{prefix}_dynamo.onnx", True)
        export(model, f"{prefix}_torchscript.onnx", False)
        features = np.random.default_rng(3).integers(-100, 100, (8, WINDOW, BANDS)).astype(np.float32) / 32
        with torch.no_grad():
            logits = np.concatenate([model(torch.from_numpy(x[None])).numpy() for x in features])
        np.savez(f"{prefix}.npz", features=features, logits=logits)
        return
    model.load_state_dict(torch.load(CACHE / "kws.pt"))
    print(sum(p.numel() for p in model.parameters()), "parameters")
    export(model, ROOT / "models" / "kws.onnx", True)
    export(model, ROOT / "host-tests" / "fixtures" / "kws_torchscript.onnx", False)


if __name__ == "__main__":
    main()

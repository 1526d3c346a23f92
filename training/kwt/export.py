"""Writes the trained model as ONNX by both exporters, its calibration data, and windows with what PyTorch computes from them.

Usage: python export.py     (needs espeak-ng and the converter, for features)

models/kwt.onnx (dynamo), models/kwt_calibration.npz, and in host-tests/fixtures/trained kwt_torchscript.onnx and kwt.npz:
`features` [n, 98, 40] int8 with `scale`, and `logits` [n, 20].

All windows that are written are of synthetic voices and noise, made as `attn_training/words/export.py` makes those of the spotter.
"""

import numpy as np
import torch

from windows import FRAME, FRAMES, HOP, LABELS, MODELS, ROOT, SCALE, STREAMS, UNKNOWN, features, trained

import onnx_files
from attn_training.words import export, text
from attn_training.words.voices import Voices

FIXTURES = ROOT / "host-tests" / "fixtures" / "trained"
CALIBRATION, RECORDED = 96, 24


def synthetic(count, seed):
    """int8 features [count, FRAMES, 40] of synthetic words, sentences and noise."""
    rng = np.random.default_rng(seed)
    samples = FRAME + (FRAMES - 1) * HOP
    voices = Voices(STREAMS / "renderings")
    words = [voices.said(label.replace("_", " "), "espeak", 20, seed) for label in LABELS[:UNKNOWN]]
    others = [x for sentence in text.sentences(40) for x in voices.said(sentence, "espeak", 2, seed)]
    return features(np.stack([export.window(i, words, others, rng, samples) for i in range(count)]))


def main():
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # the TorchScript exporter cannot trace the fused layer
    model = trained()
    FIXTURES.mkdir(parents=True, exist_ok=True)
    scale = np.float32(SCALE)
    np.savez_compressed(MODELS / "kwt_calibration.npz", features=synthetic(CALIBRATION, 21), scale=scale)
    recorded = synthetic(RECORDED, 22)
    with torch.no_grad():
        logits = model(torch.from_numpy(recorded.astype(np.float32) * scale)).numpy()
    np.savez_compressed(FIXTURES / "kwt.npz", features=recorded, scale=scale, logits=logits)
    example = (torch.zeros(1, FRAMES, recorded.shape[2]),)
    onnx_files.export(model, example, MODELS / "kwt.onnx", True, ["features"], ["logits"])
    onnx_files.export(model, example, FIXTURES / "kwt_torchscript.onnx", False, ["features"], ["logits"])


if __name__ == "__main__":
    main()

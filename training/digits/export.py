"""Writes the trained model as an encoder and a step, by both of PyTorch's exporters, and all that belongs to it.

Usage: python export.py

models/digits.{encode,step}.onnx (dynamo), digits.tokens.txt, digits.calibration.npz, digits.bundle.toml, and in
host-tests/fixtures/seq2seq the TorchScript twins with digits_torchscript.bundle.toml.

The calibration data is of synthetic voices alone, so that it may be shared freely.
"""

import numpy as np
import onnxruntime
import torch

from model import BANDS, HIDDEN, MEMORY, Listener
from setting import CACHE, END, FIXTURES, HOP, MAX_FRAMES, MODELS, SCALE, START, TOKENS
from strings import build, synthetic

import onnx_files  # from .., whose door setting.py is

CALIBRATION_STRINGS = 120
ROWS = (MAX_FRAMES + 3) // 4
FIRST = TOKENS.index("zero")

BUNDLE = """# Spoken digit strings. `attn convert {file} -o digits.attn` makes one file of it.
name = "digits"
calibrate = "{models}digits.calibration.npz"
max_length = {max_frames}

[audio]
hop = {hop}

[entries]
encode = "{encode}"
step = "{step}"

[state]
state = {{ from = ["encode.state", "step.state_next"], to = "step.state" }}
memory = {{ from = ["encode.memory"], to = "step.memory" }}

[decode]
encode = "encode"
step = "step"
input = "features"
token = "token"
logits = "logits"
weights = "weights"
start = "{start}"
end = "{end}"
max_tokens = 8

[vocabulary]
tokens = "{models}digits.tokens.txt"
separator = " "
"""


def export(model, folder, stem, dynamo):
    """Encoder and step of one exporter. Returns their paths."""
    paths = [folder / f"{stem}.{entry}.onnx" for entry in ["encode", "step"]]
    frames, rows = 40, 10
    outputs = {} if dynamo else {"memory": 1, "weights": 1}
    onnx_files.export(model.encoder, (torch.zeros(1, frames, BANDS),), paths[0], dynamo, ["features"], ["memory", "state"],
                      {"features": 1, **outputs}, MAX_FRAMES)
    step = (torch.zeros(1, dtype=torch.long), torch.zeros(1, 1, HIDDEN), torch.zeros(1, rows, MEMORY))
    onnx_files.export(model.step, step, paths[1], dynamo, ["token", "state", "memory"], ["logits", "state_next", "weights"],
                      {"memory": 1, **outputs}, ROWS)
    return paths


def check(model, paths, features):
    """onnxruntime must compute what PyTorch computes."""
    encode, step = (onnxruntime.InferenceSession(path) for path in paths)
    memory, state = encode.run(["memory", "state"], {"features": features})
    worst = 0.0
    with torch.no_grad():
        ours, our_state = model.encoder(torch.from_numpy(features))
        for token in range(6):
            feeds = {"token": np.array([token]), "state": state, "memory": memory}
            logits, state, _ = step.run(["logits", "state_next", "weights"], feeds)
            expected, our_state, _ = model.step(torch.tensor([token]), our_state, ours)
            worst = max(worst, np.abs(logits - expected.numpy()).max())
    print(f"{paths[1].name}: {features.shape[1]} frames, logits within {worst:.1e} of PyTorch's")
    if worst > 1e-3:
        raise SystemExit("the exported files compute something else")


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


def write_bundle(path, encode, step, models):
    path.write_text(BUNDLE.format(file=path.name, encode=encode.name, step=step.name, models=models, start=START, end=END,
                                  hop=HOP, max_frames=MAX_FRAMES))


def main():
    torch.set_num_threads(1)
    model = Listener(len(TOKENS))
    model.load_state_dict(torch.load(CACHE / "digits.pt"))
    model.eval()
    (MODELS / "digits.tokens.txt").write_text("".join(f"{token}\n" for token in TOKENS))
    data = calibration()
    np.savez_compressed(MODELS / "digits.calibration.npz", **data)
    for folder, stem, bundle, dynamo, models in [(MODELS, "digits", "digits.bundle.toml", True, ""),
                                                 (FIXTURES, "digits_torchscript", "digits_torchscript.bundle.toml", False,
                                                  "../../../models/")]:
        paths = export(model, folder, stem, dynamo)
        write_bundle(folder / bundle, *paths, models)
        for i in range(2):
            frames = data["features_len"][i]
            check(model, paths, data["features"][i: i + 1, :frames].astype(np.float32) * SCALE)


if __name__ == "__main__":
    main()

"""Writes the trained model as ONNX over a whole window, by both exporters, and all that belongs to it.

Usage: python export.py

models/llama.step.onnx (dynamo), llama.tokens.txt, llama.calibration.npz, llama.bundle.toml, and in host-tests/fixtures/trained
llama_torchscript.step.onnx with its bundle, and llama.npz: windows as `tokens` [n, 128] with PyTorch's `logits` [n, 128, 77].

All windows that are written are the model's own words, not the novels'.
"""

import numpy as np
import onnxruntime
import torch

import text
from evaluate import trained
from model import HERE, WINDOW, generate

import onnx_files  # from .., whose door model.py is

ROOT = HERE.parents[1]
MODELS, FIXTURES = ROOT / "models", ROOT / "host-tests" / "fixtures" / "trained"
CALIBRATION, RECORDED = 64, 2

BUNDLE = """# Sentences in the manner of Jane Austen, a character at a time. `attn convert {file} -o llama.attn`
# makes one file of it.
name = "llama"
calibrate = "{models}llama.calibration.npz"

[entries]
step = "{stem}.step.onnx"

[decode]
step = "step"
token = "tokens"
logits = "logits"
start = "{start}"
end = "{end}"
max_tokens = {window}

[vocabulary]
tokens = "{models}llama.tokens.txt"
"""


def check(model, path, rows):
    """onnxruntime must compute what PyTorch computes."""
    session = onnxruntime.InferenceSession(path)
    for row in rows:
        (logits,) = session.run(["logits"], {"tokens": row[None].numpy()})
        with torch.no_grad():
            worst = np.abs(logits - model(row[None]).numpy()).max()
        print(f"{path.name}: logits within {worst:.1e} of PyTorch's")
        if worst > 1e-3:
            raise SystemExit("the exported file computes something else")


def main():
    torch.set_num_threads(1)
    model = trained()
    generator = torch.Generator().manual_seed(4)
    rows = generate(model, torch.zeros(CALIBRATION + RECORDED, 1, dtype=torch.long), WINDOW - 1, 1.0, generator)
    recorded = rows[CALIBRATION:]
    np.savez_compressed(MODELS / "llama.calibration.npz", tokens=rows[:CALIBRATION].numpy())
    with torch.no_grad():
        np.savez_compressed(FIXTURES / "llama.npz", tokens=recorded.numpy(), logits=model(recorded).numpy())
    (MODELS / "llama.tokens.txt").write_text("".join(f"{token}\n" for token in text.TOKENS))
    for folder, stem, dynamo, models in [(MODELS, "llama", True, ""),
                                         (FIXTURES, "llama_torchscript", False, "../../../models/")]:
        path, bundle = folder / f"{stem}.step.onnx", folder / f"{stem}.bundle.toml"
        onnx_files.export(model, (rows[:1],), path, dynamo, ["tokens"], ["logits"], merge=dynamo)
        check(model, path, recorded)
        bundle.write_text(BUNDLE.format(file=bundle.name, stem=stem, models=models, window=WINDOW,
                                        start=text.START, end=text.END))


if __name__ == "__main__":
    main()

"""Writes the trained model as an encoder and a step, by both of PyTorch's exporters, and all that belongs to it.

Usage: python export.py

models/g2p.{encode,step}.onnx (dynamo), g2p.symbols.txt, g2p.tokens.txt, g2p.calibration.npz, g2p.bundle.toml, and in
host-tests/fixtures/seq2seq the TorchScript twins, g2p_torchscript.bundle.toml and g2p.npz: 200 words of the test split as
`symbols` and `symbols_len` with what PyTorch decodes from them greedily, `tokens` from the start token to the end token.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch

import data
from decode import decode
from model import HIDDEN, MEMORY, Pronouncer
from paths import CACHE, FIXTURES, MODELS
from split import split

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import onnx_files  # noqa: E402

CALIBRATION_WORDS = RECORDED_WORDS = 200

BUNDLE = """# Grapheme to phoneme. `attn convert {file} -o g2p.attn` makes one file of it.
name = "g2p"
calibrate = "{models}g2p.calibration.npz"
max_length = {max_letters}

[entries]
encode = "{encode}"
step = "{step}"

[state]
state = {{ from = ["encode.state", "step.state_next"], to = "step.state" }}
memory = {{ from = ["encode.memory"], to = "step.memory" }}

[decode]
encode = "encode"
step = "step"
input = "symbols"
token = "token"
logits = "logits"
weights = "weights"
start = "{start}"
end = "{end}"
max_tokens = {max_tokens}

[vocabulary]
symbols = "{models}g2p.symbols.txt"
tokens = "{models}g2p.tokens.txt"
separator = " "
"""


def export(model, folder, stem, dynamo):
    """Encoder and step of one exporter. Returns their paths."""
    symbols, token = torch.zeros(1, 9, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    step = (token, torch.zeros(1, 1, HIDDEN), torch.zeros(1, 9, MEMORY))
    time = {"symbols": 1, "memory": 1}
    paths = [folder / f"{stem}.{entry}.onnx" for entry in ["encode", "step"]]
    axes = time if dynamo else {**time, "weights": 1}
    onnx_files.export(model.encoder, (symbols,), paths[0], dynamo, ["symbols"], ["memory", "state"], axes, data.MAX_LETTERS)
    onnx_files.export(model.step, step, paths[1], dynamo, ["token", "state", "memory"], ["logits", "state_next", "weights"],
                      axes, data.MAX_LETTERS)
    return paths


def check(model, paths, word):
    """onnxruntime must compute what PyTorch computes."""
    encode, step = (onnxruntime.InferenceSession(path) for path in paths)
    symbols = np.array([[data.SYMBOLS.index(letter) for letter in word]])
    memory, state = encode.run(["memory", "state"], {"symbols": symbols})
    worst = 0.0
    with torch.no_grad():
        ours, our_state = model.encoder(torch.from_numpy(symbols))
        for token in range(6):
            feeds = {"token": np.array([token]), "state": state, "memory": memory}
            logits, state, _ = step.run(["logits", "state_next", "weights"], feeds)
            expected, our_state, _ = model.step(torch.tensor([token]), our_state, ours)
            worst = max(worst, np.abs(logits - expected.numpy()).max())
    print(f"{paths[1].name}: logits within {worst:.1e} of PyTorch's")
    if worst > 1e-3:
        raise SystemExit("the exported files compute something else")


def chosen(words, which, count):
    """Words of one split, drawn with a fixed seed, the longest and the shortest among them."""
    candidates = sorted((word for word in words if split(word) == which), key=lambda word: (len(word), word))
    picked = np.random.default_rng(1).choice(len(candidates), count - 2, replace=False)
    return [candidates[0], candidates[-1], *(candidates[i] for i in sorted(picked))]


def padded(rows, width=None):
    width = width or max(map(len, rows))
    table = np.full((len(rows), width), -1, np.int64)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table


def numbers(word):
    return [data.SYMBOLS.index(letter) for letter in word]


def save(path, names, tokens):
    symbols = [numbers(word) for word in names]
    np.savez_compressed(path, symbols=padded(symbols, data.MAX_LETTERS), symbols_len=np.array([len(s) for s in symbols]),
                        tokens=padded(tokens))


def calibration(words, tokens):
    """Training words with their own pronunciations, from the start token to the end token."""
    names = chosen(words, "train", CALIBRATION_WORDS)
    return names, [[0, *(tokens.index(phoneme) for phoneme in words[name][0]), 1] for name in names]


def recorded(model, words):
    """Test words with what the model decodes."""
    names = chosen(words, "test", RECORDED_WORDS)
    with torch.no_grad():
        return names, [[0, *decode(model, torch.tensor([numbers(name)]), 1)[0][0][0], 1] for name in names]


def write_bundle(path, encode, step, models):
    path.write_text(BUNDLE.format(file=path.name, encode=encode.name, step=step.name, models=models, start=data.START,
                                  end=data.END, max_letters=data.MAX_LETTERS, max_tokens=data.MAX_TOKENS))


def main():
    torch.set_num_threads(1)
    words = data.load()
    tokens = data.tokens(words)
    model = Pronouncer(len(data.SYMBOLS), len(tokens))
    model.load_state_dict(torch.load(CACHE / "g2p.pt"))
    model.eval()
    MODELS.mkdir(exist_ok=True)
    FIXTURES.mkdir(parents=True, exist_ok=True)
    (MODELS / "g2p.symbols.txt").write_text("".join(f"{symbol}\n" for symbol in data.SYMBOLS))
    (MODELS / "g2p.tokens.txt").write_text("".join(f"{token}\n" for token in tokens))
    save(MODELS / "g2p.calibration.npz", *calibration(words, tokens))
    save(FIXTURES / "g2p.npz", *recorded(model, words))
    for folder, stem, bundle, dynamo, models in [(MODELS, "g2p", "g2p.bundle.toml", True, ""),
                                                 (FIXTURES, "g2p_torchscript", "g2p_torchscript.bundle.toml", False,
                                                  "../../../models/")]:
        paths = export(model, folder, stem, dynamo)
        write_bundle(folder / bundle, *paths, models)
        for word in ["a", "pronunciations"]:
            check(model, paths, word)


if __name__ == "__main__":
    main()

"""Writes the trained model as an encoder and a step, by both of PyTorch's exporters, and all that belongs to it.

Usage: python export.py

models/g2p.{encode,step}.onnx (dynamo), g2p.symbols.txt, g2p.tokens.txt, g2p.calibration.npz, g2p.bundle.toml, and in
host-tests/fixtures/seq2seq the TorchScript twins, g2p_torchscript.bundle.toml and g2p.npz: 200 words of the test split as
`symbols` and `symbols_len` with what PyTorch decodes from them greedily, `tokens` from the start token to the end token.
"""

import sys
from pathlib import Path

import numpy as np
import torch

import data
from decode import decode
from model import HIDDEN, MEMORY, Pronouncer
from paths import CACHE, FIXTURES, MODELS
from split import split

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import bundles  # noqa: E402

CALIBRATION_WORDS = RECORDED_WORDS = 200

BUNDLE = bundles.Bundle(
    "g2p", "Grapheme to phoneme", "symbols", data.MAX_LETTERS, data.MAX_LETTERS, max_tokens=data.MAX_TOKENS,
    start=data.START, end=data.END, symbols=True,
)


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
    example = (torch.zeros(1, 9, dtype=torch.long), torch.zeros(1, 1, HIDDEN), torch.zeros(1, 9, MEMORY))
    probes = [np.array([numbers(word)]) for word in ["a", "pronunciations"]]
    bundles.write(model, BUNDLE, example, probes, MODELS, FIXTURES)


if __name__ == "__main__":
    main()

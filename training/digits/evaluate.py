"""Digit error rate on strings of one file of strings.py, greedily decoded.

Usage: python evaluate.py --data test                       float, the shipped ONNX files
       python evaluate.py --data val --checkpoint cache/digits.pt    float, what training has left, through PyTorch
       python evaluate.py --data test --attn digits.attn    the converted file, through `attn decode` on the same sounds,
                                                            written by strings.py --wav cache/test_wav
       python evaluate.py --data test --attn digits.attn --agree    also how many strings have float's digits exactly

The converted file may come from either exporter's bundle: models/digits.bundle.toml, or digits_torchscript.bundle.toml in
host-tests/fixtures/seq2seq.

Digit error rate: insertions, deletions and substitutions over digits said. String error rate: strings not all right.
"""

import argparse
import json
import subprocess

import numpy as np
import torch

from model import Listener
from setting import ATTN, CACHE, MODELS, SCALE, TOKENS, WORDS

from bundles import Exported, distance, report_agreement  # from .., whose door setting.py is

FIRST = TOKENS.index("zero")
END = 1
MAX_TOKENS = 8


def rates(said, digits):
    """(digit error rate, string error rate) in per cent."""
    errors = [distance(list(hypothesis), list(reference)) for hypothesis, reference in zip(said, digits, strict=True)]
    return 100 * sum(errors) / sum(map(len, digits)), 100 * sum(e > 0 for e in errors) / len(errors)


def transcribe(model, features):
    """Greedy digits of every string, those of one length together."""
    said = [None] * len(features)
    lengths = np.array([len(x) for x in features])
    with torch.no_grad():
        for length in np.unique(lengths):
            group = np.flatnonzero(lengths == length)
            x = torch.from_numpy(np.stack([features[i] for i in group]).astype(np.float32) * SCALE)
            memory, state = model.encoder(x)
            token, rows = torch.zeros(len(group), dtype=torch.long), []
            for _ in range(MAX_TOKENS):
                logits, state, _ = model.step(token, state, memory)
                token = logits.argmax(-1)
                rows.append(token)
            for i, row in zip(group, torch.stack(rows, dim=1).tolist()):
                row = row[: row.index(END)] if END in row else row
                said[i] = [token - FIRST for token in row]
    return said


def by_attn(count, file):
    """The same with the converted file on the host."""
    said = []
    for i in range(count):
        command = [ATTN, "decode", file, "--wav", str(CACHE / "test_wav" / f"{i:05}.wav"), "--json"]
        decoded = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        said.append([WORDS.index(token) for token in decoded["tokens"]])
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--attn")
    parser.add_argument("--checkpoint")
    parser.add_argument("--agree", action="store_true", help="compare with float, string by string")
    parser.add_argument("--limit", type=int, help="only the first strings")
    arguments = parser.parse_args()
    if arguments.agree and not arguments.attn:
        parser.error("--agree compares a converted file with float: name it with --attn")
    torch.set_num_threads(1)
    data = np.load(CACHE / f"{arguments.data}.npz")
    features = np.split(data["features"], np.cumsum(data["frames"])[:-1])[: arguments.limit]
    digits = [row[row >= 0] for row in data["digits"]][: arguments.limit]
    if arguments.attn:
        said = by_attn(len(features), arguments.attn)
    if arguments.agree or not arguments.attn:
        if arguments.checkpoint:
            model = Listener(len(TOKENS))
            model.load_state_dict(torch.load(arguments.checkpoint))
            model.eval()
        else:
            model = Exported(MODELS / "digits")
        by_float = transcribe(model, features)
    if arguments.agree:
        report_agreement(said, by_float)
    said = said if arguments.attn else by_float
    print(f"{arguments.data}: %.2f %% digit errors, %.2f %% strings wrong, {len(digits)} strings" % rates(said, digits))


if __name__ == "__main__":
    main()

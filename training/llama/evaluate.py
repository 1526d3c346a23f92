"""Bits per character on a split, and a few lines that the model writes.

Usage: python evaluate.py --split test                        float, the shipped ONNX file
       python evaluate.py --split val --trained               float, what training has left in cache/llama.pt
       python evaluate.py --split test --write-tokens t.npz   its windows as `tokens` [window, 128], for `attn run`
       python evaluate.py --split test --logits logits.npz    judges the `logits` [window, 128, 77] that `attn run` made
       python evaluate.py --write 5 --temperature 0.7         five sentences, or what 128 characters hold of them

Text is cut into windows that overlap by half; of each only the second half counts, so that every character that counts is
foretold from at least 64 before it. The first half of the first window is the only text that is not counted.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F

import text
from model import HERE, WINDOW, Writer, generate

import onnx_files  # from .., whose door model.py is

SHIPPED = HERE.parents[1] / "models" / "llama.step.onnx"
HALF = WINDOW // 2


def windows(paragraphs, limit=None):
    """Tokens [n, WINDOW + 1]: inputs and, one further, what should come."""
    tokens = np.array([n for paragraph in paragraphs for n in text.numbers(paragraph)], np.int64)
    count = (len(tokens) - WINDOW - 1) // HALF + 1
    return np.stack([tokens[i * HALF: i * HALF + WINDOW + 1] for i in range(count)])[:limit]


def bits(logits, rows):
    """Bits per character of the second halves, from logits [n, WINDOW, characters]."""
    logits, wanted = torch.as_tensor(logits)[:, HALF:], torch.from_numpy(rows[:, HALF + 1:])
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten()).item() / np.log(2)


def by_pytorch(model, rows):
    model.eval()
    with torch.no_grad():
        return torch.cat([model(torch.from_numpy(part[:, :-1])) for part in np.array_split(rows, len(rows) // 64 + 1)])


def bits_per_character(model, paragraphs):
    rows = windows(paragraphs)
    return bits(by_pytorch(model, rows), rows)


def trained():
    model = Writer()
    model.load_state_dict(torch.load(text.CACHE / "llama.pt"))
    return model.eval()


def spelled(row):
    """What a row of tokens says, up to its end."""
    row = row[1:] if row[0] == 0 else row
    return "".join(text.TOKENS[n] for n in (row[: row.index(1)] if 1 in row else row))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="val", choices=["train", "val", "test"])
    parser.add_argument("--limit", type=int, help="only the first windows")
    parser.add_argument("--trained", action="store_true")
    parser.add_argument("--write-tokens")
    parser.add_argument("--logits")
    parser.add_argument("--write", type=int)
    parser.add_argument("--temperature", type=float, default=0.7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.write:
        rows = generate(trained(), torch.zeros(arguments.write, 1, dtype=torch.long), WINDOW, arguments.temperature,
                        torch.Generator().manual_seed(1))
        print("\n".join(spelled(row) for row in rows.tolist()))
        return
    rows = windows(text.split(arguments.split), arguments.limit)
    if arguments.write_tokens:
        np.savez(arguments.write_tokens, tokens=rows[:, :-1])
        return
    if arguments.logits:
        logits = np.load(arguments.logits)["logits"].reshape(-1, WINDOW, len(text.TOKENS))
    elif arguments.trained:
        logits = by_pytorch(trained(), rows)
    else:
        logits = onnx_files.results(SHIPPED, rows[:, :-1])
    if len(logits) != len(rows):
        parser.error(f"{arguments.logits} holds {len(logits)} windows, the split {len(rows)}; give the same --limit")
    counted = len(rows) * HALF
    print(f"{arguments.split}: {bits(logits, rows):.3f} bits per character, {len(rows)} windows, {counted} characters")


if __name__ == "__main__":
    main()

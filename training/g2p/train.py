"""Trains on the first pronunciation of every training word; writes cache/g2p.pt after every epoch.

Words of one length form a batch, so that nothing is padded on the encoder's side.

Usage: python train.py --epochs 32
       python train.py --resume --epochs 20 --minutes 60     goes on from cache/g2p.pt; the rate has come down to nothing
                                                             after so many epochs or minutes, whichever is earlier
"""

import argparse
import math
import time

import numpy as np
import torch
import torch.nn.functional as F

import data
from model import Pronouncer
from paths import CACHE
from split import split

BATCH = 128
PEAK_RATE = 2.5e-3
WARM_UP = 0.05  # of the training
SMOOTHING = 0.1
IGNORED = -100


def encode(words, which):
    """[(symbol numbers, token numbers)] of one split, first pronunciations, without special tokens."""
    tokens = {name: number for number, name in enumerate(data.tokens(words))}
    chosen = sorted(word for word in words if split(word) == which)
    return [([data.SYMBOLS.index(c) for c in w], [tokens[p] for p in words[w][0]]) for w in chosen]


def batches(examples, rng):
    """Batches of words of one length in random order: symbols, decoder inputs, targets."""
    lengths = np.array([len(symbols) for symbols, _ in examples])
    groups = []
    for length in np.unique(lengths):
        members = rng.permutation(np.flatnonzero(lengths == length))
        groups += [members[start: start + BATCH] for start in range(0, len(members), BATCH)]
    for index in rng.permutation(len(groups)):
        yield collate([examples[i] for i in groups[index]])


def collate(examples):
    """Tokens 0 and 1 are the start and the end."""
    longest = max(len(tokens) for _, tokens in examples) + 1
    inputs = np.ones((len(examples), longest), np.int64)
    targets = np.full((len(examples), longest), IGNORED, np.int64)
    for row, (_, tokens) in enumerate(examples):
        inputs[row, : len(tokens) + 1] = [0, *tokens]
        targets[row, : len(tokens) + 1] = [*tokens, 1]
    symbols = np.array([symbols for symbols, _ in examples])
    return torch.from_numpy(symbols), torch.from_numpy(inputs), torch.from_numpy(targets)


def loss_of(logits, targets, smoothing):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)


def validate(model, examples):
    """Cross entropy per token and share of words of which every token is right when the truth is fed back."""
    model.eval()
    losses, right, count = [], 0, 0
    with torch.no_grad():
        for symbols, inputs, targets in batches(examples, np.random.default_rng(0)):
            logits = model(symbols, inputs)
            losses.append(loss_of(logits, targets, 0.0).item() * len(symbols))
            right += ((logits.argmax(-1) == targets) | (targets == IGNORED)).all(1).sum().item()
            count += len(symbols)
    model.train()
    return sum(losses) / count, right / count


def rate(progress):
    """Learning rate at a point of the training from 0 to 1: up linearly, down as a cosine."""
    if progress < WARM_UP:
        return PEAK_RATE * (0.04 + 0.96 * progress / WARM_UP)
    return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP))))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(5)
    rng = np.random.default_rng(5)
    words = data.load()
    train, val = encode(words, "train"), encode(words, "val")
    model = Pronouncer(len(data.SYMBOLS), len(data.tokens(words)))
    print(sum(p.numel() for p in model.parameters()), "parameters", len(train), "words", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    steps = arguments.epochs * sum(1 for _ in batches(train, rng))
    CACHE.mkdir(exist_ok=True)
    if arguments.resume:
        model.load_state_dict(torch.load(CACHE / "g2p.pt"))
    started, step = time.time(), 0
    for epoch in range(arguments.epochs):
        total, count = 0.0, 0
        for symbols, inputs, targets in batches(train, rng):
            progress = max(step / steps, (time.time() - started) / 60 / arguments.minutes)
            if progress >= 1:
                break
            optimizer.param_groups[0]["lr"] = rate(progress)
            loss = loss_of(model(symbols, inputs), targets, SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            total, count, step = total + loss.item(), count + 1, step + 1
        cross, right = validate(model, val)
        print(f"epoch {epoch + 1}: loss {total / max(1, count):.4f}, val {cross:.4f}, words right {right:.3f}, "
              f"{time.time() - started:.0f} s", flush=True)
        part = CACHE / "g2p.pt.tmp"
        torch.save(model.state_dict(), part)
        part.rename(CACHE / "g2p.pt")
        if progress >= 1:
            break


if __name__ == "__main__":
    main()

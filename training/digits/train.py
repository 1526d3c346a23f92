"""Trains on cache/NAME.npz files of strings.py; writes cache/digits.pt after every epoch.

Usage: python train.py --data train_a --val val --epochs 16
       python train.py --data train_a train_b --val val --epochs 16 --minutes 30

The second has the validation speaker in: the model that ships, for which `val` only tells that training works. The rate has
come down to nothing after so many epochs or minutes, whichever is earlier.

The loss is the decoder's cross entropy and, at a third of its weight, a frame-wise one (CTC) that teaches the encoder what
sounds like which digit long before attention finds its way.
"""

import argparse
import math
import time

import numpy as np
import torch
import torch.nn.functional as F

from evaluate import rates, transcribe
from model import Listener
from setting import CACHE, MAX_DIGITS, SCALE, TOKENS

BATCH = 64
PEAK_RATE = 3e-3
WARM_UP = 0.1  # of the training
IGNORED = -100
FIRST = TOKENS.index("zero")


class Strings:
    """Strings of several files."""

    def __init__(self, names):
        self.features, self.digits = [], []
        for name in names:
            data = np.load(CACHE / f"{name}.npz")
            self.features += np.split(data["features"], np.cumsum(data["frames"])[:-1])
            self.digits += [row[row >= 0].astype(np.int64) for row in data["digits"]]

    def batches(self, rng):
        """Strings of one length in random order."""
        lengths = np.array([len(x) for x in self.features])
        groups = []
        for length in np.unique(lengths):
            members = rng.permutation(np.flatnonzero(lengths == length))
            groups += [members[start: start + BATCH] for start in range(0, len(members), BATCH)]
        for index in rng.permutation(len(groups)):
            group = groups[index]
            yield np.stack([self.features[i] for i in group]).astype(np.float32), [self.digits[i] for i in group]


def vary(x, rng):
    """Other voices, levels and rooms, on features [b, t, 40]: bands moved up or down as a shorter or longer throat would,
    level, tilt, masked bands and frames."""
    b, t, bands = x.shape
    for i in range(b):
        if rng.random() < 0.7:
            position = np.clip(np.arange(bands) * rng.uniform(0.86, 1.16) + rng.uniform(-1, 1), 0, bands - 1)
            low = np.minimum(position.astype(int), bands - 2)
            part = (position - low).astype(np.float32)
            x[i] = x[i][:, low] * (1 - part) + x[i][:, low + 1] * part
        if rng.random() < 0.5:
            band = rng.integers(bands)
            x[i, :, band: band + rng.integers(1, 6)] = x[i].mean()
        if rng.random() < 0.3:
            frame = rng.integers(t)
            x[i, frame: frame + rng.integers(1, 5)] = x[i].mean()
    x += rng.uniform(-16, 16, (b, 1, 1)) + rng.uniform(-12, 12, (b, 1, 1)) * np.linspace(-1, 1, bands)
    x += rng.normal(scale=1.5, size=x.shape)
    return np.clip(np.round(x), -128, 127).astype(np.float32)


def collate(digits):
    """Decoder inputs and targets [b, MAX_DIGITS + 1]."""
    inputs = np.ones((len(digits), MAX_DIGITS + 1), np.int64)
    targets = np.full((len(digits), MAX_DIGITS + 1), IGNORED, np.int64)
    for row, string in enumerate(digits):
        inputs[row, : len(string) + 1] = [0, *(string + FIRST)]
        targets[row, : len(string) + 1] = [*(string + FIRST), 1]
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def loss_of(model, features, digits):
    inputs, targets = collate(digits)
    logits, frames = model(torch.from_numpy(features * SCALE), inputs)
    attention = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, label_smoothing=0.1)
    said = torch.from_numpy(np.concatenate(digits) + FIRST)
    lengths = torch.full((len(digits),), frames.shape[1])
    framewise = F.ctc_loss(frames.log_softmax(-1).transpose(0, 1), said, lengths,
                           torch.tensor([len(string) for string in digits]), zero_infinity=True)
    return attention + 0.33 * framewise


def rate(progress):
    """Learning rate at a point of the training from 0 to 1: up linearly, down as a cosine."""
    if progress < WARM_UP:
        return PEAK_RATE * (0.04 + 0.96 * progress / WARM_UP)
    return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP))))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--val")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=math.inf)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(9)
    rng = np.random.default_rng(9)
    strings = Strings(arguments.data)
    val = Strings([arguments.val]) if arguments.val else None
    model = Listener(len(TOKENS))
    exported = [*model.encoder.parameters(), *model.step.parameters()]
    print(sum(p.numel() for p in exported), "parameters", len(strings.features), "strings", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    steps = arguments.epochs * sum(1 for _ in strings.batches(rng))
    started, step = time.time(), 0
    for epoch in range(arguments.epochs):
        model.train()
        total, count = 0.0, 0
        for features, digits in strings.batches(rng):
            progress = max(step / steps, (time.time() - started) / 60 / arguments.minutes)
            if progress >= 1:
                break
            optimizer.param_groups[0]["lr"] = rate(progress)
            loss = loss_of(model, vary(features, rng), digits)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            total, count, step = total + loss.item(), count + 1, step + 1
        line = f"epoch {epoch + 1}: loss {total / max(1, count):.4f}, {time.time() - started:.0f} s"
        if val:
            model.eval()
            line += ", val: digit errors %.2f %%, strings %.2f %%" % rates(transcribe(model, val.features), val.digits)
        print(line, flush=True)
        part = CACHE / "digits.pt.tmp"
        torch.save(model.state_dict(), part)
        part.rename(CACHE / "digits.pt")
        if progress >= 1:
            break


if __name__ == "__main__":
    main()

"""Trains the keyword spotter on cache/train.npz (see data.py) and writes cache/kws.pt.

Usage: python train.py --epochs 12
"""

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F

import evaluate
from model import KeywordSpotter
from paths import CACHE
from words import LABELS, NOISE, UNKNOWN

SCALE = 1 / 32


def batches(features, targets, size, rng):
    order = rng.permutation(len(features))
    for start in range(0, len(order) - size + 1, size):
        chosen = np.sort(order[start: start + size])
        x = mask(features[chosen].astype(np.float32), rng)
        yield torch.from_numpy(np.clip(x, -128, 127) * SCALE), torch.from_numpy(targets[chosen].astype(np.int64))


def mask(x, rng):
    """Cheap augmentation of features: level, tilt, masked bands and frames."""
    n, t, bands = x.shape
    x += rng.uniform(-12, 12, (n, 1, 1)) + rng.uniform(-10, 10, (n, 1, 1)) * np.linspace(-1, 1, bands)
    x += rng.normal(scale=1.5, size=x.shape)
    for i in range(n):
        if rng.random() < 0.5:
            band = rng.integers(bands)
            x[i, :, band: band + rng.integers(1, 7)] = x[i].mean()
        if rng.random() < 0.3:
            frame = rng.integers(t)
            x[i, frame: frame + rng.integers(1, 6)] = x[i].mean()
    return x.astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60, help="stop early, with the learning rate at its end")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(7)
    rng = np.random.default_rng(7)
    data = np.load(CACHE / "train.npz")
    features, targets = data["features"], data["targets"]
    model = KeywordSpotter()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    size, started = 64, time.time()
    steps = arguments.epochs * (len(features) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.15)
    weights = torch.ones(len(LABELS))
    weights[NOISE], weights[UNKNOWN] = 0.3, 1.2
    for epoch in range(arguments.epochs):
        model.train()
        total = 0.0
        for step, (x, y) in enumerate(batches(features, targets, size, rng)):
            logits = model.stream(x)
            loss = F.cross_entropy(logits.flatten(0, 1), y.flatten(), weights, ignore_index=-1, label_smoothing=0.03)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        minutes = (time.time() - started) / 60
        print(f"epoch {epoch + 1} loss {total / (step + 1):.4f} {minutes:.1f} min", flush=True)
        torch.save(model.state_dict(), CACHE / "kws.pt")
        evaluate.clips(model, "val")
        if minutes > arguments.minutes:
            break


if __name__ == "__main__":
    main()

"""Trains the keyword spotter on cache/train_STAGE.npz (see data.py) and writes cache/kws_STAGE.pt and cache/kws.pt.

The second stage goes on from the first one's weights, and starts most streams from the GRU state in which another stream
ended, so that the model still works after it has listened for hours.

Usage: python train.py --stage 1 --epochs 14
       python train.py --stage 2 --epochs 5
"""

import argparse
import shutil
import time

import numpy as np
import torch
import torch.nn.functional as F

import augment
import evaluate
from model import KeywordSpotter
from paths import CACHE
from words import LABELS, NOISE, UNKNOWN

SCALE = 1 / 32
BATCH = 64
PEAK_RATE = {1: 4e-3, 2: 1.2e-3}
CARRY = {1: 0.0, 2: 0.75}  # share of the streams that start from another's state


def batches(features, targets, size, rng):
    order = rng.permutation(len(features))
    for start in range(0, len(order) - size + 1, size):
        chosen = np.sort(order[start: start + size])
        x = augment.mask(features[chosen].astype(np.float32), rng)
        yield torch.from_numpy(np.clip(x, -128, 127) * SCALE), torch.from_numpy(targets[chosen].astype(np.int64))


def carried(h, share, rng):
    """Start states [1, batch, HIDDEN] for the next batch: the last ones of this batch, shuffled, a part of them zero."""
    last = h[:, -1, :].detach()[torch.from_numpy(rng.permutation(len(h)))]
    keep = torch.from_numpy((rng.random((len(h), 1)) < share).astype(np.float32))
    return (last * keep)[None]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", type=int, default=1, choices=[1, 2])
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    stage = arguments.stage
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(7)
    rng = np.random.default_rng(7)
    data = np.load(CACHE / f"train_{stage}.npz")
    features, targets = data["features"], data["targets"]
    model = KeywordSpotter()
    if stage == 2:
        model.load_state_dict(torch.load(CACHE / "kws_1.pt"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    started = time.time()
    steps = arguments.epochs * (len(features) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE[stage], total_steps=steps, pct_start=0.15)
    weights = torch.ones(len(LABELS))
    weights[NOISE], weights[UNKNOWN] = 0.3, 1.2
    for epoch in range(arguments.epochs):
        model.train()
        total, state = 0.0, None
        for step, (x, y) in enumerate(batches(features, targets, BATCH, rng)):
            h = model.frames(x, state)
            state = carried(h, CARRY[stage], rng)
            logits = model.attend(h)
            loss = F.cross_entropy(logits.flatten(0, 1), y.flatten(), weights, ignore_index=-1, label_smoothing=0.03)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1} loss {total / (step + 1):.4f} {(time.time() - started) / 60:.1f} min", flush=True)
        torch.save(model.state_dict(), CACHE / f"kws_{stage}.pt")
        evaluate.clips(model, "val")
    shutil.copyfile(CACHE / f"kws_{stage}.pt", CACHE / "kws.pt")


if __name__ == "__main__":
    main()

"""Training of either network on the pool, and judging on clips."""

import time

import numpy as np
import torch
import torch.nn.functional as F

from ..words.places import SCALE

BATCH = 128


def varied(x, rng):
    """Features float [n, t, bands] after cheap changes: level, tilt, a shift over the bands, masked bands and frames."""
    n, t, bands = x.shape
    x = x + rng.uniform(-10, 10, (n, 1, 1)) + rng.uniform(-8, 8, (n, 1, 1)) * np.linspace(-1, 1, bands)
    x = x + rng.normal(scale=1.5, size=x.shape)
    warp = rng.uniform(0.93, 1.07, (n, 1)) * np.arange(bands) + rng.uniform(-0.7, 0.7, (n, 1))
    warp = np.clip(warp, 0, bands - 1.001)
    low = warp.astype(int)
    share = (warp - low)[:, None]
    low = np.broadcast_to(low[:, None], x.shape)
    x = np.take_along_axis(x, low, 2) * (1 - share) + np.take_along_axis(x, low + 1, 2) * share
    for i in range(n):
        for _ in range(rng.integers(0, 3)):
            band = rng.integers(bands)
            x[i, :, band: band + rng.integers(1, 6)] = x[i].mean()
        for _ in range(rng.integers(0, 3)):
            frame = rng.integers(t)
            x[i, frame: frame + rng.integers(1, 8)] = x[i].mean()
    return torch.from_numpy(x.astype(np.float32) * SCALE)


def train(model, features, classes, epochs, peak_rate, seed, log=lambda epoch, loss, seconds: None):
    """AdamW, one cycle: the rate rises for a twentieth of the steps and falls to nothing."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    steps = len(classes) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, weight_decay=0.03)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_rate, epochs * steps, pct_start=0.05)
    started = time.time()
    for epoch in range(epochs):
        model.train()
        order, total = rng.permutation(len(classes)), 0.0
        for step in range(steps):
            own = order[step * BATCH: (step + 1) * BATCH]
            x = varied(features[own].astype(np.float32), rng)
            loss = F.cross_entropy(model(x), torch.from_numpy(classes[own].astype(np.int64)), label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            rate.step()
            total += loss.item()
        log(epoch, total / steps, time.time() - started)
    return model


def logits(model, features, size=256):
    """[n, labels] of int8 features [n, t, bands]."""
    model.eval()
    with torch.no_grad():
        return np.concatenate([model(torch.from_numpy(features[i: i + size].astype(np.float32) * SCALE)).numpy()
                               for i in range(0, len(features), size)])


def unknown_bias(logits, right, unknown):
    """What to add to the logit of `unknown` for the most right answers: training has it as often as was thought fit, other data has not."""
    steps = np.arange(-1.5, 1.51, 0.25)
    hits = []
    for step in steps:
        shifted = logits.copy()
        shifted[:, unknown] += step
        hits.append(np.mean(shifted.argmax(1) == right))
    # The middle of the best ones: a single step may be best by chance.
    return float(np.mean(steps[np.array(hits) == max(hits)]))

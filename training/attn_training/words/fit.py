"""Training: cross entropy at every frame, and a loss at the operating point, the highest score in each stream.

A false accept is one peak of the smoothed posterior, wherever it is in hours of speech; so beside the frames' cross entropy each stream
has a loss for its highest wrong peak, and each keyword one for the highest right one.
"""

import time

import numpy as np
import torch
import torch.nn.functional as F

from . import augment
from .places import SCALE
from .spot import SMOOTHING
from .streams import BACKGROUND, IGNORE, Store

BATCH = 64
CARRY = 0.75  # share of the streams that start from the state in which another ended: a spotter listens for hours


def frame_loss(logp, target):
    """Mean cross entropy; BACKGROUND is `unknown` or `noise`, the last two labels."""
    known = torch.where(target < 0, 0, target)
    own = logp.gather(-1, known[..., None])[..., 0]
    background = torch.logsumexp(logp[..., -2:], -1)
    value = torch.where(target == BACKGROUND, background, own)
    smooth = 0.98 * value + 0.02 * logp.mean(-1)
    weight = torch.where(target == IGNORE, 0.0, torch.where(target == BACKGROUND, 0.5, 1.0))
    return -(smooth * weight).sum() / weight.sum()


def peak_losses(logp, target, keywords):
    """For each stream the highest wrong score of every keyword, for each keyword that is said the highest right one."""
    p = logp[..., :keywords].exp().transpose(1, 2)  # [batch, keyword, t]
    average = F.avg_pool1d(p, SMOOTHING, 1)
    label = torch.arange(keywords)[None, :, None]
    here = target[:, None, :]
    allowed = ((here == label) | (here == IGNORE)).float()
    clean = F.max_pool1d(allowed, SMOOTHING, 1) == 0  # no frame of the average is one in which the keyword may be heard
    wrong = torch.where(clean, average, 0.0).amax(-1).clamp(max=1 - 1e-6)  # [batch, keyword]
    said = (here == label)
    inside = F.max_pool1d(said.float(), SMOOTHING, 1) > 0
    right = torch.where(inside, average, 0.0).amax(-1).clamp(min=1e-6)
    enough = said.sum(-1) >= SMOOTHING
    miss = -(right.log() * enough).sum() / enough.sum().clamp(min=1)
    # The few worst streams matter: their loss counts more than that of the many easy ones.
    false = -torch.log1p(-wrong).sum(-1)
    return false.mean() + torch.topk(false, max(1, len(false) // 16)).values.mean() * 0.1, miss


def carried(h, share, rng):
    """Start states [1, batch, HIDDEN] for the next batch: the last ones of this batch, shuffled, a part of them zero."""
    last = h[:, -1, :].detach()[torch.from_numpy(rng.permutation(len(h)))]
    keep = torch.from_numpy((rng.random((len(h), 1)) < share).astype(np.float32))
    return (last * keep)[None]


def train(model, folder, keywords, minutes, path, peak_rate=2e-3, fold=None, capacity=40, least=4, threads=1, after_round=None, seed=7):
    """Trains on the streams that appear in `folder` for `minutes`; the rate rises for a tenth of the time and falls to nothing.

    The weights are an average over the last steps. `after_round(model, share of the time)` is called after each pass.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    store = Store(folder, capacity, fold).refresh(least)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    mean = {name: value.clone() for name, value in model.state_dict().items()}
    started, step, state, spent = time.time(), 0, None, 0.0
    while (share := (time.time() - started - spent) / 60 / minutes) < 1:
        features, targets = store.refresh(least).arrays()
        model.train()
        totals, count = np.zeros(3), 0
        order = rng.permutation(len(features))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            share = (time.time() - started - spent) / 60 / minutes
            if share >= 1:
                break
            rate = peak_rate * min(share / 0.1 + 0.02, 0.5 * (1 + np.cos(np.pi * max(share - 0.1, 0) / 0.9)))
            optimizer.param_groups[0]["lr"] = rate
            chosen = np.sort(order[start: start + BATCH])
            x = augment.mask(features[chosen].astype(np.float32), rng)
            x = torch.from_numpy(np.clip(x, -128, 127) * np.float32(SCALE))
            y = torch.from_numpy(targets[chosen].astype(np.int64))
            h = model.frames(x, state)
            state = carried(h, CARRY, rng)
            logp = F.log_softmax(model.attend(h), -1)
            frames = frame_loss(logp, y)
            false, miss = peak_losses(logp, y, keywords)
            loss = frames + 0.5 * false + 0.25 * miss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            decay = min(0.999, (1 + step) / (20 + step))
            for name, value in model.state_dict().items():
                if value.is_floating_point():
                    mean[name].mul_(decay).add_(value, alpha=1 - decay)
            totals += [frames.item(), false.item(), miss.item()]
            count, step = count + 1, step + 1
        if count:
            f, a, m = totals / count
            print(f"{(time.time() - started) / 60:5.1f} min, {len(features)} streams, step {step}: frames {f:.4f} false {a:.4f} miss {m:.4f}",
                  flush=True)
        torch.save(mean, path)
        if after_round:
            before = time.time()
            after_round(share)
            spent += time.time() - before
    model.load_state_dict(mean)
    return model

"""Training: cross entropy at every frame, and a loss at the operating point, the highest score in each stream.

A false accept is one peak of the smoothed posterior, wherever it is in hours of speech; so beside the frames' cross entropy each stream
has a loss for its highest wrong peak, and each keyword one for the highest right one.
"""

import os
import time

import numpy as np
import torch
import torch.nn.functional as F

from . import augment
from .places import SCALE
from .spot import SMOOTHING
from .streams import BACKGROUND, IGNORE, Store

BATCH = 64
SYNC, ROUND = 20, 200  # steps
SHARDS = 60  # of streams are held
MEAN = 25  # exchanges, each after SYNC steps: the weights that are kept are a running mean over about so many
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


class Team:
    """Processes that train copies of one model, each on one core, and share the mean of their weights every SYNC steps.

    No process waits inside a step, so it works on cores that others use too, where threads would lose their time in waiting.
    """

    def __init__(self, model, size=2):
        self.size, self.barrier = size, torch.multiprocessing.Barrier(size)
        self.shared = torch.zeros(size, sum(v.numel() for v in self.floats(model))).share_memory_()
        self.over = torch.zeros(1).share_memory_()

    @staticmethod
    def floats(model):
        return [value for value in model.state_dict().values() if value.is_floating_point()]

    def share(self, model, rank, over):
        """Takes the mean of all members' weights; whether the first member says that the time is over."""
        self.shared[rank] = torch.cat([v.flatten() for v in self.floats(model)])
        if rank == 0:
            self.over[0] = float(over)
        self.barrier.wait()
        mean, at = self.shared.mean(0), 0
        over = bool(self.over[0])
        self.barrier.wait()
        for value in self.floats(model):
            value.copy_(mean[at: at + value.numel()].view_as(value))
            at += value.numel()
        return over


def member(team, rank, model, folder, keywords, minutes, path, started, peak_rate, fold, capacity, least, seed):
    """One process of a team. The learning rate rises for a tenth of the time and falls to nothing; the first one writes the weights."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(seed + rank)
    rng = np.random.default_rng([seed, rank])
    store = Store(folder, capacity, fold).refresh(least)
    features, targets = store.arrays()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    mean = {name: value.clone() for name, value in model.state_dict().items()}
    state, totals, step = None, [], 0
    while True:
        share = min(1.0, (time.time() - started) / 60 / minutes)
        optimizer.param_groups[0]["lr"] = peak_rate * min(share / 0.1 + 0.02, 0.5 * (1 + np.cos(np.pi * max(share - 0.1, 0) / 0.9)))
        model.train()
        chosen = np.sort(rng.choice(len(features), BATCH, replace=False))
        x = augment.mask(augment.warp(features[chosen].astype(np.float32), rng), rng)
        x = torch.from_numpy(np.clip(x, -128, 127) * np.float32(SCALE))
        y = torch.from_numpy(targets[chosen].astype(np.int64))
        h = model.frames(x, state)
        state = carried(h, CARRY, rng)
        logp = F.log_softmax(model.attend(h), -1)
        frames = frame_loss(logp, y)
        false, miss = peak_losses(logp, y, keywords)
        optimizer.zero_grad()
        (frames + 0.5 * false + 0.25 * miss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        totals.append([frames.item(), false.item(), miss.item()])
        step += 1
        if step % SYNC:
            continue
        over = team.share(model, rank, share >= 1)
        decay = min(1 - 1 / MEAN, step / (step + 5 * SYNC))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                mean[name].mul_(decay).add_(value, alpha=1 - decay)
        if rank == 0 and (over or step % ROUND == 0):
            f, a, m = np.mean(totals, axis=0)
            totals = []
            print(f"{(time.time() - started) / 60:5.1f} min, {len(features)} streams, step {step} x {team.size}: frames {f:.4f} false {a:.4f} "
                  f"miss {m:.4f}", flush=True)
            torch.save(mean, f"{path}.part")
            os.replace(f"{path}.part", path)
        if over:
            return
        if step % ROUND == 0 and store.refresh(least).changed:
            features, targets = store.arrays()


def train(model, folder, keywords, minutes, path, peak_rate=3e-3, fold=None, capacity=SHARDS, least=4, seed=7, size=2):
    """Trains on the streams that appear in `folder` for `minutes`, by `size` processes. Returns the model with the mean weights."""
    team, started = Team(model, size), time.time()
    context = torch.multiprocessing.get_context("fork")
    members = [context.Process(target=member, args=(team, rank, model, folder, keywords, minutes, path, started, peak_rate, fold, capacity,
                                                    least, seed), daemon=True) for rank in range(size)]
    for process in members:
        process.start()
    for process in members:
        process.join()
    if any(process.exitcode for process in members):
        raise SystemExit("training has failed: see above")
    model.load_state_dict(torch.load(path))
    return model

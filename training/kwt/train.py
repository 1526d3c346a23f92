"""Trains the keyword transformer on windows of the streams of attn_training and writes cache/kwt.pt.

Half of the loss is the window's label, half the posteriors of the streaming keyword spotter at the same frame: a transformer
needs more data than a recurrent net does, and the paper too trains with such a net as teacher.

Usage: python train.py --minutes 70

The learning rate follows the clock, so that training ends in time whatever else the machine does; a checkpoint is written
after every ROUND steps, and the best on the val split is kept.
"""

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F

from windows import CACHE, IGNORE, LABELS, SCALE, Streams, clips, logits_of, network, teacher

BATCH, ROUND = 64, 1000
PEAK_RATE, WARM_UP = 1.5e-3, 0.05


def teach(features):
    """log posteriors [stream, frame, label] of the streaming spotter, float16, computed once."""
    path = CACHE / "teacher.npy"
    if not path.exists():
        spotter = teacher()
        said = np.empty((*features.shape[:2], len(LABELS)), np.float16)
        with torch.no_grad():
            for start in range(0, len(features), 250):
                logits = torch.from_numpy(spotter.batch(features[start: start + 250]))
                said[start: start + 250] = logits.log_softmax(-1).numpy()
        np.save(path, said)
    return np.load(path, mmap_mode="r")


def rate(progress):
    """Learning rate at 0 to 1 of the training: a linear rise, then half a cosine."""
    if progress < WARM_UP:
        return PEAK_RATE * progress / WARM_UP
    return PEAK_RATE * 0.5 * (1 + np.cos(np.pi * min(1, (progress - WARM_UP) / (1 - WARM_UP))))


def accuracy(model, features, labels):
    """Share of clips whose highest logit is their label, without noise."""
    words = labels < LABELS.index("unknown")
    return float((logits_of(model, features).argmax(-1) == labels)[words].mean())


def step(model, optimizer, x, target, said):
    logits = model(x)
    by_label = F.cross_entropy(logits, target, ignore_index=IGNORE, label_smoothing=0.05)
    by_teacher = F.kl_div(logits.log_softmax(-1), said, reduction="batchmean", log_target=True)
    loss = by_label + by_teacher
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return by_label.item(), by_teacher.item()


def apart(model):
    """nn.TransformerEncoder starts all layers with the same weights; these start with weights of their own."""
    for parameter in model.layers.parameters():
        if parameter.dim() > 1:
            torch.nn.init.xavier_uniform_(parameter)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=70)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(5)
    rng = np.random.default_rng(5)
    CACHE.mkdir(exist_ok=True)
    streams, val = Streams(), clips("val")
    said = teach(streams.features)
    model = network()
    apart(model)
    print(sum(p.numel() for p in model.parameters()), "parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    started, best, losses, progress, done = time.time(), -1.0, [], 0.0, 0
    order = np.empty(0, np.int64)
    while progress < 1:
        progress = (time.time() - started) / (60 * arguments.minutes)
        for group in optimizer.param_groups:
            group["lr"] = rate(progress)
        if len(order) < BATCH:
            order = rng.permutation(len(streams.features))
        chosen, order = order[:BATCH], order[BATCH:]
        x, ends = streams.batch(chosen, rng)
        model.train()
        target = torch.from_numpy(streams.targets[chosen, ends].astype(np.int64))
        taught = torch.from_numpy(said[chosen, ends].astype(np.float32))
        losses.append(step(model, optimizer, torch.from_numpy(x), target, taught))
        done += 1
        if done % ROUND == 0 or progress >= 1:
            score = accuracy(model, *val)
            label, teacher = np.mean(losses, axis=0)
            losses = []
            minutes = progress * arguments.minutes
            print(f"step {done}, {minutes:.1f} min: loss {label:.3f} + {teacher:.3f}, val {score:.4f}", flush=True)
            if score >= best:
                best = score
                part = CACHE / "kwt.pt.tmp"
                torch.save(model.state_dict(), part)
                part.rename(CACHE / "kwt.pt")


if __name__ == "__main__":
    main()

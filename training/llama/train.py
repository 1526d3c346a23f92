"""Trains the character model and writes cache/llama.pt, the best on the val split.

Usage: python train.py --minutes 40

Seven windows in ten begin with START and then a sentence, as generation does; the others anywhere. The learning rate
follows the clock, so that training ends in time whatever else the machine does.
"""

import argparse
import re
import time

import numpy as np
import torch
import torch.nn.functional as F

import text
from evaluate import bits_per_character
from model import WINDOW, Writer

BATCH, ROUND = 12, 1000
PEAK_RATE, WARM_UP = 3e-3, 0.04
AT_SENTENCE = 0.7


class Windows:
    """Draws training windows: WINDOW tokens, and the tokens that come after each."""

    def __init__(self, paragraphs):
        self.tokens = np.array([n for paragraph in paragraphs for n in text.numbers(paragraph)], np.int64)
        starts, place = [], 0
        for paragraph in paragraphs:
            ends = [match.end() for match in re.finditer(r'[.!?][\'")]* (?=[A-Z"(])', paragraph)]
            starts += [place + start for start in [0, *ends]]
            place += len(paragraph) + 1
        self.starts = np.array([start for start in starts if start + WINDOW < len(self.tokens)])

    def one(self, rng):
        if rng.random() < AT_SENTENCE:
            start = rng.choice(self.starts)
            return np.concatenate([[0], self.tokens[start: start + WINDOW]])
        start = rng.integers(len(self.tokens) - WINDOW - 1)
        return self.tokens[start: start + WINDOW + 1]

    def batch(self, rng):
        rows = torch.from_numpy(np.stack([self.one(rng) for _ in range(BATCH)]))
        return rows[:, :-1], rows[:, 1:]


def rate(progress):
    """Learning rate at 0 to 1 of the training: a linear rise, then half a cosine."""
    if progress < WARM_UP:
        return PEAK_RATE * progress / WARM_UP
    return PEAK_RATE * 0.5 * (1 + np.cos(np.pi * min(1, (progress - WARM_UP) / (1 - WARM_UP))))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(9)
    rng = np.random.default_rng(9)
    windows, val = Windows(text.split("train")), text.split("val")[::8]
    model = Writer()
    print(sum(p.numel() for p in model.parameters()), "parameters", len(windows.starts), "sentences", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.05)
    started, best, losses, progress, done = time.time(), float("inf"), [], 0.0, 0
    while progress < 1:
        progress = (time.time() - started) / (60 * arguments.minutes)
        for group in optimizer.param_groups:
            group["lr"] = rate(progress)
        x, y = windows.batch(rng)
        model.train()
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        done += 1
        if done % ROUND == 0 or progress >= 1:
            bits = bits_per_character(model, val)
            loss, minutes = np.mean(losses) / np.log(2), progress * arguments.minutes
            print(f"step {done}, {minutes:.1f} min: loss {loss:.3f} bits, val {bits:.3f}", flush=True)
            losses = []
            if bits <= best:
                best = bits
                part = text.CACHE / "llama.pt.tmp"
                torch.save(model.state_dict(), part)
                part.rename(text.CACHE / "llama.pt")


if __name__ == "__main__":
    main()

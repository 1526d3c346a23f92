"""Training: the decoder's cross entropy, a frame-wise loss (CTC) that teaches the encoder what sounds like which digit long before attention
finds its way, and attention itself, which should lie on the digit that is written next wherever the joined string tells its place."""

import copy
import math
import time

import numpy as np
import torch
import torch.nn.functional as F

from ..words.places import SCALE
from .model import BANDS, STRIDE, Listener
from .said import WORDS
from .strings import MAX_DIGITS, MAX_FRAMES

START, END = "<s>", "</s>"
TOKENS = [START, END, *WORDS]
FIRST = TOKENS.index("zero")
MAX_TOKENS = MAX_DIGITS + 1  # the end token among them; a string of more digits is cut off, and says so
ROWS = (MAX_FRAMES + STRIDE - 1) // STRIDE
FRAMES = 12000  # in a batch
IGNORED = -100
CTC, ATTENTION = 0.3, 0.2  # weights of these losses
WARM_UP = 0.05  # of the training
AVERAGE = 0.998  # of the moving average of weights, which is what is kept


def new_model():
    return Listener(len(TOKENS), ROWS)


def batches(strings, rng):
    """Strings of one length in random order, as numbers."""
    lengths = np.array([len(x) for x in strings.features])
    groups = []
    for length in np.unique(lengths):
        members, size = rng.permutation(np.flatnonzero(lengths == length)), max(8, FRAMES // length)
        groups += [members[start: start + size] for start in range(0, len(members), size)]
    return [groups[i] for i in rng.permutation(len(groups))]


def varied(x, rng):
    """Other voices, levels and rooms, on features [b, t, 40]: bands moved up or down as a shorter or longer throat would, level, tilt,
    masked bands and frames."""
    b, t, bands = x.shape
    warp = np.where(rng.random((b, 1)) < 0.8, rng.uniform(0.86, 1.16, (b, 1)), 1.0) * np.arange(bands) + rng.uniform(-1, 1, (b, 1))
    warp = np.clip(warp, 0, bands - 1.001)
    low = warp.astype(int)
    share = (warp - low).astype(np.float32)[:, None]
    rows = np.arange(b)[:, None]
    swapped = x.transpose(0, 2, 1)
    x = swapped[rows, low].transpose(0, 2, 1) * (1 - share) + swapped[rows, low + 1].transpose(0, 2, 1) * share
    for i in range(b):
        if rng.random() < 0.35:
            narrow(x[i], rng)
        for _ in range(rng.integers(0, 3)):
            band = rng.integers(bands)
            x[i, :, band: band + rng.integers(1, 6)] = x[i].mean()
        for _ in range(rng.integers(0, 1 + t // 100)):
            frame = rng.integers(t)
            x[i, frame: frame + rng.integers(1, 6)] = x[i].mean()
    x += rng.uniform(-16, 16, (b, 1, 1)) + rng.uniform(-12, 12, (b, 1, 1)) * np.linspace(-1, 1, bands)
    x += rng.standard_normal(x.shape, np.float32) * 1.5
    return np.clip(np.round(x), -128, 127).astype(np.float32)


def narrow(x, rng):
    """As through a telephone: of the bands above 3 to 7 kHz only the noise floor is left, where it is without a voice."""
    cut = rng.integers(27, BANDS - 2)
    x[:, cut:] = np.percentile(x[:, cut:], 5, axis=0) + 4 * rng.standard_normal((len(x), BANDS - cut), np.float32)


def collate(digits):
    """Decoder inputs and targets [b, longest + 1]."""
    longest = max(map(len, digits)) + 1
    inputs = np.ones((len(digits), longest), np.int64)
    targets = np.full((len(digits), longest), IGNORED, np.int64)
    for row, string in enumerate(digits):
        inputs[row, : len(string) + 1] = [0, *(string + FIRST)]
        targets[row, : len(string) + 1] = [*(string + FIRST), 1]
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def places(spans, steps, rows):
    """Where attention should lie [b, steps, rows], and whether a step says so [b, steps]."""
    inside, known = np.zeros((len(spans), steps, rows), np.float32), np.zeros((len(spans), steps), bool)
    for i, own in enumerate(spans):
        for k, span in enumerate(own):
            if span:
                inside[i, k, span[0] // STRIDE: -(-span[1] // STRIDE)] = 1
                known[i, k] = True
    return torch.from_numpy(inside), torch.from_numpy(known)


def loss_of(model, features, digits, spans):
    inputs, targets = collate(digits)
    logits, weights, frames = model(torch.from_numpy(features * SCALE), inputs)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, label_smoothing=0.1)
    said = torch.from_numpy(np.concatenate(digits) + FIRST)
    lengths = torch.full((len(digits),), frames.shape[1])
    framewise = F.ctc_loss(frames.log_softmax(-1).transpose(0, 1), said, lengths, torch.tensor([len(string) for string in digits]),
                           zero_infinity=True)
    loss = loss + CTC * framewise
    inside, known = places(spans, weights.shape[1], weights.shape[2])
    if known.any():
        share = (weights * inside).sum(-1)[known]
        loss = loss - ATTENTION * torch.log(share + 1e-3).mean()
    return loss


def rate(progress):
    """Share of the peak rate at a point of the training from 0 to 1: up linearly, down as a cosine."""
    if progress < WARM_UP:
        return 0.04 + 0.96 * progress / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP))))


def train(model, strings, peak, minutes, seed, log=print, each=lambda average: None):
    """AdamW for so many minutes. Returns the average of the weights, and calls `each` with it after each epoch."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.02)
    average, steps = copy.deepcopy(model), 0
    started, epoch, progress = time.time(), 0, 0.0
    while progress < 1:
        model.train()
        total, count = 0.0, 0
        for group in batches(strings, rng):
            progress = (time.time() - started) / 60 / minutes
            if progress >= 1:
                break
            optimizer.param_groups[0]["lr"] = peak * rate(progress)
            features = varied(np.stack([strings.features[i] for i in group]).astype(np.float32), rng)
            loss = loss_of(model, features, [strings.digits[i] for i in group], [strings.spans[i] for i in group])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            follow(average, model, min(AVERAGE, (1 + steps) / (10 + steps)))
            total, count, steps = total + loss.item(), count + 1, steps + 1
        epoch += 1
        log(f"epoch {epoch}: loss {total / max(1, count):.4f}, {steps} steps, {time.time() - started:.0f} s", flush=True)
        each(average)
    return average.eval()


def follow(average, model, share):
    """Moves the average towards the model; counts and statistics of norms are averaged as well."""
    with torch.no_grad():
        for own, new in zip(average.state_dict().values(), model.state_dict().values()):
            if own.dtype.is_floating_point:
                own.lerp_(new, 1 - share)


def transcribe(model, features, max_tokens=MAX_TOKENS):
    """(digits, whether they ended) of each of the features, greedily; those of one length together."""
    said = [None] * len(features)
    lengths = np.array([len(x) for x in features])
    with torch.no_grad():
        for length in np.unique(lengths):
            group = np.flatnonzero(lengths == length)
            memory, state = model.encoder(torch.from_numpy(np.stack([features[i] for i in group]).astype(np.float32) * SCALE))
            token, rows = torch.zeros(len(group), dtype=torch.long), []
            for _ in range(max_tokens):
                logits, state, _ = model.step(token, state, memory)
                token = logits.argmax(-1)
                rows.append(token)
            for i, row in zip(group, torch.stack(rows, dim=1).tolist()):
                ended = 1 in row
                row = row[: row.index(1)] if ended else row
                said[i] = [token - FIRST for token in row], ended
    return said

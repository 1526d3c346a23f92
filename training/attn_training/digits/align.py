"""Where the words of a string lie that was said in one go: the best path through the frame-wise logits that spells it."""

import numpy as np
import torch

from ..words.places import HOP, SCALE, features
from .fit import FIRST
from .model import STRIDE

BLANK = 0  # of the frame-wise logits


def path(scores, digits):
    """First and last row of each digit: scores [rows, tokens] are log-probabilities. Every digit has a row of its own or more."""
    states = [BLANK]
    for digit in digits:
        states += [digit + FIRST, BLANK]
    rows, n = len(scores), len(states)
    best = np.full((rows, n), -np.inf)
    back = np.zeros((rows, n), int)
    best[0, :2] = scores[0, states[:2]]
    for row in range(1, rows):
        for at in range(n):
            ways = [at, at - 1]
            if at % 2 and at > 1 and states[at] != states[at - 2]:
                ways.append(at - 2)
            ways = [way for way in ways if way >= 0]
            back[row, at] = max(ways, key=lambda way: best[row - 1, way])
            best[row, at] = best[row - 1, back[row, at]] + scores[row, states[at]]
    at = max(n - 1, n - 2, key=lambda way: best[-1, way])
    walked = [at]
    for row in range(rows - 1, 0, -1):
        at = back[row, at]
        walked.append(at)
    walked = np.array(walked[::-1])
    return [(int(rows_[0]), int(rows_[-1])) for k in range(len(digits)) if len(rows_ := np.flatnonzero(walked == 2 * k + 1))]


def bounds(model, pcm, digits):
    """Samples at which to cut between the words: the quietest place between the peaks of two digits."""
    heard = features(pcm[None])[0].astype(np.float32) * SCALE
    with torch.no_grad():
        memory, _ = model.encoder(torch.from_numpy(heard)[None])
        scores = model.frames(memory)[0].log_softmax(-1).numpy()
    spans = path(scores, digits)
    if len(spans) < len(digits):
        return None
    cuts = []
    for (_, end), (start, _) in zip(spans, spans[1:]):
        low, high = (end * STRIDE + STRIDE // 2) * HOP, (start * STRIDE + STRIDE // 2) * HOP
        step = HOP // 2
        places = np.arange(low, max(high, low + step), step)
        power = [np.mean(np.square(pcm[max(0, p - step): p + step].astype(np.float64))) for p in places]
        cuts.append(int(places[int(np.argmin(power))]))
    return cuts


def divided(model, lines):
    """Lines of `said.synthetic` in which what was said in one go is divided into digits as well."""
    found = []
    for engine, takes, wholes in lines:
        takes = dict(takes)
        for digits, pcm in wholes:
            cuts = bounds(model, pcm, digits)
            for digit, word in zip(digits, np.split(pcm, cuts)) if cuts else []:
                takes.setdefault(digit, []).append(word)
        found.append((engine, takes, wholes))
    return found

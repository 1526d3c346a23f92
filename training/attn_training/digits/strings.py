"""Strings of digits as sound: single digits joined with gaps or run into each other, in rooms and noise, at any level.

`Maker.string` makes one. Varied strings are for training; plain ones are what is measured: one speaker's recordings as they are, with noise.
"""

from dataclasses import dataclass

import numpy as np

from ..words import augment
from ..words.places import FRAME, HOP, RATE, features
from ..words.streams import choose

MAX_FRAMES = 512  # 10.24 seconds
SAMPLES = FRAME + (MAX_FRAMES - 1) * HOP
BLOCK = 16  # a string's frames are a multiple of it, so that strings of one length fill a batch
MAX_DIGITS = 10  # that a decode writes
MOST = 14  # digits in a string for training: the decoder has to notice that there are too many
# Shares of strings of 0, 1, ... MOST digits: the longer, the dearer.
LENGTHS = np.array([0.02, 0.10, 0.10, 0.11, 0.12, 0.11, 0.10, 0.09, 0.08, 0.06, 0.05, 0.02, 0.02, 0.01, 0.01])
CHUNK = 400  # strings that go through the front end together


@dataclass
class Made:
    pcm: np.ndarray
    frames: int
    digits: list
    spans: list  # first and last frame of each digit, where known


class Maker:
    """`noise`: recorded noise; `rooms`: impulse responses."""

    def __init__(self, noise, rooms, seed):
        self.noise, self.rooms = noise, rooms
        rng = np.random.default_rng([seed, 1])
        self.made = [augment.coloured_noise(SAMPLES, rng) for _ in range(100)]

    def background(self, n, rng):
        if rng.random() < 0.4:
            x = choose(rng, self.made)
        else:
            x = choose(rng, self.noise)
            start = rng.integers(max(1, len(x) - n))
            x = np.resize(x[start: start + n].astype(np.float32), n)
        x = np.roll(x[:n], rng.integers(n))
        return x / augment.rms(x)

    def string(self, take, rng):
        """A varied string. `take(rng)` gives a function that gives takes of a digit: who says it; `take.whole(rng)` may give a whole."""
        speed = rng.uniform(0.8, 1.25)
        whole = take.whole(rng)
        if whole:
            digits, pcm = whole
            x = augment.change_speed(pcm.astype(np.float32), speed)[:SAMPLES]
            x, spans = x / augment.rms(x), [None] * len(digits)
        else:
            x, digits, spans = self.joined(take.of(rng), speed, rng)
        lead, tail = (int(rng.uniform(0.0, 0.5) ** (1 if rng.random() < 0.9 else 0.3) * RATE) for _ in range(2))
        spans = [span and (span[0] + lead, span[1] + lead) for span in spans]
        x = np.concatenate([np.zeros(lead, np.float32), x, np.zeros(tail, np.float32)])[:SAMPLES]
        frames = frames_of(len(x))
        x = np.pad(x, (0, FRAME + (frames - 1) * HOP - len(x)))
        x = self.channel(x, rng) if digits else x
        snr = rng.uniform(0, 30) if rng.random() < 0.7 else rng.uniform(30, 50)
        return finished(x, self.background(len(x), rng), snr, frames, digits, spans, rng)

    def joined(self, voice, speed, rng):
        """Sound at power one in the words, digits, and the samples of each."""
        style = rng.choice(3, p=[0.3, 0.4, 0.3])
        low, high = [(-0.05, 0.05), (0.02, 0.25), (0.15, 0.7)][style]
        x, digits, spans = np.zeros(0, np.float32), [], []
        for _ in range(rng.choice(MOST + 1, p=LENGTHS / LENGTHS.sum())):
            digit, pcm = voice(rng)
            word = augment.change_speed(pcm.astype(np.float32), speed * rng.uniform(0.93, 1.07))
            start, end = augment.word_bounds(word)
            before, after = (0.0, 0.0) if style == 0 and rng.random() < 0.5 else (0.02, 0.04)
            word = word[max(0, start - int(before * RATE)): end + int(after * RATE)]
            word = word / augment.rms(word) * 10 ** (rng.uniform(-3, 3) / 20)
            gap = rng.uniform(0.7, 2.0) if rng.random() < 0.02 else rng.uniform(low, high)
            at = max(0, len(x) + int(gap * RATE)) if digits else 0
            if at + len(word) > SAMPLES - RATE // 2:
                break
            x = overlapped(x, word, at)
            digits.append(digit)
            spans.append((at, at + len(word)))
        return x, digits, spans

    def channel(self, x, rng):
        if rng.random() < 0.4:
            x = augment.in_room(x, choose(rng, self.rooms)) if rng.random() < 0.7 else augment.reverberate(x, rng)
        if rng.random() < 0.3:
            x = augment.low_pass(x, rng)
        return augment.equalise(x, rng) if rng.random() < 0.4 else x

    def plain(self, takes, digits, rng):
        """One speaker's recordings, gaps of 0.01 to 0.9 s, noise 10 to 40 dB below; nothing where that is too
        long. `takes`: {digit: [pcm]}."""
        gap = rng.uniform(0.02, 0.15 if rng.random() < 0.5 else 0.6)
        parts = [np.zeros(int(rng.uniform(0.05, 0.4) * RATE), np.float32)]
        for digit in digits:
            word = choose(rng, takes[digit]).astype(np.float32)
            start, end = augment.word_bounds(word)
            word = word[max(0, start - RATE // 50): end + RATE // 25]
            parts += [word / augment.rms(word) * 10 ** (rng.uniform(-2, 2) / 20), np.zeros(int(gap * rng.uniform(0.5, 1.5) * RATE), np.float32)]
        x = np.concatenate([*parts, np.zeros(int(rng.uniform(0.0, 0.3) * RATE), np.float32)])
        frames = -(-max(0, len(x) - FRAME) // HOP) + 1
        if frames > MAX_FRAMES:
            return None
        x = np.pad(x, (0, FRAME + (frames - 1) * HOP - len(x)))
        return finished(x, self.background(len(x), rng), rng.uniform(10, 40), frames, list(digits), [None] * len(digits), rng)


def overlapped(x, word, at):
    """`word` at sample `at` of `x`; where they overlap one fades into the other."""
    over = min(max(0, len(x) - at), len(word))
    fade = np.linspace(0, 1, over, dtype=np.float32)
    out = np.zeros(max(len(x), at + len(word)), np.float32)
    out[: len(x)] = x
    out[at: at + over] = x[at: at + over] * (1 - fade) + word[:over] * fade
    out[at + over: at + len(word)] = word[over:]
    return out


def frames_of(samples):
    """Frames that hold so many samples, a multiple of BLOCK."""
    frames = -(-max(0, samples - FRAME) // HOP) + 1
    return min(-(-frames // BLOCK) * BLOCK, MAX_FRAMES)


def finished(x, background, snr, frames, digits, spans, rng):
    level = 10 ** (rng.uniform(-38, -12) / 20) * 32768
    mix = (x + background * 10 ** (-snr / 20)) * level
    spans = [span and (span[0] // HOP, min(-(-span[1] // HOP), frames)) for span in spans]
    return Made(np.clip(np.round(mix), -32768, 32767).astype(np.int16), frames, digits, spans)


@dataclass
class Strings:
    """What training and judging read: int8 [frames, 40], digits, spans and the fold of each string (-1: synthetic)."""

    features: list
    digits: list
    spans: list
    folds: np.ndarray

    @staticmethod
    def heard(made, folds):
        """Strings through the chip's front end."""
        rows = [None] * len(made)
        order = sorted(range(len(made)), key=lambda i: len(made[i].pcm))
        for start in range(0, len(order), CHUNK):
            own = order[start: start + CHUNK]
            longest = max(len(made[i].pcm) for i in own)
            heard = features(np.stack([np.pad(made[i].pcm, (0, longest - len(made[i].pcm))) for i in own]))
            for i, row in zip(own, heard):
                rows[i] = row[: made[i].frames]
        return Strings(rows, [np.array(one.digits, np.int64) for one in made], [one.spans for one in made], np.array(folds))

    def save(self, path):
        digits = np.full((len(self.digits), MOST), -1, np.int8)
        spans = np.full((len(self.digits), MOST, 2), -1, np.int16)
        for i, (row, places) in enumerate(zip(self.digits, self.spans)):
            digits[i, : len(row)] = row
            for k, place in enumerate(places):
                spans[i, k] = place or (-1, -1)
        part = path.with_suffix(".part.npz")
        np.savez(part, features=np.concatenate(self.features), frames=[len(x) for x in self.features], digits=digits, spans=spans, folds=self.folds)
        part.rename(path)

    @staticmethod
    def load(path):
        data = np.load(path)
        features = np.split(data["features"], np.cumsum(data["frames"])[:-1])
        digits = [row[row >= 0].astype(np.int64) for row in data["digits"]]
        spans = [[tuple(place) if place[0] >= 0 else None for place in row[: len(own)]] for row, own in zip(data["spans"], digits)]
        return Strings(features, digits, spans, data["folds"])

    def only(self, keep):
        keep = np.flatnonzero(keep)
        return Strings(*([rows[i] for i in keep] for rows in (self.features, self.digits, self.spans)), self.folds[keep])

    def __add__(self, other):
        return Strings(self.features + other.features, self.digits + other.digits, self.spans + other.spans,
                       np.concatenate([self.folds, other.folds]))

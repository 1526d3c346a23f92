"""Training streams: three seconds of sound with a target for every frame, made without end by a process of its own.

Half of the streams hold keywords among other speech; the others hold running speech, near misses, what an earlier round of
training took for a keyword (`mining.py`), or noise alone. Every stream leaves out one fold of the speakers, so that one store of
streams serves the shipped model and the models of the three folds.
"""

import time
from pathlib import Path

import numpy as np

from . import augment, corpus
from .places import FRAME, HOP, RATE, features

SAMPLES = 3 * RATE
FRAMES = 1 + (SAMPLES - FRAME) // HOP
ENDS = (np.arange(FRAMES) * HOP + FRAME) / RATE  # seconds at the end of each frame
IGNORE, BACKGROUND = -1, -2  # targets: anything goes; `unknown` or `noise`
ON_BEFORE, ON_AFTER, FADE = 0.06, 0.40, 0.12  # seconds around the end of a word: its label is the target, then nothing is
ENGINES = {"kokoro": 0.7, "espeak": 0.18, "flite": 0.12}
SHARD = 1000  # streams in one file


def choose(rng, values):
    return values[rng.integers(len(values))]


class Streams:
    """`keywords`: the labels that are reported; `further`: labels learnt beside them; `leave_out`: the fold for all streams, by default any."""

    def __init__(self, material, keywords, further=(), leave_out=None):
        self.material, self.keywords, self.further, self.leave_out = material, list(keywords), list(further), leave_out
        self.labels = [*self.keywords, *self.further, "unknown", "noise"]
        self.without = [{name: [c for c in getattr(material, name) if corpus.fold(c.speaker) != left_out]
                         for name in ("speech", "noise", "others")} for left_out in range(corpus.FOLDS)]
        self.hard = [[] for _ in range(corpus.FOLDS)]
        # Long recordings by their length, short sources a little more often.
        self.shares = [{name: np.cumsum(w) / np.sum(w) for name in ("speech", "noise") if (w := [len(c.pcm) ** 0.7 for c in own[name]])}
                       for own in self.without]

    def set_hard(self, pieces):
        """[(speaker, pcm)] of sounds that the present model takes for a keyword."""
        self.hard = [[pcm for speaker, pcm in pieces if corpus.fold(speaker) != left_out] for left_out in range(corpus.FOLDS)]

    def long(self, name, fold, rng):
        own = self.without[fold][name]
        return own[np.searchsorted(self.shares[fold][name], rng.random())].pcm

    def piece(self, pcm, n, rng):
        start = rng.integers(max(1, len(pcm) - n))
        return pcm[start: start + n].astype(np.float32)

    def keyword(self, rng):
        """A label and a clip of it."""
        label = choose(rng, self.further) if self.further and rng.random() < 0.15 else choose(rng, self.keywords)
        recorded, spoken = self.material.words.get(label, []), self.material.spoken.get(label, {})
        if spoken and (not recorded or rng.random() < 0.35):
            engines = [e for e in ENGINES if spoken.get(e)]
            share = np.array([ENGINES[e] for e in engines])
            return label, choose(rng, spoken[engines[rng.choice(len(engines), p=share / share.sum())]]).astype(np.float32)
        return label, choose(rng, recorded).astype(np.float32)

    def other(self, fold, rng):
        """An utterance without a keyword, of up to three seconds."""
        m, draw = self.material, rng.random()
        n = int(rng.uniform(0.4, 3.0) * RATE)
        if draw < 0.25 and self.hard[fold]:
            return choose(rng, self.hard[fold]).astype(np.float32)
        if draw < 0.40 and m.near:
            return self.piece(choose(rng, m.near), n, rng)
        if draw < 0.50 and m.sentences:
            return self.piece(choose(rng, m.sentences), n, rng)
        if draw < 0.62:
            return self.part(rng)
        if draw < 0.80 and self.without[fold]["others"]:
            return choose(rng, self.without[fold]["others"]).pcm.astype(np.float32)
        if self.without[fold]["speech"]:
            return self.piece(self.long("speech", fold, rng), n, rng)
        return self.piece(choose(rng, m.sentences or m.near), n, rng)

    def part(self, rng):
        """The first or last part of a keyword, which is none."""
        x = self.keyword(rng)[1]
        start, end = augment.word_bounds(x)
        cut = start + int((end - start) * rng.uniform(0.4, 0.55))
        return x[:cut] if rng.random() < 0.6 else x[cut:]

    def background(self, fold, rng):
        """A background of power one, and whether somebody speaks in it: often one other talker, the hardest."""
        own, draw = self.without[fold], rng.random()
        if draw < 0.18 or not own["noise"]:
            x, speech = augment.coloured_noise(SAMPLES, rng), False
        elif draw < 0.5:
            x, speech = np.resize(self.piece(self.long("noise", fold, rng), SAMPLES, rng), SAMPLES), False
        else:
            voices = 1 if draw < 0.85 else rng.integers(2, 7)
            x, speech = sum(self.voice(fold, rng) for _ in range(voices)), True
        return x / augment.rms(x), speech

    def voice(self, fold, rng):
        source = self.long("speech", fold, rng) if self.without[fold]["speech"] and rng.random() < 0.75 else choose(rng, self.material.sentences)
        x = np.resize(self.piece(source, SAMPLES, rng), SAMPLES)
        return x / augment.rms(x)

    def room(self, x, rng):
        if self.material.rooms:
            return augment.in_room(x, choose(rng, self.material.rooms))
        return augment.reverberate(x, rng)

    def distorted(self, x, rng, spread=0.15):
        if rng.random() < 0.8:
            x = augment.change_speed(x, rng.uniform(1 - spread, 1 + spread))
        if rng.random() < 0.03:
            x = augment.whispered(x, rng)
        if rng.random() < 0.3:
            x = augment.low_pass(x, rng)
        return augment.equalise(x, rng) if rng.random() < 0.5 else x

    def stream(self, seed):
        """PCM int16 [SAMPLES], targets int8 [FRAMES], and the fold that is left out."""
        rng = np.random.default_rng(seed)
        fold = int(rng.integers(corpus.FOLDS)) if self.leave_out is None else self.leave_out
        level = 10 ** (rng.uniform(-42, -12) / 20) * 32768
        target = np.full(FRAMES, BACKGROUND, np.int8)
        draw = rng.random()
        if draw < 0.5:
            speech = self.utterances(fold, target, rng)
        elif draw < 0.93:
            speech = self.running(fold, rng)
        else:
            speech = np.zeros(SAMPLES, np.float32)
            target[:] = len(self.labels) - 1
        if rng.random() < 0.45 and draw < 0.93:
            speech = self.room(speech, rng)
        noise, spoken = self.background(fold, rng)
        if spoken:
            target[target == len(self.labels) - 1] = BACKGROUND
            noise = self.room(noise, rng) if rng.random() < 0.4 else noise
        # Most often where words are hard to hear, but can be.
        snr = choose(rng, [rng.uniform(3, 16), rng.uniform(-2, 30)]) if rng.random() < 0.88 else 60
        mix = (speech + noise * 10 ** (-snr / 20)) * level
        if rng.random() < 0.08:
            mix = np.clip(mix, -level * 2, level * 2)
        return np.clip(np.round(mix), -32768, 32767).astype(np.int16), target, fold

    def utterances(self, fold, target, rng):
        """One to three utterances, keywords among them, of power one each."""
        speech = np.zeros(SAMPLES, np.float32)
        position = int(rng.uniform(-0.2, 1.0) * RATE)
        for _ in range(rng.choice([1, 2, 3], p=[0.3, 0.4, 0.3])):
            label, word = self.keyword(rng) if rng.random() < 0.65 else (None, self.other(fold, rng))
            if len(word) < RATE // 20:
                continue
            word = self.distorted(word, rng)
            start, end = augment.word_bounds(word)
            if label and rng.random() < 0.12:  # the start is cut off
                start += int((end - start) * rng.uniform(0.03, 0.2))
                word, end, start = word[start:], end - start, 0
            word = word / augment.rms(word[start:end]) * 10 ** (rng.uniform(-4, 4) / 20)
            at = max(position, -start)
            if at >= SAMPLES or (at + end > SAMPLES and label):
                break
            first, last = max(at, 0), min(at + len(word), SAMPLES)
            speech[first:last] += word[first - at: last - at]
            mark(target, self.labels.index(label or "unknown"), (at + start) / RATE, (at + end) / RATE, len(self.labels) - 2)
            position = at + end + int(rng.uniform(0.02, 0.7) ** 1.5 * RATE)
        return speech

    def running(self, fold, rng):
        """Other speech without a pause."""
        parts, length = [], 0
        while length < SAMPLES:
            x = self.other(fold, rng) if rng.random() < 0.5 or not self.without[fold]["speech"] else self.piece(
                self.long("speech", fold, rng), SAMPLES, rng)
            if len(x) < RATE // 20:
                continue
            x = self.distorted(x, rng)
            parts.append(x / augment.rms(x))
            length += len(x)
        joined = np.concatenate(parts)
        start = rng.integers(length - SAMPLES + 1)
        return joined[start: start + SAMPLES]


def mark(target, label, start, end, unknown):
    """Labels the frames of one word; frames at which no answer is right or wrong are ignored."""
    if label == unknown:
        free = (target == BACKGROUND) & (ENDS > start + 0.1) & (ENDS < end)
        target[free] = unknown
        return
    target[(ENDS >= start + 0.12) & (ENDS < end - ON_BEFORE)] = IGNORE
    target[(ENDS >= end - ON_BEFORE) & (ENDS < end + ON_AFTER)] = label
    after = (ENDS >= end + ON_AFTER) & (ENDS < end + ON_AFTER + FADE)
    target[after] = IGNORE


def produce(streams, folder, limit, seed=0, before=lambda number: None, kept=None):
    """Writes shards of streams into `folder` until `limit(number)` says that it is enough; only the newest `kept` remain. Before each shard,
    `before` is called, and new hard pieces are taken from hard.npz."""
    folder, number, taken = Path(folder), 0, 0.0
    while not limit(number):
        before(number)
        hard = folder / "hard.npz"
        if hard.exists() and hard.stat().st_mtime > taken:
            taken = hard.stat().st_mtime
            data = np.load(hard)
            streams.set_hard(list(zip(data["speakers"].tolist(), data["pcm"])))
        pcm, targets, folds = zip(*(streams.stream([seed, number * SHARD + i]) for i in range(SHARD)))
        part = folder / f"part-{seed}.npz"
        np.savez(part, features=features(np.stack(pcm)), targets=np.stack(targets), folds=np.array(folds, np.int8))
        part.rename(folder / f"shard-{seed}-{number:04}.npz")
        number += 1
        if kept and number > kept:
            (folder / f"shard-{seed}-{number - 1 - kept:04}.npz").unlink()


class Store:
    """The newest shards of a folder, as they appear; `fold` keeps only streams that leave out that fold."""

    def __init__(self, folder, capacity=40, fold=None):
        self.folder, self.capacity, self.fold, self.shards = Path(folder), capacity, fold, {}

    def refresh(self, least=1):
        """Reads new shards; waits until there are `least`."""
        before = set(self.shards)
        while True:
            paths = sorted(self.folder.glob("shard-*.npz"), key=lambda p: p.stat().st_mtime)[-self.capacity:]
            self.shards = {p: self.shards.get(p) or self._load(p) for p in paths}
            self.changed = set(self.shards) != before
            if len(self.shards) >= least:
                return self
            time.sleep(1)

    def _load(self, path):
        data = np.load(path)
        keep = slice(None) if self.fold is None else data["folds"] == self.fold
        return data["features"][keep], data["targets"][keep]

    def __len__(self):
        return sum(len(f) for f, _ in self.shards.values())

    def arrays(self):
        features_, targets = zip(*self.shards.values())
        return np.concatenate(features_), np.concatenate(targets)

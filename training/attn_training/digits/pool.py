"""Strings for training, kept in the cache: one pool of synthetic voices, and one of recordings in which every string is of one fold's speakers."""

import functools

import numpy as np

from ..words import corpus
from ..words.places import DATA
from ..words.streams import ENGINES, choose
from . import recorded
from .strings import Maker, Strings

WHOLES = 0.12  # share of recorded strings that were said in one go
SHARD = 2000
SHARES = {"gsc": 0.45, "fsdd": 0.25, "so762_digits": 0.3}  # of recorded strings


class Recorded:
    """Takes of one fold's speakers."""

    def __init__(self, speakers):
        self.by_source = {source: [one for one in speakers if one.source == source and one.takes] for source in SHARES}
        self.wholes = [whole for one in speakers for whole in one.wholes]

    def whole(self, rng):
        return choose(rng, self.wholes) if rng.random() < WHOLES and self.wholes else None

    def of(self, rng):
        """One speaker, or all of a source in turn."""
        own = self.by_source[rng.choice(list(SHARES), p=list(SHARES.values()))]
        if rng.random() < 0.5:
            speaker = own[rng.choice(len(own), p=_shares([len(one.takes) for one in own]))]
            digits = list(speaker.takes)
            return lambda rng: _one(choose(rng, digits), [speaker], rng)
        return lambda rng: _one(int(rng.integers(10)), own, rng)


def _one(digit, speakers, rng):
    """A take of a digit by anyone of `speakers` who said it; of another digit if none did."""
    able = [one for one in speakers if digit in one.takes]
    if not able:
        return _one(int(rng.integers(10)), speakers, rng)
    return digit, choose(rng, choose(rng, able).takes[digit])


class Synthetic:
    """Takes of synthetic voices: one line is one voice. `lines`: [(engine, {digit: [pcm]}, [(digits, pcm)])]."""

    def __init__(self, lines):
        self.voices = {engine: [takes for e, takes, _ in lines if e == engine and takes] for engine in ENGINES}
        self.wholes = {engine: [whole for e, _, own in lines if e == engine for whole in own] for engine in ENGINES}

    @staticmethod
    def any(by_engine, rng):
        engines = [engine for engine in by_engine if by_engine[engine]]
        return choose(rng, by_engine[engines[rng.choice(len(engines), p=_shares([ENGINES[engine] for engine in engines]))]])

    def whole(self, rng):
        return self.any(self.wholes, rng) if rng.random() < 0.25 else None

    def of(self, rng):
        takes = self.any(self.voices, rng)
        digits = list(takes)

        def voice(rng):
            digit = choose(rng, digits)
            return digit, choose(rng, takes[digit])

        return voice


def _shares(counts):
    counts = np.array(counts, float)
    return counts / counts.sum()


def fill(folder, name, takes, count, seed, log=print):
    """Writes the pool's missing shards. `takes`: a list of takes and the fold of each."""
    folder.mkdir(parents=True, exist_ok=True)
    maker = None
    for number in range(-(-count // SHARD)):
        path = folder / f"{name}-{number:02}.npz"
        if path.exists():
            continue
        maker = maker or Maker(recorded.noises({"train"}), corpus.rooms(DATA / "rooms", {"train"}), seed)
        made, folds = [], []
        for i in range(min(SHARD, count - number * SHARD)):
            rng = np.random.default_rng([seed, number, i])
            own, fold = takes[i % len(takes)]
            made.append(maker.string(own, rng))
            folds.append(fold)
        Strings.heard(made, folds).save(path)
        log(path.name, flush=True)


def load(folder, name):
    return functools.reduce(Strings.__add__, [Strings.load(path) for path in sorted(folder.glob(f"{name}-*.npz"))])


def fill_recorded(folder, count, log=print):
    people = recorded.speakers({"train", "val"})
    numbers = recorded.folds(people)
    takes = [(Recorded([one for one, n in zip(people, numbers) if n == fold]), fold) for fold in range(recorded.FOLDS)]
    fill(folder, "recorded", takes, count, 41, log)

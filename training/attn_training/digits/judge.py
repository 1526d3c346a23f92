"""How well digit strings are heard: test strings by data set and length, error rates with intervals over speakers.

A digit error is an insertion, a deletion or a substitution; the rate is over the digits said. Intervals draw whole speakers (bootstrap), so
that many strings by one speaker don't count as many speakers.
"""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from bundles import Exported, distance  # beside this package

from ..words import corpus
from ..words.places import ATTN, DATA, FRAME, HOP, RATE, attn
from . import fit, recorded
from .said import WORDS
from .strings import MAX_DIGITS, Made, Maker, Strings

SHORT = range(1, 9)  # lengths of the figures
MOST = 13  # digits in a string; from MAX_DIGITS on it is too long, and must say so
HELD, TEST = "held", "test"  # the fold of speakers left out; the test split
EACH = {HELD: 30, TEST: 30}  # strings of a length and a source
DRAWS = 2000
WHOLE = "whole"  # source of utterances as they were recorded


@dataclass
class Heard:
    """Test strings, who said each, in what source, and the sound."""

    strings: Strings
    speakers: np.ndarray
    sources: np.ndarray
    pcm: list


def test_strings(splits, noise, each, seed, folds=None):
    """`each` strings of every length and source by speakers of `splits` and `folds` (or any), and all that they said in one go."""
    rng = np.random.default_rng(seed)
    maker = Maker(recorded.noises(noise), corpus.rooms(DATA / "rooms", noise), seed)
    people = recorded.speakers(splits)
    people = [one for one, fold in zip(people, recorded.folds(people)) if folds is None or fold in folds]
    found = []  # (string, speaker, source)
    for source in recorded.SOURCES:
        own = [one for one in people if one.source == source and one.takes]
        clips = np.array([sum(map(len, one.takes.values())) for one in own], float)
        for length in range(1, MOST + 1):
            for _ in range(each):
                one = own[rng.choice(len(own), p=clips / clips.sum())]
                found.append((maker.plain(one.takes, rng.choice(list(one.takes), size=length), rng), one.name, source))
    for one in people:
        for digits, pcm in one.wholes:
            frames = (len(pcm) - FRAME) // HOP + 1
            found.append((Made(pcm, frames, digits, [None] * len(digits)), one.name, WHOLE))
    made, speakers, sources = zip(*(row for row in found if row[0]))
    return Heard(Strings.heard(made, [-1] * len(made)), np.array(speakers), np.array(sources), [one.pcm for one in made])


def errors(said, digits):
    return np.array([distance(list(hypothesis), list(reference)) for hypothesis, reference in zip(said, digits, strict=True)])


def interval(wrong, count, speakers, seed=7):
    """Rate in per cent and its 95 % interval, drawing speakers."""
    names, which = np.unique(speakers, return_inverse=True)
    wrong, count = np.bincount(which, wrong, len(names)), np.bincount(which, count, len(names))
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(names), size=(DRAWS, len(names)))
    rates = 100 * wrong[drawn].sum(1) / count[drawn].sum(1)
    return [round(float(x), 2) for x in (100 * wrong.sum() / count.sum(), *np.percentile(rates, [2.5, 97.5]))]


def table(heard, said):
    """What the card says: `said` is (digits, whether they ended) of each string."""
    lengths = np.array([len(row) for row in heard.strings.digits])
    wrong = errors([row for row, _ in said], heard.strings.digits)
    ended = np.array([end for _, end in said])
    written = np.array([len(row) for row, _ in said])
    joined, whole, short = heard.sources != WHOLE, heard.sources == WHOLE, lengths <= SHORT[-1]

    def of(keep):
        if not keep.any():
            return None
        return {"digit errors": interval(wrong[keep], lengths[keep], heard.speakers[keep]),
                "strings wrong": interval((wrong > 0)[keep], np.ones(keep.sum()), heard.speakers[keep]),
                "strings": int(keep.sum()), "speakers": len(set(heard.speakers[keep]))}

    rows = {source: of(joined & short & (heard.sources == source)) for source in recorded.SOURCES}
    rows |= {"all": of(joined & short), "said in one go": of(whole)}
    rows |= {f"of {length}": of(joined & (lengths == length)) for length in range(1, MAX_DIGITS + 1)}
    long = joined & (lengths > MAX_DIGITS)
    rows["too long"] = {"strings": int(long.sum()), "cut off, and say so": int((long & ~ended).sum()),
                        "fewer digits than the limit, as if whole": int((long & ended & (written < MAX_DIGITS)).sum())}
    return rows


def of_files(heard, folder):
    """The files in `folder`: ONNX in float, and converted as shipped, by `attn decode` on the sound."""
    by_float = fit.transcribe(Exported(folder / "digits"), heard.strings.features)
    by_int8 = converted(heard.pcm, folder)
    same = sum(a == b for a, b in zip(by_float, by_int8))
    return {"float": table(heard, by_float), "int8": table(heard, by_int8), "int8 as float": [same, len(by_float)]}


def converted(pcm, folder):
    found = []
    with tempfile.TemporaryDirectory() as work:
        file, wav = Path(work) / "digits.attn", Path(work) / "string.wav"
        attn("convert", folder / "digits.bundle.toml", "-o", file)
        for x in pcm:
            soundfile.write(wav, x, RATE, subtype="PCM_16")
            command = [ATTN, "decode", str(file), "--wav", str(wav), "--json"]
            decoded = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            found.append(([WORDS.index(token) for token in decoded["tokens"]], decoded["ended"]))
    return found

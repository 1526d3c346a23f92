"""Recordings of digits by speaker: single digits, and strings said in one go. Speakers are dealt into folds, source by source."""

import re
from dataclasses import dataclass, field

from ..words import corpus
from ..words.places import DATA, RATE
from .said import WORDS

FOLDS = 3
SOURCES = {"gsc": "Speech Commands", "fsdd": "Free Spoken Digit Dataset", "so762_digits": "speechocean762"}
WHOLE = "so762"  # source of strings said in one go, by the speakers of so762_digits and others


@dataclass
class Speaker:
    source: str
    name: str
    takes: dict = field(default_factory=dict)  # digit: [pcm]
    wholes: list = field(default_factory=list)  # [(digits, pcm)]


def speakers(splits, data=DATA):
    """All who said digits in `splits`. Of speechocean762's single digits only those that a recogniser heard as well (`asr_ok`)."""
    found = {}
    for folder, sure in [("commands", lambda row: row["asr_ok"] != "0"), ("speech", lambda row: row["source"] == "fsdd")]:
        for row in corpus.rows(data / folder):
            if row["label"] in WORDS and row["split"] in splits and sure(row):
                name = row.get("speaker") or row["speaker_or_group"]
                one = found.setdefault((row["source"], name), Speaker(row["source"], name))
                one.takes.setdefault(WORDS.index(row["label"]), []).append(corpus.read(data / folder / row["path"]))
    for name, digits, pcm in wholes(splits, data):
        one = found.setdefault(("so762_digits", name), Speaker("so762_digits", name))
        one.wholes.append((digits, pcm))
    return [found[key] for key in sorted(found)]


def wholes(splits, data=DATA):
    """(speaker, digits, pcm) of each utterance that is digits and nothing else."""
    path, sound = None, None
    for row in corpus.rows(data / "speech_negative"):
        words = re.findall("[a-z']+", row["text"].lower())
        if row["source"] == WHOLE and row["split"] in splits and words and set(words) <= set(WORDS):
            if row["path"] != path:
                path, sound = row["path"], corpus.read(data / "speech_negative" / row["path"])
            start = round(float(row["start_s"]) * RATE)
            yield row["speaker"], [WORDS.index(word) for word in words], sound[start: start + round(float(row["duration_s"]) * RATE)]


def folds(speakers):
    """The fold of each speaker: those of one source are dealt out in the order of their names, so that folds are alike."""
    dealt = {}
    numbers = []
    for one in speakers:
        numbers.append(dealt.get(one.source, 0) % FOLDS)
        dealt[one.source] = dealt.get(one.source, 0) + 1
    return numbers


def noises(splits, data=DATA):
    """Recorded noise, float clips of a second and more."""
    clips = [clip.pcm for clip in corpus.long_files(data / "noise", splits)]
    return [pcm for pcm in clips if len(pcm) >= RATE]

"""Recordings: clips of single words, running speech, noise, rooms; splits and folds, always by whole speakers.

A data folder holds some of `speech`, `commands` (clips: manifest with path,label,split), `speech_negative`, `noise` (cue rows
with start_s,duration_s in long files), `rooms`. A user's own folder is FOLDER/WORD/*.wav or .flac, every file one clip.
"""

import csv
import hashlib
import io
import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile

from .places import CACHE, RATE

# For non-commercial use: nothing is trained on it.
EXCLUDED_SOURCES = {"mycroft_heysavant"}
FOLDS = 3
SOUNDS = {".wav", ".flac", ".ogg", ".opus"}


@dataclass
class Clip:
    label: str
    pcm: np.ndarray
    source: str = ""
    speaker: str = ""
    split: str = "train"


def fold(speaker):
    """The fold of a speaker, or of a group of noise: 0, 1 or 2."""
    return int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % FOLDS


def read(path):
    """int16 mono at 16 kHz."""
    pcm, rate = soundfile.read(path, dtype="float32", always_2d=True)
    pcm = pcm.mean(axis=1)
    if rate != RATE:
        divisor = np.gcd(rate, RATE)
        pcm = scipy.signal.resample_poly(pcm, RATE // divisor, rate // divisor)
    return np.clip(np.round(pcm * 32768), -32768, 32767).astype(np.int16)


def rows(folder):
    with open(Path(folder) / "manifest.csv") as file:
        yield from csv.DictReader(file)


def word_clips(folder, splits):
    """Clips of single words in `splits`."""
    folder = Path(folder)
    if not (folder / "manifest.csv").exists():
        return _own_clips(folder, splits)
    return _decoded(folder, splits, lambda split: [
        Clip(row["label"], read(folder / row["path"]), row["source"], row.get("speaker_or_group") or row.get("speaker"), row["split"])
        for row in rows(folder) if row["split"] == split and row["source"] not in EXCLUDED_SOURCES])


def _decoded(folder, splits, make):
    """What `make` returns for each of the splits, kept in the cache for as long as the folder's manifest is the same."""
    return sum((_kept(folder, split, make) for split in sorted(splits)), [])


def _kept(folder, split, make):
    key = hashlib.sha1(f"{folder.resolve()} {split}".encode() + (folder / "manifest.csv").read_bytes()).hexdigest()[:16]
    path = CACHE / "decoded" / f"{key}.pkl"
    if path.exists():
        return pickle.loads(path.read_bytes())
    found = make(split)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_bytes(pickle.dumps(found))
    part.rename(path)
    return found


def _own_clips(folder, splits):
    """FOLDER/WORD/file: every fifth file is for validation."""
    found = []
    for word in sorted(p for p in folder.iterdir() if p.is_dir()):
        files = sorted(p for p in word.iterdir() if p.suffix.lower() in SOUNDS)
        for i, path in enumerate(files):
            split = "val" if i % 5 == 4 else "train"
            if split in splits:
                found.append(Clip(word.name, read(path), "own", path.stem, split))
    return found


def long_files(folder, splits=("train", "val", "test")):
    """Running speech or noise: one Clip per file and speaker (or group), its pieces joined; `label` is the folder's label or ''."""
    folder = Path(folder)
    if not (folder / "manifest.csv").exists():
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SOUNDS)
        own = [("val" if i % 5 == 4 else "train", p) for i, p in enumerate(paths)]
        return [Clip("", read(p), "own", p.stem, split) for split, p in own if split in splits]
    return _decoded(folder, splits, lambda split: _joined(folder, split))


def _joined(folder, split):
    pieces, path, whole = {}, None, None
    for row in rows(folder):
        if row["split"] != split:
            continue
        if row["path"] != path:
            path, whole = row["path"], read(folder / row["path"])
        start = round(float(row["start_s"]) * RATE)
        speaker = row.get("speaker") or row.get("group")
        key = (row["source"], speaker, row["split"], row.get("label", ""))
        pieces.setdefault(key, []).append(whole[start: start + round(float(row["duration_s"]) * RATE)])
    return [Clip(label, np.concatenate(parts), source, speaker, split) for (source, speaker, split, label), parts in pieces.items()]


def rooms(folder, splits):
    """Impulse responses, float32, the direct sound first."""
    folder = Path(folder)
    if not (folder / "manifest.csv").exists():
        return [soundfile.read(p, dtype="float32")[0] for p in sorted(folder.rglob("*")) if p.suffix.lower() in SOUNDS]
    return [soundfile.read(folder / row["path"], dtype="float32")[0][32:] for row in rows(folder) if row["split"] in splits]


def coded(pcm, rng):
    """The clip after Opus at a bit rate drawn at random, so that coding cannot tell positives from negatives."""
    data = io.BytesIO()
    soundfile.write(data, pcm, RATE, format="OGG", subtype="OPUS", compression_level=float(rng.uniform(0.85, 0.95)))
    data.seek(0)
    x = soundfile.read(data, dtype="int16")[0]
    return x[: len(pcm)]


@dataclass
class Corpus:
    """What training draws from. All int16."""

    words: dict = field(default_factory=dict)  # keyword: clips, recorded
    spoken: dict = field(default_factory=dict)  # keyword: clips, synthetic
    others: list = field(default_factory=list)  # short recordings that hold no keyword
    speech: list = field(default_factory=list)  # long recordings without a keyword
    near: list = field(default_factory=list)  # synthetic near misses in a row
    sentences: list = field(default_factory=list)  # synthetic speech
    noise: list = field(default_factory=list)
    rooms: list = field(default_factory=list)

    def __str__(self):
        count = {k: len(v) for k, v in self.words.items()}
        spoken = {k: sum(map(len, v.values())) for k, v in self.spoken.items()}
        hours = {name: round(sum(len(getattr(c, "pcm", c)) for c in getattr(self, name)) / RATE / 3600, 2) for name in ("others", "speech", "near", "sentences", "noise")}
        return f"recorded {count}, synthetic {spoken}, hours {hours}, {len(self.rooms)} rooms"

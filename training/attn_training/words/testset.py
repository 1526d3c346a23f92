"""What models are judged on, made once and kept in the cache: hours without a keyword, and test clips in three conditions.

The features are int8 and the same for a float and for a converted model.
"""

import pickle
from dataclasses import dataclass

import numpy as np

from . import conditions, corpus
from .places import CACHE, DATA


@dataclass
class Long:
    """A long stream without a keyword."""

    speaker: str
    source: str
    split: str
    kind: str  # speech or noise
    features: np.ndarray


def long_streams(data=DATA, cache=CACHE):
    """All of speech_negative and noise."""
    return _kept(cache / "long_streams.pkl", lambda: [
        Long(c.speaker, c.source, c.split, kind, conditions.long_features([c])[0])
        for kind, folder in (("speech", "speech_negative"), ("noise", "noise")) for c in corpus.long_files(data / folder)
        if len(c.pcm) > corpus.RATE])


def clips(labels, folders, splits, name, data=DATA, cache=CACHE):
    """Clips of `labels` under the three conditions; noise and talkers are those of the test split, so no training heard them."""
    def make():
        words = [c for folder in folders for c in corpus.word_clips(folder, splits) if c.label in labels]
        talkers = corpus.long_files(data / "speech_negative", {"test"})
        noise = corpus.long_files(data / "noise", {"test"})
        return conditions.clips(words, labels, noise, talkers)
    return _kept(cache / f"clips_{name}.pkl", make)


def _kept(path, make):
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        value = make()
        part = path.with_suffix(".part")
        part.write_bytes(pickle.dumps(value))
        part.rename(path)
    return pickle.loads(path.read_bytes())

"""Test conditions: single clips, quiet, with noise, with another talker; and long streams without a keyword."""

import numpy as np

from . import augment, spot
from .places import FRAME, HOP, RATE, features

SAMPLES = int(3.6 * RATE)
LEAD = RATE
QUIET, NOISE, TALKER = "quiet", "noise 10 dB", "talker 10 dB"


def placed(clip, rng):
    """The clip one second into a stream of its own noise floor, float32 [SAMPLES]; its level; the end of the word in seconds."""
    x = clip.astype(np.float32)
    start, end = augment.word_bounds(x)
    floor = min(augment.rms(part) for part in np.array_split(x, 12))
    out = rng.normal(size=SAMPLES).astype(np.float32) * min(floor, 200)
    n = min(len(x), SAMPLES - LEAD)
    out[LEAD: LEAD + n] = x[:n]
    return out, augment.rms(x[start:end]), (LEAD + min(end, n)) / RATE


def clips(words, labels, noise, talkers, seed=5, snr=10):
    """{condition: (int8 features [clip, frame, 40], ends, label numbers)} of Clips `words`."""
    rng = np.random.default_rng(seed)
    kinds = {QUIET: None, NOISE: noise, TALKER: talkers}
    out = {}
    for kind, sources in kinds.items():
        pcm, ends = [], []
        for clip in words:
            x, level, end = placed(clip.pcm, rng)
            if sources:
                source = sources[rng.integers(len(sources))].pcm
                at = rng.integers(max(1, len(source) - SAMPLES))
                other = np.resize(source[at: at + SAMPLES].astype(np.float32), SAMPLES)
                x = x + other * (level * 10 ** (-snr / 20) / augment.rms(other))
            pcm.append(np.clip(np.round(x), -32768, 32767).astype(np.int16))
            ends.append(end)
        out[kind] = features(np.stack(pcm)), np.array(ends), np.array([labels.index(c.label) for c in words])
    return out


def clip_scores(model, conditions, reported):
    """{condition: (score of each clip, its label number)}."""
    return {kind: (spot.clip_scores(spot.smoothed(model.batch(x)), ends, own, reported), own)
            for kind, (x, ends, own) in conditions.items()}


def long_features(clips_):
    """One int8 [frames, 40] for each long Clip."""
    return [features(np.pad(c.pcm, (0, max(0, FRAME - len(c.pcm))))[None])[0] for c in clips_]


def averages(model, streams):
    """Smoothed posteriors of each stream of features."""
    return [spot.smoothed(model.stream(x)) for x in streams]


def hours(streams):
    return sum(map(len, streams)) * HOP / RATE / 3600

"""Hard negatives: what the present model takes for a keyword in hours of speech and noise that hold none."""

import numpy as np

from . import augment, conditions, spot
from .places import HOP, RATE

PIECE = int(2.2 * RATE)
BEFORE = int(1.6 * RATE)  # of the piece lies before the peak


def mine(model, long_clips, reported, path, most=1500, floor=0.05, seed=0, share=0.5):
    """Looks through a `share` of the recordings, half of it at another speed, and writes the pieces around the highest peaks to `path`.

    Returns how many there are."""
    rng = np.random.default_rng(seed)
    found = []
    for clip in long_clips:
        if rng.random() >= share:
            continue
        pcm = clip.pcm
        if rng.random() < 0.5:
            pcm = np.round(augment.change_speed(pcm.astype(np.float32), rng.uniform(0.85, 1.18))).astype(np.int16)
        if len(pcm) < PIECE:
            continue
        average = conditions.averages(model, conditions.long_features([clip.__class__("", pcm)]))[0]
        best = spot.leading(average, reported).max(-1)
        for frame, score in spot.peaks(best, floor):
            start = min(max(0, frame * HOP - BEFORE), len(pcm) - PIECE)
            found.append((score, clip.speaker, pcm[start: start + PIECE]))
    found.sort(key=lambda f: -f[0])
    kept = found[:most]
    if kept:
        part = path.with_name("hard.part.npz")
        np.savez(part, speakers=[s for _, s, _ in kept], pcm=np.stack([p for _, _, p in kept]))
        part.rename(path)
    return len(kept)

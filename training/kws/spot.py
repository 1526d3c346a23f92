"""The rule by which logits become detections, the same as the chip's: average, threshold, then a pause.

Softmax posteriors are averaged over the last SMOOTHING hops. The keyword with the highest average is reported when that
reaches THRESHOLD; after a report nothing is reported for REFRACTORY hops.
"""

import numpy as np

from words import KEYWORDS

SMOOTHING = 6  # hops
THRESHOLD = 0.60
REFRACTORY = 50  # hops: 1 s; less reports a slowly spoken word twice
HOP_SECONDS, FRAME_SECONDS = 0.02, 0.032
EARLY, LATE = 0.5, 0.8  # seconds: how far before and after the end of a word its report may come


def smoothed(logits):
    """Posteriors [..., frame, label], averaged over the last SMOOTHING frames; before the start they are 0."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    before = [(0, 0)] * (p.ndim - 2) + [(SMOOTHING, 0), (0, 0)]
    total = np.cumsum(np.pad(p.astype(np.float64), before), axis=-2)
    return (total[..., SMOOTHING:, :] - total[..., :-SMOOTHING, :]) / SMOOTHING


def detections(logits, threshold=THRESHOLD):
    """[(seconds, keyword, confidence)] of one stream: logits [frame, label]."""
    average = smoothed(logits)[:, : len(KEYWORDS)]
    best = average.argmax(-1)
    score = average.max(-1)
    found, quiet_until = [], 0
    for frame in np.flatnonzero(score >= threshold):
        if frame >= quiet_until:
            found.append((frame * HOP_SECONDS + FRAME_SECONDS, KEYWORDS[best[frame]], float(score[frame])))
            quiet_until = frame + 1 + REFRACTORY
    return found


def match(found, truth):
    """Pairs detections with truth [(seconds at the end of the word, keyword)], each with at most one.

    Returns for each truth the matching detection or None, and the detections that match none.
    """
    left = list(found)
    pairs = []
    for end, word in truth:
        hit = next((d for d in left if d[1] == word and end - EARLY <= d[0] <= end + LATE), None)
        if hit:
            left.remove(hit)
        pairs.append(hit)
    return pairs, left

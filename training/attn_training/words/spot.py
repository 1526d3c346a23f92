"""The rule by which logits become events, the same as the chip's: average, threshold, then a pause.

Softmax posteriors are averaged over the last SMOOTHING hops. The reported label with the highest average is an event when it reaches
that label's threshold; after an event nothing is reported for REFRACTORY hops.
"""

import numpy as np

SMOOTHING = 6  # hops
REFRACTORY = 50  # hops: 1 s; less reports a slowly spoken word twice
HOP_SECONDS, FRAME_SECONDS = 0.02, 0.032
EARLY, LATE = 0.5, 0.8  # seconds: how far before and after the end of a word its event may come


def smoothed(logits):
    """Posteriors [..., frame, label], averaged over the last SMOOTHING frames; before the start they are 0."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    before = [(0, 0)] * (p.ndim - 2) + [(SMOOTHING, 0), (0, 0)]
    total = np.cumsum(np.pad(p.astype(np.float64), before), axis=-2)
    return (total[..., SMOOTHING:, :] - total[..., :-SMOOTHING, :]) / SMOOTHING


def leading(average, reported):
    """[..., frame, label]: the average of the reported label that leads, 0 for the others."""
    own = average[..., :reported]
    return np.where(own == own.max(-1, keepdims=True), own, 0.0)


def events(average, thresholds):
    """[(frame, label number, score)] of one stream, by the chip's rule. One threshold for each reported label."""
    own = average[:, : len(thresholds)]
    best = own.argmax(-1)
    score = own.max(-1)
    found, quiet_until = [], 0
    for frame in np.flatnonzero(score >= np.asarray(thresholds)[best]):
        if frame >= quiet_until:
            found.append((int(frame), int(best[frame]), float(score[frame])))
            quiet_until = frame + 1 + REFRACTORY
    return found


def match(found, truth):
    """Pairs events [(seconds, label, score)] with truth [(seconds at the end of the word, label)], each with at most one.

    Returns for each truth its event or None, and the events that match none.
    """
    left, pairs = list(found), []
    for end, word in truth:
        hit = next((d for d in left if d[1] == word and end - EARLY <= d[0] <= end + LATE), None)
        if hit:
            left.remove(hit)
        pairs.append(hit)
    return pairs, left


def peaks(lead, floor=0.02):
    """[(frame, score)] of one label's averages in a stream: the events that it would give at each threshold, highest first."""
    candidates = np.flatnonzero(lead >= floor)
    taken = np.zeros(len(lead) + 2 * REFRACTORY + 2, bool)
    found = []
    for frame in candidates[np.argsort(-lead[candidates], kind="stable")]:
        if not taken[frame + REFRACTORY]:
            found.append((int(frame), float(lead[frame])))
            taken[frame: frame + 2 * REFRACTORY + 1] = True
    return found


def clip_scores(average, ends, own, reported):
    """For clips [n, frame, label] of keywords `own` that end at `ends` seconds: the highest score of the word near its end."""
    lead = leading(average, reported)
    times = np.arange(average.shape[1]) * HOP_SECONDS + FRAME_SECONDS
    near = (times[None] >= ends[:, None] - EARLY) & (times[None] <= ends[:, None] + LATE)
    return np.where(near, lead[np.arange(len(own)), :, own], 0).max(-1)

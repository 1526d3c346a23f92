"""Misses against false accepts: curves, thresholds for a given rate, Poisson and binomial intervals.

Everything works on peaks (`spot.peaks`): what each label's score would report in a stream at any threshold.
"""

import numpy as np
import scipy.stats

from . import spot

HIGHEST = 0.9995  # of the thresholds: above it an average of Q15 posteriors cannot be told from 1


def poisson(count, hours, level=0.95):
    """Rate per hour and its exact interval."""
    low = scipy.stats.chi2.ppf((1 - level) / 2, 2 * count) / 2 if count else 0.0
    high = scipy.stats.chi2.ppf(1 - (1 - level) / 2, 2 * count + 2) / 2
    return count / hours, low / hours, high / hours


def binomial(hits, count, level=0.95):
    """Share and its exact (Clopper-Pearson) interval."""
    if count == 0:
        return float("nan"), 0.0, 1.0
    a = (1 - level) / 2
    low = scipy.stats.beta.ppf(a, hits, count - hits + 1) if hits > 0 else 0.0
    high = scipy.stats.beta.ppf(1 - a, hits + 1, count - hits) if hits < count else 1.0
    return hits / count, float(low), float(high)


def label_peaks(averages, reported):
    """For each reported label the scores of its peaks in all streams, highest first. `averages`: a list of [frame, label]."""
    found = [[] for _ in range(reported)]
    for average in averages:
        lead = spot.leading(average, reported)
        for label in range(reported):
            found[label] += [score for _, score in spot.peaks(lead[:, label])]
    return [np.sort(np.array(scores))[::-1] for scores in found]


def logit(p):
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def threshold(peaks, hours, rate, least=0.05):
    """The threshold at which a label gives `rate` false accepts an hour: by count, or by the exponential tail of its highest peaks
    where the rate allows fewer than three in `hours`. Fewer than four peaks say nothing of the tail: then it is taken to fall by e for each e
    of the odds, as that of most words does about."""
    allowed = rate * hours
    if allowed >= 3 and len(peaks) > allowed:
        value = peaks[int(allowed)] + 1e-4
    else:
        tail = logit(peaks[: 16])
        if len(tail) < 4:
            lowest, mean, above = logit(peaks[-1] if len(peaks) else least), 1.0, max(len(peaks), 1)
        else:
            lowest, mean, above = tail[-1], np.mean(tail[:-1] - tail[-1]), len(tail) - 1  # of the excess over the lowest of them
        z = lowest + mean * np.log(above / allowed)
        value = 1 / (1 + np.exp(-z))
    return float(np.clip(value, least, HIGHEST))


def label_biases(logits, reported, hours, rate, target=0.6, rounds=4):
    """What to add to the logit of each reported label, so that at the threshold `target` each gives `rate` false accepts an hour.

    `logits`: a list of [frame, label]. One threshold then serves all labels, as a converter without thresholds for each of them needs.
    """
    biases = np.zeros(logits[0].shape[1], np.float32)
    for _ in range(rounds):
        peaks = label_peaks([spot.smoothed(x + biases) for x in logits], reported)
        for k, mine in enumerate(peaks):
            biases[k] += logit(target) - logit(threshold(mine, hours, rate, least=0.01))
    return biases


def recall(scores, own, thresholds):
    """(hits, clips) of each label, from the score of every clip."""
    thresholds = np.asarray(thresholds)
    return [(int(np.sum(scores[own == k] >= t)), int(np.sum(own == k))) for k, t in enumerate(thresholds)]


def count_events(averages, thresholds):
    """False accepts of each label by the chip's rule."""
    counts = np.zeros(len(thresholds), int)
    for average in averages:
        for _, label, _ in spot.events(average, thresholds):
            counts[label] += 1
    return counts


def curve(peaks, hours, scores, own, points=160):
    """Of one set of streams and clips, for each label: [(threshold, false accepts an hour, share missed)]."""
    result = []
    for k, mine in enumerate(peaks):
        at = 1 / (1 + np.exp(-np.linspace(-2.5, 7.5, points)))
        result.append([(float(t), float(np.sum(mine >= t) / hours), float(np.mean(scores[own == k] < t))) for t in at])
    return result

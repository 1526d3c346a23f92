"""Digits in synthetic voices: lines of ten digits, said as a list and cut at its pauses, or said in one go.

One line is said once by one voice; who says it is decided by the number of the line (`words/voices.py`).
"""

import numpy as np

from ..words import augment
from ..words.places import CACHE, RATE, VOICES
from ..words.voices import Voices

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LINES = {"kokoro": 270, "espeak": 900, "flite": 150}
STEP = RATE // 100  # of the search for pauses
LEAST_PAUSE = 0.1  # seconds


def line(number):
    """The digits of a line, and whether pauses are between them."""
    rng = np.random.default_rng([2031, number])
    pauses = number % 3 != 2
    digits = rng.permutation(10) if pauses else rng.integers(10, size=rng.integers(5, 11))
    return [int(digit) for digit in digits], pauses


def text(number):
    digits, pauses = line(number)
    return (", " if pauses else " ").join(WORDS[digit] for digit in digits)


def cut(pcm, count):
    """The `count` words of a list, at its longest pauses; nothing where the pauses do not stand out."""
    n = len(pcm) // STEP
    energy = np.sqrt(np.mean(np.square(pcm[: n * STEP].reshape(n, STEP), dtype=np.float64), axis=1))
    quiet = np.flatnonzero(np.diff(np.concatenate([[0], energy < 0.02 * energy.max(), [0]])))
    runs = [(start, end) for start, end in quiet.reshape(-1, 2) if start > 0 and end < n]
    runs.sort(key=lambda run: run[0] - run[1])
    lengths = [(end - start) * STEP / RATE for start, end in runs]
    if len(runs) < count - 1 or lengths[count - 2] < LEAST_PAUSE or (len(runs) >= count and lengths[count - 1] > 0.8 * lengths[count - 2]):
        return []
    middles = sorted((start + end) // 2 * STEP for start, end in runs[: count - 1])
    return np.split(pcm, middles)


def synthetic(lines=LINES, voices=None):
    """[(engine, {digit: [pcm]}, [(digits, pcm)])] of every line: single digits, or a string said in one go."""
    voices = voices or Voices(CACHE / "renderings", VOICES)
    found = []
    for engine, count in lines.items():
        for number in range(count):
            digits, pauses = line(number)
            said = voices.said(text(number), engine, 1, first=number)
            if not said:
                continue
            words = cut(said[0], len(digits)) if pauses else []
            if words:
                found.append((engine, {digit: [trimmed(word)] for digit, word in zip(digits, words)}, []))
            else:
                found.append((engine, {}, [(digits, said[0])]))
    return found


def trimmed(word):
    """With 30 ms around what is loud."""
    start, end = augment.word_bounds(word)
    return word[max(0, start - 3 * STEP): end + 3 * STEP]

"""Strings of spoken digits: recordings of single digits joined, with gaps, in noise, at any level.

Usage: python strings.py --speakers jackson nicolas --synthetic 0.35 --count 24000 --seed 1 -o cache/train.npz
       python strings.py --speakers george --plain --count 1000 --seed 2 -o cache/val.npz
       python strings.py --speakers yweweler --plain --count 1000 --seed 3 -o cache/test.npz

writes `features` int8 [sum of frames, 40], `frames` [count] and `digits` [count, 5] padded with -1. A string's frames are a
multiple of 8, so that strings of one length fill a batch. `--plain` leaves the recordings as they are (one speaker to a
string, noise at 10 to 40 dB): what is measured. Otherwise speed and pitch, room, bandwidth and voice vary. `--wav FOLDER`
writes the sound as well.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import soundfile

from setting import CACHE, FRAME, HOP, MAX_DIGITS, MAX_FRAMES, RATE, SPEECH, WORDS, attn

from attn_training.words import augment

SAMPLES = FRAME + (MAX_FRAMES - 1) * HOP
CHUNK = 1000


def recordings(speakers):
    """[[pcm, ...] for each digit], for each speaker."""
    voices = {speaker: [[] for _ in WORDS] for speaker in speakers}
    with open(SPEECH / "manifest.csv") as file:
        for row in csv.DictReader(file):
            if row["source"] == "fsdd" and row["speaker_or_group"] in voices:
                pcm, rate = soundfile.read(SPEECH / row["path"], dtype="int16")
                assert rate == RATE
                voices[row["speaker_or_group"]][WORDS.index(row["label"])].append(pcm.astype(np.float32))
    return list(voices.values())


def synthetic():
    """The same of espeak-ng's voices (synth.py), one take of each digit to a voice."""
    data = np.load(CACHE / "synth.npz")
    parts = np.split(data["pcm"].astype(np.float32), np.cumsum(data["lengths"])[:-1])
    return [[[parts[voice * len(WORDS) + digit]] for digit in range(len(WORDS))] for voice in range(len(parts) // len(WORDS))]


def noises(splits):
    """Recorded noise."""
    found = []
    with open(SPEECH / "manifest.csv") as file:
        for row in csv.DictReader(file):
            if row["label"] == "noise" and row["split"] in splits:
                found.append(soundfile.read(SPEECH / row["path"], dtype="int16")[0].astype(np.float32))
    return found


class Speaker:
    """How one string is said: a voice, its speed and the channel that it comes through."""

    def __init__(self, voice, plain, rng):
        self.voice, self.plain = voice, plain
        self.speed = 1.0 if plain else rng.uniform(0.75, 1.3)
        self.gap = rng.uniform(0.02, 0.15 if rng.random() < 0.5 else 0.6)

    def say(self, digit, rng):
        """Power about one in the word."""
        takes = self.voice[digit]
        x = takes[rng.integers(len(takes))]
        if not self.plain:
            x = augment.change_speed(x, self.speed * rng.uniform(0.94, 1.06))
        start, end = augment.word_bounds(x)
        x = x[max(0, start - RATE // 50): end + RATE // 25]
        return x / augment.rms(x) * 10 ** (rng.uniform(-2, 2) / 20)


def channel(x, rng):
    if rng.random() < 0.4:
        x = augment.reverberate(x, rng)
    if rng.random() < 0.35:
        x = augment.low_pass(x, rng)
    return augment.equalise(x, rng) if rng.random() < 0.5 else x


def noise(n, recorded, rng):
    if rng.random() < 0.5:
        return augment.coloured_noise(n, rng)
    return np.roll(np.resize(recorded[rng.integers(len(recorded))], n), rng.integers(n))


def string(voices, recorded, plain, rng):
    """PCM int16 [SAMPLES], the frames of it that count, and the digits."""
    speaker = Speaker(voices[rng.integers(len(voices))], plain, rng)
    pieces = [np.zeros(int(rng.uniform(0.05, 0.4) * RATE), np.float32)]
    digits = []
    for digit in rng.integers(len(WORDS), size=rng.integers(1, MAX_DIGITS + 1)):
        word = speaker.say(digit, rng)
        gap = int(speaker.gap * rng.uniform(0.5, 1.5) * RATE)
        if sum(map(len, pieces)) + len(word) + gap + RATE // 10 > SAMPLES:
            break
        pieces += [word, np.zeros(gap, np.float32)]
        digits.append(digit)
    speech = np.concatenate([*pieces, np.zeros(int(rng.uniform(0.0, 0.3) * RATE), np.float32)])[:SAMPLES]
    frames = min(MAX_FRAMES, -(-max(1, 1 + -(-(len(speech) - FRAME) // HOP)) // 8) * 8)
    speech = np.pad(speech, (0, SAMPLES - len(speech)))
    if not plain:
        speech = channel(speech, rng)
    snr = rng.uniform(10, 40) if plain else rng.uniform(3, 45)
    level = 10 ** (rng.uniform(-38, -12) / 20) * 32768
    background = noise(SAMPLES, recorded, rng)
    mix = (speech + background / augment.rms(background) * 10 ** (-snr / 20)) * level
    return np.clip(np.round(mix), -32768, 32767).astype(np.int16), frames, digits


def build(voices, recorded, count, plain, rng, wav=None):
    """Features of `count` strings, their frames and their digits; `voices` is drawn from anew for each string."""
    features, lengths = [], []
    table = np.full((count, MAX_DIGITS), -1, np.int8)
    scratch = [CACHE / f"pcm_{rng.integers(1 << 40)}.npz", CACHE / f"features_{rng.integers(1 << 40)}.npz"]
    for start in range(0, count, CHUNK):
        sounds = []
        for i in range(start, min(start + CHUNK, count)):
            pcm, frames, digits = string(voices(rng), recorded, plain, rng)
            sounds.append(pcm)
            lengths.append(frames)
            table[i, : len(digits)] = digits
            if wav:
                soundfile.write(wav / f"{i:05}.wav", pcm[: FRAME + (frames - 1) * HOP], RATE, subtype="PCM_16")
        np.savez(scratch[0], pcm=np.stack(sounds))
        attn("features", scratch[0], "-o", scratch[1])
        rows = np.load(scratch[1])["features"]
        features += [row[:frames] for row, frames in zip(rows, lengths[start:])]
        print(f"{len(features)} of {count} strings", flush=True)
    for path in scratch:
        path.unlink()
    return np.concatenate(features), np.array(lengths), table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speakers", nargs="+", required=True)
    parser.add_argument("--synthetic", type=float, default=0.0, help="share of strings by synthetic voices")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--noise", nargs="+", default=["train"], help="splits whose recorded noise is used")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--wav", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    CACHE.mkdir(exist_ok=True)
    if arguments.wav:
        arguments.wav.mkdir(parents=True, exist_ok=True)
    real = recordings(arguments.speakers)
    artificial = synthetic() if arguments.synthetic else []

    def voices(rng):
        return artificial if rng.random() < arguments.synthetic else real

    rng = np.random.default_rng(arguments.seed)
    features, frames, digits = build(voices, noises(arguments.noise), arguments.count, arguments.plain, rng, arguments.wav)
    np.savez(arguments.output, features=features, frames=frames, digits=digits)


if __name__ == "__main__":
    main()

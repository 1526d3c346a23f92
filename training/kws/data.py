"""Training streams: words placed over backgrounds, with a target for every frame.

Two stages of training have their own streams. In the first, words stand apart, so that the labels are learnt quickly.
In the second, half of what is said is running speech that holds no keyword, and a keyword's posterior has to fall soon
after the word.

Usage: python data.py --stage 1 --streams 40000    (writes cache/train_1.npz)
       python data.py --stage 2 --streams 30000    (writes cache/train_2.npz)
"""

import argparse
import csv
import multiprocessing

import numpy as np
import soundfile

import augment
from paths import CACHE, SPEECH, attn
from words import EXCLUDED_LABELS, EXCLUDED_SOURCES, KEYWORDS, LABELS, NOISE, UNKNOWN

RATE, HOP, FRAME = 16000, 320, 512
SAMPLES = 3 * RATE
FRAMES = 1 + (SAMPLES - FRAME) // HOP
IGNORE = -1
ON_BEFORE, ON_AFTER = 0.06, 0.40  # seconds around the end of a word in which its label is the target
FADE = {1: 0.40, 2: 0.12}  # seconds after that in which nothing is the target, by stage
WORDS_PER_STREAM = {1: [0.07, 0.50, 0.35, 0.08], 2: [0.05, 0.25, 0.35, 0.35]}  # probability of 0, 1, 2, 3
SPEECH_SHARE = 0.5  # of what is said in the second stage, this much is running speech


def read_clips(splits, sources=None):
    """[(label, source, pcm)] of the recordings in `splits`; by default from every source but the excluded ones."""
    clips = []
    with open(SPEECH / "manifest.csv") as file:
        for row in csv.DictReader(file):
            wanted = row["source"] in sources if sources else row["source"] not in EXCLUDED_SOURCES
            if row["split"] not in splits or not wanted or row["label"] in EXCLUDED_LABELS:
                continue
            pcm, rate = soundfile.read(SPEECH / row["path"], dtype="int16")
            assert rate == RATE
            label = row["label"] if row["label"] in LABELS else "unknown"
            clips.append((label, row["source"], pcm))
    return clips


def padded(pcm, rng, lead, samples):
    """A clip with noise at its own floor around it, `lead` samples of it in front, cut or filled to `samples`."""
    x = pcm.astype(np.float32)
    floor = min(augment.rms(part) for part in np.array_split(x, 12))
    out = rng.normal(size=samples).astype(np.float32) * min(floor, 200)
    n = min(len(x), samples - lead)
    out[lead: lead + n] = x[:n]
    return np.clip(np.round(out), -32768, 32767).astype(np.int16)


def read_synthetic(name):
    data = np.load(CACHE / name)
    parts = np.split(data["pcm"], np.cumsum(data["lengths"])[:-1])
    return list(zip(data["labels"], parts))


class Sampler:
    """Draws words and backgrounds."""

    def __init__(self, stage):
        self.stage = stage
        self.words, self.speech, self.noise = {}, [], []
        for label, source, pcm in read_clips({"train"}):
            if label == "noise":
                self.noise.append(pcm)
            else:
                self.words.setdefault(label, []).append((source, pcm))
        self.synthetic = {}
        for label, pcm in read_synthetic("synth.npz") + (read_synthetic("speech.npz") if stage == 2 else []):
            (self.speech if label == "sentence" else self.synthetic.setdefault(label, [])).append(pcm)
        self.sentences = list(self.speech)
        self.speech += [pcm for _, pcm in self.words.get("unknown", [])]

    def word(self, rng):
        """A label and its samples. Wake words are half of the draws; a third of the voices are synthetic."""
        if self.stage == 2 and rng.random() < SPEECH_SHARE:
            return "unknown", "speech", self.phrase(rng) if rng.random() < 0.7 else self.scraps(rng)
        draw = rng.random()
        if draw < 0.5:
            label = KEYWORDS[rng.integers(6)]
        elif draw < 0.57:
            label = KEYWORDS[6 + rng.integers(2)]
        elif draw < 0.76:
            label = KEYWORDS[8 + rng.integers(10)]
        else:
            label = "unknown"
        share = 0.35 if label in KEYWORDS[:8] else 0.5 if label in KEYWORDS else 0.75
        if rng.random() < share and label in self.synthetic:
            return label, "espeak", self.synthetic[label][rng.integers(len(self.synthetic[label]))]
        source, pcm = self.words[label][rng.integers(len(self.words[label]))]
        if label == "unknown" and rng.random() < 0.25:  # a piece of a keyword is no keyword
            source, pcm = self.piece(rng)
        return label, source, pcm

    def piece(self, rng):
        """The first or last part of some wake word."""
        clips = self.words[KEYWORDS[rng.integers(6)]]
        source, pcm = clips[rng.integers(len(clips))]
        start, end = augment.word_bounds(pcm)
        cut = start + int((end - start) * rng.uniform(0.4, 0.6))
        return source, (pcm[:cut] if rng.random() < 0.6 else pcm[cut:])

    def phrase(self, rng):
        """A stretch of a sentence."""
        sentence = self.sentences[rng.integers(len(self.sentences))]
        n = int(rng.uniform(0.5, 2.8) * RATE)
        start = rng.integers(max(1, len(sentence) - n))
        return sentence[start: start + n]

    def scraps(self, rng):
        """Real voices that say nothing: pieces of recordings, too short for a word, in a row, some of them backwards."""
        pieces = []
        for _ in range(rng.integers(4, 12)):
            clips = self.words[KEYWORDS[rng.integers(8)] if rng.random() < 0.8 else "unknown"]
            x = clips[rng.integers(len(clips))][1].astype(np.float32)
            start, end = augment.word_bounds(x)
            n = int(rng.uniform(0.06, 0.22) * RATE)
            at = start + rng.integers(max(1, end - start - n))
            piece = x[at: at + n] * np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / 80)[: len(x[at: at + n])]
            piece = piece / augment.rms(piece)
            pieces.append(piece[::-1] if rng.random() < 0.3 else piece)
        return np.concatenate(pieces) * 3000

    def background(self, n, rng):
        """Noise, hum, babble or one other speaker."""
        kind = rng.random()
        if kind < 0.35 or not self.noise:
            return augment.coloured_noise(n, rng)
        if kind < 0.65:
            return np.resize(self.noise[rng.integers(len(self.noise))].astype(np.float32), n)
        voices = 1 if kind < 0.8 else rng.integers(2, 6)
        mix = np.zeros(n, np.float32)
        for _ in range(voices):
            pieces, length = [], 0
            while length < n + RATE:
                pieces.append(self.speech[rng.integers(len(self.speech))].astype(np.float32))
                length += len(pieces[-1])
            joined = np.concatenate(pieces)
            offset = rng.integers(len(joined) - n)
            mix += joined[offset: offset + n] / augment.rms(joined)
        return mix


def distort(word, source, rng):
    x = word.astype(np.float32)
    spread = 0.22 if source in ("fsdd", "mycroft") else 0.13
    if rng.random() < 0.8:
        x = augment.change_speed(x, rng.uniform(1 - spread, 1 + spread))
    if rng.random() < 0.4:
        x = augment.reverberate(x, rng)
    if rng.random() < 0.35:
        x = augment.low_pass(x, rng)
    if rng.random() < 0.5:
        x = augment.equalise(x, rng)
    return x


def stream(sampler, seed):
    """PCM int16 [SAMPLES] and targets int8 [FRAMES]."""
    rng = np.random.default_rng(seed)
    ends = (np.arange(FRAMES) * HOP + FRAME) / RATE
    target = np.full(FRAMES, NOISE, np.int8)
    speech = np.zeros(SAMPLES, np.float32)
    position = int(rng.uniform(-0.2, 1.0) * RATE)
    count = rng.choice([0, 1, 2, 3], p=WORDS_PER_STREAM[sampler.stage])
    level = 10 ** (rng.uniform(-42, -12) / 20) * 32768
    for _ in range(count):
        label, source, word = sampler.word(rng)
        word = distort(word, source, rng)
        start, end = augment.word_bounds(word)
        word = word / augment.rms(word[start:end]) * level * 10 ** (rng.uniform(-3, 3) / 20)
        at = max(position, -start)
        if at >= SAMPLES or (at + end > SAMPLES and label != "unknown"):
            break
        first, last = max(at, 0), min(at + len(word), SAMPLES)
        speech[first:last] += word[first - at: last - at]
        mark(target, ends, LABELS.index(label), (at + start) / RATE, (at + end) / RATE,
             FADE[sampler.stage])
        position = at + end + int(rng.uniform(0.05, 0.9) * RATE)
    noise = sampler.background(SAMPLES, rng)
    snr = rng.uniform(-2, 35) if rng.random() < 0.85 else 60
    mix = speech + noise / augment.rms(noise) * level * 10 ** (-snr / 20)
    if rng.random() < 0.1:
        mix = np.clip(mix, -level * 2, level * 2)
    return np.clip(np.round(mix), -32768, 32767).astype(np.int16), target


def mark(target, ends, label, start, end, fade):
    """Labels the frames of one word; frames at which no answer is right or wrong are ignored."""
    if label == UNKNOWN:
        keyword = (target >= 0) & (target < UNKNOWN)
        target[(ends > start + 0.1) & (ends < end + 0.25) & ~keyword] = UNKNOWN
        return
    target[(ends > start) & (ends < start + 0.12) & (target != NOISE)] = IGNORE
    target[(ends >= start + 0.12) & (ends < end - ON_BEFORE)] = IGNORE
    target[(ends >= end - ON_BEFORE) & (ends < end + ON_AFTER)] = label
    after = (ends >= end + ON_AFTER) & (ends < end + ON_AFTER + fade)
    target[after] = IGNORE


_sampler = None


def _work(seed):
    return stream(_sampler, seed)


def build(stage, count, path, workers=2):
    """Writes `count` streams as int8 features and targets."""
    global _sampler
    _sampler = Sampler(stage)
    features, targets = [], []
    first_seed = stage * 1_000_000
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for start in range(0, count, 2000):
            seeds = range(first_seed + start, first_seed + min(start + 2000, count))
            pcm, marks = zip(*pool.imap(_work, seeds, chunksize=50))
            np.savez(CACHE / "pcm.npz", pcm=np.stack(pcm))
            attn("features", CACHE / "pcm.npz", "-o", CACHE / "features.npz")
            features.append(np.load(CACHE / "features.npz")["features"])
            targets.append(np.stack(marks))
            print(f"{path.name}: {start + len(marks)} of {count} streams", flush=True)
    np.savez(path, features=np.concatenate(features), targets=np.concatenate(targets))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=30000)
    parser.add_argument("--stage", type=int, default=1, choices=[1, 2])
    arguments = parser.parse_args()
    build(arguments.stage, arguments.streams, CACHE / f"train_{arguments.stage}.npz")


if __name__ == "__main__":
    main()

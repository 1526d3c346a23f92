"""The 12 classes of Speech Commands from the folder `commands`: clips for judging, and a pool of augmented clips for training.

The folder's splits are not the official ones: about half of the official test speakers are in them, divided anew into train, val and
test, and the official training part is missing. Figures on this `test` hold for speakers that training did not hear; they cannot be
compared with published ones.
"""

import numpy as np

from ..words import augment, corpus
from ..words.model import WINDOW
from ..words.places import CACHE, DATA, FRAME, HOP, RATE, VOICES, features
from ..words.streams import ENGINES, choose
from ..words.voices import Voices

COMMANDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
OTHERS = ["backward", "bed", "bird", "cat", "dog", "eight", "five", "follow", "forward", "four", "happy", "house", "learn", "marvin", "nine",
          "one", "seven", "sheila", "six", "three", "tree", "two", "visual", "wow", "zero"]
LABELS = [*COMMANDS, "unknown", "silence"]
UNKNOWN, SILENCE = len(COMMANDS), len(COMMANDS) + 1
SAMPLES = FRAME + (WINDOW - 1) * HOP  # of a clip: 1.012 s, the model's window
POOL = 1000  # clips in one file of the pool
RENDERINGS = {"kokoro": (36, 6), "espeak": (90, 24), "flite": (24, 8)}  # of a command, of another word


def centred(pcm):
    """int16 [SAMPLES] with the clip in the middle of silence, or its middle."""
    short = max(0, SAMPLES - len(pcm))
    pcm = np.pad(pcm, (short // 2, short - short // 2))
    return pcm[(len(pcm) - SAMPLES) // 2:][:SAMPLES]


def clips(split, data=DATA):
    """For judging: int16 [n, SAMPLES], classes [n], speakers [n].

    The ten commands and the other words of Speech Commands in this split. For the silence, as in the original protocol, pieces of the
    background recordings that come with speech sets, at a volume drawn from 0 to 1; as many as a command has clips in the mean.
    """
    found = [c for c in corpus.word_clips(data / "commands", {split}) if c.source == "gsc"]
    pcm = [centred(c.pcm) for c in found]
    classes = [COMMANDS.index(c.label) if c.label in COMMANDS else UNKNOWN for c in found]
    silence = pieces(split, round(sum(k < UNKNOWN for k in classes) / len(COMMANDS)), True, data)
    speakers = [*(c.speaker for c in found), *["background"] * len(silence)]
    return np.concatenate([np.stack(pcm), silence]), np.array([*classes, *[SILENCE] * len(silence)]), np.array(speakers)


def pieces(split, count, backgrounds, data=DATA):
    """int16 [count, SAMPLES] of noise at volumes from 0 to 1: of background recordings, or of all other noise and music."""
    noise = [c for c in corpus.long_files(data / "noise", {split}) if len(c.pcm) >= SAMPLES and c.source.endswith("_background") == backgrounds]
    rng = np.random.default_rng(12)

    def one():
        pcm = choose(rng, noise).pcm
        start = rng.integers(len(pcm) - SAMPLES + 1)
        return np.round(pcm[start: start + SAMPLES] * rng.random()).astype(np.int16)

    return np.stack([one() for _ in range(count)])


def synthetic(voices):
    """{word: {engine: clips}} of every command and other word."""
    return {word: {engine: voices.said(word, engine, n[word in OTHERS]) for engine, n in RENDERINGS.items()} for word in (*COMMANDS, *OTHERS)}


class Material:
    """What training clips are made of: recordings of the train splits, synthetic voices, noise, rooms."""

    def __init__(self, voices=None, data=DATA, log=print):
        voices = voices or Voices(CACHE / "renderings", VOICES)
        self.recorded, self.others = {w: [] for w in COMMANDS}, []
        for clip in corpus.word_clips(data / "commands", {"train"}):
            self.recorded.get(clip.label, self.others).append(clip.pcm)
        said = [c for c in corpus.word_clips(data / "speech", {"train"}) if c.label != "noise"] if (data / "speech").is_dir() else []
        self.further = [c.pcm for c in said]
        self.speech = [c.pcm for c in corpus.long_files(data / "speech_negative", {"train"})]
        self.noise = [c.pcm for c in corpus.long_files(data / "noise", {"train"}) if len(c.pcm) >= SAMPLES]
        self.rooms = corpus.rooms(data / "rooms", {"train"})
        self.spoken = synthetic(voices)
        log(f"recorded {sum(map(len, self.recorded.values()))} commands, {len(self.others)} other words, {len(self.further)} further; "
            f"synthetic { {e: sum(len(s[e]) for s in self.spoken.values()) for e in ENGINES} }", flush=True)

    def rendered(self, word, rng):
        engines = [e for e in ENGINES if self.spoken[word].get(e)]
        share = np.array([ENGINES[e] for e in engines])
        return choose(rng, self.spoken[word][engines[rng.choice(len(engines), p=share / share.sum())]])

    def word(self, rng):
        """A class and a clip of it."""
        draw = rng.random()
        if draw < 0.75:
            k = int(rng.integers(len(COMMANDS)))
            word = COMMANDS[k]
            return k, self.rendered(word, rng) if rng.random() < 0.3 else choose(rng, self.recorded[word])
        if draw < 0.93:
            return UNKNOWN, self.other(rng)
        return SILENCE, np.zeros(SAMPLES, np.int16)

    def other(self, rng):
        draw = rng.random()
        if draw < 0.5:
            return choose(rng, self.others)
        if draw < 0.75:
            return self.rendered(choose(rng, OTHERS), rng)
        if draw < 0.87 and self.further:
            return choose(rng, self.further)
        return self.piece(choose(rng, self.speech), int(rng.uniform(0.4, 1.0) * RATE), rng)

    @staticmethod
    def piece(pcm, n, rng):
        start = rng.integers(max(1, len(pcm) - n))
        return pcm[start: start + n]

    def clip(self, seed):
        """One training clip: int16 [SAMPLES] and its class."""
        rng = np.random.default_rng(seed)
        k, pcm = self.word(rng)
        x = pcm.astype(np.float32)
        if k != SILENCE:
            x = self.distorted(x, rng)
        x = placed(x, rng)
        loud = max(augment.rms(x[slice(*augment.word_bounds(x))]), 1.0) if k != SILENCE else 32768 * 10 ** (rng.uniform(-70, -15) / 20)
        if k == SILENCE or rng.random() < 0.8:
            noise = augment.coloured_noise(SAMPLES, rng) if rng.random() < 0.35 else self.piece(choose(rng, self.noise), SAMPLES, rng).astype(np.float32)
            snr = 0 if k == SILENCE else rng.uniform(0, 45)
            x = x + noise * (loud / max(augment.rms(noise), 1.0) * 10 ** (-snr / 20))
        gain = 10 ** (rng.uniform(-15, 8) / 20) if k != SILENCE else 1
        return np.clip(np.round(x * gain), -32768, 32767).astype(np.int16), k

    def distorted(self, x, rng):
        if rng.random() < 0.85:
            x = augment.change_speed(x, rng.uniform(0.83, 1.18))
        if rng.random() < 0.25:
            x = augment.low_pass(x, rng)
        if rng.random() < 0.5:
            x = augment.equalise(x, rng)
        if rng.random() < 0.3:
            x = augment.in_room(x, choose(rng, self.rooms))
        return x


def placed(x, rng):
    """[SAMPLES] with the word anywhere that it fits into, more often near the middle."""
    start, end = augment.word_bounds(x)
    free = SAMPLES - (end - start)
    at = int(free * np.clip(rng.normal(0.5, 0.2), 0, 1)) - start if free > 0 else (SAMPLES - start - end) // 2
    y = np.zeros(SAMPLES, np.float32)
    first, last = max(at, 0), min(at + len(x), SAMPLES)
    y[first:last] = x[first - at: last - at]
    return y


def fill(folder, material, files, seed=5):
    """Writes the pool's missing files: features int8 [POOL, WINDOW, 40] and classes. Both models train on the same pool."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        path = folder / f"pool-{seed}-{number:03}.npz"
        if path.exists():
            continue
        pcm, classes = zip(*(material.clip([seed, number, i]) for i in range(POOL)))
        part = folder / f"part-{seed}.npz"
        np.savez(part, features=features(np.stack(pcm)), classes=np.array(classes, np.int8))
        part.rename(path)


def pool(folder):
    """All clips of the pool: features int8 [n, WINDOW, 40], classes [n]."""
    parts = [np.load(p) for p in sorted(folder.glob("pool-*.npz"))]
    return np.concatenate([p["features"] for p in parts]), np.concatenate([p["classes"] for p in parts])

"""Long streams of keywords over noise and other speech: how many are found, and how often something is heard that wasn't said.

The words are recordings of the val split. Other speech is said by espeak-ng in voices and sentences that are not in
training; noise is that of the val split and coloured noise. In every section of 15 s the background is of one kind, at
an SNR drawn from 0 to 20 dB. All drawn from one seed: the same command gives the same streams.

Usage: python streams.py [--minutes 32] [--json out.json]               the float model in cache/kws.pt
       python streams.py --write-features streams.npz                   int8 features [1, frames, 40] for `attn run`
       python streams.py --logits logits.npz [--json out.json]          judges `logits` [1, frames, labels]
"""

import argparse
import json

import numpy as np
import torch

import augment
import synth
from data import HOP, RATE, read_clips
from model import WINDOW, KeywordSpotter
from paths import CACHE, attn
from spot import THRESHOLD, detections, match
from words import DIGITS, FURTHER_WORDS, HELD_OUT_SENTENCES, WAKE_WORDS

SECTION = 15 * RATE
SEED = 77
VARIANTS = ["+Alex", "+Alicia", "+Andrea", "+adam", "+aunty", "+belinda", "+benjamin", "+david", "+edward", "+grandma",
            "+john", "+linda", "+m8", "+victor", "+zac", "+Mario"]
BACKGROUNDS = ["room noise", "coloured noise", "one voice", "babble"]
GROUPS = {"wake words": WAKE_WORDS, "athena and amelia": FURTHER_WORDS, "digits": DIGITS}


class Material:
    """What streams are made of."""

    def __init__(self, rng):
        self.words, self.noise = {}, []
        for label, _, pcm in read_clips({"val"}):
            if label == "noise":
                self.noise.append(pcm.astype(np.float32))
            else:
                self.words.setdefault(label, []).append(pcm.astype(np.float32))
        self.speech = []
        for text in HELD_OUT_SENTENCES:
            for _ in range(4):
                voice = str(rng.choice(synth.VOICES)) + str(rng.choice(VARIANTS))
                self.speech.append(synth.say(text, voice, int(rng.integers(130, 200)), int(rng.integers(25, 75))))

    def keyword(self, rng):
        draw = rng.random()
        group = WAKE_WORDS if draw < 0.65 else FURTHER_WORDS if draw < 0.75 else DIGITS
        label = str(rng.choice(group))
        clips = self.words[label]
        return label, clips[rng.integers(len(clips))]

    def sentence(self, rng):
        return self.speech[rng.integers(len(self.speech))].astype(np.float32)

    def voice(self, n, rng):
        """One speaker after the other without a pause."""
        pieces, length = [], 0
        while length < n + RATE:
            pieces.append(self.sentence(rng))
            pieces[-1] /= augment.rms(pieces[-1])
            length += len(pieces[-1])
        offset = rng.integers(length - n)
        return np.concatenate(pieces)[offset: offset + n]

    def background(self, kind, n, rng):
        """Float32 [n] of power one."""
        if kind == "coloured noise":
            x = augment.coloured_noise(n, rng)
        elif kind == "one voice":
            x = self.voice(n, rng)
        elif kind == "babble":
            x = sum(self.voice(n, rng) for _ in range(rng.integers(3, 7)))
        else:
            x = np.resize(self.noise[rng.integers(len(self.noise))], n)
        return x / augment.rms(x)


def section(material, rng):
    """int16 [SECTION], truth [(seconds, label)] and what the background is."""
    kind = str(rng.choice(BACKGROUNDS))
    snr = rng.uniform(0, 20)
    speech = np.zeros(SECTION, np.float32)
    truth, at = [], int(rng.uniform(0.5, 1.5) * RATE)
    while True:
        label, x = material.keyword(rng) if rng.random() < 0.5 else (None, material.sentence(rng))
        start, end = augment.word_bounds(x)
        if at + len(x) + RATE // 2 > SECTION:
            break
        speech[at: at + len(x)] += x / augment.rms(x[start:end]) * 10 ** (rng.uniform(-3, 3) / 20)
        if label:
            truth.append(((at + end) / RATE, label))
        at += len(x) + int(rng.uniform(0.3, 2.0) * RATE)
    mix = speech + material.background(kind, SECTION, rng) * 10 ** (-snr / 20)
    level = 10 ** (rng.uniform(-42, -18) / 20) * 32768
    return np.clip(np.round(mix * level), -32768, 32767).astype(np.int16), truth, kind, snr


def streams(minutes):
    """int8 features [1, frames, 40] and the truth, made once and kept in the cache."""
    path, truth_path = CACHE / f"streams_{minutes}.npz", CACHE / f"streams_{minutes}.json"
    if not (path.exists() and truth_path.exists()):
        rng = np.random.default_rng(SEED)
        material = Material(rng)
        parts, truth = [], []
        for i in range(minutes * 60 * RATE // SECTION):
            pcm, words, kind, snr = section(material, rng)
            parts.append(pcm)
            truth += [(seconds + i * SECTION / RATE, word, kind, snr) for seconds, word in words]
        np.savez(CACHE / "pcm_streams.npz", pcm=np.concatenate(parts)[None])
        attn("features", CACHE / "pcm_streams.npz", "-o", path)
        truth_path.write_text(json.dumps(truth))
    return np.load(path)["features"], json.loads(truth_path.read_text())


def float_logits(model, features, block=500):
    """Logits [frame, label] of one long stream: the attention's window moves over the GRU's outputs in blocks."""
    model.eval()
    with torch.no_grad():
        h = model.frames(torch.from_numpy(features.astype(np.float32) / 32))
        logits = []
        for start in range(0, h.shape[1], block):
            before = min(start, WINDOW - 1)
            logits.append(model.attend(h[:, start - before: start + block])[0, before:].numpy())
    return np.concatenate(logits)


def judge(logits, truth, hours, threshold):
    """Detection rates and false accepts per hour."""
    pairs, false = match(detections(logits, threshold), [(seconds, word) for seconds, word, _, _ in truth])
    hits = np.array([pair is not None for pair in pairs])
    words = np.array([t[1] for t in truth])
    kinds, snrs = np.array([t[2] for t in truth]), np.array([t[3] for t in truth])
    wake = np.isin(words, WAKE_WORDS)
    result = {"hours": hours, "threshold": threshold, "detected": {}, "false_accepts_per_hour": {}}
    for name, group in GROUPS.items():
        mine = np.isin(words, group)
        result["detected"][name] = {"said": int(mine.sum()), "rate": float(hits[mine].mean())}
        result["false_accepts_per_hour"][name] = sum(d[1] in group for d in false) / hours
    result["wake_words_by_snr"] = {f"{low} to {low + 5} dB": float(hits[wake & (snrs >= low) & (snrs < low + 5)].mean())
                                   for low in range(0, 20, 5)}
    result["wake_words_by_background"] = {kind: float(hits[wake & (kinds == kind)].mean()) for kind in BACKGROUNDS}
    result["wake_words_by_word"] = {word: float(hits[words == word].mean()) for word in WAKE_WORDS}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=32)
    parser.add_argument("--threshold", type=float, default=THRESHOLD)
    parser.add_argument("--logits")
    parser.add_argument("--write-features")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    features, truth = streams(arguments.minutes)
    if arguments.write_features:
        np.savez(arguments.write_features, features=features, scale=np.float32(1 / 32))
        return
    if arguments.logits:
        logits = np.load(arguments.logits)["logits"]
        assert logits.shape[:2] == features.shape[:2], "these logits are not those of this stream"
        logits = logits[0].astype(np.float32)
    else:
        model = KeywordSpotter()
        model.load_state_dict(torch.load(CACHE / "kws.pt"))
        logits = float_logits(model, features)
    result = judge(logits, truth, features.shape[1] * HOP / RATE / 3600, arguments.threshold)
    print(json.dumps(result, indent=1))
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()

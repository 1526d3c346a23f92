"""Makes the demo recording: keywords among other speech and noise, all of it synthetic and ours.

The voices are none of those in training (attn_training/words/voices.py), and were chosen so that the spotter hears them. Writes
firmware/assets/demo.wav (16 kHz, mono, 16-bit) and firmware/assets/demo.csv (`time_ms,label`: the end of each keyword).

Usage, in the folder above: python -m demo.make_demo [--check]     (needs espeak-ng; --check instead runs models/kws.onnx over it)
"""

import argparse
import csv
import sys

import numpy as np
import soundfile
from attn_training.words import augment, corpus
from attn_training.words.places import ROOT, features
from attn_training.words.voices import say

RATE = 16000
ASSETS = ROOT / "firmware" / "assets"

# What is said, by whom (espeak-ng voice, words per minute, pitch), how loud (dB), and the pause before it (s).
SCRIPT = [
    ("good morning everybody", "en-us+Alex", 150, 45, 0, 0.8),
    ("alexa", "en-gb+benjamin", 135, 38, 0, 0.6),
    ("please close the windows before you leave", "en-us+linda", 165, 50, -3, 0.9),
    ("computer", "en-gb+Alicia", 145, 55, 2, 0.7),
    ("view_glass", "en-gb+john", 140, 42, 0, 1.0),
    ("the museum shows old paintings and maps", "en-gb+edward", 170, 35, 0, 0.9),
    ("snowboy", "en-gb+zac", 140, 48, 1, 0.7),
    ("smart_mirror", "en-gb+belinda", 138, 52, 0, 1.0),
    ("dinner is ready in half an hour", "en-gb-scotland+david", 160, 40, -2, 0.9),
    ("jarvis", "en-us+victor", 134, 40, 0, 0.7),
    ("alexa", "en-us+Andrea", 145, 60, -4, 1.0),
    ("we could take the bicycle instead", "en-us+aunty", 155, 55, 0, 0.8),
]
KEYWORDS = {text for text, *_ in SCRIPT if " " not in text}
TAIL = 1.0  # seconds of noise at the end


def perform(rng):
    """Speech alone, float32 at power one in each utterance, and the truth [(seconds, label)]."""
    parts, truth, at = [], [], 0
    for text, voice, speed, pitch, gain, pause in SCRIPT:
        x = say(text.replace("_", " "), voice, speed, pitch).astype(np.float32)
        start, end = augment.word_bounds(x)
        x = augment.reverberate(np.pad(x, (0, RATE // 4)), rng)
        x *= 10 ** (gain / 20) / augment.rms(x[start:end])
        parts += [np.zeros(int(pause * RATE), np.float32), x]
        at += int(pause * RATE)
        if text in KEYWORDS:
            truth.append(((at + end) / RATE, text))
        at += len(x)
    parts.append(np.zeros(int(TAIL * RATE), np.float32))
    return np.concatenate(parts), truth


def babble(n, rng):
    """Four voices talking at once, the script in other orders and voices."""
    mix = np.zeros(n, np.float32)
    sentences = [line[0] for line in SCRIPT if line[0] not in KEYWORDS]
    for voice in ["en-gb+adam", "en-us+belinda", "en-gb-x-gbclan+david", "en-us+grandma"]:
        said = [say(str(text), voice, 170, 50) for text in rng.permutation(sentences)]
        x = np.resize(np.concatenate(said).astype(np.float32), n)
        mix += np.roll(x, rng.integers(n)) / augment.rms(x)
    return mix


def backdrop(n, rng):
    """A fan that comes and goes, and people talking in the next room: power varies by 10 dB."""
    fan = augment.coloured_noise(n, rng)
    talk = augment.low_pass(babble(n, rng), rng)
    t = np.arange(n) / n
    snr = 15 + 5 * np.cos(2 * np.pi * 1.5 * t)  # dB below the speech: 20, 10, 20, 10
    mix = fan / augment.rms(fan) + 0.7 * talk / augment.rms(talk)
    return mix / augment.rms(mix) * 10 ** (-snr / 20)


def read_truth():
    with open(ASSETS / "demo.csv") as file:
        return [(int(row["time_ms"]) / 1000, row["label"]) for row in csv.DictReader(file)]


def check():
    """Fails unless the float model finds every keyword of demo.csv and nothing else."""
    from attn_training.words import judging, spot

    model, names = judging.load(ROOT / "models" / "kws.onnx")
    thresholds = judging.shipped_thresholds(ROOT / "models" / "kws.onnx")
    average = spot.smoothed(model.stream(features(corpus.read(ASSETS / "demo.wav")[None])[0]))
    found = [(frame * spot.HOP_SECONDS + spot.FRAME_SECONDS, names[label], score)
             for frame, label, score in spot.events(average, list(thresholds.values()))]
    pairs, false = spot.match(found, read_truth())
    for (end, word), hit in zip(read_truth(), pairs):
        print(f"{end:6.2f} s  {word:14}", f"found at {hit[0]:6.2f} s, confidence {hit[2]:.2f}" if hit else "MISSED")
    for seconds, word, confidence in false:
        print(f"{seconds:6.2f} s  {word:14} FALSE, confidence {confidence:.2f}")
    if false or None in pairs:
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        check()
        return
    rng = np.random.default_rng(42)
    speech, truth = perform(rng)
    mix = speech + backdrop(len(speech), rng)
    level = 10 ** (-24 / 20) * 32768
    pcm = np.clip(np.round(mix * level), -32768, 32767).astype(np.int16)
    ASSETS.mkdir(parents=True, exist_ok=True)
    soundfile.write(ASSETS / "demo.wav", pcm, RATE, subtype="PCM_16")
    rows = "".join(f"{round(seconds * 1000)},{label}\n" for seconds, label in truth)
    (ASSETS / "demo.csv").write_text("time_ms,label\n" + rows)
    print(f"{len(pcm) / RATE:.1f} s, {len(truth)} keywords, peak {np.abs(pcm).max()}")


if __name__ == "__main__":
    main()

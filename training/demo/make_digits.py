"""Makes the recording for the demo of spoken digit strings: one string in a synthetic voice that is not in training.

Writes firmware/assets/digits.wav (16 kHz, mono, 16-bit, under 5 s) and firmware/assets/digits.txt, what is said in it.

Usage: python -m demo.make_digits [--check]     (in training; needs espeak-ng; --check instead runs the float model, models/digits.*.onnx)
"""

import argparse
import sys

import numpy as np
import soundfile
from attn_training.digits import fit
from attn_training.digits.said import WORDS
from attn_training.words import augment, corpus
from attn_training.words.places import FRAME, HOP, RATE, ROOT, features
from attn_training.words.voices import say
from bundles import Exported

ASSETS = ROOT / "firmware" / "assets"
STRING = ["four", "seven", "one", "zero", "nine", "two", "six", "three"]
VOICE = ("en-us+linda", 165, 50)
GAP, LEAD = 0.1, 0.25  # seconds between the digits, and before the first and after the last
SNR = 25  # dB


def perform(rng):
    """PCM int16 of whole frames."""
    silence = np.zeros(int(LEAD * RATE), np.float32)
    parts = [silence]
    for word in STRING:
        x = say(word, *VOICE).astype(np.float32)
        start, end = augment.word_bounds(x)
        parts += [x[start:end] / augment.rms(x[start:end]), np.zeros(int(GAP * RATE), np.float32)]
    speech = np.concatenate([*parts, silence])
    frames = (len(speech) - FRAME) // HOP + 1
    speech = augment.reverberate(speech[: FRAME + (frames - 1) * HOP], rng)
    fan = augment.coloured_noise(len(speech), rng)
    mix = speech + fan / augment.rms(fan) * 10 ** (-SNR / 20)
    return np.clip(np.round(mix * 10 ** (-24 / 20) * 32768), -32768, 32767).astype(np.int16)


def check():
    """Fails unless the float model hears what is said."""
    pcm = corpus.read(ASSETS / "digits.wav")
    said, ended = fit.transcribe(Exported(ROOT / "models" / "digits"), list(features(pcm[None])))[0]
    heard = " ".join(WORDS[digit] for digit in said)
    print("heard:", heard, "" if ended else "(cut off)")
    if not ended or heard != (ASSETS / "digits.txt").read_text().strip():
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        check()
        return
    pcm = perform(np.random.default_rng(43))
    ASSETS.mkdir(parents=True, exist_ok=True)
    soundfile.write(ASSETS / "digits.wav", pcm, RATE, subtype="PCM_16")
    (ASSETS / "digits.txt").write_text(" ".join(STRING) + "\n")
    print(f"{len(pcm) / RATE:.2f} s, peak {np.abs(pcm).max()}")


if __name__ == "__main__":
    main()

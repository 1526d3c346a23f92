"""Makes the recording for the demo of spoken digit strings: one string in a synthetic voice that is not in training.

Writes firmware/assets/digits.wav (16 kHz, mono, 16-bit, under 6 s) and firmware/assets/digits.txt, what is said in it.

Usage: python make_digits.py [--check]     (needs espeak-ng; --check instead runs the float model ../digits/cache/digits.pt)
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "digits"))

from setting import CACHE, FRAME, HOP, RATE, ROOT, SCALE, TOKENS, WORDS, attn  # noqa: E402
from strings import SAMPLES  # noqa: E402
from synth import say  # noqa: E402

from attn_training.words import augment  # noqa: E402

ASSETS = ROOT / "firmware" / "assets"
STRING = ["four", "seven", "one", "zero", "nine"]
VOICE = ("en-us+linda", 150, 50)
GAP, LEAD = 0.15, 0.3  # seconds between the digits, and before the first and after the last
SNR = 25  # dB


def perform(rng):
    """PCM int16, as many frames as are a multiple of 8."""
    silence = np.zeros(int(LEAD * RATE), np.float32)
    parts = [silence]
    for word in STRING:
        x = say(word, *VOICE).astype(np.float32)
        start, end = augment.word_bounds(x)
        parts += [x[start:end] / augment.rms(x[start:end]), np.zeros(int(GAP * RATE), np.float32)]
    speech = np.concatenate([*parts, silence])
    frames = -(-(HOP + len(speech) - FRAME) // (8 * HOP)) * 8
    speech = augment.reverberate(np.pad(speech, (0, FRAME + (frames - 1) * HOP - len(speech))), rng)
    assert len(speech) <= SAMPLES
    fan = augment.coloured_noise(len(speech), rng)
    mix = speech + fan / augment.rms(fan) * 10 ** (-SNR / 20)
    return np.clip(np.round(mix * 10 ** (-24 / 20) * 32768), -32768, 32767).astype(np.int16)


def check():
    """Fails unless the float model hears what is said."""
    import torch

    from evaluate import transcribe
    from model import Listener

    attn("features", ASSETS / "digits.wav", "-o", CACHE / "features_demo.npz")
    model = Listener(len(TOKENS))
    model.load_state_dict(torch.load(CACHE / "digits.pt"))
    model.eval()
    features = np.load(CACHE / "features_demo.npz")
    assert abs(features["scale"] - SCALE) < 1e-9
    heard = " ".join(WORDS[digit] for digit in transcribe(model, list(features["features"]))[0])
    print("heard:", heard)
    if heard != (ASSETS / "digits.txt").read_text().strip():
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

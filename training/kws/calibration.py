"""Calibration data for the converter: features of synthetic speech and noise only, so that it may be shared freely.

No recording goes in: the words and sentences are said by espeak-ng, the noise is drawn from a seeded generator. The
windows stand where a spotter meets them: at the end of a keyword, inside it, in other speech, in noise and near silence,
from very quiet to clipping.

Usage: python calibration.py     (writes models/kws_calibration.npz and models/kws_labels.txt; a few seconds)
"""

import numpy as np

import augment
import synth
from data import FRAME, HOP, RATE
from model import WINDOW
from paths import CACHE, ROOT, attn
from words import KEYWORDS, LABELS, NEAR_MISSES, SENTENCES, SPELLING

SAMPLES = FRAME + (WINDOW - 1) * HOP
WINDOWS = 160


def said(text, rng):
    """A text in a voice drawn at random: float32 samples of power one, with the bounds of the speech."""
    voice = str(rng.choice(synth.VOICES)) + str(rng.choice(synth.VARIANTS))
    x = synth.say(text, voice, int(rng.integers(120, 220)), int(rng.integers(20, 85))).astype(np.float32)
    if rng.random() < 0.4:
        x = augment.reverberate(x, rng)
    if rng.random() < 0.3:
        x = augment.low_pass(x, rng)
    start, end = augment.word_bounds(x)
    return x / augment.rms(x[start:end]), start, end


def window(i, rng, samples=SAMPLES):
    """A stretch of sound, by default one second: int16 [samples]."""
    level = 10 ** (rng.uniform(-48, -6) / 20) * 32768
    snr = rng.uniform(0, 40)
    noise = augment.coloured_noise(samples, rng)
    noise *= level * 10 ** (-snr / 20) / augment.rms(noise)
    if i % 10 == 9:
        return to_pcm(noise)
    keyword = i % 10 < 6
    text = KEYWORDS[i % len(KEYWORDS)] if keyword else str(rng.choice(NEAR_MISSES + SENTENCES))
    x, start, end = said(SPELLING.get(text, text), rng)
    # The window ends between the middle of the word and 0.3 s behind it; in a sentence anywhere.
    earliest = (start + end) // 2 if keyword else start
    stop = int(rng.uniform(earliest, end + 0.3 * RATE))
    x = np.pad(x, (samples, samples))[stop: stop + samples]
    return to_pcm(x * level + noise)


def to_pcm(x):
    return np.clip(np.round(x), -32768, 32767).astype(np.int16)


def main():
    rng = np.random.default_rng(11)
    CACHE.mkdir(exist_ok=True)
    np.savez(CACHE / "pcm_calibration.npz", pcm=np.stack([window(i, rng) for i in range(WINDOWS)]))
    attn("features", CACHE / "pcm_calibration.npz", "-o", CACHE / "features_calibration.npz")
    data = np.load(CACHE / "features_calibration.npz")
    models = ROOT / "models"
    models.mkdir(exist_ok=True)
    np.savez(models / "kws_calibration.npz", features=data["features"], scale=data["scale"])
    (models / "kws_labels.txt").write_text("\n".join(LABELS) + "\n")
    print(data["features"].shape, "range", data["features"].min(), data["features"].max())


if __name__ == "__main__":
    main()

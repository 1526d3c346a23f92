"""Writes a trained spotter: ONNX, labels, thresholds, calibration data; and asks the converter for the int8 model's logits."""

import csv
import tempfile
from pathlib import Path

import numpy as np
import onnx_files  # beside this package
import torch

from . import augment
from .model import BANDS, WINDOW
from .places import FRAME, HOP, RATE, SCALE, attn, features
from .spot import REFRACTORY, SMOOTHING

CALIBRATION_WINDOWS = 160
SAMPLES = FRAME + (WINDOW - 1) * HOP


def onnx(model, path, dynamo=True):
    onnx_files.export(model.eval(), (torch.zeros(1, WINDOW, BANDS),), Path(path), dynamo, ["features"], ["logits"])


def labels(names, path):
    Path(path).write_text("\n".join(names) + "\n")


def thresholds(values, path):
    """`values`: {label: threshold}."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["label", "threshold"])
        writer.writerows([label, f"{value:.4f}"] for label, value in values.items())


def calibration(spoken, others, path, seed=11):
    """Features of synthetic speech and noise only, so that they may be shared freely.

    The windows are where a spotter meets them: at the end of a keyword, inside it, in other speech, in noise and near silence, from very
    quiet to clipping. `spoken`: clips of the keywords, one list each; `others`: clips of other speech.
    """
    rng = np.random.default_rng(seed)
    pcm = np.stack([window(i, spoken, others, rng) for i in range(CALIBRATION_WINDOWS)])
    np.savez_compressed(path, features=features(pcm), scale=np.float32(SCALE))


def window(i, spoken, others, rng, samples=SAMPLES):
    """The window of number `i`: int16 [samples]."""
    level = 10 ** (rng.uniform(-48, -6) / 20) * 32768
    noise = augment.coloured_noise(samples, rng)
    noise *= level * 10 ** (-rng.uniform(0, 40) / 20) / augment.rms(noise)
    if i % 10 == 9:
        return _pcm(noise)
    keyword = i % 10 < 6
    clips = spoken[i % len(spoken)] if keyword else others
    x = clips[rng.integers(len(clips))].astype(np.float32)
    if rng.random() < 0.4:
        x = augment.reverberate(x, rng)
    if rng.random() < 0.3:
        x = augment.low_pass(x, rng)
    start, end = augment.word_bounds(x)
    x = x / augment.rms(x[start:end])
    # The window ends between the middle of the word and 0.3 s behind it; in a sentence anywhere.
    stop = int(rng.uniform((start + end) // 2 if keyword else start, end + 0.3 * RATE))
    return _pcm(np.pad(x, (samples, samples))[stop: stop + samples] * level + noise)


def _pcm(x):
    return np.clip(np.round(x), -32768, 32767).astype(np.int16)


def convert(stem, path, threshold=0.6):
    """STEM.onnx to an .attn file at `path`, as the card says."""
    attn("convert", f"{stem}.onnx", "--stream", "--calibrate", f"{stem}_calibration.npz", "--labels", f"{stem}_labels.txt", "--range", "min-max",
         "--audio-hop", HOP, "--smoothing", SMOOTHING, "--threshold", threshold, "--refractory", REFRACTORY, "-o", path)


def int8_logits(path, streams):
    """Logits of the converted model for a list of int8 [frames, 40], each from a fresh start."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for x in streams:
            np.savez(f"{folder}/x.npz", features=x[None] if x.ndim == 2 else x, scale=np.float32(SCALE))
            attn("run", path, f"{folder}/x.npz", "-o", f"{folder}/y.npz")
            y = np.load(f"{folder}/y.npz")["logits"].astype(np.float32)
            found.append(y[0] if x.ndim == 2 else y)
    return found

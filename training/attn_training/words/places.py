"""Where things are: the converter's binary, the data folders, the cache. Environment variables override the defaults.

ATTN          the `attn` command (default: target/release/attn of this repository)
ATTN_DATA     folder that holds speech, commands, speech_negative, noise, rooms (default: ../shared/data beside the repository)
ATTN_VOICES   Kokoro's parts, as `python -m attn_training voices` fetches them (default: training/cache/voices)
ATTN_CACHE    renderings, features, weights in training (default: training/cache)
"""

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
ATTN = os.environ.get("ATTN", str(ROOT / "target" / "release" / "attn"))
DATA = Path(os.environ.get("ATTN_DATA", ROOT.parent / "shared" / "data"))
CACHE = Path(os.environ.get("ATTN_CACHE", ROOT / "training" / "cache"))
VOICES = Path(os.environ.get("ATTN_VOICES", CACHE / "voices"))

RATE, HOP, FRAME = 16000, 320, 512
SCALE = 1 / 32  # real value of one step of a feature


def attn(*arguments):
    """Runs the `attn` command."""
    subprocess.run([ATTN, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def features(pcm):
    """int8 [clips, frames, 40] of int16 [clips, samples], by the code that runs on the chip."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/pcm.npz", pcm=pcm)
        attn("features", f"{folder}/pcm.npz", "-o", f"{folder}/features.npz")
        return np.load(f"{folder}/features.npz")["features"]

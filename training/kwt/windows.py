"""Windows of FRAMES frames, cut from the streams of attn_training: for training, and single clips for judging.

Also the door to that package and to the network, which is one of the systems of ../attention.
"""

import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent), str(HERE.parent / "attention")]

from attn_training.words import augment, corpus  # noqa: E402
from attn_training.words import model as spotters  # noqa: E402
from attn_training.words.places import CACHE as STREAMS  # noqa: E402
from attn_training.words.places import DATA, FRAME, HOP, RATE, ROOT, features  # noqa: E402
from attn_training.words.streams import BACKGROUND, IGNORE, Store  # noqa: E402, F401
from transformers import KeywordTransformer  # noqa: E402

CACHE = HERE / "cache"
MODELS = ROOT / "models"
LABELS = (MODELS / "kws_labels.txt").read_text().split()
UNKNOWN = LABELS.index("unknown")
FRAMES, BANDS = 98, 40  # 1.97 seconds
SCALE = 1 / 32
LAYERS = 4  # of KWT-1's 12
LEAD = 2 * RATE
AFTER = int(0.2 * RATE)  # a clip's window ends so long after its word


def network():
    """A keyword transformer of KWT-1's width: one head of 64 channels, MLP 256."""
    return KeywordTransformer(BANDS, FRAMES, width=64, heads=1, mlp=256, layers=LAYERS, classes=len(LABELS))


def trained():
    model = network()
    model.load_state_dict(torch.load(CACHE / "kwt.pt"))
    return model.eval()


def logits_of(model, features):
    """Logits [clip, label] of int8 windows."""
    model.eval()
    with torch.no_grad():
        parts = np.array_split(features, len(features) // 64 + 1)
        return np.concatenate([model(torch.from_numpy(part.astype(np.float32) * SCALE)).numpy() for part in parts])


def teacher():
    """The shipped streaming spotter."""
    return spotters.from_onnx(MODELS / "kws.onnx").eval()


def padded(pcm, rng, samples=LEAD + 3 * RATE):
    """A clip with noise at its own floor around it, LEAD samples of it in front, cut or filled to `samples`."""
    x = pcm.astype(np.float32)
    floor = min(augment.rms(part) for part in np.array_split(x, 12))
    out = rng.normal(size=samples).astype(np.float32) * min(floor, 200)
    n = min(len(x), samples - LEAD)
    out[LEAD: LEAD + n] = x[:n]
    return np.clip(np.round(out), -32768, 32767).astype(np.int16)


def clips(split):
    """int8 windows [clip, FRAMES, 40] and labels [clip] of a split's recordings, one window each.

    A window ends AFTER samples behind the last loud part of its clip; in front of the clip and behind it is noise at the
    clip's own floor.
    """
    path = CACHE / f"clips_{split}.npz"
    if not path.exists():
        rng = np.random.default_rng(6)
        recordings = [c for c in corpus.word_clips(DATA / "speech", {split}) if c.label != "hey_computer"]
        ends = [(LEAD + augment.word_bounds(c.pcm.astype(np.float32))[1] + AFTER - FRAME) // HOP for c in recordings]
        CACHE.mkdir(exist_ok=True)
        rows = features(np.stack([padded(c.pcm, rng) for c in recordings]))
        windows = np.stack([row[end + 1 - FRAMES: end + 1] for row, end in zip(rows, ends)])
        np.savez(path, features=windows, labels=[LABELS.index(c.label if c.label in LABELS else "unknown") for c in recordings])
    data = np.load(path)
    return data["features"], data["labels"]


class Streams:
    """Training windows: where they end, what the target is there and what the teacher says."""

    def __init__(self):
        self.features, targets = Store(STREAMS / "kws" / "streams").refresh().arrays()
        self.targets = np.where(targets == BACKGROUND, UNKNOWN, targets)
        self.frames = self.features.shape[1]

    def end(self, stream, rng):
        """A frame of a stream: two times in three one with a keyword's target if there is any, else with other speech."""
        target = self.targets[stream]
        usable = np.arange(30, self.frames)
        draw = rng.random()
        keyword = usable[(target[30:] >= 0) & (target[30:] < UNKNOWN)]
        other = usable[target[30:] == UNKNOWN]
        if draw < 0.67 and len(keyword):
            return rng.choice(keyword)
        if draw < 0.85 and len(other):
            return rng.choice(other)
        return rng.choice(usable)

    def window(self, stream, end, rng):
        """[FRAMES, 40] up to and with frame `end`; what a stream lacks in front is the end of another one."""
        row = self.features[stream, max(0, end + 1 - FRAMES): end + 1]
        missing = FRAMES - len(row)
        if missing:
            before = self.features[rng.integers(len(self.features))]
            row = np.concatenate([before[len(before) - missing:], row])
        return row

    def batch(self, chosen, rng):
        """Features float [n, FRAMES, 40] augmented, and the ends [n] of the chosen streams' windows."""
        ends = np.array([self.end(stream, rng) for stream in chosen])
        x = np.stack([self.window(stream, end, rng) for stream, end in zip(chosen, ends)])
        return np.clip(augment.mask(x.astype(np.float32), rng), -128, 127) * np.float32(SCALE), ends

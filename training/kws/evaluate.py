"""How well single clips are named, by the rule that the chip's spotter uses.

A clip stands between half a second of its own noise floor on both sides. Posteriors are averaged over SMOOTHING hops;
the clip is the keyword with the highest average if that reaches the threshold, else "other".

Usage: python evaluate.py [--split test] [--logits logits.npz] [--write-features features.npz] [--json out.json]

Without --logits the float model in cache/kws.pt runs. With it, the logits that `attn run --stream` computed from the
features which --write-features wrote are judged: [clip, frame, label].
"""

import argparse
import json

import numpy as np
import torch

import augment
from data import RATE, read_clips
from model import KeywordSpotter
from paths import CACHE, attn
from words import DIGITS, FURTHER_WORDS, KEYWORDS, LABELS, WAKE_WORDS

SMOOTHING = 6
THRESHOLD = 0.60
SAMPLES = int(3.6 * RATE)


def padded(pcm, rng):
    """A clip with noise at its own floor around it, cut or filled to SAMPLES."""
    x = pcm.astype(np.float32)
    floor = min(augment.rms(part) for part in np.array_split(x, 12))
    out = rng.normal(size=SAMPLES).astype(np.float32) * min(floor, 200)
    at = RATE // 2
    n = min(len(x), SAMPLES - at)
    out[at: at + n] = x[:n]
    return np.clip(np.round(out), -32768, 32767).astype(np.int16)


def clip_features(split):
    """int8 features [clip, frame, 40] and the label of every clip of a split."""
    path = CACHE / f"clips_{split}.npz"
    if not path.exists():
        rng = np.random.default_rng(5)
        clips = read_clips({split})
        np.savez(CACHE / "pcm_clips.npz", pcm=np.stack([padded(pcm, rng) for _, _, pcm in clips]))
        attn("features", CACHE / "pcm_clips.npz", "-o", CACHE / "features_clips.npz")
        features = np.load(CACHE / "features_clips.npz")["features"]
        np.savez(path, features=features, labels=[label for label, _, _ in clips])
    data = np.load(path)
    return data["features"], data["labels"]


def float_logits(model, features):
    model.eval()
    with torch.no_grad():
        parts = [model.stream(torch.from_numpy(part.astype(np.float32) / 32)).numpy()
                 for part in np.array_split(features, max(1, len(features) // 64))]
    return np.concatenate(parts)


def smoothed(logits):
    """Posteriors [clip, frame, label], averaged over the last SMOOTHING frames."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    total = np.cumsum(np.pad(p, ((0, 0), (SMOOTHING, 0), (0, 0))), axis=1)
    return (total[:, SMOOTHING:] - total[:, :-SMOOTHING]) / SMOOTHING


def decide(logits, threshold=THRESHOLD):
    """Number of the keyword in each clip; -1 is other."""
    best = smoothed(logits)[:, :, : len(KEYWORDS)].max(axis=1)
    return np.where(best.max(-1) >= threshold, best.argmax(-1), -1)


def report(logits, labels, threshold=THRESHOLD):
    decided = decide(logits, threshold)
    recall = {}
    for i, word in enumerate(KEYWORDS):
        mine = labels == word
        if mine.any():
            recall[word] = float(np.mean(decided[mine] == i))
    background = np.isin(labels, ["unknown", "noise"])
    others = ~np.isin(labels, WAKE_WORDS)
    wake = np.isin(decided, range(len(WAKE_WORDS)))
    result = {
        "recall": recall,
        "wake_recall": float(np.mean([recall[w] for w in WAKE_WORDS])),
        "other_kept": float(np.mean(~wake[others])),
        "background_kept": float(np.mean(decided[background] < 0)),
        "further_recall": float(np.mean([recall[w] for w in FURTHER_WORDS])),
        "digit_recall": float(np.mean([recall[w] for w in DIGITS])),
        "clips": int(len(labels)),
    }
    return result, decided


def confusion(decided, labels):
    """Markdown table: rows are what was said, columns what was heard."""
    names = KEYWORDS + ["other"]
    lines = ["| said \\ heard | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for word in KEYWORDS + ["unknown", "noise"]:
        heard = decided[labels == word]
        counts = [int(np.sum(heard == i)) for i in [*range(len(KEYWORDS)), -1]]
        lines.append(f"| {word} | " + " | ".join(str(c) if c else "" for c in counts) + " |")
    return "\n".join(lines)


def show(result):
    words = " ".join(f"{w} {r:.3f}" for w, r in result["recall"].items() if w not in DIGITS)
    print(f"  six wake words {result['wake_recall']:.4f}  all other clips kept {result['other_kept']:.4f}  "
          f"unknown+noise kept {result['background_kept']:.4f}  digits {result['digit_recall']:.3f}  | {words}", flush=True)


def clips(model, split):
    features, labels = clip_features(split)
    result, decided = report(float_logits(model, features), labels)
    show(result)
    return result, decided, labels


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="test", choices=["val", "test"])
    parser.add_argument("--logits")
    parser.add_argument("--write-features")
    parser.add_argument("--json")
    parser.add_argument("--confusion", action="store_true")
    arguments = parser.parse_args()
    features, labels = clip_features(arguments.split)
    if arguments.write_features:
        np.savez(arguments.write_features, features=features, scale=np.float32(1 / 32))
        return
    if arguments.logits:
        logits = np.load(arguments.logits)["logits"]
    else:
        model = KeywordSpotter()
        model.load_state_dict(torch.load(CACHE / "kws.pt"))
        logits = float_logits(model, features)
    result, decided = report(logits, labels)
    show(result)
    if arguments.confusion:
        print(confusion(decided, labels))
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()

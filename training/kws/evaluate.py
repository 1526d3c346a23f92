"""How well single clips are named, by the rule that the chip's spotter uses.

A clip stands between half a second of its own noise floor on both sides. Posteriors are averaged over SMOOTHING hops;
the clip is the keyword with the highest average if that reaches the threshold, else "other".

Usage: python evaluate.py [--split test] [--confusion] [--json out.json]    the float model in cache/kws.pt
       python evaluate.py --split test --write-features features.npz         int8 features [clip, frame, 40]
       python evaluate.py --split test --logits logits.npz                   judges `logits` [clip, frame, label] that
                                                                             `attn run` made of those features
The split `heysavant` is all recordings of the non-commercial source: other speech, never trained on, no keyword in it.
"""

import argparse
import json

import numpy as np
import torch

from data import RATE, padded, read_clips
from model import KeywordSpotter
from paths import CACHE, attn
from spot import THRESHOLD, smoothed
from words import DIGITS, FURTHER_WORDS, KEYWORDS, WAKE_WORDS

SAMPLES = int(3.6 * RATE)
HEYSAVANT = {"mycroft_heysavant"}


def clip_features(split):
    """int8 features [clip, frame, 40] and the label of every clip of a split."""
    path = CACHE / f"clips_{split}.npz"
    if not path.exists():
        rng = np.random.default_rng(5)
        clips = read_clips({"train", "val", "test"}, HEYSAVANT) if split == "heysavant" else read_clips({split})
        np.savez(CACHE / "pcm_clips.npz", pcm=np.stack([padded(pcm, rng, RATE // 2, SAMPLES) for _, _, pcm in clips]))
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


def decide(logits, threshold=THRESHOLD):
    """Number of the keyword in each clip; -1 is other."""
    best = smoothed(logits)[:, :, : len(KEYWORDS)].max(axis=1)
    return np.where(best.max(-1) >= threshold, best.argmax(-1), -1)


def report(logits, labels, threshold=THRESHOLD):
    """The figures of a split, and the decision for each clip."""
    decided = decide(logits, threshold)
    own = np.array([KEYWORDS.index(label) if label in KEYWORDS else -1 for label in labels])
    recall = {word: float(np.mean(decided[own == i] == i)) for i, word in enumerate(KEYWORDS) if np.any(own == i)}
    others = ~np.isin(labels, WAKE_WORDS)
    wake = (decided >= 0) & (decided < len(WAKE_WORDS))
    result = {
        "clips": int(len(labels)),
        "threshold": threshold,
        "wake_recall": float(np.mean([recall[w] for w in WAKE_WORDS])),
        "further_recall": float(np.mean([recall[w] for w in FURTHER_WORDS])),
        "digit_recall": float(np.mean([recall[w] for w in DIGITS])),
        "others": int(np.sum(others)),
        "other_kept": float(np.mean(~wake[others])),  # none of the six wake words is heard in another clip
        "right_or_none": float(np.mean(((decided == own) | (decided < 0))[others])),  # nor another label
        "noise_kept": float(np.mean(decided[labels == "noise"] < 0)),  # no label at all is heard in noise
        "recall": recall,
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
    print(f"  six wake words {result['wake_recall']:.4f}  other clips kept {result['other_kept']:.4f}  right or none "
          f"{result['right_or_none']:.4f}  noise kept {result['noise_kept']:.4f}  digits {result['digit_recall']:.3f}  "
          f"| {words}", flush=True)


def clips(model, split):
    features, labels = clip_features(split)
    result, decided = report(float_logits(model, features), labels)
    show(result)
    return result, decided, labels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="test", choices=["val", "test", "heysavant"])
    parser.add_argument("--threshold", type=float, default=THRESHOLD)
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
        logits = np.load(arguments.logits)["logits"].astype(np.float32)
        if logits.shape[:2] != features.shape[:2]:
            parser.error(f"{arguments.logits} holds {logits.shape[:2]} clips and frames, the split {features.shape[:2]}")
    else:
        model = KeywordSpotter()
        model.load_state_dict(torch.load(CACHE / "kws.pt"))
        logits = float_logits(model, features)
    if arguments.split == "heysavant":
        false = decide(logits, arguments.threshold)
        heard = {KEYWORDS[i]: int(np.sum(false == i)) for i in set(false.tolist()) if i >= 0}
        print(f"{len(false)} clips of other real speech, a keyword heard in {int(np.sum(false >= 0))}: {heard}")
        return
    result, decided = report(logits, labels, arguments.threshold)
    show(result)
    if arguments.confusion:
        print(confusion(decided, labels))
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()

"""How many clips are named right, one window to a clip: the label with the highest logit.

Usage: python evaluate.py --split val                           the shipped ONNX file, in float
       python evaluate.py --split val --trained                 what training has left in cache/kwt.pt
       python evaluate.py --split val --spotter                 the streaming spotter on the same windows
       python evaluate.py --split val --write-features f.npz    int8 features [clip, 98, 40]
       python evaluate.py --split val --logits logits.npz       judges `logits` [clip, 20] that `attn run` made of those

The split `test` is for the end, once.
"""

import argparse

import numpy as np
import torch

from windows import LABELS, MODELS, SCALE, UNKNOWN, clips, logits_of, teacher, trained

import onnx_files  # from .., whose door windows.py is

WAKE_WORDS, FURTHER_WORDS, DIGITS = LABELS[:6], LABELS[6:8], LABELS[8:UNKNOWN]
GROUPS = {"six wake words": WAKE_WORDS, "athena and amelia": FURTHER_WORDS, "digits": DIGITS, "noise": ["noise"]}


def by_spotter(features):
    """The streaming model's logits at a window's last frame."""
    return teacher().batch(features)[:, -1]


def report(logits, labels):
    guess = logits.argmax(-1)
    right = guess == labels
    named = [LABELS.index(word) for word in WAKE_WORDS]
    others = ~np.isin(labels, named)
    print(f"all {len(labels)} clips: {right.mean():.2%} right ({right.sum()})")
    for name, words in GROUPS.items():
        mine = np.isin(labels, [LABELS.index(word) for word in words])
        print(f"  {name}: {right[mine].mean():.2%} of {mine.sum()}")
    kept = np.mean(~np.isin(guess[others], named))
    print(f"  other clips that are not taken for one of the six: {kept:.2%} of {others.sum()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="val", choices=["val", "test"])
    parser.add_argument("--trained", action="store_true")
    parser.add_argument("--spotter", action="store_true")
    parser.add_argument("--write-features")
    parser.add_argument("--logits")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    features, labels = clips(arguments.split)
    if arguments.write_features:
        np.savez(arguments.write_features, features=features, scale=np.float32(SCALE))
        return
    if arguments.logits:
        logits = np.load(arguments.logits)["logits"].reshape(-1, len(LABELS))
        if len(logits) != len(features):
            parser.error(f"{arguments.logits} holds {len(logits)} clips, the split {len(features)}")
    elif arguments.spotter:
        logits = by_spotter(features)
    elif arguments.trained:
        logits = logits_of(trained(), features)
    else:
        logits = onnx_files.results(MODELS / "kwt.onnx", features.astype(np.float32) * np.float32(SCALE))
    report(logits, labels)


if __name__ == "__main__":
    main()

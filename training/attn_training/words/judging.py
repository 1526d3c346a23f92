"""`python -m attn_training judge`: false accepts on recordings that hold no keyword, recall on test clips, with intervals.

Thresholds are never set on what they are judged by: for a fold of the speakers they come from the other two folds, each scored by the
model that did not hear it.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np

from . import card, conditions, corpus, export, judge, spot, testset
from .model import KeywordSpotter, from_onnx
from .places import CACHE, DATA


def parse(arguments):
    parser = argparse.ArgumentParser(prog="attn_training judge", description=__doc__)
    parser.add_argument("model", type=Path, help="MODEL.onnx, beside it MODEL_labels.txt and MODEL_thresholds.csv")
    parser.add_argument("--folds", nargs=3, type=Path, metavar="ONNX", help="models that have not heard fold 0, 1, 2 of the speakers")
    parser.add_argument("--splits", nargs="+", default=["test"], help="of the long streams, when there are no folds")
    parser.add_argument("--clips", nargs="+", type=Path, default=[DATA / "speech"], help="folders of clips of the words")
    parser.add_argument("--clip-splits", nargs="+", default=["test"])
    parser.add_argument("--rate", type=float, default=0.5)
    parser.add_argument("--attn", type=Path, help="the converted model: judged beside the float one, event by event")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def load(path):
    names = Path(str(path).removesuffix(".onnx") + "_labels.txt").read_text().split()
    return from_onnx(path), names


def shipped_thresholds(path):
    with open(str(path).removesuffix(".onnx") + "_thresholds.csv") as file:
        return {row["label"]: float(row["threshold"]) for row in csv.DictReader(file)}


def false_accepts(averages, thresholds, streams):
    """Counts of each label, and the hours."""
    return judge.count_events(averages, thresholds), conditions.hours([s.features for s in streams])


def by_folds(models, names, words, streams, tests, rate):
    """Out-of-fold scores, thresholds from the other folds, events in the judged fold, recall of each fold's model."""
    folds = [[s for s in streams if corpus.fold(s.speaker) == f] for f in range(corpus.FOLDS)]
    averages = [conditions.averages(m, [s.features for s in own]) for m, own in zip(models, folds)]
    peaks = [judge.label_peaks(a, len(words)) for a in averages]
    hours = [conditions.hours([s.features for s in own]) for own in folds]
    counts, heard = np.zeros((corpus.FOLDS, len(words)), int), {kind: np.zeros((len(words), 2), int) for kind in tests}
    chosen = []
    for f in range(corpus.FOLDS):
        others = [g for g in range(corpus.FOLDS) if g != f]
        values = [judge.threshold(np.sort(np.concatenate([peaks[g][k] for g in others]))[::-1], sum(hours[g] for g in others), rate)
                  for k in range(len(words))]
        chosen.append(values)
        counts[f] = judge.count_events(averages[f], values)
        for kind, (scores, own) in conditions.clip_scores(models[f], tests, len(words)).items():
            heard[kind] += np.array(judge.recall(scores, own, values))
    pooled = [np.sort(np.concatenate([peaks[f][k] for f in range(corpus.FOLDS)]))[::-1] for k in range(len(words))]
    return {"hours": hours, "thresholds": chosen, "counts": counts, "heard": heard, "peaks": pooled}


def agreement(model, attn_file, streams, tests, thresholds):
    """Events of the float and of the converted model: both, only float, only int8."""
    both = only_float = only_int8 = 0
    sets = [[s.features for s in streams]] + [list(x) for x, _, _ in tests.values()]
    for features in sets:
        stacked = len({len(x) for x in features}) == 1
        logits = export.int8_logits(attn_file, [np.stack(features)] if stacked else features)
        logits = list(logits[0]) if stacked else logits
        for x, y in zip(features, logits):
            a = spot.events(spot.smoothed(model.stream(x)), thresholds)
            b = spot.events(spot.smoothed(y), thresholds)
            left = list(b)
            for frame, label, _ in a:
                match = next((e for e in left if e[1] == label and abs(e[0] - frame) <= spot.REFRACTORY // 2), None)
                if match:
                    left.remove(match)
                    both += 1
                else:
                    only_float += 1
            only_int8 += len(left)
    return {"both": both, "only_float": only_float, "only_int8": only_int8}


def rows_of(words, thresholds, counts, hours, heard):
    rows = [[word, thresholds[k], card.per_hour(int(counts[k]), hours), *(card.percent(*map(int, h[k])) for h in heard.values())]
            for k, word in enumerate(words)]
    rows.append(["all", "", card.per_hour(int(np.sum(counts)), hours), *(card.percent(*map(int, np.sum(h, axis=0))) for h in heard.values())])
    return card.table(["word", "threshold", "false accepts/h", *heard], rows)


def main(arguments):
    arguments = parse(arguments)
    model, names = load(arguments.model)
    shipped = shipped_thresholds(arguments.model)
    words = list(shipped)
    values = list(shipped.values())
    tests = testset.clips(words, arguments.clips, set(arguments.clip_splits), "-".join([*words, *arguments.clip_splits])[:80])
    streams = testset.long_streams()
    result = {}
    held = [s for s in streams if s.split in arguments.splits]
    averages = conditions.averages(model, [s.features for s in held])
    counts, hours = false_accepts(averages, values, held)
    scores = conditions.clip_scores(model, tests, len(words))
    heard = {kind: np.array(judge.recall(s, own, values)) for kind, (s, own) in scores.items()}
    print(f"{arguments.model}, thresholds as shipped, {' and '.join(arguments.splits)} split, {hours:.2f} h\n")
    print(rows_of(words, [f"{v:.3f}" for v in values], counts, hours, heard))
    result["shipped"] = {"hours": hours, "counts": counts.tolist(), "thresholds": shipped, "heard": {k: h.tolist() for k, h in heard.items()}}
    peaks, total = judge.label_peaks(averages, len(words)), hours
    if arguments.folds:
        models = [load_fold(path, names) for path in arguments.folds]
        for rate in (arguments.rate, arguments.rate / len(words)):
            f = by_folds(models, names, words, streams, tests, rate)
            total = sum(f["hours"])
            print(f"\nthree folds, {total:.2f} h, {rate:.3g} an hour for each word\n")
            mean = [f"{np.mean([t[k] for t in f['thresholds']]):.3f}" for k in range(len(words))]
            print(rows_of(words, mean, f["counts"].sum(0), total, f["heard"]))
            result[f"folds_{rate:.3g}"] = {"hours": f["hours"], "counts": f["counts"].tolist(), "thresholds": f["thresholds"],
                                           "heard": {k: h.tolist() for k, h in f["heard"].items()}}
            peaks = f["peaks"]
    if arguments.picture:
        card.picture(words, peaks, total, scores, arguments.picture, f"{arguments.model.stem}: test clips, {total:.1f} h without a keyword", values)
    if arguments.attn:
        result["int8"] = agreement(model, arguments.attn, held, tests, values)
        print("\nint8 and float:", result["int8"])
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


def load_fold(path, names):
    if path.suffix == ".pt":
        import torch
        model = KeywordSpotter(len(names)).fold()
        model.load_state_dict(torch.load(path))
        return model
    return from_onnx(path)


__all__ = ["CACHE", "main"]

"""`python -m attn_training judge`: false accepts on recordings that hold no keyword, recall on test clips, with intervals.

Thresholds are never set on what they are judged by: those for one part of the speakers come from the other parts. The parts are splits that
training did not hear (`--splits val test`), or three folds of all speakers, each scored by a model that did not hear it (`--folds`).
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np

from . import card, conditions, corpus, export, judge, spot, testset
from .model import KeywordSpotter, from_onnx
from .places import DATA


def parse(arguments):
    parser = argparse.ArgumentParser(prog="attn_training judge", description=__doc__)
    parser.add_argument("model", type=Path, help="MODEL.onnx, beside it MODEL_labels.txt and MODEL_thresholds.csv")
    parser.add_argument("--folds", nargs=3, type=Path, metavar="ONNX", help="models that have not heard fold 0, 1, 2 of the speakers")
    parser.add_argument("--splits", nargs="+", default=["val", "test"], help="of the long streams, when there are no folds")
    parser.add_argument("--rates", nargs="+", type=float, default=[1.0, 0.5, 1 / 12, 0.1], help="false accepts an hour of each word")
    parser.add_argument("--clips", nargs="+", type=Path, default=[DATA / "speech"], help="folders of clips of the words")
    parser.add_argument("--clip-splits", nargs="+", default=["test"])
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


class Parts:
    """Scores of parts of the speakers, each by a model that has not heard them."""

    def __init__(self, models, parts, words, tests):
        self.words = words
        self.averages = [conditions.averages(m, [s.features for s in own]) for m, own in zip(models, parts)]
        self.peaks = [judge.label_peaks(a, len(words)) for a in self.averages]
        self.hours = [conditions.hours([s.features for s in own]) for own in parts]
        self.scores = [conditions.clip_scores(m, tests, len(words)) for m in models]

    def pooled(self, parts):
        return [np.sort(np.concatenate([self.peaks[p][k] for p in parts]))[::-1] for k in range(len(self.words))]

    def crossed(self, rate):
        """Thresholds from the other parts, events in the judged part, recall of its model: counts and hits are sums over the parts."""
        everything = range(len(self.hours))
        counts, chosen, heard = np.zeros((len(self.hours), len(self.words)), int), [], {}
        for f in everything:
            others = [g for g in everything if g != f]
            values = [judge.threshold(peaks, sum(self.hours[g] for g in others), rate) for peaks in self.pooled(others)]
            chosen.append(values)
            counts[f] = judge.count_events(self.averages[f], values)
            for kind, (scores, own) in self.scores[f].items():
                heard[kind] = heard.get(kind, 0) + np.array(judge.recall(scores, own, values))
        # Each clip is judged once for each part; intervals are those of the clips.
        return {"thresholds": chosen, "counts": counts, "heard": {kind: h / len(self.hours) for kind, h in heard.items()}}


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
    rows = [[word, f"{thresholds[k]:.3f}", card.per_hour(int(counts[k]), hours), *(card.percent(*h[k]) for h in heard.values())]
            for k, word in enumerate(words)]
    rows.append(["all", "", card.per_hour(int(np.sum(counts)), hours), *(card.percent(*np.sum(h, axis=0)) for h in heard.values())])
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
    hours = conditions.hours([s.features for s in held])
    counts = judge.count_events(averages, values)
    scores = conditions.clip_scores(model, tests, len(words))
    heard = {kind: np.array(judge.recall(s, own, values)) for kind, (s, own) in scores.items()}
    print(f"{arguments.model.name}, thresholds as shipped, speakers of {' and '.join(arguments.splits)}, {hours:.2f} h\n")
    print(rows_of(words, values, counts, hours, heard))
    result["shipped"] = {"hours": hours, "counts": counts.tolist(), "thresholds": shipped, "heard": {k: h.tolist() for k, h in heard.items()}}
    if arguments.folds:
        models = [load_fold(path, names) for path in arguments.folds]
        parts = Parts(models, [[s for s in streams if corpus.fold(s.speaker) == f] for f in range(corpus.FOLDS)], words, tests)
    else:
        parts = Parts([model] * len(arguments.splits), [[s for s in held if s.split == split] for split in arguments.splits], words, tests)
    total = sum(parts.hours)
    for rate in arguments.rates if len(parts.hours) > 1 else ():
        f = parts.crossed(rate)
        print(f"\n{len(parts.hours)} parts, {total:.2f} h, thresholds of each from the others, for {rate:.3g} an hour of each word\n")
        print(rows_of(words, np.mean(f["thresholds"], axis=0), f["counts"].sum(0), total, f["heard"]))
        result[f"crossed_{rate:.3g}"] = {"hours": parts.hours, "counts": f["counts"].tolist(), "thresholds": f["thresholds"],
                                         "heard": {k: h.tolist() for k, h in f["heard"].items()}}
    peaks = parts.pooled(range(len(parts.hours)))
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


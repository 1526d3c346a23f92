"""`python -m attn_training words`: from words on the command line to a model, its thresholds, its curve and its card."""

import argparse
import copy
import json
import pickle
import re
import time
from pathlib import Path

import numpy as np
import torch

from . import augment, card, conditions, corpus, export, fit, judge, material, rounds, spot
from .model import from_onnx
from .places import CACHE, DATA, RATE, ROOT, VOICES
from .voices import Voices

KOKORO = 80  # renderings of each word
HELD_OUT = 8  # every eighth synthetic rendering is kept for the curve
THRESHOLD = 0.60  # of every word: the biases of the logits make up for the differences
KEPT = 400  # shards of streams, with --keep-streams
SHARE_OF_VOICES = 0.35  # of the minutes, at most


def parse(arguments):
    parser = argparse.ArgumentParser(prog="attn_training words", description=__doc__)
    parser.add_argument("words", nargs="+", metavar="WORD", help="what is said, or LABEL=what is said")
    parser.add_argument("--further", nargs="*", default=[], metavar="WORD", help="labels that are learnt, but not reported")
    parser.add_argument("--recordings", action="append", default=[], type=Path, metavar="DIR", help="recordings of the words: DIR/LABEL/*.wav, "
                        "or a folder with a manifest.csv; without it the words are learnt from synthetic voices alone")
    parser.add_argument("--minutes", type=float, default=120, help="of everything (default 120)")
    parser.add_argument("--rate", type=float, default=0.5, help="false accepts an hour that each word may have (default 0.5)")
    parser.add_argument("--start", type=Path, default=ROOT / "models" / "kws.onnx", help="weights to start from")
    parser.add_argument("--voices", type=int, default=KOKORO, help=f"renderings of each word by the neural voices (default {KOKORO})")
    parser.add_argument("--name", help="of the files (default: the first label)")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for the files (default: this one)")
    parser.add_argument("--leave-out", type=int, choices=range(corpus.FOLDS), help="train without this fold of the speakers (for `judge --folds`)")
    parser.add_argument("--keep-streams", action="store_true", help="leave the training streams in the cache (training/kwt uses them)")
    parser.add_argument("--streams", type=Path, metavar="DIR", help="train on these, which a run with --keep-streams left, and make none")
    parser.add_argument("--processes", type=int, default=2, help="that train, each on one core; one more makes streams (default 2)")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args(arguments)


def labelled(words):
    """{label: what is said} of words of the command line."""
    found = {}
    for word in words:
        label, _, text = word.partition("=")
        label, text = re.sub(r"\W+", "_", label.strip().lower()), text or label
        if not label or not text.strip() or label in {*found, "unknown", "noise"}:
            raise SystemExit(f"`{word}` is empty, reserved or given twice: give each word once, as TEXT or LABEL=TEXT")
        found[label] = " ".join(text.replace("_", " ").split()).lower()
    return found


def start_rows(start, labels):
    """For each label its row in the logits of the model to start from."""
    known = Path(str(start).removesuffix(".onnx") + "_labels.txt").read_text().split("\n")
    return [known.index(label) if label in known else None for label in labels]


def gather(arguments, keywords, further, work, deadline):
    """The corpus for training, and held-out clips of the keywords; kept in `work`."""
    path = work / "material.pkl"
    if path.exists():
        return pickle.loads(path.read_bytes())
    print(f"voices: {VOICES if VOICES.is_dir() else 'espeak-ng and flite only; `python -m attn_training voices` fetches better ones'}")
    own = corpus.Corpus()
    material.recorded(own, keywords, further, arguments.recordings)
    if not own.speech:
        print(f"warning: no recorded speech in {DATA}: expect many false accepts; training/README.md says what to download")
    material.synthesise(own, Voices(CACHE / "renderings", VOICES), keywords, further, CACHE, arguments.voices,
                        stop=lambda: time.time() > deadline)
    held = []
    for label in keywords:
        for engine, clips in own.spoken[label].items():
            if not arguments.recordings:
                held += [corpus.Clip(label, x, engine) for x in clips[::HELD_OUT]]
            own.spoken[label][engine] = [x for i, x in enumerate(clips) if i % HELD_OUT]
    for folder in arguments.recordings:
        held += [c for c in corpus.word_clips(folder, {"val"}) if c.label in keywords]
    material.through_codec(own)
    print(own, flush=True)
    path.write_bytes(pickle.dumps((own, held)))
    return own, held


def validation_streams(leave_out=None, data=DATA):
    """Speech and noise of the validation split without a keyword, less one fold: as it is, and at two other speeds."""
    clips = [c for folder in ("speech_negative", "noise") if (data / folder).is_dir() for c in corpus.long_files(data / folder, {"val"})
             if len(c.pcm) > RATE and corpus.fold(c.speaker) != leave_out]
    rng = np.random.default_rng(1)
    changed = [corpus.Clip("", np.round(augment.change_speed(c.pcm.astype(np.float32), f * rng.uniform(0.96, 1.04))).astype(np.int16))
               for f in (0.9, 1.12) for c in clips]
    return conditions.long_features(clips + changed), clips


def main(arguments):
    arguments = parse(arguments)
    started = time.time()
    keywords, further = labelled(arguments.words), labelled(arguments.further)
    names = [*keywords, *further, "unknown", "noise"]
    name = arguments.name or next(iter(keywords))
    work = CACHE / name
    work.mkdir(parents=True, exist_ok=True)
    # A fold's model that trains on streams which are there needs no voices, and neither curve nor card.
    own, held = (None, []) if arguments.streams and arguments.leave_out is not None else gather(
        arguments, keywords, further, work, started + 60 * SHARE_OF_VOICES * arguments.minutes)
    model = from_onnx(arguments.start, start_rows(arguments.start, names))
    left = arguments.minutes - (time.time() - started) / 60
    train(model, own, keywords, further, arguments, work, max(1.0, left - min(5.0, 0.15 * left + 1)))  # the rest is for biases, curve and card
    finish(model, own, held, keywords, names, arguments, name, time.time() - started)


def train(model, own, keywords, further, arguments, work, minutes):
    """Trains on streams of `--streams`, or on new ones that a process of their own makes beside it."""
    options = {"fold": arguments.leave_out, "seed": arguments.seed, "size": arguments.processes}
    if arguments.streams:
        capacity = fit.SHARDS * (1 if arguments.leave_out is None else corpus.FOLDS)  # a shard holds all folds
        fit.train(model, arguments.streams, len(keywords), minutes, work / "weights.pt", capacity=capacity, **options)
        return
    kept = None if arguments.keep_streams else 2 * fit.SHARDS
    maker = rounds.producer(own, list(keywords), list(further), work / "streams", lambda n: arguments.keep_streams and n >= KEPT,
                            copy.deepcopy(model), work / "weights.pt", arguments.seed, kept, arguments.leave_out)
    try:
        fit.train(model, work / "streams", len(keywords), minutes, work / "weights.pt", **options)
    finally:
        maker.terminate()
    for shard in () if arguments.keep_streams else (work / "streams").glob("*.npz"):
        shard.unlink()


def finish(model, own, held, keywords, names, arguments, name, seconds):
    """Biases, files, curve and card; of a fold's model the biases and the model."""
    streams, clips = validation_streams(arguments.leave_out)
    hours = conditions.hours(streams)
    logits = [model.stream(x) for x in streams]
    biases = judge.label_biases(logits, len(keywords), hours, arguments.rate, THRESHOLD)
    with torch.no_grad():
        model.logits.bias += torch.from_numpy(biases)
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    export.onnx(model, out / f"{name}.onnx")
    export.labels(names, out / f"{name}_labels.txt")
    if arguments.leave_out is not None:
        return
    averages = [spot.smoothed(x + biases) for x in logits]
    peaks = judge.label_peaks(averages, len(keywords))
    values = {label: THRESHOLD for label in keywords}
    noise = [c for c in clips if c.label]  # kinds of noise have names, speech has none
    tests = conditions.clips(held, names, noise or clips, [c for c in clips if not c.label] or clips) if held else {}
    scores = conditions.clip_scores(model, tests, len(keywords))
    export.thresholds(values, out / f"{name}_thresholds.csv")
    spoken = [[x for clips_ in own.spoken[label].values() for x in clips_] for label in keywords]
    export.calibration(spoken, own.near + own.sentences, out / f"{name}_calibration.npz")
    card.picture(list(keywords), peaks, hours, scores, out / f"{name}_curve.png", f"{name}: validation", list(values.values()))
    counts = judge.count_events(averages, list(values.values()))
    of = "validation recordings" if arguments.recordings else "held-out synthetic renderings"
    rows = [[label, f"{judge.threshold(peaks[k], hours, 0.1):.3f}", card.per_hour(int(counts[k]), hours),
             *(card.percent(*judge.recall(s, o, list(values.values()))[k]) for s, o in scores.values())] for k, label in enumerate(keywords)]
    body = "\n\n".join([
        f"## Thresholds\n\nAt {THRESHOLD:.2f}, the biases of the logits are set for {arguments.rate:g} false accepts an hour of each word on "
        f"{hours:.1f} hours of validation speech and noise (a third of it as recorded, the rest the same at other speeds), by the tail of the "
        f"highest scores. Heard at {THRESHOLD:.2f}: of {of}. 95 % intervals. The threshold for 0.1 an hour is extrapolated from that tail.",
        card.table(["word", "for 0.1/h", "false accepts/h", *(f"heard, {k}" for k in scores)], rows),
        f"![misses against false accepts]({name}_curve.png)",
        f"## Data\n\n{own}\n\nMade by `python -m attn_training words {' '.join(map(repr, arguments.words))}` in {seconds / 60:.0f} minutes."])
    (out / f"{name}.md").write_text(card.CARD.format(
        title=name, name=name, words=", ".join(keywords), labels=len(names), lowest=THRESHOLD, background=",".join(names[len(keywords):]), body=body, **card.network(model)))
    print(json.dumps({"thresholds": values, "false_accepts": counts.tolist(), "hours": hours,
                      "recall": {k: judge.recall(s, o, list(values.values())) for k, (s, o) in scores.items()}}))


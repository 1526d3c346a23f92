#!/usr/bin/env python3
"""Attention, recurrent and convolutional systems as their authors write them, exported by both of PyTorch's exporters and converted.

    zoo.py PATH_TO_ATTN WORK_FOLDER [--only NAME,NAME] [--fast] [--batch static] [--dtype int8] [--json FILE] [--keep FOLDER]

See README.md beside this file.
"""

import argparse
import importlib
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import warnings
import zlib

import numpy as np
import onnx
import onnxruntime
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "training"), str(HERE.parents[1] / "training" / "attention")]
import onnx_files  # noqa: E402
import vision  # noqa: E402

MODULES = [path.stem for path in sorted(HERE.glob("family_*.py"))]
PRECISIONS = ["int8", "int16x8", "fp16"]
FLOORS = {False: {"int8": 28, "int16x8": 45, "fp16": 55}, True: {"int8": 22, "int16x8": 40, "fp16": 50}}  # by `stack`
TESTED = 8


def systems(only):
    for module in MODULES:
        for name, system in importlib.import_module(module).SYSTEMS.items():
            if not only or name in only or module in only:
                yield name, system


def sqnr(want, got):
    if want.dtype.kind in "iub":  # choices: nine of ten must agree
        return np.inf if np.mean(want.ravel() == got.ravel()) >= 0.9 else 0.0
    want, got = want.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    return 10 * np.log10((np.square(want).sum() + 1e-30) / (np.square(want - got).sum() + 1e-30))


def last_line(text):
    """The error of a command: the line that says `error`, or the last."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no message"])[-1]


def flat(result):
    """Tensors in nested tuples and lists, in order."""
    if isinstance(result, torch.Tensor):
        return [result]
    return [tensor for part in result for tensor in flat(part)] if isinstance(result, (tuple, list)) else []


class Case:
    """One system with its data, and the files of one of its exports."""

    def __init__(self, name, system, folder):
        torch.manual_seed(zlib.crc32(name.encode()))
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.name, self.system, self.folder = name, system, folder
        self.model = system.make()
        self.data = {key: given.samples(rng) for key, given in system.inputs.items()}
        if isinstance(self.model, onnx.ModelProto):
            self.outputs = [info.name for info in self.model.graph.output]
            self.want = self.by_onnxruntime(self.export(system.exporters[0], False))
            return
        self.model.eval()
        vision.randomise(self.model)
        with torch.no_grad():
            rows = [flat(self.model(*self.example(i))) for i in range(TESTED)]
        self.want = [np.stack([row[k].numpy() for row in rows]) for k in range(len(rows[0]))]
        self.outputs = [f"out{k}" for k in range(len(self.want))]

    def example(self, i, copies=1):
        given = self.system.inputs
        pick = lambda key, array: np.repeat(array[i], copies, given[key].batch) if given[key].batch is not None else array[i]
        return tuple(torch.from_numpy(pick(key, array)) for key, array in self.data.items())

    def as_dataset(self, part):
        """Samples first; in place of a batch axis that is the first, not beside it."""
        drop = lambda key, array: array[:, 0] if self.system.inputs[key].batch == 0 else array
        return {key: drop(key, array[part]) for key, array in self.data.items()}

    def export(self, exporter, dynamic):
        """The file, or raises what the exporter or onnxruntime says against it."""
        path = self.folder / "m.onnx"
        if isinstance(self.model, onnx.ModelProto):
            onnx.save(self.model, path)
            return path
        axes = {key: given.batch for key, given in self.system.inputs.items() if given.batch is not None}
        example = self.example(0, copies=2 if dynamic else 1)
        onnx_files.export(self.model, example, path, exporter == "dynamo", list(self.data), self.outputs,
                          dynamic=axes if dynamic else None, opset=None, axis_name="batch")
        for want, got in zip(self.want, self.by_onnxruntime(path)):
            if sqnr(want, got) < 70:
                raise ValueError(f"the exported file differs from PyTorch: {sqnr(want, got):.1f} dB")
        return path

    def by_onnxruntime(self, path, first=0):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options)
        names = {given.name for given in session.get_inputs()}  # an input that is not used is not exported
        feed = lambda i: {key: array[i] for key, array in self.data.items() if key in names}
        rows = [session.run(None, feed(i)) for i in range(first, first + TESTED)]
        return [np.stack(part) for part in zip(*rows)]

    def lengths(self):
        """For a model whose mask is named by a flag: how much of each other input is in use, as `attn run` takes it."""
        flags = self.system.flags
        if "--mask" in flags:
            used = self.data[flags[flags.index("--mask") + 1]][:TESTED] != 0
        elif "--padding-mask" in flags:
            used = self.data[flags[flags.index("--padding-mask") + 1]][:TESTED] == 0
        else:
            return {}
        return {f"{key}_len": used.reshape(TESTED, -1).sum(-1) for key in self.data if key not in flags}

    def outcome(self, attn, path, precision):
        """((decibels, output) of the worst output or None, error or None)"""
        def run(*words):
            try:
                return subprocess.run([attn, *map(str, words)], capture_output=True, text=True, timeout=120)
            except subprocess.TimeoutExpired:
                return subprocess.CompletedProcess(words, 124, "", "error: longer than 120 s")

        names = {given.name for given in onnxruntime.InferenceSession(path).get_inputs()}
        kept = lambda part: {key: array for key, array in self.as_dataset(part).items() if key in names}
        calibration, tested, out = (self.folder / f"{n}.npz" for n in ("calibration", "tested", "results"))
        np.savez(calibration, **kept(slice(TESTED, None)))
        np.savez(tested, **kept(slice(0, TESTED)), **self.lengths())
        file = self.folder / "m.attn"
        done = run("convert", path, "--calibrate", calibration, "--dtype", precision, *self.system.flags, "-o", file)
        if done.returncode:
            word = "refused" if done.returncode in (1, 2) else f"PANIC ({done.returncode})"
            return None, f"{word}: {last_line(done.stderr)}"
        done = run("run", file, tested, "-o", out)
        if done.returncode:
            return None, f"DOES NOT RUN: {last_line(done.stderr)}"
        results, worst = np.load(out), (np.inf, "")
        for k, (name, want) in enumerate(zip(self.outputs, self.want)):
            if name not in results.files and len(results.files) != len(self.want):
                return None, f"WRONG: no output {name}, only {results.files}"
            got = results[name] if name in results.files else results[results.files[k]]
            if got.size != want.size:
                return None, f"WRONG: {name} has shape {got.shape}, not {want.shape}"
            worst = min(worst, (float(sqnr(want, got)), name))
        return worst, None

    def keep(self, path, folder, label):
        """A reproducer whose expected outputs are those of the first samples of its own data."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{label}.onnx")
        np.savez(folder / f"{label}.npz", **self.as_dataset(slice(TESTED, None)))
        np.savez(folder / f"{label}.expected.npz", **dict(zip(self.outputs, self.by_onnxruntime(path, TESTED))))


def variants(given, system):
    for exporter in system.exporters[:1] if given.fast else system.exporters:
        for dynamic in [False] if given.fast else [batch == "dynamic" for batch in given.batch]:
            if not dynamic or exporter in system.dynamic and any(given.batch is not None for given in system.inputs.values()):
                yield exporter, dynamic


def rows(given):
    """One dictionary for each system x exporter x batch x precision, printed as they come."""
    for name, system in systems(given.only):
        case = Case(name, system, given.work)
        for exporter, dynamic in variants(given, system):
            row = {"system": name, "exporter": exporter, "batch": "dynamic" if dynamic else "static"}
            try:
                path = case.export(exporter, dynamic)
            except Exception as error:  # whatever an exporter raises is its own, and listed as such
                text = f"EXPORT: {type(error).__name__}: {str(error).strip()[:200]}".replace("\n", " ")
                yield {**row, "precision": "-", "db": None, "error": text, "failed": True}
                continue
            failed = False
            for precision in given.dtype:
                worst, error = case.outcome(given.attn, path, precision)
                db, output = worst or (None, None)
                bad = error is not None or db < FLOORS[system.stack][precision]
                failed |= bad
                yield {**row, "precision": precision, "db": db, "output": output, "error": error, "failed": bad}
            if failed and given.keep and not dynamic:
                case.keep(path, given.keep, f"{name}_{exporter}")


def line(row):
    what = row["error"] or f"{row['db']:.1f} dB" + (f" LOW ({row['output']})" if row["failed"] else "")
    return f"{row['system']}, {row['exporter']}, {row['batch']}, {row['precision']}, {what}"


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("attn")
    words.add_argument("work", type=pathlib.Path)
    words.add_argument("--only", type=lambda text: text.split(","), help="names of systems or of family_ modules")
    words.add_argument("--fast", action="store_true", help="one exporter, static batch")
    words.add_argument("--batch", nargs="+", choices=["static", "dynamic"], default=["static", "dynamic"])
    words.add_argument("--dtype", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    words.add_argument("--failures", type=pathlib.Path, help="append failures, one a line")
    words.add_argument("--keep", type=pathlib.Path, help="keep the files of what fails here")
    words.add_argument("--json", type=pathlib.Path)
    given = words.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # the TorchScript exporter cannot trace the fused layer
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ["TQDM_DISABLE"] = "1"
    results = []
    for row in rows(given):
        results.append(row)
        print(line(row), flush=True)
        if row["failed"] and given.failures:
            with given.failures.open("a") as file:
                file.write(line(row) + "\n")
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))
    exports = sum(row["precision"] == "-" for row in results)
    failed = sum(row["failed"] for row in results) - exports
    print(f"{len({row['system'] for row in results})} systems: {len(results) - exports} conversions, {failed} refused or below their "
          f"floor; {exports} exports failed")


if __name__ == "__main__":
    main()

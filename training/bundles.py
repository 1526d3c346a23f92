"""A recurrent encoder and decoder step as the files of one bundle: ONNX by either exporter, and the manifest that names them.

Not here: the networks, their data, and what a recipe writes beside these files (vocabularies, calibration data).
"""

from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch

import onnx_files

MANIFEST = """# {title}. `attn convert {file} -o {name}.attn` makes one file of it.
name = "{name}"
calibrate = "{models}{name}.calibration.npz"
max_length = {max_length}
{audio}
[entries]
encode = "{stem}.encode.onnx"
step = "{stem}.step.onnx"

[state]
state = {{ from = ["encode.state", "step.state_next"], to = "step.state" }}
memory = {{ from = ["encode.memory"], to = "step.memory" }}

[decode]
encode = "encode"
step = "step"
input = "{input}"
token = "token"
logits = "logits"
weights = "weights"
start = "{start}"
end = "{end}"
max_tokens = {max_tokens}

[vocabulary]
{symbols}tokens = "{models}{name}.tokens.txt"
separator = " "
"""


class Exported:
    """The files of a bundle through onnxruntime, to be called as the PyTorch modules they were exported from: any batch, a row at
    a time."""

    def __init__(self, stem):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        load = lambda entry: onnxruntime.InferenceSession(f"{stem}.{entry}.onnx", options)
        self._encode, self._step = load("encode"), load("step")

    @staticmethod
    def _rows(session, feeds, names):
        """Results by name, each row's stacked along its own axis of the batch: the second of a state, the first of others."""
        axis = lambda name: 1 if name.startswith("state") else 0
        count = next(len(array) for name, array in feeds.items() if axis(name) == 0)
        results = []
        for i in range(count):
            row = {name: array.narrow(axis(name), i, 1).numpy() for name, array in feeds.items()}
            results.append(session.run(names, row))
        return [torch.from_numpy(np.concatenate(parts, axis(name))) for name, parts in zip(names, zip(*results))]

    def encoder(self, rows):
        """The input of the encoder -> memory, state."""
        name = self._encode.get_inputs()[0].name
        return self._rows(self._encode, {name: rows}, ["memory", "state"])

    def step(self, token, state, memory):
        """-> logits, next state, attention weights."""
        feeds = {"token": token, "state": state, "memory": memory}
        return self._rows(self._step, feeds, ["logits", "state_next", "weights"])


@dataclass
class Bundle:
    """What a manifest says. `max_memory` is the length of the memory that an input of `max_length` gives."""

    name: str
    title: str
    input: str
    max_length: int
    max_memory: int
    max_tokens: int
    start: str
    end: str
    hop: int | None = None  # samples from frame to frame, where the input is sound
    symbols: bool = False  # whether the input has a vocabulary

    def manifest(self, stem, models):
        audio = f"\n[audio]\nhop = {self.hop}\n" if self.hop else ""
        symbols = f'symbols = "{models}{self.name}.symbols.txt"\n' if self.symbols else ""
        fields = vars(self) | {"stem": stem, "file": f"{stem}.bundle.toml", "models": models, "audio": audio, "symbols": symbols}
        return MANIFEST.format(**fields)


def write(model, bundle, example, probes, models, fixtures):
    """Both exporters' files: dynamo's in `models`, TorchScript's in `fixtures`, each held against PyTorch.

    `model` has `encoder` (input [1, t, ...] to memory [1, t', m] and state) and `step` (token [1], state, memory to logits,
    the next state and weights). `example` is their input, state and memory, `probes` are encoder inputs as arrays.
    """
    for folder, stem, dynamo, back in [(models, bundle.name, True, ""),
                                       (fixtures, f"{bundle.name}_torchscript", False, "../../../models/")]:
        paths = export(model, bundle, example, folder, stem, dynamo)
        (folder / f"{stem}.bundle.toml").write_text(bundle.manifest(stem, back))
        for probe in probes:
            check(model, bundle, paths, probe)


def export(model, bundle, example, folder, stem, dynamo):
    """Encoder and step of one exporter. Returns their paths."""
    encode, step = (folder / f"{stem}.{entry}.onnx" for entry in ["encode", "step"])
    source, state, memory = example
    encoder_axes, step_axes = {bundle.input: 1}, {"memory": 1}
    if not dynamo:  # dynamo follows axes to the outputs by itself
        encoder_axes, step_axes = encoder_axes | {"memory": 1}, step_axes | {"weights": 1}
    onnx_files.export(model.encoder, (source,), encode, dynamo, [bundle.input], ["memory", "state"], encoder_axes,
                      bundle.max_length)
    token = torch.zeros(1, dtype=torch.long)
    onnx_files.export(model.step, (token, state, memory), step, dynamo, ["token", "state", "memory"],
                      ["logits", "state_next", "weights"], step_axes, bundle.max_memory)
    return encode, step


def check(model, bundle, paths, source):
    """onnxruntime must compute what PyTorch computes."""
    encode, step = (onnxruntime.InferenceSession(path) for path in paths)
    memory, state = encode.run(["memory", "state"], {bundle.input: source})
    worst = 0.0
    with torch.no_grad():
        ours, our_state = model.encoder(torch.from_numpy(source))
        for token in range(6):
            feeds = {"token": np.array([token]), "state": state, "memory": memory}
            logits, state, _ = step.run(["logits", "state_next", "weights"], feeds)
            expected, our_state, _ = model.step(torch.tensor([token]), our_state, ours)
            worst = max(worst, np.abs(logits - expected.numpy()).max())
    print(f"{paths[1].name}: input of {source.shape[1]}, logits within {worst:.1e} of PyTorch's")
    if worst > 1e-3:
        raise SystemExit("the exported files compute something else")


def distance(a, b):
    """Levenshtein distance of two lists."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(diagonal + (x != y), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def report_agreement(decoded, by_float):
    """How many inputs of two lists of token lists have the same tokens."""
    same = sum(list(a) == list(b) for a, b in zip(decoded, by_float, strict=True))
    print(f"tokens of the converted file are float's for {same} of {len(by_float)} inputs")

"""Results: plain data, made from what the native half says as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """A keyword that was heard.

    Attributes:
        seconds: from the start of the recording to the end of the hop in which it was reported.
        label: the keyword.
        confidence: its averaged posterior, 0 to 1.
    """

    seconds: float
    label: str
    confidence: float


@dataclass(frozen=True)
class Score:
    """The highest averaged posterior of a label in a recording, 0 to 1, and when that was, in seconds."""

    highest: float
    seconds: float


@dataclass(frozen=True)
class Sequence:
    """A decoded sequence.

    Attributes:
        tokens: names of its tokens, without those of start and end; numbers where the model has no names.
        numbers: the same as numbers.
        text: the tokens joined as the model's vocabulary says.
        score: log-probability in nats, that of the end token included.
        ended: False if the limit on tokens cut it off.
    """

    tokens: tuple[str, ...]
    numbers: tuple[int, ...]
    text: str
    score: float
    ended: bool

    @classmethod
    def _of(cls, said: dict[str, Any]) -> Sequence:
        return cls(
            tuple(said["tokens"]), tuple(said["numbers"]), said["text"], said["score"], said["ended"]
        )


@dataclass(frozen=True)
class Layer:
    """A value of the model, float against the file.

    Attributes:
        name: the ONNX tensor.
        op: the operator that computes it, or ``input``.
        dtype: its type in the file: ``int8``, ``int16``, ``int32``, ``float16``.
        sqnr_db: power of the float value over that of the difference, in dB; None where either is 0.
    """

    name: str
    op: str
    dtype: str
    sqnr_db: float | None


@dataclass(frozen=True)
class OutputQuality:
    """An output of the model, float against the file.

    Attributes:
        name: its name in ONNX.
        sqnr_db: power of the float output over that of the difference, in dB; None where either is 0.
        compared: for an output that rates classes or tokens: how often its highest element was compared.
        agree: how often it was the same in both.
    """

    name: str
    sqnr_db: float | None
    compared: int | None
    agree: int | None

    @classmethod
    def _of(cls, said: dict[str, Any]) -> OutputQuality:
        return cls(said["name"], said["sqnr_db"], said.get("compared"), said.get("agree"))


@dataclass(frozen=True)
class Clipped:
    """A value that leaves the range in which the file holds it.

    Attributes:
        value: the ONNX tensor.
        held: smallest and largest number that the file can hold there.
        seen: smallest and largest number in float.
        share: part of the elements that are outside, 0 to 1.
        samples: samples with such elements.
        as_state: the range is that of a recurrent state, and does not come from calibration.
    """

    value: str
    held: tuple[float, float]
    seen: tuple[float, float]
    share: float
    samples: int
    as_state: bool

    @classmethod
    def _of(cls, said: dict[str, Any]) -> Clipped:
        held, seen = tuple(said["held"]), tuple(said["seen"])
        return cls(said["value"], held, seen, said["share"], said["samples"], said["as_state"])


@dataclass(frozen=True)
class Comparison:
    """An ``.attn`` file beside the float model that it came from, as ``attn compare`` has it.

    Attributes:
        sqnr_db: over all outputs, or the logits of a model that decodes, in dB; None where nothing is lost.
        outputs: every output.
        layers: inputs and values in order of computation.
        samples: samples, or rows of streams, whose highest element was compared.
        top1_agreement: part of them where it is the same in float and in the file, 0 to 1.
        top1_float: with an array ``labels`` in the data: part that float has right.
        top1_int8: the same of the file.
        clipped: values that leave their range.
    """

    sqnr_db: float | None
    outputs: tuple[OutputQuality, ...]
    layers: tuple[Layer, ...]
    samples: int
    top1_agreement: float
    top1_float: float | None
    top1_int8: float | None
    clipped: tuple[Clipped, ...]

    @classmethod
    def _of(cls, text: str) -> Comparison:
        said = json.loads(text)
        return cls(
            said["outputs_sqnr_db"],
            tuple(map(OutputQuality._of, said["outputs"])),
            tuple(Layer(**layer) for layer in said["layers"]),
            said["samples"],
            said["top1_agreement"],
            said.get("top1_float"),
            said.get("top1_int8"),
            tuple(map(Clipped._of, said["clipped"])),
        )

    def __str__(self) -> str:
        rows = [("value", "operator", "type", "SQNR dB")]
        rows += [(layer.name, layer.op, layer.dtype, _db(layer.sqnr_db)) for layer in self.layers]
        rows += [(output.name, "output", "", _db(output.sqnr_db)) for output in self.outputs]
        return _table(rows)


@dataclass(frozen=True)
class Report:
    """A conversion.

    Attributes:
        bytes: length of the file; ``weights`` of it are weights.
        arena: RAM that a run needs, in bytes; ``state`` of it outlive a run.
        operators: operators in all entry points.
        estimated_cycles: of a Cortex-M4 for a run over the whole window, from shapes alone: within a factor of two.
        outputs: how close each output comes to float.
        samples: calibration samples that this was measured on.
        held_back: True if the measured file was made without them.
        clipped: values that leave their range.
        warning: the worst output where one is bad: output, sqnr_db, floor_db, worst, cause, remedies, few_samples.
        int16: values that measurement gave 16 bits in an int8 file, with the gain in dB.
        base_operators: ONNX nodes that no faster operator computes, the most costly first: name, operator, estimated cycles.
    """

    bytes: int
    weights: int
    arena: int
    state: int
    operators: int
    estimated_cycles: int
    outputs: tuple[OutputQuality, ...]
    samples: int
    held_back: bool
    clipped: tuple[Clipped, ...]
    warning: dict[str, Any] | None
    int16: dict[str, float]
    base_operators: tuple[tuple[str, str, int], ...]

    @classmethod
    def _of(cls, text: str) -> Report:
        said = json.loads(text)
        quality = said["quality"]
        base = said["base_operators"]
        return cls(
            said["bytes"],
            said["weights"],
            said["arena"],
            said["state"],
            said["operators"],
            said["estimated_cycles"],
            tuple(map(OutputQuality._of, quality["outputs"])),
            quality["samples"],
            quality["held_back"],
            tuple(map(Clipped._of, quality["clipped"])),
            quality["warning"],
            {one["value"]: one["gain_db"] for one in said["int16"]},
            tuple((one["node"], one["operator"], one["cycles"]) for one in base),
        )

    def __str__(self) -> str:
        rows = [
            ("file", f"{self.bytes} bytes, {self.weights} of them weights"),
            ("arena", f"{self.arena} bytes, {self.state} of them state"),
            ("operators", str(self.operators)),
            ("Cortex-M4", f"about {self.estimated_cycles} cycles a run"),
        ]
        rows += [(output.name, f"SQNR {_db(output.sqnr_db)} dB") for output in self.outputs]
        return _table(rows)


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)

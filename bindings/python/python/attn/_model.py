"""A converted model, and conversion."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _native
from ._errors import DataError, QualityWarning
from ._files import Arrays, Folder, Path, existing
from ._results import Comparison, Event, Report, Score
from ._results import Sequence as Decoded
from ._source import AnyModel, Source

# Called with the name of a phase ("calibrate", "sensitivity", "round", "quality", "compare", "run"), steps done and steps in all.
Progress = Callable[[str, int, int], object]
InputType = Literal["int8", "int16", "float16"]
# The path of a WAV or FLAC file, or 16 kHz mono samples [samples]: int16, or floats from -1 to 1.
Recording = Path | npt.NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """An input or output of a file.

    Attributes:
        name: its name in ONNX.
        shape: rows and channels of one run, or [height, width, channels].
        dtype: ``int8``, ``int16``, ``int32`` (numbers of tokens) or ``float16``.
        scale, zero_point: real value = scale * (integer - zero_point).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


class Model:
    """An ``.attn`` file in memory. What it computes is what the chip computes, bit for bit.

    Attributes:
        report: what the conversion says of it; None for a file that was loaded.
    """

    report: Report | None

    def __init__(self, data: bytes, *, name: str = "model") -> None:
        """Takes the bytes of a file, which errors call ``name``.

        Raises:
            ModelError: they are no model, or a damaged one.
        """
        self._file = _native.File.parse(bytes(data), name)
        self.report = None

    @classmethod
    def load(cls, path: Path) -> Model:
        """Reads a file.

        Raises:
            OSError: it cannot be read.
            ModelError: it is no model, or a damaged one.
        """
        with open(path, "rb") as file:
            return cls(file.read(), name=os.fspath(path))

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all.

        Raises:
            OSError: it cannot be written.
            Error: the path is a folder or a device, or its folder does not exist.
        """
        self._file.save(os.fspath(path))

    def __bytes__(self) -> bytes:
        return self._file.data()

    def __repr__(self) -> str:
        said = self.inspect()
        entries = ", ".join(entry["name"] for entry in said["entries"])
        return f"<attn.Model of {said['bytes']} bytes, arena {said['arena']} bytes, entry points: {entries}>"

    def inspect(self) -> dict[str, Any]:
        """All that the file holds but its weights, as ``attn inspect --json`` has it: ``bytes``, ``weights``, ``arena`` and ``state``
        (lengths in bytes), ``labels``, ``thresholds``, ``entries`` with their operators, ``tensors``, ``decode``, …"""
        said: dict[str, Any] = json.loads(self._file.inspect())
        return said

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Inputs of the entry point that ``run`` runs."""
        return self._tensors("input")

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Outputs of the entry point that ``run`` runs."""
        return self._tensors("output")

    def _tensors(self, kind: str) -> tuple[Tensor, ...]:
        said = self.inspect()
        entries = {entry["name"]: entry for entry in reversed(said["entries"])}
        entry = entries.get("step") or entries.get("run") or said["entries"][0]
        of = [(name, said["tensors"][at]) for name, at in zip(entry[f"{kind}_names"], entry[f"{kind}s"], strict=True)]
        return tuple(
            Tensor(name, tuple(each["shape"]), each["dtype"], each["scale"], each["zero_point"]) for name, each in of
        )

    def run(
        self,
        data: npt.ArrayLike | Arrays | Path,
        *,
        quantized: bool = False,
        mask: str | None = None,
        padding_mask: str | None = None,
        progress: Progress | None = None,
    ) -> npt.NDArray[Any] | dict[str, npt.NDArray[Any]]:
        """Runs over samples, as ``attn run`` does.

        Args:
            data: an array for each input by name, ``[samples, …]`` as for calibration, or the path of an npz file; the array alone for
                a model with one input. A model that runs step by step (a stream, or one with states) takes ``[samples, steps, …]``; each
                sample starts without a past. Where the length of an input varies, an array ``INPUT_len`` says it for each sample.
            quantized: give the integers of the file (int8, int16 or int32) in place of real values.
            mask: the array that is 1 in a sequence and 0 in its padding, where it says the lengths.
            padding_mask: the same, but 0 in the sequence and 1 in its padding.
            progress: called after each sample.

        Returns:
            A float32 array for each output by name: ``[samples, channels]``, ``[samples, rows, channels]`` or ``[samples, channels,
            height, width]``, step by step ``[samples, steps, channels]``. Rows behind the end of a shorter sequence are 0. For an array alone,
            the array of the only output.

        Raises:
            DataError: an array is missing, has another shape or type, or holds NaN; a half-precision file has no integers.
        """
        alone = not isinstance(data, (str, os.PathLike, Mapping))
        if alone:
            first, *others = [each.name for each in self.inputs]
            if others:
                names = ", ".join([first, *others])
                raise DataError(f"inputs: the model has several; give a dict with {names}", kind="NoArray", file="inputs")
            given: Path | Arrays = {first: data}
        else:
            given = data  # type: ignore[assignment]
        with Folder() as folder:
            path = folder.arrays(given, "inputs")
            found = self._file.run(path, mask, padding_mask, quantized, progress)
        outputs = {name: _shaped(array, shape, dtype, quantized) for name, shape, dtype, array in found}
        if alone and len(outputs) == 1:
            return next(iter(outputs.values()))
        return outputs

    def compare(
        self,
        model: AnyModel,
        data: Path | Arrays | None = None,
        *,
        states: Mapping[str, str] | None = None,
        max_length: int | None = None,
        mask: str | None = None,
        padding_mask: str | None = None,
        pad: int | str | None = None,
        symbols: Path | Sequence[str] | None = None,
        export: Mapping[str, Any] | None = None,
        outside: bool = False,
        progress: Progress | None = None,
    ) -> Comparison:
        """Compares with the float model that this file was converted from, as ``attn compare`` does.

        Args:
            model: the same as for ``convert``, and so are ``states`` to ``outside``.
            data: samples, as for calibration; with an array ``labels`` (class numbers, ``[samples]``) top-1 is counted. A bundle names its own.
            progress: called after each sample.

        Raises:
            ConvertError: the model cannot be read, or is another one.
            DataError: the samples do not fit it.

        Warns:
            QualityWarning: a value leaves the range in which the file holds it.
        """
        source = Source(
            model,
            data,
            "data",
            states=states or {},
            max_length=max_length,
            mask=mask,
            padding_mask=padding_mask,
            pad=pad,
            symbols=symbols,
            export=export or {},
            outside=outside,
        )
        with Folder() as folder:
            result, warned = self._file.compare(source.native(folder), "model", progress)
        _warn(warned)
        return Comparison._of(result)

    def spot(
        self, recording: Recording, *, threshold: float | Mapping[str, float | None] | None = None
    ) -> list[Event]:
        """The keywords that the chip's keyword spotter hears in a recording, in order.

        Args:
            recording: the path of a WAV or FLAC file of any sampling rate, or 16 kHz mono samples ``[samples]``: int16, or floats from -1 to 1.
            threshold: in place of the file's: an averaged posterior, 0 to 1, for every label that is reported, or a dict with one for some
                labels; None there for a label that is not to be reported.

        Raises:
            ModelError: the model is no keyword spotter.
            DataError: the recording cannot be read.
            ConvertError: a threshold is no probability, or for a label that the model does not have.
        """
        said = self._spot(recording, threshold)
        return [Event(**event) for event in said["events"]]

    def spot_scores(self, recording: Recording) -> dict[str, Score]:
        """The highest averaged posterior of each label in a recording: what its threshold has to be for it to be reported."""
        said = self._spot(recording, None)
        return {one["label"]: Score(one["highest"], one["seconds"]) for one in said["scores"]}

    def _spot(
        self, recording: Recording, threshold: float | Mapping[str, float | None] | None
    ) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self._file.spot(_sound(recording), _thresholds(threshold)))
        return said

    def decode(
        self,
        text: str | None = None,
        *,
        symbols: Sequence[int] | None = None,
        recording: Recording | None = None,
        beam: int | None = None,
        length_normalization: float = 1.0,
    ) -> list[Decoded]:
        """Decodes a text, symbols by number or a recording with a file that holds an encoder and a decoder, as ``attn decode`` does.
        With none of them, the model makes a sequence of its own.

        Args:
            text: spelled in the model's symbols.
            symbols: by number.
            recording: see ``spot``.
            beam: width of a beam search, 1 to 16; None is greedy.
            length_normalization: sequences of a beam are ranked by their log-probability divided by their length to this power.

        Returns:
            The sequences found, best first; greedily one.

        Raises:
            DecodeError: the model does not decode, or not this; the input is too long, or not spelled in its symbols.
        """
        given = [each for each in (text, symbols, recording) if each is not None]
        if len(given) > 1:
            raise TypeError("decode: a text, symbols or a recording, not several")
        encoded = text if symbols is None else [int(symbol) for symbol in symbols]
        sound = None if recording is None else _sound(recording)
        found = json.loads(self._file.decode(encoded, sound, beam, length_normalization))
        return [Decoded._of(each) for each in found]

    def generate(
        self, prompt: str = "", *, seed: int | None = None, temperature: float = 0.8, top: int = 8
    ) -> Decoded:
        """The continuation of a text by a language model: the best token every time, or with a ``seed`` drawn from the ``top`` best ones
        (1 to 16). A ``temperature`` of 1 draws as the model says, less keeps closer to the best.

        Raises:
            DecodeError: the model is no language model, or the prompt is not spelled in its tokens.
        """
        chance = None if seed is None else (temperature, top, seed)
        return Decoded._of(json.loads(self._file.generate(prompt, chance)))


def convert(
    model: AnyModel,
    calibration: Path | Arrays | None = None,
    *,
    dtype: Literal["int8", "int16x8", "fp16"] = "int8",
    stream: bool = False,
    range: Literal["measured", "min-max", "percentile", "mse"] = "measured",
    mixed: bool | None = None,
    input_dtype: InputType | Mapping[str, InputType] | None = None,
    labels: Path | Sequence[str] = (),
    states: Mapping[str, str] | None = None,
    max_length: int | None = None,
    mask: str | None = None,
    padding_mask: str | None = None,
    pad: int | str | None = None,
    symbols: Path | Sequence[str] | None = None,
    audio_hop: int | None = None,
    smoothing: int | None = None,
    threshold: float | Mapping[str, float | None] | None = None,
    refractory: int = 50,
    background: Sequence[str] = ("unknown", "noise"),
    export: Mapping[str, Any] | None = None,
    outside: bool = False,
    progress: Progress | None = None,
) -> Model:
    """Converts a float model to a flat file for the chip, as ``attn convert`` does: the same arguments give the same bytes.

    Args:
        model: the path of an ONNX file; its bytes, or an ``onnx.ModelProto``; a ``torch.nn.Module``, which is exported with
            ``torch.onnx.export`` for a batch of one; the path of a bundle's manifest (``.toml``), or the keys of one as a dict, in which
            models may be bytes, ``calibrate`` a dict of arrays, and vocabularies lists.
        calibration: samples of the model's inputs: a dict with an array for each, ``[samples, …]``, or the path of an npz file. A hundred
            samples are enough. For a module, the arrays are called like the parameters of its ``forward``, or come in their order.
        dtype: ``int8`` weights and activations, some of them int16 where measurement finds that worth it; ``int16x8``: int8 weights, int16
            activations; ``fp16``: half precision, for chips with a floating-point unit.
        stream: convert to a step that takes one frame, and keeps the past in state tensors. The model must be causal.
        range: how the range of an int8 value is chosen from the calibration data.
        mixed: with int8: True to hold values in int16 where measurement finds that worth it, False for int8 wherever possible, None for the
            usual: True for a single model; for one that decodes all but keys and values are int16.
        input_dtype: the element type that inputs shall have, or a dict of those of some; without it, measurement chooses, and may choose
            otherwise after another training.
        labels: class names in the order of the logits, or the path of a text file with one a line.
        states: what a model keeps from one run to the next: outputs by the inputs that take them. It then runs step by step.
        max_length: length of the longest sequence, where an input has a dynamic axis.
        mask: the input that is 1 in a sequence and 0 in its padding.
        padding_mask: the same, but 0 in the sequence and 1 in its padding.
        pad: symbol that the padding is made of, by number or name.
        symbols: names of input symbols, or the path of a text file with one a line.
        audio_hop: the model takes features of the audio front end, computed every so many samples (16 kHz).
        smoothing: for a keyword spotter: hops over which posteriors are averaged.
        threshold: for a keyword spotter: averaged posterior from which a keyword counts as heard, 0 to 1; a dict for each label.
        refractory: hops after an event in which no other is reported.
        background: labels that are never reported.
        export: arguments for ``torch.onnx.export`` beside those that attn gives.
        outside: let a manifest name files outside its folder.
        progress: called with a phase, steps done and steps in all.

    Raises:
        ConvertError: the model or a setting cannot be converted; the message names node or tensor, and says what to do.
        ExportError: PyTorch cannot export the module.
        DataError: the calibration data do not fit the model.
        OSError: a file cannot be read.

    Warns:
        QualityWarning: an output is far from float; the message says where most is lost, and what was tried and helps.
    """
    source = Source(
        model,
        calibration,
        "calibration",
        stream=stream,
        states=states or {},
        max_length=max_length,
        mask=mask,
        padding_mask=padding_mask,
        pad=pad,
        symbols=symbols,
        audio_hop=audio_hop,
        export=export or {},
        outside=outside,
    )
    settings = {
        "dtype": dtype,
        "range": range,
        "mixed": mixed,
        "input_dtype": _input_types(input_dtype),
        "labels": _lines(labels),
        "smoothing": smoothing,
        "thresholds": _thresholds(threshold),
        "refractory": refractory,
        "background": list(background),
    }
    with Folder() as folder:
        file, report, warned = _native.convert(source.native(folder), settings, progress)
    converted = Model.__new__(Model)
    converted._file, converted.report = file, Report._of(report)
    _warn(warned)
    return converted


def features(
    recording: Path | npt.NDArray[Any], *, hop: int = 320, quantized: bool = False
) -> npt.NDArray[Any]:
    """Log-mel features exactly as the chip's audio front end computes them.

    Args:
        recording: the path of a WAV or FLAC file, or of an npz file with an array ``pcm``; or 16 kHz mono samples, int16 or floats from -1
            to 1: ``[samples]``, or clips ``[clips, samples]``.
        hop: samples between the starts of two frames of 512.
        quantized: int8 steps in place of real values.

    Returns:
        float32 ``[frames, 40]`` for samples of one axis, else ``[clips, frames, 40]``.

    Raises:
        DataError: the recording cannot be read, or is shorter than a frame.
    """
    if isinstance(recording, (str, os.PathLike)):
        found, scale = _native.features(existing(recording), hop)
        one = not os.fspath(recording).lower().endswith(".npz")
    else:
        samples = _pcm(recording)
        one = samples.ndim == 1
        found, scale = _native.features(np.atleast_2d(samples), hop)
    given = found if quantized else found.astype(np.float32) * np.float32(scale)
    return given[0] if one else given


def _warn(texts: list[str]) -> None:
    for text in texts:
        # Where the caller of convert or compare stands.
        warnings.warn(text, QualityWarning, stacklevel=3)


def _lines(given: Path | Sequence[str]) -> list[str]:
    if isinstance(given, (str, os.PathLike)):
        with open(given, encoding="utf-8") as file:
            return [line.strip() for line in file if line.strip()]
    return list(given)


def _input_types(given: InputType | Mapping[str, InputType] | None) -> list[str]:
    """As they are written for the command."""
    if given is None:
        return []
    if isinstance(given, Mapping):
        return [f"{name}={dtype}" for name, dtype in given.items()]
    return [given]


def _thresholds(given: float | Mapping[str, float | None] | None) -> list[str]:
    """As they are written for the command."""
    if given is None:
        return []
    if isinstance(given, Mapping):
        return [f"{label}={'never' if value is None else repr(float(value))}" for label, value in given.items()]
    return [repr(float(given))]


def _shaped(
    array: npt.NDArray[Any], shape: list[int], dtype: str, quantized: bool
) -> npt.NDArray[Any]:
    """Elements ``[sample, step, element]`` in the shape of a run's result, without axes of one step and one row."""
    samples, steps, _ = array.shape
    inside = shape[1:] if shape[0] == 1 and len(shape) == 2 else shape
    axes = [samples, *inside] if steps == 1 and shape == inside else [samples, steps, *inside]
    return array.reshape(axes).astype(dtype, copy=False) if quantized else array.reshape(axes)


def _sound(recording: Recording) -> str | npt.NDArray[np.int16]:
    if isinstance(recording, (str, os.PathLike)):
        return existing(recording)
    samples = _pcm(recording)
    if samples.ndim != 1:
        raise DataError(f"samples: shape {list(samples.shape)}, expected [samples]", kind="Data", file="samples")
    return samples


def _pcm(samples: npt.ArrayLike) -> npt.NDArray[np.int16]:
    """Samples as int16: floats are parts of full scale."""
    array = np.asarray(samples)
    if array.ndim not in (1, 2):
        raise DataError(f"samples: {array.ndim} axes, expected 1 or 2", kind="Data", file="samples")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or np.abs(array).max(initial=0) > 1:
            raise DataError("samples: floats are from -1 to 1", kind="Data", file="samples")
        array = np.clip(np.round(array.astype(np.float64) * 32768), -32768, 32767).astype(np.int16)
    if array.dtype != np.int16:
        raise DataError(f"samples: type {array.dtype}; expected int16, or floats from -1 to 1", kind="Data", file="samples")
    return np.ascontiguousarray(array)

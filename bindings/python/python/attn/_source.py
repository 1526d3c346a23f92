"""What a model is converted from or compared with, as the native half takes it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._errors import ConvertError
from ._export import export, is_module
from ._files import Arrays, Folder, Path

# A model: the path of an ONNX file or of a bundle's manifest (.toml), ONNX bytes, an onnx.ModelProto, a torch.nn.Module, or the keys
# of a manifest as a dict.
AnyModel = Any


@dataclass
class Source:
    """A model and its samples; arguments are those of ``convert``."""

    model: AnyModel
    data: Path | Arrays | None
    # What errors call the samples.
    name: str
    stream: bool = False
    states: Mapping[str, str] = field(default_factory=dict)
    max_length: int | None = None
    mask: str | None = None
    padding_mask: str | None = None
    pad: int | str | None = None
    symbols: Path | Sequence[str] | None = None
    audio_hop: int | None = None
    export: Mapping[str, Any] = field(default_factory=dict)
    outside: bool = False

    def native(self, folder: Folder) -> dict[str, Any]:
        """The source with all that is not a file written to one."""
        said: dict[str, Any] = {
            "manifest": None,
            "outside": self.outside,
            "keys": None,
            "onnx": None,
            "calibration": None,
            "stream": self.stream,
            "states": list(self.states.items()),
            "max_length": self.max_length,
            "mask": self.mask,
            "padding_mask": self.padding_mask,
            "pad": self.pad,
            "symbols": None if self.symbols is None else folder.lines(_listed(self.symbols), "symbols"),
            "audio_hop": self.audio_hop,
        }
        if isinstance(self.model, (str, os.PathLike)) and os.fspath(self.model).endswith(".toml"):
            self._alone("a manifest names its own data", self.data)
            return {**said, "manifest": folder.onnx(self.model)}
        if isinstance(self.model, Mapping):
            return {**said, "keys": json.dumps(self._keys(folder))}
        if self.data is None:
            raise ConvertError(
                f"{self.name}: give samples of the model's inputs, as a dict of arrays or the path of an .npz file",
                kind="Setting",
                setting=self.name,
            )
        data = folder.arrays(self.data, self.name)
        return {**said, "onnx": self._onnx(folder, data), "calibration": data}

    def _onnx(self, folder: Folder, data: str) -> str:
        if is_module(self.model):
            if self.states:
                raise ConvertError(
                    "states: the samples have no past to export the module with; export it with torch.onnx.export and give the ONNX file",
                    kind="Setting",
                    setting="states",
                )
            with np.load(data, allow_pickle=False) as arrays:
                # Of each the first sample is all that is needed.
                first = {each: arrays[each][:1] if arrays[each].ndim else arrays[each] for each in arrays.files}
            path = folder.place("model.onnx", type(self.model).__name__)
            export(self.model, first, path, self.name, self.max_length, self.export)
            return path
        path_ = folder.onnx(self.model)
        if path_ is None:
            raise TypeError(
                f"model: the path or bytes of an ONNX model, a torch.nn.Module or a bundle, not {type(self.model).__name__}"
            )
        return path_

    def _keys(self, folder: Folder) -> dict[str, Any]:
        """A bundle's keys; what is no file in them is written to one."""
        keys = {"name": "bundle", **self.model}
        if self.data is not None:
            keys["calibrate"] = self.data
        if "calibrate" in keys:
            keys["calibrate"] = folder.arrays(keys["calibrate"], self.name)
        entries = dict(keys.get("entries", {}))
        for entry, model in entries.items():
            path = folder.onnx(model, entry)
            if path is None:
                raise TypeError(f"entries: the path or bytes of an ONNX model for {entry!r}, not {type(model).__name__}")
            entries[entry] = path
        keys["entries"] = entries
        vocabulary = dict(keys.get("vocabulary", {}))
        for kind in ("symbols", "tokens"):
            if kind in vocabulary:
                vocabulary[kind] = folder.lines(_listed(vocabulary[kind]), kind)
        if vocabulary:
            keys["vocabulary"] = vocabulary
        return keys

    def _alone(self, reason: str, given: object) -> None:
        if given is not None:
            raise ConvertError(f"{self.name}: {reason}", kind="Setting", setting=self.name)


def _listed(given: Path | Sequence[str]) -> Path | list[str]:
    return given if isinstance(given, (str, os.PathLike)) else list(given)


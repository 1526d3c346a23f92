"""What a call is given, as files that the converter reads: a folder for the time of the call, with arrays as npz and models as ONNX."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Mapping
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ._errors import DataError, Error

Path = str | os.PathLike[str]
# Arrays by name: numpy arrays, PyTorch tensors, or what numpy makes arrays of.
Arrays = Mapping[str, Any]


class Folder:
    """A folder of temporary files. An error that leaves it calls them what the user calls them."""

    def __init__(self) -> None:
        # Work that was given up may still write here; what it leaves is the system's to clean up.
        self._folder = TemporaryDirectory(prefix="attn-", ignore_cleanup_errors=True)
        self._names: dict[str, str] = {}

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()
        if isinstance(error, Error):
            error._rename(self._names)

    def place(self, file: str, name: str) -> str:
        """Path of a new file, which errors call ``name``."""
        path = os.path.join(self._folder.name, file)
        self._names[path] = name
        return path

    def arrays(self, given: Path | Arrays, name: str) -> str:
        """An npz file: the given one, or one of the given arrays, which errors call ``name``."""
        if isinstance(given, (str, os.PathLike)):
            return existing(given)
        if not isinstance(given, Mapping):
            raise TypeError(f"{name}: a dict of arrays or the path of an .npz file, not {type(given).__name__}")
        path = self.place(f"{name}.npz", name)
        write_npz(path, {key: as_array(value, name, key) for key, value in given.items()})
        return path

    def lines(self, given: Path | list[str] | tuple[str, ...], name: str) -> str:
        """A text file with a name in each line: the given one, or one of the given names."""
        if isinstance(given, (str, os.PathLike)):
            return existing(given)
        for line in given:
            if not isinstance(line, str) or "\n" in line:
                raise TypeError(f"{name}: names without line breaks, not {line!r}")
        path = self.place(f"{name}.txt", name)
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in given)
        return path

    def onnx(self, given: Any, name: str = "model") -> str | None:
        """An ONNX file: the given one, or one of the given bytes or ``onnx.ModelProto``. None for what is neither."""
        if isinstance(given, (str, os.PathLike)):
            return existing(given)
        if hasattr(given, "SerializeToString"):
            given = given.SerializeToString()
        if not isinstance(given, (bytes, bytearray, memoryview)):
            return None
        path = self.place(f"{name}.onnx", name)
        with open(path, "wb") as file:
            file.write(given)
        return path


def existing(path: Path) -> str:
    """The path of a file that is there.

    Raises:
        OSError: it is not.
    """
    with open(path, "rb"):
        return os.fspath(path)


def as_array(given: Any, name: str, key: Any) -> npt.NDArray[Any]:
    """An array of a type that the converter reads: numpy's, or that of a PyTorch tensor."""
    if not isinstance(key, str):
        raise TypeError(f"{name}: names of arrays are str, not {type(key).__name__}")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        given = given.detach().cpu()
        given = given.float() if given.dtype == torch.bfloat16 else given
        given = given.numpy()
    array = np.asarray(given)
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    if array.dtype == np.uint64:
        array = array.astype(np.int64)
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"{name}: array `{key}` of type {array.dtype}; expected floats, integers or bool",
            kind="WrongArray",
            file=name,
            tensor=key,
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def write_npz(path: str, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Like ``numpy.savez``, for arrays of any name."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)

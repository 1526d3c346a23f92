"""Types of the native half (``src/lib.rs``)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__version__: str

_Progress = Callable[[str, int, int], object] | None
_Sound = str | npt.NDArray[np.int16]

class File:
    @staticmethod
    def parse(data: bytes, name: str) -> File: ...
    def data(self) -> bytes: ...
    def save(self, path: str) -> None: ...
    def inspect(self) -> str: ...
    def run(
        self,
        inputs: str,
        mask: str | None,
        padding_mask: str | None,
        quantized: bool,
        progress: _Progress,
    ) -> list[tuple[str, list[int], str, npt.NDArray[Any]]]: ...
    def compare(self, source: dict[str, Any], name: str, progress: _Progress) -> tuple[str, list[str]]: ...
    def spot(self, sound: _Sound, threshold: list[str]) -> str: ...
    def decode(
        self, input: str | list[int] | None, sound: _Sound | None, beam: int | None, alpha: float
    ) -> str: ...
    def generate(self, prompt: str, chance: tuple[float, int, int] | None) -> str: ...

def convert(
    source: dict[str, Any], settings: dict[str, Any], progress: _Progress
) -> tuple[File, str, list[str]]: ...
def features(sound: str | npt.NDArray[np.int16], hop: int) -> tuple[npt.NDArray[np.int8], float]: ...

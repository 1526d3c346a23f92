"""PyTorch modules to ONNX. PyTorch is imported here alone, and only for a module."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ._errors import DataError, ExportError


def is_module(given: Any) -> bool:
    """True for a ``torch.nn.Module``; whoever has one has imported PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, torch.nn.Module)


def export(
    module: Any,
    arrays: Mapping[str, npt.NDArray[Any]],
    path: str,
    name: str,
    max_length: int | None,
    options: Mapping[str, Any],
) -> None:
    """Writes ``module`` as an ONNX file, for a batch of one; it is in evaluation mode for that time.

    Its inputs are the arrays that are called like parameters of ``forward``. Where none is, they are all arrays but ``labels``,
    ``scale`` and lengths (``INPUT_len``), in order. The first sample of each is the example for ``torch.onnx.export``, which also gets
    ``options``. With ``max_length``, axis 1 of every input is of variable length.

    Raises:
        DataError: an array for an input is missing; ``name`` is what errors call the arrays.
        ExportError: PyTorch cannot run or export the module.
    """
    # Not by a statement: checkers of types would read all of PyTorch.
    torch = importlib.import_module("torch")
    inputs = inputs_of(module, arrays, name)
    examples = tuple(example(torch, arrays[each]) for each in inputs)
    training = [each for each in module.modules() if each.training]
    module.eval()
    try:
        with torch.no_grad():
            outputs = module(*examples)
        said: dict[str, Any] = {
            "input_names": inputs,
            "output_names": names_of(outputs),
            "verbose": False,
        }
        if max_length is not None:
            length = torch.export.Dim("length", max=max_length)
            said["dynamic_shapes"] = tuple({1: length} if each.ndim > 1 else None for each in examples)
        torch.onnx.export(module, examples, path, **{**said, **options})
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(
            f"PyTorch cannot export the module ({first}); export it with torch.onnx.export and give the ONNX file",
            kind="Export",
        ) from error
    finally:
        for each in training:
            each.training = True


def inputs_of(module: Any, arrays: Mapping[str, npt.NDArray[Any]], name: str) -> list[str]:
    """Names of the inputs, in the order of ``forward``."""
    parameters = inspect.signature(module.forward).parameters.values()
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if not any(each.name in arrays for each in positional):
        beside = {"labels", "scale"} | {f"{each}_len" for each in arrays}
        return [each for each in arrays if each not in beside]
    inputs = []
    for each in positional:
        if each.name not in arrays:
            break
        inputs.append(each.name)
    later = positional[len(inputs) :]
    missing = [each.name for each in later if each.default is each.empty or each.name in arrays]
    if missing:
        first = later[0].name
        raise DataError(
            f"{name}: no array `{first}`, which forward takes; it holds: {', '.join(arrays)}",
            kind="NoArray",
            file=name,
            tensor=first,
        )
    return inputs


def example(torch: Any, array: npt.NDArray[Any]) -> Any:
    """The first sample as a batch of one: float32, int64 or bool, as PyTorch's layers take them."""
    first = array[:1]
    kinds: dict[str, type[np.generic]] = {"f": np.float32, "b": np.bool_}
    return torch.from_numpy(first.astype(kinds.get(first.dtype.kind, np.int64)))


def names_of(outputs: Any) -> list[str]:
    """Names for what a module gives: its keys for a dict, ``output``, or ``output_0`` and so on."""
    if isinstance(outputs, Mapping):
        return [str(key) for key in outputs]
    if isinstance(outputs, (tuple, list)) and len(outputs) > 1:
        return [f"output_{at}" for at in range(len(outputs))]
    return ["output"]

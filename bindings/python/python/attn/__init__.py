"""attn puts trained attention models on microcontrollers.

``convert`` turns a PyTorch module or an ONNX model into a ``Model``: one flat int8 file, which a Rust runtime runs straight from flash.
Here it runs on the host, with the same integers.
"""

from ._errors import ConvertError, DataError, DecodeError, Error, ExportError, ModelError, QualityWarning
from ._model import Model, Tensor, convert, features
from ._native import __version__
from ._results import Clipped, Comparison, Event, Layer, OutputQuality, Report, Score, Sequence

__all__ = [
    "Clipped",
    "Comparison",
    "ConvertError",
    "DataError",
    "DecodeError",
    "Error",
    "Event",
    "ExportError",
    "Layer",
    "Model",
    "ModelError",
    "OutputQuality",
    "QualityWarning",
    "Report",
    "Score",
    "Sequence",
    "Tensor",
    "__version__",
    "convert",
    "features",
]

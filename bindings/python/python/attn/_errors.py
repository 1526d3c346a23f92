"""Exceptions and warnings. The native half raises them, too: ``src/errors.rs`` names these classes and their fields."""

from __future__ import annotations


class Error(Exception):
    """Base of all errors of attn, but for files that the system refuses (``OSError``) and arguments of the wrong type (``TypeError``).

    Attributes:
        kind: the converter's name of the error, such as ``"UnsupportedOp"``.
        file: the file at fault; for arrays and modules that were given directly, the name of the argument.
        node: the ONNX node at fault.
        tensor: the ONNX tensor, input or array at fault.
        setting: the argument at fault.
    """

    kind: str
    file: str | None
    node: str | None
    tensor: str | None
    setting: str | None

    def __init__(
        self,
        message: str,
        *,
        kind: str = "",
        file: str | None = None,
        node: str | None = None,
        tensor: str | None = None,
        setting: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.file = file
        self.node = node
        self.tensor = tensor
        self.setting = setting

    def _rename(self, names: dict[str, str]) -> None:
        """Calls temporary files what the user calls them."""
        message = str(self)
        for path, name in names.items():
            message = message.replace(path, name)
        self.args = (message,)
        if self.file is not None:
            self.file = names.get(self.file, self.file)


class ConvertError(Error):
    """The model, or a setting, cannot be converted. The message says what to do instead."""


class ExportError(ConvertError):
    """PyTorch cannot export the module to ONNX. ``__cause__`` is PyTorch's own exception."""


class DataError(Error, ValueError):
    """Arrays or recordings that do not fit the model: a missing array, a wrong shape or type, NaN."""


class ModelError(Error):
    """The file is no ``.attn`` file, is damaged, or is no model for what was asked of it."""


class DecodeError(Error):
    """The input cannot be decoded, or the model does not decode sequences."""


class QualityWarning(UserWarning):
    """An output of a converted model is far from float, or a value leaves its range. The message says what was tried and helps."""

"""What a system of the zoo is: a model, its inputs and the precision that is expected of it."""

import dataclasses

import numpy as np

SAMPLES = 108  # 100 to calibrate with, 8 others to measure on


@dataclasses.dataclass
class Input:
    """One input: its shape with a batch of 1, where that batch is (None: nowhere), and what makes `count` samples of it."""

    shape: tuple
    make: object
    batch: int | None = 0

    def samples(self, rng, count=SAMPLES):
        """[count, *shape]"""
        return self.make(rng, (count, *self.shape))


def real(*shape, batch=0, scale=1.0):
    return Input(shape, lambda rng, s: (scale * rng.normal(size=s)).astype(np.float32), batch)


def state(*shape, batch=0):
    """What a recurrent layer leaves behind: between -1 and 1."""
    return Input(shape, lambda rng, s: np.tanh(rng.normal(size=s)).astype(np.float32), batch)


def positive(*shape, batch=0):
    """A sum of exponentials, a price, a count: above 0."""
    return Input(shape, lambda rng, s: (0.2 + np.abs(rng.normal(size=s))).astype(np.float32), batch)


def tokens(words, *shape, batch=0):
    return Input(shape, lambda rng, s: rng.integers(words, size=s), batch)


def constant(array, batch=0):
    """The same in every sample: a causal mask given from outside."""
    array = np.asarray(array)
    return Input(array.shape, lambda rng, s: np.broadcast_to(array, s).copy(), batch)


def lengths_mask(*shape, dtype=bool, batch=0):
    """1 in a sequence, 0 in the padding behind it; lengths of half the last axis to all of it."""

    def make(rng, s):
        lengths = rng.integers(s[-1] // 2, s[-1] + 1, size=s[:-1])
        return (np.arange(s[-1]) < lengths[..., None]).astype(dtype)

    return Input(shape, make, batch)


def padding_mask(*shape):
    """The opposite, as PyTorch's key_padding_mask: true in the padding."""
    return Input(shape, lambda rng, s: ~lengths_mask(*shape).make(rng, s))


@dataclasses.dataclass
class System:
    """`make` gives a PyTorch module, or an ONNX model as another framework's exporter writes it, whose name is then the only exporter.
    `stack`: several layers, with the lower floor. `flags` go to `attn convert`. `exporters` are those that can write it, `dynamic` those
    that can with a dynamic batch axis."""

    make: object
    inputs: dict
    stack: bool = True
    flags: tuple = ()
    exporters: tuple = ("torchscript", "dynamo")
    dynamic: tuple = ("torchscript", "dynamo")

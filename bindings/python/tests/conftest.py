"""What the tests share: the command `attn`, files of the repository, a small module."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "models"
CASES = ROOT / "host-tests/fixtures/cases"
STATES = ROOT / "cli/tests/data/states"
ASSETS = ROOT / "firmware/assets"


@pytest.fixture(scope="session")
def command() -> Callable[..., str]:
    """Runs the command of the same checkout: the one that ATTN names, or cargo's."""
    attn = Path(os.environ.get("ATTN", ROOT / "target/debug/attn"))
    assert attn.exists(), f"{attn} is missing: cargo build --bin attn, or name it in ATTN"

    def run(*arguments: Any) -> str:
        done = subprocess.run([str(attn), *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


class Attention(torch.nn.Module):
    """One head of attention over a window, and a class of it."""

    def __init__(self, features: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(features, 2, batch_first=True)
        self.norm = torch.nn.LayerNorm(features)
        self.out = torch.nn.Linear(features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.attention(x, x, x, need_weights=False)
        return self.out(self.norm(x + y).mean(1))


@pytest.fixture(scope="session")
def module() -> torch.nn.Module:
    torch.manual_seed(1)
    return Attention().eval()


@pytest.fixture(scope="session")
def windows() -> np.ndarray:
    """64 samples of 12 rows."""
    return np.random.default_rng(2).normal(size=(64, 12, 8)).astype(np.float32)


def sqnr_db(exact: np.ndarray, found: np.ndarray) -> float:
    noise = np.square(exact.astype(np.float64) - found).sum()
    return float(10 * np.log10(np.square(exact.astype(np.float64)).sum() / noise))

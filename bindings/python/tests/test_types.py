"""Types: the package is checked as a whole, and as its user sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

USE = """
import attn
import numpy as np

model: attn.Model = attn.convert("model.onnx", {"x": np.zeros((4, 2))}, dtype="int8", threshold={"a": None})
events: list[attn.Event] = model.spot("a.wav", threshold=0.5)
score: float | None = model.compare("model.onnx", "data.npz").sqnr_db
text: str = model.decode("a", beam=4)[0].text
attn.convert("model.onnx", "data.npz", dtype="int4")
model.spot(7)
"""


def mypy(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_package_and_its_stubs(tmp_path):
    said = mypy("--cache-dir", tmp_path, "-p", "attn")
    assert said.returncode == 0, said.stdout + said.stderr


def test_a_user_sees_the_types(tmp_path):
    (tmp_path / "use.py").write_text(USE)
    said = mypy("--cache-dir", tmp_path / "cache", tmp_path / "use.py")
    errors = [line for line in said.stdout.splitlines() if "error:" in line]
    assert len(errors) == 2, said.stdout + said.stderr
    assert "int4" in errors[0] and '"spot"' in errors[1]

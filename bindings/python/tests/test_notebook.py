"""The notebook runs from its first cell to its last, and is committed with what it prints."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples/train_to_cost.ipynb"


def test_the_notebook_runs(tmp_path):
    fresh = nbformat.read(NOTEBOOK, as_version=4)
    committed = [cell for cell in fresh.cells if cell.cell_type == "code" and cell.outputs]
    assert any("ms at 64 MHz" in output.get("text", "") for cell in committed for output in cell.outputs)
    NotebookClient(fresh, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = [output.get("text", "") for cell in fresh.cells for output in cell.get("outputs", [])]
    table = next(text for text in texts if "ms at 64 MHz" in text)
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["int8", "int16x8", "fp16"]
    assert (tmp_path / "gestures.attn").exists()

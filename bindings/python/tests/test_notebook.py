"""The notebook runs from its first cell to its last, and shows what its committed outputs show."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples/train_to_cost.ipynb"


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """What the cells print, without numbers: training differs from machine to machine."""
    outputs = [each for cell in notebook.cells for each in cell.get("outputs", [])]
    texts = [each.get("text") or each.get("data", {}).get("text/plain", "") for each in outputs]
    return [re.sub(r"[-\d.,\s\[\]]+", " ", text) for text in texts]


def test_the_notebook_runs(tmp_path):
    committed = nbformat.read(NOTEBOOK, as_version=4)
    fresh = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(fresh, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert all(output.output_type != "stream" or output.name == "stdout" for cell in fresh.cells for output in cell.get("outputs", []))
    assert [text.split()[:3] for text in shown(fresh)] == [text.split()[:3] for text in shown(committed)]
    assert "/" not in "".join(output.get("text", "") for cell in committed.cells for output in cell.get("outputs", [])).replace("/Add", "")
    assert (tmp_path / "gestures.attn").exists()

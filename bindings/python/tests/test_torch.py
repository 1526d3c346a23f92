"""PyTorch modules: exported, converted, run beside PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import sqnr_db

import attn


def test_a_module_is_converted_and_runs_as_in_pytorch(module, windows):
    module.train()
    steps = []
    model = attn.convert(module, {"x": windows}, progress=lambda *step: steps.append(step))
    assert module.training and module.attention.training
    module.eval()
    exact = module(torch.from_numpy(windows)).detach().numpy()
    found = model.run(windows)
    assert found.shape == exact.shape and found.dtype == np.float32
    assert sqnr_db(exact, found) > 25
    assert ("calibrate", 64, 64) in steps
    compared = model.compare(module, {"x": windows, "labels": exact.argmax(1)})
    assert compared.sqnr_db == pytest.approx(sqnr_db(exact, found), abs=0.5)
    assert compared.top1_float == 1.0 and compared.top1_int8 > 0.9
    assert model.report.outputs[0].name == "output"
    assert model.report.bytes == len(bytes(model))
    assert "SQNR" in str(model.report)


def test_bytes_and_protos_are_models_too(module, windows, tmp_path):
    path = tmp_path / "model.onnx"
    example = torch.from_numpy(windows[:1])
    torch.onnx.export(module, (example,), path, input_names=["x"], verbose=False, external_data=False)
    data = {"x": torch.from_numpy(windows)}
    want = bytes(attn.convert(path, data))
    assert bytes(attn.convert(path.read_bytes(), data)) == want
    assert bytes(attn.convert(onnx.load(path), data)) == want


class Two(torch.nn.Module):
    """Tokens and features; results by name."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(10, 8)
        self.out = torch.nn.Linear(8, 4)

    def forward(self, tokens, x, scale=1.0):
        y = self.table(tokens) + x
        return {"rows": self.out(y), "mean": y.mean(1)}


def test_several_inputs_and_outputs_have_their_names():
    torch.manual_seed(3)
    rng = np.random.default_rng(4)
    # In another order than in forward, in types that PyTorch would refuse.
    data = {"x": rng.normal(size=(40, 6, 8)), "tokens": rng.integers(0, 10, (40, 6)).astype(np.uint8)}
    two = Two().eval()
    model = attn.convert(two, data)
    found = model.run(data)
    exact = two(torch.from_numpy(data["tokens"].astype(np.int64)), torch.from_numpy(data["x"]).float())
    assert {name: array.shape for name, array in found.items()} == {"rows": (40, 6, 4), "mean": (40, 8)}
    for name, array in found.items():
        assert sqnr_db(exact[name].detach().numpy(), array) > 25
    assert {each.name for each in model.inputs} == {"tokens", "x"}
    with pytest.raises(attn.DataError, match="several"):
        model.run(data["x"])


class Causal(torch.nn.Module):
    """A convolution that sees no later rows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv1d(4, 6, 3)
        self.out = torch.nn.Linear(6, 2)

    def forward(self, x):
        y = torch.nn.functional.pad(x.transpose(1, 2), (2, 0))
        return self.out(torch.relu(self.conv(y)).transpose(1, 2))


def test_a_stream_takes_frames_and_equals_the_window():
    torch.manual_seed(5)
    data = {"x": np.random.default_rng(6).normal(size=(40, 20, 4)).astype(np.float32)}
    causal = Causal().eval()
    stream = attn.convert(causal, data, stream=True)
    found = stream.run(data["x"])
    exact = causal(torch.from_numpy(data["x"])).detach().numpy()
    assert found.shape == exact.shape
    assert sqnr_db(exact, found) > 25
    window = attn.convert(causal, data)
    assert np.array_equal(window.run(data["x"]), found)


class Mean(torch.nn.Module):
    """Attention over a sequence of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(20, 8)
        self.attention = torch.nn.MultiheadAttention(8, 1, batch_first=True)

    def forward(self, tokens):
        x = self.table(tokens)
        return self.attention(x, x, x, need_weights=False)[0]


def test_sequences_of_variable_length():
    torch.manual_seed(7)
    tokens = np.random.default_rng(8).integers(0, 20, (40, 10))
    lengths = np.array([3, 10, 7, 5] * 10)
    mean = Mean().eval()
    model = attn.convert(mean, {"tokens": tokens, "tokens_len": lengths}, max_length=10, dtype="int16x8")
    found = model.run({"tokens": tokens, "tokens_len": lengths})["output"]
    for at in (0, 1, 2):
        exact = mean(torch.from_numpy(tokens[at : at + 1, : lengths[at]])).detach().numpy()[0]
        assert sqnr_db(exact, found[at, : lengths[at]]) > 40
        assert not found[at, lengths[at] :].any()


def test_a_module_that_cannot_be_exported_says_why(windows):
    class Wrong(torch.nn.Module):
        def forward(self, x):
            return x @ torch.zeros(3, 3)

    with pytest.raises(attn.ExportError, match="cannot export") as caught:
        attn.convert(Wrong(), {"x": windows})
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(attn.DataError, match="no array `x`"):
        attn.convert(Two(), {"tokens": windows})


def test_torch_is_imported_for_modules_alone():
    said = "import sys, attn; assert 'torch' not in sys.modules and 'onnx' not in sys.modules"
    subprocess.run([sys.executable, "-c", said], check=True)


def test_the_readme_runs(tmp_path):
    text = (Path(__file__).parents[1] / "README.md").read_text()
    snippets = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    assert snippets
    subprocess.run([sys.executable, "-W", "error::attn.QualityWarning", "-c", "\n".join(snippets)], check=True, cwd=tmp_path)
    assert (tmp_path / "model.attn").exists()

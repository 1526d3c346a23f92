"""Mistakes that a user can make: each a typed error that names what is wrong and what would be right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import ASSETS, CASES, MODELS

import attn

FORECAST = MODELS / "forecast.onnx"


@pytest.fixture(scope="module")
def good() -> dict[str, np.ndarray]:
    with np.load(MODELS / "forecast_calibration.npz") as data:
        return dict(data)


@pytest.fixture(scope="module")
def model(good) -> attn.Model:
    return attn.convert(FORECAST, good, mixed=False)


def changed(array, at, value):
    array = array.copy()
    array[at] = value
    return array


DATA = {
    "a missing array": (lambda x: {"y": x}, "no array `x`; it holds: y", "x"),
    "another shape": (lambda x: {"x": x[:, :5]}, "shape [131, 5, 1], expected [samples, 36, 1]", "x"),
    "not a number": (lambda x: {"x": changed(x, (7, 0, 0), np.nan)}, "sample 7 holds NaN or infinity", "x"),
    "no samples": (lambda x: {"x": x[:0]}, "it holds no samples", "x"),
    "text": (lambda x: {"x": x.astype(str)}, "expected floats, integers or bool", "x"),
    "objects": (lambda x: {"x": x.astype(object)}, "expected floats, integers or bool", "x"),
    "complex numbers": (lambda x: {"x": x.astype(complex)}, "expected floats, integers or bool", "x"),
    "labels of some": (lambda x: {"x": x, "labels": np.zeros(3, int)}, "3 labels for 131 samples", "labels"),
}


@pytest.mark.parametrize("name", DATA)
def test_samples_that_do_not_fit(name, good, model, tmp_path):
    change, says, tensor = DATA[name]
    data = change(good["x"])
    calls = {"calibration": lambda: attn.convert(FORECAST, data), "data": lambda: model.compare(FORECAST, data)}
    if name != "labels of some":
        calls["inputs"] = lambda: model.run(data)
    for argument, call in calls.items():
        with pytest.raises(attn.DataError) as caught:
            call()
        assert says in str(caught.value)
        assert (caught.value.file, caught.value.tensor) == (argument, tensor)
        assert str(caught.value).startswith(argument)
    if name not in ("text", "objects", "complex numbers"):
        np.savez(tmp_path / "data.npz", **data)
        with pytest.raises(attn.DataError) as caught:
            attn.convert(FORECAST, tmp_path / "data.npz")
        assert caught.value.file == str(tmp_path / "data.npz")


def test_samples_are_needed_and_have_names(good):
    with pytest.raises(attn.ConvertError, match="calibration: give samples") as caught:
        attn.convert(FORECAST)
    assert caught.value.setting == "calibration"
    with pytest.raises(TypeError, match="calibration: a dict of arrays"):
        attn.convert(FORECAST, good["x"])
    with pytest.raises(TypeError, match="names of arrays"):
        attn.convert(FORECAST, {1: good["x"]})
    with pytest.raises(FileNotFoundError) as missing:
        attn.convert(FORECAST, "missing.npz")
    assert missing.value.filename == "missing.npz"


def test_models_that_are_none(good, tmp_path):
    (tmp_path / "text.onnx").write_text("no model at all")
    with pytest.raises(attn.ConvertError, match="not a readable ONNX model") as caught:
        attn.convert(tmp_path / "text.onnx", good)
    assert (caught.value.kind, caught.value.file) == ("NotOnnx", str(tmp_path / "text.onnx"))
    with pytest.raises(attn.ConvertError, match="^model: not a readable ONNX model") as caught:
        attn.convert(b"\x08", good)
    assert caught.value.file == "model"
    with pytest.raises(FileNotFoundError):
        attn.convert("missing.onnx", good)
    with pytest.raises(IsADirectoryError):
        attn.convert(tmp_path, good)
    with pytest.raises(TypeError, match="model: the path or bytes"):
        attn.convert(7, good)


def test_an_error_names_the_node(good):
    with np.load(CASES / "c06_rnn_threshold.npz") as data, pytest.raises(attn.ConvertError) as caught:
        attn.convert(CASES / "conv_stride0.onnx", dict(data))
    assert caught.value.node and caught.value.node in str(caught.value)
    assert caught.value.kind


SETTINGS = {
    "dtype": ({"dtype": "int4"}, "`int4` is none of int8, int16x8, fp16"),
    "range": ({"range": "all"}, "`all` is none of min-max, percentile, mse, measured"),
    "input_dtype": ({"input_dtype": {"y": "int8"}}, "the model has no input `y`; it has "),
    "labels": ({"labels": ["a", "b"]}, "2 labels for"),
    "audio_hop": ({"audio_hop": 320}, "the audio front end gives 40"),
    "threshold": ({"smoothing": 6, "labels": ["a"], "threshold": 2.0}, "`2.0` is no probability"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_do_not_fit(name, good):
    arguments, says = SETTINGS[name]
    with pytest.raises(attn.ConvertError) as caught:
        attn.convert(FORECAST, good, **arguments)
    assert says in str(caught.value) and caught.value.setting == name


def test_a_state_that_is_not_there(good):
    with pytest.raises(attn.ConvertError, match="the model has no input `h`") as caught:
        attn.convert(FORECAST, {"x": good["x"][:, None]}, states={"h": "g"})
    assert caught.value.tensor == "h"


def test_files_that_are_no_models(model, tmp_path):
    (tmp_path / "other.attn").write_bytes(b"not attn")
    with pytest.raises(attn.ModelError) as caught:
        attn.Model.load(tmp_path / "other.attn")
    assert caught.value.file == str(tmp_path / "other.attn")
    with pytest.raises(attn.ModelError):
        attn.Model(bytes(model)[:-1])
    with pytest.raises(FileNotFoundError):
        attn.Model.load(tmp_path / "missing.attn")
    with pytest.raises(attn.Error, match="there is no such folder"):
        model.save(tmp_path / "missing" / "model.attn")
    with pytest.raises(attn.Error, match="not a regular file"):
        model.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.attn"]


def test_a_file_of_another_model(model):
    with np.load(CASES / "f11_weights_averaged.npz") as data, pytest.raises(attn.ConvertError) as caught:
        model.compare(CASES / "f11_weights_averaged.onnx", dict(data))
    assert caught.value.kind == "OtherModel"


def test_models_that_cannot_do_what_is_asked(model, good):
    with pytest.raises(attn.ModelError):
        model.spot(ASSETS / "demo.wav")
    with pytest.raises(attn.DecodeError):
        model.decode("word")
    with pytest.raises(attn.DecodeError):
        model.generate("word")
    g2p = attn.Model.load(MODELS / "g2p.attn")
    with pytest.raises(attn.DecodeError, match="does not listen"):
        g2p.decode(recording=ASSETS / "digits.wav")
    with pytest.raises(attn.DecodeError):
        g2p.decode("7%")
    with pytest.raises(TypeError, match="not several"):
        g2p.decode("a", symbols=[1])
    half = attn.convert(FORECAST, good, dtype="fp16")
    with pytest.raises(attn.DataError, match="has no integers"):
        half.run(good, quantized=True)


def test_recordings_that_are_none(tmp_path):
    spotter = attn.Model.load(MODELS / "kws.attn")
    (tmp_path / "text.wav").write_text("no sound at all")
    with pytest.raises(attn.DataError, match="not a readable WAV or FLAC file"):
        spotter.spot(tmp_path / "text.wav")
    with pytest.raises(FileNotFoundError):
        spotter.spot(tmp_path / "missing.wav")
    for samples in (np.zeros(100, np.int32), np.full(100, 1.5), np.full(100, np.nan), np.zeros((2, 2, 2))):
        with pytest.raises(attn.DataError, match="^samples"):
            spotter.spot(samples)
    with pytest.raises(attn.DataError, match=r"expected \[samples\]"):
        spotter.spot(np.zeros((2, 100), np.int16))
    with pytest.raises(attn.DataError, match="less than one frame"):
        attn.features(np.zeros(10, np.int16))
    with pytest.raises(attn.ConvertError, match="hop"):
        attn.features(np.zeros(1000, np.int16), hop=0)
    with pytest.raises(attn.ConvertError, match="no label `maybe`"):
        spotter.spot(ASSETS / "demo.wav", threshold={"maybe": 0.5})


def test_poor_quality_is_a_warning():
    name = CASES / "f02_one_key_head_for_all"
    with pytest.warns(attn.QualityWarning, match='dtype="int16x8"') as caught:
        model = attn.convert(f"{name}.onnx", f"{name}.npz")
    assert caught[0].filename == __file__
    assert model.report.warning["sqnr_db"] < model.report.warning["floor_db"]


def test_what_progress_raises_ends_the_conversion(good):
    class Enough(Exception):
        pass

    def progress(phase, done, total):
        raise Enough

    with pytest.raises(Enough):
        attn.convert(FORECAST, good, progress=progress)


def test_other_threads_run_meanwhile(good):
    counted = 0
    ended = threading.Event()

    def count():
        nonlocal counted
        while not ended.is_set():
            counted += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    attn.convert(FORECAST, good)
    ended.set()
    thread.join()
    assert counted > 10


CONVERSION = """
import attn, signal, sys
from pathlib import Path
# Who runs the tests in the background may have Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
root = Path(sys.argv[1])
def show(phase, done, total):
    print(phase, flush=True)
try:
    attn.convert(root / "kws.onnx", root / "kws_calibration.npz", progress=show)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_ends_a_conversion():
    command = [sys.executable, "-c", CONVERSION, str(MODELS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "calibrate\n"
        running.send_signal(signal.SIGINT)
        said = running.stdout.read()
        assert running.wait(timeout=60) == 0
    assert said.splitlines()[-1] == "interrupted"

"""The package and the command `attn`: the same options give the same bytes, the same samples the same outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ASSETS, CASES, MODELS, STATES

import attn

FORECAST = MODELS / "forecast.onnx", MODELS / "forecast_calibration.npz"
KWS = MODELS / "kws.onnx", MODELS / "kws_calibration.npz"
GRU = STATES / "gru_step.onnx", STATES / "gru_step.npz"
MASKED = CASES / "m04_mask_that_may_be_named.onnx", CASES / "m04_mask_that_may_be_named.npz"

# Files, arguments here, and flags of the command.
CONVERSIONS = {
    "int8": (FORECAST, {}, []),
    "int16x8": (FORECAST, {"dtype": "int16x8"}, ["--dtype", "int16x8"]),
    "fp16": (FORECAST, {"dtype": "fp16"}, ["--dtype", "fp16"]),
    "range": (FORECAST, {"range": "mse", "mixed": False}, ["--range", "mse", "--no-mixed"]),
    "labels and front end": (
        KWS,
        {
            "stream": True,
            "mixed": False,
            "range": "min-max",
            "labels": MODELS / "kws_labels.txt",
            "audio_hop": 320,
            "smoothing": 6,
            "threshold": 0.6,
            "background": ["unknown", "noise", "zero"],
        },
        f"--stream --no-mixed --range min-max --labels {MODELS / 'kws_labels.txt'} --audio-hop 320 --smoothing 6 "
        "--threshold 0.6 --background unknown,noise,zero".split(),
    ),
    "states": (GRU, {"states": {"h_in": "h_out"}}, ["--state", "h_in=h_out"]),
    "mask": (MASKED, {"mask": "m", "dtype": "fp16"}, ["--mask", "m", "--dtype", "fp16"]),
}


@pytest.mark.filterwarnings("ignore::attn.QualityWarning")
@pytest.mark.parametrize("name", CONVERSIONS)
def test_the_same_options_give_the_same_bytes(name, command, tmp_path):
    (onnx, data), arguments, flags = CONVERSIONS[name]
    command("convert", onnx, "--calibrate", data, *flags, "-o", tmp_path / "command.attn")
    model = attn.convert(onnx, data, **arguments)
    model.save(tmp_path / "package.attn")
    assert (tmp_path / "package.attn").read_bytes() == (tmp_path / "command.attn").read_bytes()
    assert bytes(attn.Model.load(tmp_path / "package.attn")) == bytes(model)


@pytest.mark.filterwarnings("ignore::attn.QualityWarning")
def test_a_bundle_gives_the_same_bytes_from_its_file_and_from_a_dict(command, tmp_path):
    manifest = MODELS / "g2p.bundle.toml"
    command("convert", manifest, "--dtype", "fp16", "-o", tmp_path / "command.attn")
    want = (tmp_path / "command.attn").read_bytes()
    assert bytes(attn.convert(manifest, dtype="fp16")) == want
    with np.load(MODELS / "g2p.calibration.npz") as data:
        calibration = dict(data)
    keys = {
        "max_length": 24,
        "entries": {
            "encode": (MODELS / "g2p.encode.onnx").read_bytes(),
            "step": MODELS / "g2p.step.onnx",
        },
        "state": {
            "state": {"from": ["encode.state", "step.state_next"], "to": "step.state"},
            "memory": {"from": ["encode.memory"], "to": "step.memory"},
        },
        "decode": {
            "encode": "encode",
            "step": "step",
            "input": "symbols",
            "token": "token",
            "logits": "logits",
            "weights": "weights",
            "start": "<s>",
            "end": "</s>",
            "max_tokens": 32,
        },
        "vocabulary": {
            "symbols": (MODELS / "g2p.symbols.txt").read_text().split("\n")[:-1],
            "tokens": MODELS / "g2p.tokens.txt",
            "separator": " ",
        },
    }
    assert bytes(attn.convert(keys, calibration, dtype="fp16")) == want


RUNS = {
    "a window": (MODELS / "forecast_calibration.npz", FORECAST, [], {}),
    "a stream": (KWS[1], None, [], {}),
    "states": (GRU[1], GRU, ["--state", "h_in=h_out"], {}),
    "a mask": (MASKED[1], MASKED, ["--mask", "m"], {"mask": "m"}),
}


@pytest.mark.parametrize("name", RUNS)
def test_run_gives_what_the_command_gives(name, command, tmp_path):
    data, source, flags, arguments = RUNS[name]
    file = MODELS / "kws.attn"
    if source is not None:
        file = tmp_path / "model.attn"
        command("convert", source[0], "--calibrate", source[1], *flags, "-o", file)
    masked = flags if arguments else []
    command("run", file, data, *masked, "-o", tmp_path / "outputs.npz")
    with np.load(tmp_path / "outputs.npz") as outputs:
        want = dict(outputs)
    with np.load(data) as arrays:
        given = dict(arrays)
    model = attn.Model.load(file)
    for samples in (data, given):
        found = model.run(samples, **arguments)
        assert list(found) == list(want)
        for output, array in found.items():
            assert array.dtype == np.float32
            assert array.reshape(want[output].shape).tobytes() == want[output].tobytes()
    raw = model.run(given, quantized=True, **arguments)
    for tensor in model.outputs:
        integers = raw[tensor.name]
        assert integers.dtype == tensor.dtype
        real = np.float32(tensor.scale) * (integers.astype(np.float32) - np.float32(tensor.zero_point))
        held = found[tensor.name] != 0
        assert np.array_equal(real[held], found[tensor.name][held])


@pytest.mark.filterwarnings("ignore::attn.QualityWarning")
def test_compare_says_what_the_command_says(command, tmp_path):
    model = attn.convert(*FORECAST)
    model.save(tmp_path / "model.attn")
    said = json.loads(command("compare", FORECAST[0], tmp_path / "model.attn", "--data", FORECAST[1], "--json"))
    found = model.compare(*FORECAST)
    assert found.sqnr_db == said["outputs_sqnr_db"] > 20
    assert [(each.name, each.sqnr_db) for each in found.layers] == [(e["name"], e["sqnr_db"]) for e in said["layers"]]
    assert found.outputs[0].name == said["outputs"][0]["name"]
    assert found.top1_agreement == said["top1_agreement"]
    assert found.layers[0].name in str(found)


def test_inspect_says_what_the_command_says(command):
    file = MODELS / "kws.attn"
    assert attn.Model.load(file).inspect() == json.loads(command("inspect", file, "--json"))


def test_spot_hears_what_the_command_hears(command):
    file, wav = MODELS / "kws.attn", ASSETS / "demo.wav"
    model = attn.Model.load(file)
    for flags, threshold in [([], None), (["--threshold", "0.9"], 0.9), (["--threshold", "alexa=never"], {"alexa": None})]:
        said = json.loads(command("spot", file, wav, "--json", *flags))[0]["events"]
        found = model.spot(wav, threshold=threshold)
        assert [vars(event) for event in found] == said
    assert len(model.spot(wav)) > 2
    said = json.loads(command("spot", file, wav, "--json", "--scores"))[0]["scores"]
    assert {label: score.highest for label, score in model.spot_scores(wav).items()} == {
        one["label"]: one["highest"] for one in said
    }


def test_features_are_those_of_the_command(command, tmp_path):
    wav = ASSETS / "demo.wav"
    command("features", wav, "-o", tmp_path / "features.npz")
    with np.load(tmp_path / "features.npz") as said:
        assert np.array_equal(attn.features(wav, quantized=True), said["features"][0])
        assert np.array_equal(attn.features(wav), said["features"][0] * said["scale"])


def test_decode_finds_what_the_command_finds(command):
    file = MODELS / "g2p.attn"
    model = attn.Model.load(file)
    greedy = json.loads(command("decode", file, "--text", "tokenize", "--json"))
    [found] = model.decode("tokenize")
    assert (list(found.tokens), found.score, found.ended) == (greedy["tokens"], greedy["score"], True)
    assert found.text == " ".join(found.tokens)
    beam = json.loads(command("decode", file, "--text", "tokenize", "--beam", "4", "--n-best", "--json"))
    best = model.decode("tokenize", beam=4)
    assert [(list(each.tokens), each.score) for each in best] == [(e["tokens"], e["score"]) for e in beam["n_best"]]
    assert model.decode(symbols=[3, 4, 5]) != []
    digits, wav = MODELS / "digits.attn", ASSETS / "digits.wav"
    said = json.loads(command("decode", digits, "--wav", wav, "--json"))
    assert list(attn.Model.load(digits).decode(recording=wav)[0].tokens) == said["tokens"]
    llama = MODELS / "llama.attn"
    said = json.loads(command("decode", llama, "--prompt", "It was", "--sample", "1", "--json"))
    found = attn.Model.load(llama).generate("It was", seed=1)
    assert (list(found.tokens), found.score) == (said["tokens"], said["score"])


def test_samples_in_memory_are_heard_as_their_file():
    import wave

    with wave.open(str(ASSETS / "demo.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    model = attn.Model.load(MODELS / "kws.attn")
    want = model.spot(Path(ASSETS / "demo.wav"))
    assert model.spot(samples) == want
    assert model.spot(samples.astype(np.float32) / 32768) == want
    assert np.array_equal(attn.features(samples), attn.features(ASSETS / "demo.wav"))
    assert attn.features(np.stack([samples, samples]), quantized=True).shape[0] == 2

"""`python -m attn_training commands`: Speech Commands with 12 classes, a streaming attention model beside BC-ResNet-1.

Both networks train on the same pool of augmented clips by the same steps (`fit.py`), with nothing chosen on the test split. Weights stay in
the cache: a further call goes on where the last one ended. With `--test` the finished models are judged on the test split, and the card is written.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from ..words import export
from ..words.places import CACHE, ROOT, VOICES, attn, features
from ..words.voices import Voices
from . import card, data, fit, models

NAME = "commands12"
RECORDED = 16  # windows for the converter's test


def parse(arguments):
    parser = argparse.ArgumentParser(prog="attn_training commands", description=__doc__)
    parser.add_argument("--only", choices=models.NETWORKS, help="train this network and stop: two processes may train one each")
    parser.add_argument("--epochs", type=int, default=8, help="passes over the pool (default 8)")
    parser.add_argument("--pool", type=int, default=40, metavar="N", help="size of the pool, in thousands of clips (default 40)")
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate (default 0.003)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--test", action="store_true", help="judge the finished models on the test split, and write the card")
    parser.add_argument("--out", type=Path, default=ROOT / "models", help="folder for the files (default: models)")
    return parser.parse_args(arguments)


def split(name):
    """Features int8 [n, WINDOW, 40], classes [n], speakers [n] of a split, kept in the cache."""
    path = CACHE / "commands" / f"{name}.npz"
    if not path.exists():
        pcm, classes, speakers = data.clips(name)
        np.savez(path, features=features(pcm), classes=classes, speakers=speakers)
    kept = np.load(path)
    return kept["features"], kept["classes"], kept["speakers"]


def trained(name, arguments, work, log=print):
    """The network of this name with its weights, trained now where the cache has none."""
    torch.set_flush_denormal(True)
    torch.manual_seed(arguments.seed)
    model = models.NETWORKS[name](len(data.LABELS))
    path = work / f"{name}-{arguments.seed}-{arguments.pool}-{arguments.epochs}.pt"
    if not path.exists():
        own, classes = data.pool(work / "pool")
        judged, right, _ = split("val")

        def report(epoch, loss, seconds):
            found = fit.logits(model, judged).argmax(1)
            log(f"{name}: epoch {epoch + 1}, loss {loss:.3f}, val {100 * np.mean(found == right):.1f} %, {seconds:.0f} s", flush=True)

        limit = arguments.pool * data.POOL
        fit.train(model, own[:limit], classes[:limit], arguments.epochs, arguments.rate, arguments.seed, report)
        torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path))
    clips, right, _ = split("val")
    shift = fit.unknown_bias(fit.logits(model, clips), right, data.UNKNOWN)
    log(f"{name}: {shift:+.2f} on the logit of unknown, chosen on val")
    with torch.no_grad():
        model.logits.bias[data.UNKNOWN] += shift
    return model.eval()


def main(arguments):
    arguments = parse(arguments)
    work = CACHE / "commands"
    (work / "pool").mkdir(parents=True, exist_ok=True)
    if len(list((work / "pool").glob("pool-*.npz"))) < arguments.pool:
        data.fill(work / "pool", data.Material(), arguments.pool)
    if arguments.only:
        trained(arguments.only, arguments, work)
        return
    networks = {name: trained(name, arguments, work) for name in models.NETWORKS}
    write(networks["attention"], arguments.out)
    results = {"val": judged(networks, "val", arguments.out)}
    if arguments.test:
        results["test"] = judged(networks, "test", arguments.out)
        sizes = {name: models.parameters(model) for name, model in networks.items()}
        (arguments.out / f"{NAME}.md").write_text(card.text(results, sizes, arguments))
        (arguments.out / f"{NAME}_results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps({name: {of: card.accuracy(row) for of, row in own["found"].items()} for name, own in results.items()}, indent=1))


def write(model, out):
    """ONNX, labels, calibration data of synthetic voices alone; of the shipped model also what PyTorch computes, for the converter's test."""
    out.mkdir(parents=True, exist_ok=True)
    export.onnx(model, out / f"{NAME}.onnx")
    export.labels(data.LABELS, out / f"{NAME}_labels.txt")
    voices = data.synthetic(Voices(CACHE / "renderings", VOICES))
    spoken = [[x for clips in voices[word].values() for x in clips] for word in data.COMMANDS]
    others = [x for word in data.OTHERS for clips in voices[word].values() for x in clips]
    export.calibration(spoken, others, out / f"{NAME}_calibration.npz")
    if out.resolve() == (ROOT / "models").resolve():
        calibration = np.load(out / f"{NAME}_calibration.npz")
        recorded = calibration["features"][:RECORDED]
        np.savez_compressed(ROOT / "host-tests" / "fixtures" / "trained" / f"{NAME}.npz", features=recorded, scale=calibration["scale"],
                            logits=fit.logits(model, recorded))


def judged(networks, of, out):
    """What each network and the int8 file say of a split's clips: counts by class, and the comparison clip by clip."""
    clips, right, speakers = split(of)
    found = {name: fit.logits(model, clips).argmax(1) for name, model in networks.items()}
    found["int8"] = int8(clips, out).argmax(1)
    noise = features(data.pieces(of, 200, False))
    other = {name: float(np.mean(fit.logits(model, noise).argmax(1) == data.SILENCE)) for name, model in networks.items()}
    by_class = {name: [[int(np.sum((right == k) & (row == k))), int(np.sum(right == k))] for k in range(len(data.LABELS))] for name, row in found.items()}
    return {
        "found": by_class, "other_noise_is_silence": other, "speakers": len(set(speakers[right != data.SILENCE])),
        "int8_as_float": float(np.mean(found["int8"] == found["attention"])),
        "difference": card.difference(found["attention"] == right, found["bcresnet"] == right, speakers),
    }


def int8(clips, out):
    """Logits [n, labels] of the converted model after each clip's last frame."""
    path = CACHE / "commands" / f"{NAME}.attn"
    attn("convert", out / f"{NAME}.onnx", "--stream", "--calibrate", out / f"{NAME}_calibration.npz", "--labels", out / f"{NAME}_labels.txt",
         "--audio-hop", 320, "-o", path)
    return export.int8_logits(path, [clips])[0][:, -1]

"""`python -m attn_training digits`: spoken digit strings, from recordings of single digits and synthetic voices.

Three steps, each kept in the cache. A first model learns from voices that need no download. It finds the digits in lines that neural voices
say in one go. The shipped model goes on from it with these and with recordings, without a fold of the speakers. `--test` trains nothing: it
judges the files on that fold and on the test split.
"""

import argparse
import copy
import json
import pickle
from pathlib import Path

import torch

from ..words.places import CACHE, ROOT
from . import align, export, fit, judge, pool, said

RATES = 3e-3, 2e-3  # learning rates of the first model, and from there on
FIRST_VOICES = {"espeak": said.LINES["espeak"], "flite": said.LINES["flite"]}


def parse(arguments):
    parser = argparse.ArgumentParser(prog="attn_training digits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs=2, default=[3, 12], metavar=("FIRST", "FURTHER"),
                        help="of training on an idle core: the first model, and from there on (default 3 12)")
    parser.add_argument("--strings", type=int, default=6000, help="in each pool: first, synthetic, recorded (default 6000)")
    parser.add_argument("--kokoro", type=int, default=said.LINES["kokoro"], help="lines said by neural voices")
    parser.add_argument("--leave-out", type=int, default=0, metavar="FOLD", help="of the speakers: 0 (default), 1 or 2")
    parser.add_argument("--test", action="store_true", help="judge the files in --out, float and int8, in place of training")
    parser.add_argument("--out", type=Path, default=ROOT / "models", help="folder for the files (default: models)")
    return parser.parse_args(arguments)


def kept(path, make):
    """A model with the weights in `path`, which `make` makes where it is missing."""
    if not path.exists():
        torch.save(make().state_dict(), path)
    model = fit.new_model()
    model.load_state_dict(torch.load(path))
    return model.eval()


def main(arguments):
    arguments = parse(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    work = CACHE / "digits"
    work.mkdir(parents=True, exist_ok=True)
    if arguments.test:
        _judge(work, arguments)
        return
    first, further = arguments.minutes
    model = kept(work / "first.pt", lambda: _first(work, arguments.strings, first))
    final = kept(work / f"without{arguments.leave_out}.pt", lambda: _further(work, model, arguments, further))
    export.write(final, arguments.out)


def _judge(work, arguments):
    for name in judge.EACH:
        result = judge.of_files(_strings(work, name, arguments.leave_out), arguments.out)
        print(name, json.dumps(result, indent=1))
        (work / f"{name}.json").write_text(json.dumps(result, indent=1))


def _first(work, strings, minutes):
    pool.fill(work, "first", [(pool.Synthetic(said.synthetic(FIRST_VOICES)), -1)], strings, 42)
    return fit.train(fit.new_model(), pool.load(work, "first"), RATES[0], minutes, 1)


def _further(work, model, arguments, minutes):
    if not list(work.glob("synthetic-*.npz")):
        lines = said.synthetic(said.LINES | {"kokoro": arguments.kokoro})
        neural = align.divided(model, [line for line in lines if line[0] == "kokoro"])
        voices = pool.Synthetic([line for line in lines if line[0] != "kokoro"] + neural)
        pool.fill(work, "synthetic", [(voices, -1)], arguments.strings, 43)
    pool.fill_recorded(work, arguments.strings)
    spoken = pool.load(work, "recorded")
    strings = pool.load(work, "synthetic") + spoken.only(spoken.folds != arguments.leave_out)
    return fit.train(copy.deepcopy(model).train(), strings, RATES[1], minutes, 9)


def _strings(work, name, fold):
    """Strings for judging: of the fold left out, or of the test split."""
    path = work / f"{name}{fold}.pkl" if name == judge.HELD else work / f"{name}.pkl"
    if not path.exists():
        splits, noise, seed = {judge.HELD: ({"train", "val"}, {"val"}, 32), judge.TEST: ({"test"}, {"test"}, 34)}[name]
        path.write_bytes(pickle.dumps(judge.test_strings(splits, noise, judge.EACH[name], seed, {fold} if name == judge.HELD else None)))
    return pickle.loads(path.read_bytes())

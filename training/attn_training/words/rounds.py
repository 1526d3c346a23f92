"""Training in rounds: a process makes streams, another trains on them, and now and then looks for what it takes for a keyword."""

import multiprocessing
from pathlib import Path

from . import fit, mining
from .streams import Streams, produce


def producer(material, keywords, further, folder, limit, seed=0):
    """Starts the process that writes shards into `folder`; `limit(number of shards)` ends it."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    process = multiprocessing.get_context("fork").Process(
        target=produce, args=(Streams(material, keywords, further), folder, limit, seed), daemon=True)
    process.start()
    return process


def rounds(model, material, keywords, folder, minutes, path, mine_at=(0.0, 0.15, 0.35, 0.6), **how):
    """Trains for `minutes`; at these shares of the time the hard negatives are looked for anew."""
    waiting = sorted(mine_at)

    def after(share):
        if waiting and share >= waiting[0]:
            waiting.pop(0)
            found = mining.mine(model, [*material.speech, *material.noise], len(keywords), Path(folder) / "hard.npz", seed=len(waiting))
            print(f"      {found} hard pieces", flush=True)

    if waiting and waiting[0] <= 0:
        after(0.0)
    return fit.train(model, folder, len(keywords), minutes, path, after_round=after, **how)

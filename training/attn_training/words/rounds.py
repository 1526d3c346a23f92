"""Training in rounds: one process makes streams and looks for what the model takes for a keyword by now; others train."""

import multiprocessing
import os
from pathlib import Path

import torch

from . import mining
from .streams import Streams, produce

MINE_EVERY = 30  # shards


def producer(material, keywords, further, folder, limit, model=None, weights=None, seed=0, kept=None, leave_out=None):
    """Starts the process that writes shards into `folder`, of which the newest `kept` remain; `limit(number of shards)` ends it.

    With a `model` and the file in which training leaves its `weights`, hard negatives are looked for anew every MINE_EVERY shards.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def before(number):
        if model is None or number % MINE_EVERY or (number and not os.path.exists(weights)):
            return
        if number:
            model.load_state_dict(torch.load(weights))
        found = mining.mine(model, [*material.speech, *material.noise], len(keywords), folder / "hard.npz", seed=number)
        print(f"      {found} hard pieces", flush=True)

    def work():
        os.nice(1)
        torch.set_num_threads(1)
        produce(Streams(material, keywords, further, leave_out), folder, limit, seed, before, kept)

    process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    process.start()
    return process


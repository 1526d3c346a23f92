"""`python -m attn_training shrink LARGE.onnx SMALL.onnx STREAMS`: a smaller spotter from a larger one, as a start for training.

Of each layer the channels are kept that matter most to the next ones: activity on training streams times the weights that read it.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from . import export
from .model import KeywordSpotter, Sizes, from_onnx, onnx_arrays
from .places import SCALE
from .streams import Store


def most(importance, count):
    return torch.sort(torch.topk(importance, count).indices).values


def shrunk(path, features, sizes):
    """A spotter of `sizes` with the weights of the larger one in `path`, chosen on int8 `features` [n, t, 40]."""
    large, a = from_onnx(path).eval(), onnx_arrays(path)
    with torch.no_grad():
        x = torch.from_numpy(features.astype("float32") * SCALE)
        one = F.relu(large.conv1(F.pad(x.transpose(1, 2), (4, 0))))
        two = F.relu(large.conv2(F.pad(one, (2, 0))))
        h = large.gru(two.transpose(1, 2))[0]
    hidden, channels = large.sizes.hidden, large.sizes.channels
    spread = [z.std((0, 2)) for z in (one, two)] + [h.std((0, 1))]
    reads_h = torch.cat([a["gru.weight_hh_l0"], a["query.weight"], a["key.weight"], a["value.weight"],
                         a["hidden.weight"][:, large.sizes.width:]])
    c1 = most(spread[0] * a["conv2.weight"].norm(dim=(0, 2)), sizes.channels)
    c2 = most(spread[1] * a["gru.weight_ih_l0"].norm(dim=0), sizes.channels)
    units = most(spread[2] * reads_h.norm(dim=0), sizes.hidden)
    gates = torch.cat([units, units + hidden, units + 2 * hidden])
    per_head = large.sizes.width // 2
    pairs = a["query.weight"].norm(dim=1) * a["key.weight"].norm(dim=1)
    keys = torch.cat([most(pairs[i: i + per_head], sizes.width // 2) + i for i in (0, per_head)])
    reads_v = a["value.weight"].norm(dim=1) * a["hidden.weight"][:, : large.sizes.width].norm(dim=0)
    values = torch.cat([most(reads_v[i: i + per_head], sizes.width // 2) + i for i in (0, per_head)])
    inner = most(a["hidden.weight"].norm(dim=1) * a["logits.weight"].norm(dim=0), sizes.inner)
    read = torch.cat([values, units + large.sizes.width])
    # The score is divided by the root of the width of a head: what is left must not grow by that.
    root = (sizes.width / large.sizes.width) ** 0.5
    assert channels == len(a["conv1.bias"])
    small = {
        "conv1.weight": a["conv1.weight"][c1], "conv1.bias": a["conv1.bias"][c1],
        "conv2.weight": a["conv2.weight"][c2][:, c1], "conv2.bias": a["conv2.bias"][c2],
        "gru.weight_ih_l0": a["gru.weight_ih_l0"][gates][:, c2], "gru.weight_hh_l0": a["gru.weight_hh_l0"][gates][:, units],
        "gru.bias_ih_l0": a["gru.bias_ih_l0"][gates], "gru.bias_hh_l0": a["gru.bias_hh_l0"][gates],
        "query.weight": a["query.weight"][keys][:, units] * root, "query.bias": a["query.bias"][keys] * root,
        "key.weight": a["key.weight"][keys][:, units], "key.bias": a["key.bias"][keys],
        "value.weight": a["value.weight"][values][:, units], "value.bias": a["value.bias"][values],
        "hidden.weight": a["hidden.weight"][inner][:, read], "hidden.bias": a["hidden.bias"][inner],
        "logits.weight": a["logits.weight"][:, inner], "logits.bias": a["logits.bias"]}
    return KeywordSpotter(len(a["logits.bias"]), sizes).load(small)


def main(arguments):
    large, small, streams = arguments
    features, _ = Store(streams, capacity=1).refresh().arrays()
    export.onnx(shrunk(large, features[:200], Sizes()), small)
    export.labels(Path(large.removesuffix(".onnx") + "_labels.txt").read_text().split(), small.removesuffix(".onnx") + "_labels.txt")


if __name__ == "__main__":
    main(sys.argv[1:])

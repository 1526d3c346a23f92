"""The model card of a spotter and its picture: misses against false accepts an hour."""

import numpy as np

from . import judge

CARD = """# {title}: model card

`{name}.onnx` hears {words} in 16 kHz audio, frame by frame.

| | |
|---|---|
| labels | `{name}_labels.txt`, in the order of the logits |
| input | `features` [1, 50, 40]: one second of log-mel features of `attn features`, real value = int8 / 32; 20 ms per frame |
| output | `logits` [1, {labels}] of the last frame |
| network | {network} |
| size | {parameters} parameters, {macs} multiply-adds per 20 ms when streamed |
| decision | softmax posteriors averaged over 6 hops; the highest keyword is reported when it reaches its threshold; then nothing for 50 hops |

    attn convert {name}.onnx --stream --calibrate {name}_calibration.npz --labels {name}_labels.txt \\
        --range min-max --audio-hop 320 --smoothing 6 --threshold {lowest:.2f} --refractory 50 \\
        --background {background} -o {name}.attn

{body}
"""


def network(model):
    """What the card says of the layers, the parameters and the work for a frame."""
    c, h, w, i = model.sizes
    labels = len(model.logits.bias)
    text = (f"causal Conv1d 40→{c} (5 frames), causal Conv1d {c}→{c} (3 frames), GRU {c}→{h}, scaled dot-product attention with 2 heads of "
            f"{w // 2} from the last frame over the last 50, Linear {w + h}→{i}, Linear {i}→{labels}")
    macs = 200 * c + 3 * c * c + 3 * h * (c + h) + 3 * h * w + 100 * w + (w + h) * i + i * labels
    parameters = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("norm"))
    return {"network": text, "macs": f"{macs:,}".replace(",", " "), "parameters": f"{parameters:,}".replace(",", " ")}


def percent(hits, count):
    share, low, high = judge.binomial(hits, count)
    return f"{100 * share:.1f} % ({100 * low:.0f} to {100 * high:.0f})" if count else "none"


def per_hour(count, hours):
    rate, low, high = judge.poisson(count, hours)
    return f"{rate:.2f} ({low:.2f} to {high:.2f})"


def table(header, rows):
    return "\n".join(["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|",
                      *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def picture(names, peaks, hours, recalls, path, title, marks=None):
    """For each word its misses against false accepts an hour, with the Poisson interval of the rate as a band.

    `recalls`: {condition: (scores, own)}; `marks`: thresholds that are shipped.
    """
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.6 * columns, 2.9 * rows), squeeze=False, sharey=True)
    at = 1 / (1 + np.exp(-np.linspace(-3, 8.5, 140)))
    for k, (name, axis) in enumerate(zip(names, axes.flat)):
        counts = np.array([np.sum(peaks[k] >= t) for t in at])
        intervals = [judge.poisson(int(c), hours) for c in counts]
        rate = np.array([max(i[0], 0.3 / hours) for i in intervals])
        for kind, (scores, own) in recalls.items():
            if not np.any(own == k):
                continue
            missed = np.array([100 * np.mean(scores[own == k] < t) for t in at])
            line, = axis.plot(rate, missed, label=kind, linewidth=1.4)
            if kind == next(iter(recalls)):
                axis.fill_betweenx(missed, [i[1] for i in intervals], [i[2] for i in intervals], color=line.get_color(), alpha=0.15, linewidth=0)
            if marks is not None:
                axis.plot(max(np.sum(peaks[k] >= marks[k]) / hours, 0.3 / hours), 100 * np.mean(scores[own == k] < marks[k]), "o",
                          color=line.get_color(), markersize=4)
        axis.set_xscale("log")
        axis.set_xlim(0.25 / hours, 60)
        axis.set_ylim(0, 40)
        axis.set_title(name, fontsize=10)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("false accepts an hour")
    for axis in axes[:, 0]:
        axis.set_ylabel("missed, %")
    axes.flat[0].legend(fontsize=8)
    for axis in list(axes.flat)[len(names):]:
        axis.axis("off")
    figure.suptitle(title, fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)

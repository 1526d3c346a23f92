"""The model card of the Speech Commands model: figures with intervals, the command, the data."""

import numpy as np

from ..words import card, judge
from . import data

RESAMPLES = 10000


def difference(ours, theirs, speakers, seed=4):
    """How many points of accuracy `ours` is above `theirs`, on the same clips, with its 95 % interval: speakers are drawn anew."""
    names, own = np.unique(speakers, return_inverse=True)
    gain = np.bincount(own, weights=ours.astype(float) - theirs)
    clips = np.bincount(own)
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    spread = 100 * gain[drawn].sum(1) / clips[drawn].sum(1)
    low, high = np.percentile(spread, [2.5, 97.5])
    return [float(100 * gain.sum() / clips.sum()), float(low), float(high)]


def accuracy(by_class):
    """Per cent of all clips."""
    hits, clips = np.sum(by_class, axis=0)
    return round(100 * hits / clips, 2)


def share(by_class):
    return card.percent(*(int(x) for x in np.sum(by_class, axis=0)))


def spaced(number):
    """56524 as 56 524."""
    return f"{number:,}".replace(",", " ")


def text(results, sizes, arguments):
    test, val = results["test"], results["val"]
    rows = [[name, spaced(parameters), share(val["found"][of]), share(test["found"][of])] for name, of, parameters in (
        ("streaming attention, float", "attention", sizes["attention"]), ("the same, int8", "int8", sizes["attention"]),
        ("BC-ResNet-1, float", "bcresnet", sizes["bcresnet"]))]
    classes = [[label, *(card.percent(*test["found"][of][k]) for of in ("attention", "int8", "bcresnet"))] for k, label in enumerate(data.LABELS)]
    points, low, high = (f"{x:.1f}" for x in test["difference"])
    clips = sum(n for _, n in test["found"]["attention"])
    noise = test["other_noise_is_silence"]
    return CARD.format(
        parameters=spaced(sizes["attention"]), epochs=arguments.epochs, pool=arguments.pool, seed=arguments.seed, clips=clips, speakers=test["speakers"],
        overall=card.table(["", "parameters", "val", "test"], rows),
        classes=card.table(["test, by class", "attention", "int8", "BC-ResNet-1"], classes),
        difference=f"{points} points ({low} to {high})", same=f"{100 * test['int8_as_float']:.1f} %",
        noise=f"{100 * noise['attention']:.0f} % by the attention model, {100 * noise['bcresnet']:.0f} % by BC-ResNet-1")


CARD = """# commands12: model card

`commands12.onnx` tells the ten commands of Speech Commands, other words and silence apart, from the last second of sound, frame by frame.

| | |
|---|---|
| labels | `commands12_labels.txt`: yes, no, up, down, left, right, on, off, stop, go, unknown, silence |
| input | `features` [1, 50, 40]: one second of log-mel features of `attn features`, real value = int8 / 32; 20 ms per frame |
| output | `logits` [1, 12] of the last frame |
| network | causal Conv1d 40→64 (3 frames), 3 residual blocks of depthwise (7 frames) and pointwise Conv1d of 64, GRU 64→64, scaled dot-product attention with 2 heads of 16 from the last frame over the last 50, Linear 96→32, Linear 32→12 |
| size | {parameters} parameters |

    attn convert commands12.onnx --stream --calibrate commands12_calibration.npz --labels commands12_labels.txt --audio-hop 320 \\
        -o commands12.attn

## Results

**These figures cannot be compared with published ones.** Of Speech Commands the project has about 190 clips of each command, nearly all of them by
speakers of the official test set, and none of the 85 000 training clips. Its splits divide those speakers anew, so training heard other official
test speakers, and `test` holds only speakers that it did not hear: {clips} clips of {speakers} speakers, silence included. Beside
the attention model stands BC-ResNet-1 as its paper describes it, trained by the same script on the same clips with the same augmentation and
as many steps. It has a sixth of the parameters and was still gaining when the steps ended: it is a yardstick on these clips, not a verdict on that
network. One seed each. 95 % intervals: binomial.

    python -m attn_training commands --test     # in training/; without --test the test split is not looked at

{overall}

On the same clips the attention model is {difference} above BC-ResNet-1; the interval draws speakers anew. int8 names the same class as float
in {same} of the clips. Silence is, as in the original protocol, pieces of the background recordings of speech sets. Of 200 pieces
of other sounds and music, which that protocol does not have, {noise} are called silence.

{classes}

## Training

- {pool} 000 augmented clips, made once: 75 % of them a command (70 % of those recorded, the others by synthetic voices), 18 % another word or a piece of
  running speech, 7 % noise. Changed speed, filters, rooms, noise from 0 to 45 dB, level, place in the window.
- {epochs} passes with features changed anew each time: level, tilt, a stretch of the bands, masked bands and frames. AdamW, one cycle, seed {seed}.
- Chosen on `val`: the network's form and sizes, and for each network what is added to the logit of unknown. So its figures there are hopeful.
  Nothing was chosen on `test`, which was judged once.
- When the pool of the committed weights was made, 150 renderings by the neural voices were there, 1 500 by espeak-ng and 440 by flite. The
  command asks for 36 neural ones of each command and 6 of each other word, so a repetition has more. It gives other weights of the same kind.

## Data

| source | licence | used for |
|---|---|---|
| Speech Commands, parts: 1 485 training clips of the commands, 391 of other words | CC BY 4.0 | commands, unknown |
| speechocean762 | CC BY 4.0 | digits and running speech: unknown |
| what the [keyword spotter](kws.md) is trained on besides | see there | unknown, noise, rooms |
| Kokoro-82M (Apache-2.0), espeak-ng, flite: rendered by the recipe | ours | more voices for commands and other words |

Recordings are not part of this repository, nor is anything derived from them but the weights; `commands12_calibration.npz` holds features of
synthetic speech and noise only. Splits are by speaker.

## Limits

- A command that is not in the window's second as a whole is no case that training or judging had. In running speech posteriors need
  averaging and thresholds as in the [keyword spotter](kws.md); that was not measured.
- "unknown" in `test` are 54 clips of 25 words: the interval of that row says how little that proves.
"""

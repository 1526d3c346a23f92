"""Synthetic speakers for training: the ten digits by espeak-ng in many voices; writes cache/synth.npz.

Usage: python synth.py --voices 250     (needs espeak-ng; a minute)
"""

import argparse
import random

import numpy as np

from setting import CACHE, WORDS

from attn_training.words.voices import ESPEAK, VARIANTS, say


def voice(rng):
    """A voice of English, its words per minute and its pitch."""
    return rng.choice(ESPEAK) + rng.choice(VARIANTS), rng.randint(120, 220), rng.randint(15, 90)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", type=int, default=250)
    arguments = parser.parse_args()
    rng = random.Random(2028)
    clips = [say(word, *said_by) for said_by in [voice(rng) for _ in range(arguments.voices)] for word in WORDS]
    CACHE.mkdir(exist_ok=True)
    np.savez(CACHE / "synth.npz", pcm=np.concatenate(clips), lengths=[len(clip) for clip in clips])
    print(f"{len(clips)} clips, {sum(map(len, clips)) / 16000 / 60:.1f} minutes")


if __name__ == "__main__":
    main()

"""Where things are and what the numbers mean; also the door to the package attn_training, its augmentation and synthetic voices.

`ATTN_DATA` overrides the folder of recordings, `ATTN` the converter's binary (see ../attn_training/words/places.py).
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from attn_training.words.places import ATTN, DATA, ROOT, attn  # noqa: E402, F401

CACHE = HERE / "cache"
SPEECH = DATA / "speech"
MODELS = ROOT / "models"
FIXTURES = ROOT / "host-tests" / "fixtures" / "seq2seq"
RATE, HOP, FRAME = 16000, 320, 512
SCALE = 1 / 32  # a feature is a step of 1/32 of log2 of the power in a band
MAX_FRAMES = 300  # 6 seconds
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
START, END = "<s>", "</s>"
TOKENS = [START, END, *WORDS]
MAX_DIGITS = 5
SPEAKERS = {"train": ["jackson", "nicolas"], "val": ["george"], "test": ["yweweler"]}

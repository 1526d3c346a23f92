"""Where things are and what the numbers mean; also the door to the keyword recipe's augmentation and synthetic voices.

`ATTN_SPEECH` overrides the folder of recordings, `ATTN` the converter's binary (see ../kws/paths.py).
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent), str(HERE.parent / "kws")]

from paths import ATTN, ROOT, SPEECH, attn  # noqa: E402, F401

CACHE = HERE / "cache"
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

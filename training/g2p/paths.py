"""Where things are. `ATTN` overrides the converter's binary."""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = HERE / "cache"
MODELS = ROOT / "models"
FIXTURES = ROOT / "host-tests" / "fixtures" / "seq2seq"
ATTN = os.environ.get("ATTN", str(ROOT / "target" / "release" / "attn"))

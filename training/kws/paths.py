"""Where things are. `ATTN_SPEECH` overrides the folder of recordings, `ATTN` the converter's binary."""

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = HERE / "cache"
SPEECH = Path(os.environ.get("ATTN_SPEECH", ROOT.parent / "shared" / "data" / "speech"))
ATTN = os.environ.get("ATTN", str(ROOT / "target" / "release" / "attn"))


def attn(*arguments):
    """Runs the `attn` command."""
    subprocess.run([ATTN, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

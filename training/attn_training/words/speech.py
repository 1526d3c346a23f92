"""What synthetic voices are asked to say for a set of keywords: the keywords, near misses in a row, other speech."""

import json
from pathlib import Path

from . import phones, text

NEAR_MISSES, IN_A_ROW = 32, 4
SENTENCES = 240


def near_rows(keyword, keywords, cache):
    """Near misses of a keyword, four in a row each; kept in `cache`, since the search takes seconds."""
    path = Path(cache) / "near_misses.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    key = " | ".join([keyword, *sorted(keywords)])
    if key not in known:
        known[key] = phones.near_misses(keyword, keywords, NEAR_MISSES)
        path.write_text(json.dumps(known, indent=1))
    found = known[key]
    return [", ".join(found[i: i + IN_A_ROW]) for i in range(0, len(found), IN_A_ROW)]


def other_sentences(keywords, count=SENTENCES):
    """Texts that say none of the keywords."""
    return [t for t in text.sentences(count) if not phones.says(t, keywords)]

#!/usr/bin/env python3
"""Writes the results of zoo.py as the last table of docs/results/systems.md.

    python host-tests/zoo/zoo.py target/debug/attn work --fast --json results.json
    python host-tests/zoo/table.py results.json [MORE.json ...]        # of several files, the last has the word on a system
"""

import json
import pathlib
import sys

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "results" / "systems.md"
PRECISIONS = ["int8", "int16x8", "fp16"]
BEGIN, END = "<!-- zoo:begin -->\n", "<!-- zoo:end -->"


def cell(rows):
    """The worst of all exports in one precision."""
    if not rows:
        return "not exported"
    if any(row["error"] for row in rows):
        return "refused"
    worst = min(rows, key=lambda row: row["db"])
    text = "exact" if worst["db"] > 200 else f"{worst['db']:.1f}"
    return f"**{text}**" if any(row["failed"] for row in rows) else text


def main():
    systems = {}
    for path in sys.argv[1:]:
        own = {}
        for row in json.loads(pathlib.Path(path).read_text()):
            own.setdefault(row["system"], []).append(row)
        systems |= own
    done = [row for rows in systems.values() for row in rows if row["precision"] != "-"]
    within = sum(not row["failed"] for row in done)
    exports = len({(row["system"], row["exporter"], row["batch"]) for row in done})
    lines = [f"{len(systems)} systems in {exports} exports: {within} of {len(done)} conversions are within their floor.\n\n",
             "| system | " + " | ".join(f"{name}: dB" for name in PRECISIONS) + " |\n", "|---|---:|---:|---:|\n"]
    for name, rows in systems.items():
        cells = [cell([row for row in rows if row["precision"] == precision]) for precision in PRECISIONS]
        lines.append(f"| `{name}` | {' | '.join(cells)} |\n")
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + "".join(lines) + END + rest.split(END)[1])


if __name__ == "__main__":
    main()

"""Jane Austen's six novels as numbers: one for each character.

The text comes from R's package janeaustenr, as Debian ships it (`r-cran-janeaustenr`); R itself is not needed.

Usage: python text.py FOLDER     the folder into which the package was unpacked; writes cache/NOVEL.txt and prints the counts
"""

import argparse
import re
import struct
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE / "cache"
DATA = Path("usr/lib/R/site-library/janeaustenr/data/Rdata.rdb")
NOVELS = ["emma", "mansfield_park", "northanger_abbey", "persuasion", "pride_and_prejudice", "sense_and_sensibility"]
TEST = "persuasion"  # of the others, the last twentieth is for choosing

START, END = "<s>", "</s>"  # END is the end of a paragraph
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CHARACTERS = " " + LETTERS + LETTERS.upper() + "0123456789" + ".,;:!?'\"-()&"
TOKENS = [START, END, *CHARACTERS]
PLAIN = str.maketrans({"_": None, "[": "(", "]": ")"})


def strings(serialized):
    """The strings of one serialized R character vector (format 3, big-endian, as `serialize` writes it)."""
    (name_length,) = struct.unpack_from(">i", serialized, 14)
    place = 18 + name_length
    kind, count = struct.unpack_from(">ii", serialized, place)
    if serialized[:2] != b"X\n" or kind & 0xFF != 16:
        raise SystemExit("this is no vector of strings as R 3.5 and later write it")
    place, found = place + 8, []
    for _ in range(count):
        _, length = struct.unpack_from(">ii", serialized, place)
        found.append(serialized[place + 8: place + 8 + max(0, length)].decode())
        place += 8 + max(0, length)
    return found


def entries(database):
    """The objects of an R database file: each a big-endian length and a zlib stream."""
    while database:
        stream = zlib.decompressobj()
        yield stream.decompress(database[4:])
        database = stream.unused_data


def paragraphs(lines):
    """Lines to paragraphs of characters of the vocabulary; headings and rules are left out."""
    for block in "\n".join(lines).split("\n\n"):
        text = " ".join(block.translate(PLAIN).split())
        text = "".join(c for c in text if c in CHARACTERS)
        if len(text) > 20 and re.search("[a-z].*[.!?]", text) and not re.match("(CHAPTER|Chapter|VOLUME|Volume|FINIS)", text):
            yield text


def read(novel):
    """A novel's paragraphs, in order."""
    return (CACHE / f"{novel}.txt").read_text().splitlines()


def split(which):
    """Paragraphs of `train`, `val` or `test`."""
    if which == "test":
        return read(TEST)
    found = []
    for novel in NOVELS:
        if novel != TEST:
            text = read(novel)
            cut = len(text) * 19 // 20
            found += text[:cut] if which == "train" else text[cut:]
    return found


def numbers(paragraph):
    """The paragraph's characters and its end."""
    return [*(TOKENS.index(c) for c in paragraph), TOKENS.index(END)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    CACHE.mkdir(exist_ok=True)
    database = (parser.parse_args().folder / DATA).read_bytes()
    for novel, serialized in zip(NOVELS, entries(database), strict=True):
        text = list(paragraphs(strings(serialized)))
        (CACHE / f"{novel}.txt").write_text("\n".join(text) + "\n")
        print(f"{novel}: {len(text)} paragraphs, {sum(map(len, text))} characters, begins {text[0][:50]!r}")
    for which in ["train", "val", "test"]:
        print(f"{which}: {sum(len(p) + 1 for p in split(which))} characters")


if __name__ == "__main__":
    main()

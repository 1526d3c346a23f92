"""Puts a corpus together: recordings from folders, synthetic voices for what is to be trained."""

import numpy as np

from . import corpus, speech
from .places import DATA

SENTENCE_VOICES = [("kokoro", "espeak"), ("espeak", "foreign"), ("flite", "espeak"), ("espeak",), ("foreign", "flite"), ("espeak",)]
OPUS = {"gsc", "so762_digits"}  # sources whose training clips are Opus already


def synthesise(material, voices, keywords, further, cache, kokoro, stop=lambda: False, log=print):
    """Fills in keywords, near misses and sentences. `keywords`, `further`: {label: what is said}; `kokoro`: its renderings of each."""
    texts = list(keywords.values())
    for label, text in [*keywords.items(), *further.items()]:
        count = kokoro if label in keywords else 0
        material.spoken[label] = {"kokoro": voices.said(text, "kokoro", count, stop=stop), "espeak": voices.said(text, "espeak", 90),
                                  "flite": voices.said(text, "flite", 24)}
        log(f"{label}: { {k: len(v) for k, v in material.spoken[label].items()} } renderings")
    for text in texts:
        for row in speech.near_rows(text, texts, cache):
            for engine, count in (("kokoro", 1), ("espeak", 6), ("flite", 2)):
                material.near += voices.said(row, engine, count, stop=stop)
    log(f"{len(material.near)} rows of near misses")
    for i, text in enumerate(speech.other_sentences([*texts, *further.values()])):
        for engine in SENTENCE_VOICES[i % len(SENTENCE_VOICES)]:
            material.sentences += voices.said(text, engine, 1, stop=stop)
    log(f"{len(material.sentences)} sentences")


def recorded(material, keywords, further, recordings, splits=("train",), data=DATA):
    """Adds recordings: keywords from the folders `recordings`, everything else from `data` as other speech.

    A word of `data` that is a keyword is left out where its folder is not among `recordings`: then it is for testing.
    """
    labels = {*keywords, *further}
    for folder in recordings:
        for clip in corpus.word_clips(folder, splits):
            if clip.label in labels:
                material.words.setdefault(clip.label, []).append(clip.pcm)
    for name in ("speech", "commands"):
        if (data / name).is_dir():
            for clip in corpus.word_clips(data / name, splits):
                if clip.label == "noise":
                    clip.label = ""
                    material.noise.append(clip)
                elif clip.label not in labels and not _says(clip.label, labels):
                    material.others.append(clip)
    if (data / "speech_negative").is_dir():
        material.speech += corpus.long_files(data / "speech_negative", splits)
    if (data / "noise").is_dir():
        material.noise += corpus.long_files(data / "noise", splits)
    material.rooms = corpus.rooms(data / "rooms", splits)


def _says(label, keywords):
    """Whether the name of a label holds a keyword: `hey_computer`."""
    return any(f"_{k}_" in f"_{label}_" for k in keywords)


def through_codec(material, seed=3):
    """A part of the keywords and of the synthetic speech passes through Opus, as all running speech has."""
    rng = np.random.default_rng(seed)

    def some(clips):
        return [corpus.coded(x, rng) if rng.random() < 0.4 else x for x in clips]

    material.words = {k: some(v) for k, v in material.words.items()}
    material.spoken = {k: {e: some(v) for e, v in engines.items()} for k, engines in material.spoken.items()}
    material.near, material.sentences = some(material.near), some(material.sentences)
    for clip in material.others:
        if rng.random() < 0.4 and clip.source not in OPUS:
            clip.pcm = corpus.coded(clip.pcm, rng)

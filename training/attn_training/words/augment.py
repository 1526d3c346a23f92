"""Augmentation of PCM, and of features at the end: what rooms, microphones, distances and other people do to a word."""

import numpy as np
import scipy.signal

RATE = 16000
BANDS, LOWEST, HIGHEST = 40, 60.0, 7600.0  # of the front end's mel scale


def change_speed(x, factor):
    """Speed and pitch together, by resampling."""
    positions = np.arange(0, len(x) - 1, factor)
    return np.interp(positions, np.arange(len(x)), x).astype(np.float32)


def in_room(x, response):
    """As a room gives it back, at the level of before."""
    y = scipy.signal.fftconvolve(x, response)[: len(x)]
    return (y * (rms(x) / rms(y))).astype(np.float32)


def reverberate(x, rng):
    """Exponentially decaying noise as impulse response, behind the direct sound."""
    decay = rng.uniform(0.08, 0.45)
    n = int(RATE * decay)
    tail = rng.normal(size=n) * 10 ** (-3 * np.arange(n) / n) * rng.uniform(0.02, 0.12)
    tail[: int(RATE * 0.002)] = 0
    tail[0] = 1
    return scipy.signal.fftconvolve(x, tail)[: len(x)].astype(np.float32)


def whispered(x, rng):
    """Without voice: the spectrum's magnitudes with random phases."""
    _, _, z = scipy.signal.stft(x, nperseg=320)
    z = np.abs(z) * np.exp(2j * np.pi * rng.random(z.shape))
    y = scipy.signal.istft(z, nperseg=320)[1][: len(x)]
    return np.pad(y, (0, len(x) - len(y))).astype(np.float32)


def low_pass(x, rng):
    cutoff = rng.uniform(3400, 7200)
    sos = scipy.signal.butter(6, cutoff, fs=RATE, output="sos")
    return scipy.signal.sosfilt(sos, x).astype(np.float32)


def equalise(x, rng):
    """A gentle random tilt: one-pole high or low shelf."""
    a = rng.uniform(-0.6, 0.6)
    return scipy.signal.lfilter([1.0, a], [1.0], x).astype(np.float32)


def coloured_noise(n, rng):
    """Noise with a power-law spectrum between white and brown."""
    spectrum = np.fft.rfft(rng.normal(size=n))
    frequency = np.maximum(np.arange(len(spectrum)) / n * RATE, 30)
    return np.fft.irfft(spectrum * frequency ** (-rng.uniform(0, 1.0)), n).astype(np.float32)


def rms(x):
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64)) + 1e-9))


def word_bounds(x):
    """First and last sample of the word in a clip, by energy in 10 ms steps."""
    step = 160
    n = len(x) // step
    if n == 0:
        return 0, len(x)
    energy = np.sqrt(np.mean(np.square(x[: n * step].reshape(n, step), dtype=np.float64), axis=1))
    floor = np.percentile(energy, 10)
    threshold = max(energy.max() * 0.05, min(floor * 3, energy.max() * 0.3))
    loud = np.flatnonzero(energy > threshold)
    if len(loud) == 0:  # silence
        return 0, len(x)
    return int(loud[0] * step), int((loud[-1] + 1) * step)


def _warps(count=41, widest=0.16):
    """[count, BANDS, BANDS]: matrices that move features along the frequency axis, by factors of `1 - widest` to `1 + widest`."""
    mel = np.linspace(2595 * np.log10(1 + LOWEST / 700), 2595 * np.log10(1 + HIGHEST / 700), BANDS + 2)[1:-1]
    hertz = 700 * (10 ** (mel / 2595) - 1)
    found = np.zeros((count, BANDS, BANDS), np.float32)
    for matrix, factor in zip(found, np.linspace(1 - widest, 1 + widest, count)):
        at = np.interp(hertz * factor, hertz, np.arange(BANDS))  # the outer bands are repeated
        low = np.minimum(at.astype(int), BANDS - 2)
        np.add.at(matrix, (low, np.arange(BANDS)), 1 - (at - low))
        np.add.at(matrix, (low + 1, np.arange(BANDS)), at - low)
    return found


WARPS = _warps()


def warp(x, rng, share=0.7):
    """Features [n, t, BANDS] as by longer and shorter vocal tracts, the tempo unchanged: a `share` of them."""
    chosen = np.where(rng.random(len(x)) < share, rng.integers(len(WARPS), size=len(x)), len(WARPS) // 2)
    return x @ WARPS[chosen]


def mask(x, rng):
    """Cheap augmentation of features [n, t, bands]: level, tilt, masked bands and frames."""
    n, t, bands = x.shape
    x += rng.uniform(-12, 12, (n, 1, 1)) + rng.uniform(-10, 10, (n, 1, 1)) * np.linspace(-1, 1, bands)
    x += rng.normal(scale=1.5, size=x.shape)
    for i in range(n):
        if rng.random() < 0.5:
            band = rng.integers(bands)
            x[i, :, band: band + rng.integers(1, 7)] = x[i].mean()
        if rng.random() < 0.3:
            frame = rng.integers(t)
            x[i, frame: frame + rng.integers(1, 6)] = x[i].mean()
    return x.astype(np.float32)

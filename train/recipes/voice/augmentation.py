"""The same sound as other rooms, lines and machines would give it: what a voice is trained on besides its clips.

Everything is made from a seed, so a copy is the same on every machine and need not be kept as sound.
"""

from __future__ import annotations

import hashlib

import numpy as np
import soxr
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
# Rises when the same seed gives another sound.
VERSION = 1

# Played at most so much faster or slower, its pitch with it.
SPEED = 0.1
# What a microphone's distance and gain change: more down than up, since a peak above 1 is scaled back.
GAIN_DB = (-18.0, 6.0)
SNR_DB = (5.0, 30.0)
# Time in which a room's echo falls by 60 dB.
REVERBERATION_S = (0.1, 0.6)
# The band of narrow-band telephony (ITU-T G.712).
TELEPHONE_HZ = (300.0, 3400.0)
# How likely each is.
NOISE, ROOM, TELEPHONE = 0.5, 0.3, 0.15

Samples = NDArray[np.float32]


def generator(key: str, copy: int) -> np.random.Generator:
    """What draws the `copy`-th copy of the clip that `key` names."""
    seed = hashlib.sha256(f"{VERSION} {copy} {key}".encode()).digest()
    return np.random.default_rng(np.frombuffer(seed, np.uint32))


def augmented(samples: Samples, rng: np.random.Generator) -> Samples:
    """A copy of mono samples [n] at 16 kHz: speed and gain always, the rest by chance; peak below 1."""
    speed = rng.uniform(1 - SPEED, 1 + SPEED)
    sound: Samples = soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE).astype(np.float32)
    if rng.random() < ROOM:
        sound = reverberate(sound, rng.uniform(*REVERBERATION_S), rng)
    if rng.random() < NOISE:
        sound = sound + noise_at_snr(sound, rng.uniform(*SNR_DB), rng)
    if rng.random() < TELEPHONE:
        sound = telephone_band(sound)
    sound = sound * np.float32(10 ** (rng.uniform(*GAIN_DB) / 20))
    peak = float(np.abs(sound).max(initial=0.0))
    return np.asarray(sound / max(1.0, peak), np.float32)


def reverberate(sound: Samples, seconds: float, rng: np.random.Generator) -> Samples:
    """`sound`, as long as before, with the echo of a room in which it falls by 60 dB in `seconds`."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    echo = rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    # 4 to 49% of the direct sound's energy: the speaker is nearer to the microphone than the room's critical distance.
    echo *= rng.uniform(0.2, 0.7) / np.sqrt(np.square(echo).sum())
    echo[0] += 1.0  # the direct sound
    whole = len(sound) + len(echo)
    heard = np.fft.irfft(np.fft.rfft(sound, whole) * np.fft.rfft(echo, whole), whole)
    return np.asarray(heard[: len(sound)], np.float32)


def noise_at_snr(sound: Samples, snr_db: float, rng: np.random.Generator) -> Samples:
    """White, pink or babbling noise as long as `sound` [n], so much below its mean power."""
    white = np.fft.rfft(rng.standard_normal(len(sound)))
    hertz = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    kind = rng.integers(3)
    if kind == 0:
        noise = np.fft.irfft(white, len(sound))
    elif kind == 1:
        # Pink noise grows without bound towards 0 Hz; what lies below 20 Hz is not heard.
        noise = np.fft.irfft(white / np.sqrt(np.maximum(hertz, 20.0)), len(sound))
    else:
        # Many voices at once: the long-time spectrum of speech, rising and falling a few times a second.
        shaped = np.fft.irfft(white * (hertz > 80) / (1 + (hertz / 500.0) ** 1.5), len(sound))
        time = np.arange(len(sound)) / SAMPLE_RATE
        noise = np.zeros(len(sound))
        for _ in range(4):
            beat, phase = rng.uniform(2, 6), rng.uniform(0, 2 * np.pi)
            noise += np.roll(shaped, int(rng.integers(len(sound)))) * (1.1 + np.sin(2 * np.pi * beat * time + phase))
    # Floors for silence, which has no level to be so much louder than: -100 dBFS of the clip, and no division by zero.
    power = max(float(np.square(sound).mean()), 1e-10)
    noise *= np.sqrt(power / max(float(np.square(noise).mean()), 1e-20)) * 10 ** (-snr_db / 20)
    return np.asarray(noise, np.float32)


def telephone_band(sound: Samples) -> Samples:
    """`sound` in the band of a telephone line, by the gains of Butterworth's filters of fourth order."""
    hertz = np.maximum(np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE), 1.0)
    low, high = TELEPHONE_HZ
    gain = 1 / np.sqrt((1 + (low / hertz) ** 8) * (1 + (hertz / high) ** 8))
    return np.asarray(np.fft.irfft(np.fft.rfft(sound) * gain, len(sound)), np.float32)

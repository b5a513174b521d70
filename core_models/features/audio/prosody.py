"""Prosody: loudness, pitch and spectrum over time, in step with Whisper's frames, which know little of them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from core_models.features.audio.filter_banks import BANKS, HOP, WINDOW, log_mel_banks

VERSION = 1
SAMPLE_RATE = 16_000
# The lowest and the highest voice that is looked for.
PITCH_HZ = (60.0, 500.0)
# Log mel banks, loudness, pitch, how far pitch is from the utterance's own, and how periodic the sound is.
DIMENSION = BANKS + 4

# Samples between two frames: 50 a second.
_STEP = 2 * HOP
# How far (natural logarithm of power, 60 dB) below its loudest a bank may lie: underneath is what rounding left.
_DEPTH = 14.0
# Samples in which periods are looked for: three of the lowest voice.
_SPAN = 800
# The power of two that holds a span twice (1,600 samples): the correlation of a shorter one would wrap around.
_FFT = 2048
# Praat's default: what repeats itself less is taken for unvoiced.
_VOICED = 0.45
_LAGS = (round(SAMPLE_RATE / PITCH_HZ[1]), round(SAMPLE_RATE / PITCH_HZ[0]))


def prosody_frames(samples: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """float32 [count, DIMENSION], 50 frames a second, of mono samples in [-1, 1], [n] at 16 kHz.

    The mel banks (natural logarithm) are those of Kaldi, two frames averaged. Loudness is 10 log10 of the mean square,
    in units of 10 dB. Pitch is log2 of Hz over 150 where the sound is periodic and 0 elsewhere; beside it the same
    less the utterance's median.
    """
    sound = torch.from_numpy(np.array(samples, dtype=np.float32))
    sound = F.pad(sound, (0, max(0, count * _STEP + WINDOW - len(sound))))
    banks = log_mel_banks(sound)[: 2 * count].view(count, 2, BANKS).mean(dim=1)
    banks = banks.clamp(min=float(banks.max()) - _DEPTH)
    around = F.pad(sound, (_SPAN // 2, _SPAN))
    frames = around.unfold(0, _SPAN, _STEP)[:count]
    loudness = frames.square().mean(dim=1).clamp(min=1e-10).log10()
    loudness = loudness.clamp(min=float(loudness.max()) - _DEPTH / math.log(10))
    octaves, periodicity = track_pitch(frames)
    voiced = periodicity > _VOICED
    middle = octaves[voiced].median() if bool(voiced.any()) else torch.zeros(())
    columns = (loudness, octaves * voiced, (octaves - middle) * voiced, periodicity)
    found: NDArray[np.float32] = torch.cat([banks, torch.stack(columns, dim=1)], dim=1).numpy()
    return found


def track_pitch(frames: Tensor) -> tuple[Tensor, Tensor]:
    """(log2 of Hz over 150, periodicity in [0, 1]), each [T], of frames [T, n] of sound.

    By the autocorrelation over that of the window (Boersma, Accurate short-term analysis of the fundamental frequency
    and the harmonics-to-noise ratio of a sampled sound, 1993), the peak interpolated by a parabola.
    """
    window = torch.hann_window(frames.shape[1], periodic=False)
    windowed = (frames - frames.mean(dim=1, keepdim=True)) * window
    low, high = _LAGS
    correlation = _autocorrelate_frames(windowed)[:, : high + 2]
    own = _autocorrelate_frames(window[None])[:, : high + 2]
    normal = correlation / (correlation[:, :1].clamp(min=1e-9) * (own / own[:, :1]))
    # A longer period fits whatever a shorter one fits: a little is taken off for each octave down.
    lags = torch.arange(low, high + 1)
    weighed = normal[:, low : high + 1] - 0.02 * torch.log2(lags / low)
    best = weighed.argmax(dim=1) + low
    before, here, behind = (normal.gather(1, best[:, None] + step)[:, 0] for step in (-1, 0, 1))
    bend = (2 * here - before - behind).clamp(min=1e-6)
    shift = ((behind - before) / (2 * bend)).clamp(-0.5, 0.5)
    return torch.log2(SAMPLE_RATE / (best + shift) / 150.0), here.clamp(0.0, 1.0)


def _autocorrelate_frames(frames: Tensor) -> Tensor:
    found: Tensor = torch.fft.irfft(torch.fft.rfft(frames, _FFT).abs().square(), _FFT)
    return found

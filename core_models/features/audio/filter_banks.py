"""Log mel filter banks as Kaldi computes them (its `compute-fbank-feats` with its defaults and without dither)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core_models.feature_spec import FeatureSpec, tensors_digest

SAMPLE_RATE = 16_000
# Samples: frames of 25 ms, 100 a second, whole ones alone.
WINDOW, HOP = 400, 160
# Kaldi's default is 23; CAM++ was trained on 80, and prosody and spectrogram share them.
BANKS = 80

# Kaldi fills a frame of 400 samples up to the next power of two.
_FFT = 512
# Kaldi's defaults, as of the emphasis.
_LOWEST_HZ = 20.0
_EMPHASIS = 0.97
# As Kaldi floors a bank before its logarithm: digital silence would give minus infinity.
_FLOOR = torch.finfo(torch.float32).eps


def log_mel_banks(samples: Tensor) -> Tensor:
    """float32 [T, BANKS] of mono samples in [-1, 1], float32 [n] at 16 kHz, n of at least WINDOW.

    T is (n - WINDOW) // HOP + 1. Each frame is freed of its mean, pre-emphasised and put under Povey's window;
    the banks are triangles on the mel scale over the power spectrum, from 20 Hz to half the rate.
    """
    frames = samples.unfold(0, WINDOW, HOP)  # [T, WINDOW]
    frames = frames - frames.mean(dim=1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    frames = (frames - _EMPHASIS * before) * _povey_window()
    power = torch.fft.rfft(frames, _FFT).abs().square()  # [T, _FFT / 2 + 1]
    banks: Tensor = (power @ _mel_triangles()).clamp(min=_FLOOR).log()
    return banks


class Spectrogram:
    """Samples to log mel filter banks: frames for which nothing was learnt (TDFNet's Table V, w/o ME)."""

    rate = SAMPLE_RATE // HOP
    """Frames a second."""

    def __init__(self) -> None:
        self.spec = FeatureSpec(
            modality="voice",
            name="spectrogram",
            version=1,
            dimension=BANKS,
            digest=tensors_digest(()),  # no network stands behind them
            settings={"window": WINDOW, "hop": HOP},
        )

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [T, BANKS] of mono samples at 16 kHz, WINDOW or more."""
        banks: NDArray[np.float32] = log_mel_banks(torch.from_numpy(np.array(samples, dtype=np.float32))).numpy()
        return banks


@lru_cache(maxsize=1)
def _povey_window() -> Tensor:
    return torch.hann_window(WINDOW, periodic=False).pow(0.85)


@lru_cache(maxsize=1)
def _mel_triangles() -> Tensor:
    """[_FFT / 2 + 1, BANKS]: the share of each bin of the spectrum in each bank."""
    bins = _hertz_to_mel(torch.arange(_FFT // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / _FFT)[:, None]
    ends = _hertz_to_mel(torch.tensor([_LOWEST_HZ, SAMPLE_RATE / 2], dtype=torch.float64))
    edges = torch.linspace(float(ends[0]), float(ends[1]), BANKS + 2, dtype=torch.float64)
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    return torch.minimum(rising, falling).clamp(min=0.0).float()


def _hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)

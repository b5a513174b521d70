"""Crosstalk: how much of what one source holds is another's sound, by loudspeaker or by wire (no I/O)."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from realtime.segmentation.segments import Utterance
from realtime.sources.media import SAMPLE_RATE, AudioChunk

# An utterance of which the far end explains this share of the power is the far end's.
CROSSTALK_SHARE = 0.5

_HISTORY = 40 * SAMPLE_RATE
# Loudspeaker, room and microphone take at most so long; two sources may also be placed a little apart.
_LATEST = SAMPLE_RATE // 2
_EARLIEST = SAMPLE_RATE // 5
# A quarter of a second: what a room adds to a sound lies within it.
_FRAME, _HOP = 4096, 1024
_BAND = slice(round(200 * _FRAME / SAMPLE_RATE), round(4_000 * _FRAME / SAMPLE_RATE))
# Neighbouring frequencies share a room's response well enough to be averaged.
_SMOOTHED = 8
# RMS of a far end that says nothing.
_QUIET = 1e-4


class CrosstalkDetector:
    """Remembers the last 40 s of a far end and compares utterances of the near one with it."""

    def __init__(self) -> None:
        self._chunks: deque[AudioChunk] = deque()

    def observe(self, chunk: AudioChunk) -> None:
        """Take the far end's next chunk."""
        self._chunks.append(chunk)
        while self._chunks[0].start + len(self._chunks[0].samples) < chunk.start - _HISTORY:
            self._chunks.popleft()

    def share(self, utterance: Utterance) -> float:
        """The share of the utterance's power that is a delayed and filtered copy of the far end, in [0, 1].

        The delay is where the two correlate best once both are whitened (Knapp and Carter, The generalized
        correlation method for estimation of time delay, 1976: PHAT); the share is their magnitude-squared
        coherence there, averaged over 200 to 4000 Hz by the near side's power, free of the bias of few frames.
        Voices that speak at the same time are incoherent, so double talk counts only for what it covers.
        """
        near = utterance.samples.astype(np.float64)
        far = self._far_end_between(utterance.samples_start - _LATEST, utterance.samples_start + len(near) + _EARLIEST)
        if not len(near) or np.sqrt(np.mean(far**2)) < _QUIET:
            return 0.0
        size = 1 << (len(far) + len(near)).bit_length()
        cross = np.fft.rfft(far, size) * np.conj(np.fft.rfft(near, size))
        band = slice(200 * size // SAMPLE_RATE, 4_000 * size // SAMPLE_RATE)
        whitened = np.zeros_like(cross)
        whitened[band] = cross[band] / (np.abs(cross[band]) + 1e-12)
        at = int(np.argmax(np.fft.irfft(whitened, size)[: _LATEST + _EARLIEST + 1]))
        return _measure_coherence(near, far[at : at + len(near)])

    def excess_db(self, utterance: Utterance) -> float:
        """By how many decibels the far end was louder than the utterance while it was said."""
        start = utterance.samples_start
        near, far = utterance.samples.astype(np.float64), self._far_end_between(start, start + len(utterance.samples))
        # Of variances: an offset is no sound.
        return 10 * float(np.log10((far.var() + 1e-12) / (near.var() + 1e-12))) if len(near) else 0.0

    def _far_end_between(self, start: int, end: int) -> NDArray[np.float64]:
        samples = np.zeros(end - start)
        for chunk in self._chunks:
            first, last = max(start, chunk.start), min(end, chunk.start + len(chunk.samples))
            if first < last:
                samples[first - start : last - start] = chunk.samples[first - chunk.start : last - chunk.start]
        return samples


def _measure_coherence(near: NDArray[np.float64], far: NDArray[np.float64]) -> float:
    one, other = _spectra_of(near), _spectra_of(far)
    frames = len(one)
    powers = [_smooth_spectrum((np.abs(x) ** 2).sum(axis=0)) for x in (one, other)]
    cross = (one * np.conj(other)).sum(axis=0)
    both = np.abs(_smooth_spectrum(cross.real) + 1j * _smooth_spectrum(cross.imag)) ** 2
    coherence = both / (powers[0] * powers[1] + 1e-20)
    # Of n independent pairs that have nothing in common, the coherence is 1 / n.
    bias = 1 / max(1.5, (1 + (frames - 1) * _HOP / _FRAME) * _SMOOTHED / 2)
    free = np.clip((coherence - bias) / (1 - bias), 0, 1)
    return float(np.average(free, weights=powers[0] + 1e-20))


def _smooth_spectrum(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.convolve(x, np.ones(_SMOOTHED), "valid")


def _spectra_of(samples: NDArray[np.float64]) -> NDArray[np.complex128]:
    """[frames, frequencies] of the band in which voices are strong."""
    padded = np.pad(samples, (0, max(0, _FRAME - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    return np.fft.rfft(frames * np.hanning(_FRAME), axis=1)[:, _BAND]

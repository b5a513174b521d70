"""The audio tracks of a recording: each decoded onto the media clock, several of them mixed. No I/O of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from realtime.sources.media import SAMPLE_RATE

Samples = NDArray[np.float32]
# (first sample on the media clock, samples [n, voices] at 16 kHz).
Placed = tuple[int, Samples]

# A timestamp that runs ahead of the samples by more than this is a gap; less is rounding of the container.
JUMP_S = 0.05
# Peak of a track that holds nothing: -80 dBFS, below the noise of any microphone that is switched on.
_SILENT = 1e-4
# Floats above it, 12 dB over full scale, are no hot mix but integers that somebody stored as floats.
_BEYOND_FULL_SCALE = 4.0
# Correlation of two channels below which their sum is mostly lost: one of them was wired the wrong way round.
_OPPOSITE = -0.7
# Share of the correlation's sums that each frame of 20 to 100 ms keeps: about a second.
_MEMORY = 0.9
# Power of the difference, relative to the sound, below which two channels hold the same: 40 dB.
_SAME = 1e-4
# A track that lags the others by more has nothing for this time: badly interleaved files must not fill the memory.
_SKEW = 2 * SAMPLE_RATE


class TrackDecoder:
    """One audio track -> voices at 16 kHz: as many as `voices`, from as many channels, or from the mean of them."""

    def __init__(self, number: int, voices: int, origin_s: float) -> None:
        self.number = number
        """As people count, from 1."""
        self.reached_s = 0.0
        """Media time up to which it was decoded."""
        self.missing_s = 0.0
        """Seconds without sound between sound."""
        self._voices = voices
        self._origin_s = origin_s
        self._resampler: Any = None
        self._rate = 0  # of the sound that goes into the resampler
        self._next = 0  # sample at 16 kHz that comes out of it next
        self._peak = 0.0
        self._scale = np.float32(1.0)
        self._products = np.zeros(3)  # sums of left * right, left * left, right * right, of late
        self._is_opposite = False
        self._was_opposite = False
        self._difference = self._power = 0.0  # of two channels that are two voices

    @property
    def is_silent(self) -> bool:
        """Whether nothing was heard in it so far."""
        return self._peak < _SILENT

    def decode(self, frame: Any) -> Iterator[Placed]:
        """The voices of the next frame that PyAV decoded."""
        samples = self._rescale(_floats(frame))
        at_s = self.reached_s if frame.time is None else frame.time - self._origin_s
        if self._resampler is None or at_s - self.reached_s > JUMP_S or frame.sample_rate != self._rate:
            yield from self.flush()
            self._rate = frame.sample_rate
            self._resampler = soxr.ResampleStream(self._rate, SAMPLE_RATE, self._voices, dtype="float32")
            if at_s - self.reached_s > JUMP_S:
                self.missing_s += at_s - self.reached_s if self._next else 0.0
                self.reached_s = at_s
                self._next = max(self._next, round(at_s * SAMPLE_RATE))
        self.reached_s += len(samples) / self._rate
        yield from self._place(self._resampler.resample_chunk(self._to_voices(samples)))

    def flush(self) -> Iterator[Placed]:
        """What the resampler holds back."""
        if self._resampler is not None:
            resampler, self._resampler = self._resampler, None
            yield from self._place(resampler.resample_chunk(np.zeros((0, self._voices), np.float32), last=True))

    def findings(self) -> Iterator[str]:
        """What a person should know of the track, in clauses."""
        if self._scale != 1:
            yield "its floats hold integers and were scaled to full scale"
        if self._was_opposite:
            yield (
                "its channels are in opposite phase (one side of a cable was wired the wrong way round), so one of "
                "them was turned before they were mixed"
            )
        if self._power and self._difference < _SAME * self._power:
            yield (
                "its channels hold the same sound (one microphone recorded twice), so each line was taken once, and "
                "--channels split can be left out"
            )

    def _rescale(self, samples: Samples) -> Samples:
        peak = float(np.abs(samples).max(initial=0.0))
        if peak * self._scale > _BEYOND_FULL_SCALE:
            self._scale = np.float32(2**-15 if peak <= 2**16 else 2**-31)
        self._peak = max(self._peak, peak * float(self._scale))
        return samples * self._scale

    def _to_voices(self, samples: Samples) -> Samples:
        """Channels of a frame -> voices; a stream may change its mind about how many channels it has."""
        if samples.shape[1] == self._voices:
            if self._voices == 2:
                self._power += float((samples**2).sum()) / 2
                self._difference += float(((samples[:, 0] - samples[:, 1]) ** 2).sum())
            return np.ascontiguousarray(samples)
        if samples.shape[1] == 2:
            samples = self._align_phase(samples)
        return np.repeat(samples.mean(axis=1, keepdims=True), self._voices, axis=1)

    def _align_phase(self, samples: Samples) -> Samples:
        left, right = samples[:, 0].astype(np.float64), samples[:, 1].astype(np.float64)
        self._products = _MEMORY * self._products + [left @ right, left @ left, right @ right]
        both = np.sqrt(self._products[1] * self._products[2])
        if both > len(samples) * _SILENT**2:
            correlation = self._products[0] / both
            # Once turned it stays so until the channels clearly agree: a change of sign is a click.
            self._is_opposite = correlation < (-_OPPOSITE if self._is_opposite else _OPPOSITE)
            self._was_opposite |= self._is_opposite
        return samples * np.array([1, -1], np.float32) if self._is_opposite else samples

    def _place(self, samples: Samples) -> Iterator[Placed]:
        if len(samples):
            yield self._next, samples
            self._next += len(samples)


class TrackMixer:
    """Adds up what several tracks hold at the same time; a gap of all of them stays a gap."""

    def __init__(self, tracks: Sequence[int], voices: int) -> None:
        self._reached = dict.fromkeys(tracks, 0)
        self._start = 0
        self._sum = np.zeros((0, voices), np.float32)

    def add(self, track: int, placed: Placed) -> Iterator[Placed]:
        """Take what a track holds next; what is complete with it."""
        start, samples = placed
        if start > self._start + len(self._sum) + _SKEW:  # the clock jumped, perhaps by hours
            yield from self.flush()
            self._start = start
        samples = samples[max(0, self._start - start) :]
        start = max(start, self._start)
        end = start + len(samples)
        missing = end - self._start - len(self._sum)
        if missing > 0:
            self._sum = np.pad(self._sum, ((0, missing), (0, 0)))
        self._sum[start - self._start : end - self._start] += samples
        self._reached[track] = max(self._reached[track], end)
        complete = max(min(self._reached.values()), max(self._reached.values()) - _SKEW) - self._start
        yield from self._take(min(complete, len(self._sum)))

    def flush(self) -> Iterator[Placed]:
        """What waits for a track that has nothing more."""
        yield from self._take(len(self._sum))

    def _take(self, count: int) -> Iterator[Placed]:
        if count > 0:
            taken, self._sum = self._sum[:count], self._sum[count:]
            self._start += count
            yield self._start - count, taken


def is_decodable(stream: Any) -> bool:
    """Whether there is a decoder for an audio stream; a newer iPhone's `apac` has none."""
    return getattr(stream, "codec_context", None) is not None


def _floats(frame: Any) -> Samples:
    """The samples of an audio frame of any format, float32 [n, channels], integers scaled to [-1, 1]."""
    raw = frame.to_ndarray()
    samples = raw.T if frame.format.is_planar else raw.reshape(-1, frame.layout.nb_channels)
    if np.issubdtype(samples.dtype, np.floating):
        return np.asarray(np.nan_to_num(samples, posinf=1.0, neginf=-1.0), dtype=np.float32)
    information = np.iinfo(samples.dtype)
    middle = 0 if information.min else 128  # unsigned 8-bit sound rests at 128
    scaled: Samples = (samples.astype(np.float32) - middle) / np.float32(-information.min or 128)
    return scaled

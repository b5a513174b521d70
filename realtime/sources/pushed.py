"""Sound and pictures that a program hands over itself, as sources."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from core_models.errors import MediaError
from realtime.sources.media import SAMPLE_RATE, AudioChunk, VideoFrame
from realtime.sources.source import Sink, SourceStatus


class PushedSound:
    """Sound of one speaker, pushed chunk by chunk; its media time is what has been pushed, or what is said of it."""

    kind = "pushed"
    has_audio = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.detail = "sound that a program hands over"
        self._sink: Sink | None = None
        self._resampler: soxr.ResampleStream | None = None
        self._rate = 0
        self._next = 0  # sample at 16 kHz that comes next

    @property
    def end_ms(self) -> int:
        """Media time up to which sound was pushed."""
        return self._next * 1000 // SAMPLE_RATE

    def start(self, sink: Sink) -> None:
        """Take pushed sound from now on."""
        self._sink = sink
        sink.status(SourceStatus(self.name, self.kind, "opened", self.detail))

    def push(self, samples: NDArray[np.generic], rate: int, at_ms: int | None = None) -> None:
        """Push mono [n] or [n, channels], integers or floats in [-1, 1], of `rate` Hz.

        It follows what was pushed before, or begins at `at_ms` of media time, after silence. MediaError.
        """
        mono = _to_mono(samples)
        if rate <= 0:
            raise MediaError(f"Sound at {rate} Hz cannot be heard: give its samples a second.")
        if self._resampler is None or rate != self._rate or at_ms is not None:
            self._flush()
            self._rate, self._resampler = rate, soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
            if at_ms is not None:
                self._next = max(self._next, at_ms * SAMPLE_RATE // 1000)
        self._deliver(self._resampler.resample_chunk(mono))

    def end(self) -> None:
        """Nothing more comes."""
        if self._sink is not None:
            self._flush()
            sink, self._sink = self._sink, None
            sink.status(SourceStatus(self.name, self.kind, "ended", "All of it was handed over."))

    def stop(self) -> None:
        """Take nothing any more; idempotent."""
        self._sink = None

    def _flush(self) -> None:
        if self._resampler is not None:
            self._deliver(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            self._resampler = None

    def _deliver(self, samples: NDArray[np.float32]) -> None:
        if self._sink is not None and len(samples):
            self._sink.audio(AudioChunk(self.name, self._next, samples))
            self._next += len(samples)


class PushedPictures:
    """Pictures of one camera, pushed one by one."""

    kind = "pushed"
    has_audio = False

    def __init__(self, name: str = "camera") -> None:
        self.name = name
        self.detail = "pictures that a program hands over"
        self._sink: Sink | None = None
        self._latest = -1

    def start(self, sink: Sink) -> None:
        """Take pushed pictures from now on."""
        self._sink = sink
        sink.status(SourceStatus(self.name, self.kind, "opened", self.detail))

    def push(self, rgb: NDArray[np.uint8], at_ms: int) -> None:
        """Push uint8 [height, width, 3] in RGB, of that media time; one that is not later than the last is left out."""
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise MediaError(
                f"A picture of {rgb.dtype} {list(rgb.shape)} cannot be seen: give uint8 [height, width, 3] in RGB."
            )
        if self._sink is not None and at_ms > self._latest:
            self._latest = at_ms
            self._sink.video(VideoFrame(self.name, at_ms, np.ascontiguousarray(rgb)))

    def end(self) -> None:
        """Nothing more comes."""
        if self._sink is not None:
            sink, self._sink = self._sink, None
            sink.status(SourceStatus(self.name, self.kind, "ended", "All of it was handed over."))

    def stop(self) -> None:
        """Take nothing any more; idempotent."""
        self._sink = None


def _to_mono(samples: NDArray[np.generic]) -> NDArray[np.float32]:
    given = np.asarray(samples)
    if given.ndim not in (1, 2) or given.dtype.kind not in "fi":
        raise MediaError(
            f"Sound of {given.dtype} {list(given.shape)} cannot be heard: give floats or signed integers, "
            "[samples] or [samples, channels]."
        )
    mono = given.astype(np.float32).mean(axis=1) if given.ndim == 2 else given.astype(np.float32)
    if given.dtype.kind == "i":
        mono /= -float(np.iinfo(given.dtype).min)
    return np.asarray(np.nan_to_num(mono, posinf=1.0, neginf=-1.0), dtype=np.float32)

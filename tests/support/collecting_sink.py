"""A sink that keeps what a source gives it, for tests to look at."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from realtime.sources.media import AudioChunk, VideoFrame
from realtime.sources.source import SourceStatus


class CollectingSink:
    """Everything in order of arrival; `until` waits for something to have come."""

    def __init__(self) -> None:
        self.items: list[AudioChunk | VideoFrame] = []
        self.said: list[SourceStatus] = []
        self._news = threading.Condition()

    def audio(self, chunk: AudioChunk) -> None:
        self._keep(lambda: self.items.append(chunk))

    def video(self, frame: VideoFrame) -> None:
        self._keep(lambda: self.items.append(frame))

    def status(self, status: SourceStatus) -> None:
        self._keep(lambda: self.said.append(status))

    def _keep(self, change: Callable[[], None]) -> None:
        with self._news:
            change()
            self._news.notify_all()

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds`."""
        with self._news:
            self._news.wait_for(holds)

    def until_over(self) -> SourceStatus:
        """Wait for the source's last word."""
        self.until(lambda: bool(self.said) and self.said[-1].status in ("ended", "lost", "absent"))
        return self.said[-1]

    @property
    def chunks(self) -> list[AudioChunk]:
        return [i for i in self.items if isinstance(i, AudioChunk)]

    @property
    def frames(self) -> list[VideoFrame]:
        return [i for i in self.items if isinstance(i, VideoFrame)]

    def sound(self, source: str | None = None) -> NDArray[np.float32]:
        """The samples of `source` (or of all) in their places, gaps as silence; chunks must not overlap."""
        chunks = [c for c in self.chunks if source in (None, c.source)]
        samples = np.zeros(max((c.start + len(c.samples) for c in chunks), default=0), np.float32)
        end = 0
        for chunk in chunks:
            assert chunk.start >= end, "chunks overlap"
            end = chunk.start + len(chunk.samples)
            samples[chunk.start : end] = chunk.samples
        return samples


def alignment(expected: NDArray[np.float32], heard: NDArray[np.float32]) -> tuple[float, int]:
    """(correlation, samples by which `heard` is late), at the lag where the two agree best."""
    # Spectra give the agreement at all lags at once.
    size = 1 << (len(expected) + len(heard)).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(expected, size))
    lag = int(np.argmax(np.fft.irfft(spectrum, size)))
    lag = lag - size if lag >= len(heard) else lag
    there = heard[max(lag, 0) : max(lag, 0) + len(expected)]
    wanted = expected[max(-lag, 0) : max(-lag, 0) + len(there)]
    there = there[: len(wanted)]
    return float(np.corrcoef(wanted, there)[0, 1]), lag

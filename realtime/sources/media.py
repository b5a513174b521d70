"""What sources produce: sound and pictures on the media clock (contract 6)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Hz; every source resamples to it with soxr."""


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """A run of mono samples of any length.

    `start` counts samples at 16 kHz from the start of the session on the media clock; `samples` is
    float32 in [-1, 1], shape [n]. Chunks of one source never overlap; a jump of `start` is a gap
    (what was lost is treated as silence).
    """

    source: str
    start: int
    samples: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One picture: `rgb` is uint8, shape [height, width, 3]; `at_ms` is media time."""

    source: str
    at_ms: int
    rgb: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Something happened to a source: `opened`, `muted`, `overflow`, `ended`, `lost` or `absent`, and a sentence on it.

    `returns`: it is `lost` or `absent` for now, and tried again; else that was its last word.
    """

    source: str
    kind: str
    status: str
    detail: str = ""
    returns: bool = False


class SessionClock:
    """Milliseconds since the session began, on a monotonic clock; 0 until `start`."""

    def __init__(self) -> None:
        self._begun: int | None = None

    def start(self) -> None:
        """The session begins now."""
        self._begun = time.monotonic_ns()

    def __call__(self) -> int:
        return 0 if self._begun is None else (time.monotonic_ns() - self._begun) // 1_000_000


class Sink(Protocol):
    """Where a source puts what it makes; called from the source's own thread."""

    def audio(self, chunk: AudioChunk) -> None:
        """Take a chunk. Blocks while the pipeline is full if the source can wait (a file can)."""

    def video(self, frame: VideoFrame) -> None:
        """Take a frame. Blocks while full if the source can wait; else sheds the oldest and counts it."""

    def status(self, status: SourceStatus) -> None:
        """Take a change of state."""


class Source(Protocol):
    """A microphone, a camera, a file."""

    name: str
    kind: str
    """`microphone`, `camera`, `file`, ..."""
    detail: str
    """What it is, in words: a device's name, a file's."""
    hears: bool
    """Whether it delivers sound; a session lasts as long as one such source does."""

    def start(self, sink: Sink) -> None:
        """Open the device (errors surface here, as a TrackerError) and start delivering from a thread."""

    def stop(self) -> None:
        """Stop delivering; idempotent; returns when the thread has ended."""

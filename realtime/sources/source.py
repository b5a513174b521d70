"""What a source is, where it delivers to, and the media clock that all sources share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from realtime.sources.media import AudioChunk, VideoFrame


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A change of a source: `opened`, `muted`, `overflow`, `ended`, `lost` or `absent`, and a sentence on it.

    `will_retry`: it is `lost` or `absent` for now and is tried again; otherwise this is its last status.
    """

    source: str
    kind: str
    status: str
    detail: str = ""
    will_retry: bool = False


class MediaClock:
    """Milliseconds since the session began, on a monotonic clock; None until `start`.

    None and not 0, because 0 is also the first millisecond of a session.
    """

    def __init__(self) -> None:
        self._started_ns: int | None = None

    def start(self) -> None:
        """Begin the session now."""
        self._started_ns = time.monotonic_ns()

    def __call__(self) -> int | None:
        return None if self._started_ns is None else (time.monotonic_ns() - self._started_ns) // 1_000_000

    def elapsed_ms(self) -> int:
        """The same for those who only run during a session; RuntimeError before `start`."""
        now_ms = self()
        if now_ms is None:
            raise RuntimeError("the media clock has not started")
        return now_ms


class Sink(Protocol):
    """Where a source delivers; called from the source's own thread."""

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
    has_audio: bool
    """Whether it delivers sound; a session lasts as long as one such source does."""

    def start(self, sink: Sink) -> None:
        """Open the device (errors surface here, as a TrackerError) and start delivering from a thread."""

    def stop(self) -> None:
        """Stop delivering; idempotent; returns when the thread has ended."""

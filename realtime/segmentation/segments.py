"""What the segmenter decides: speech that began, paused, went on, became an utterance or was rejected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began at `start_ms`, which was decided at `decided_ms` (both media time).

    It ends as the next `Utterance` or `Rejected` of the same source, with the same `start_ms`.
    """

    source: str
    start_ms: int
    decided_ms: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """The pause was none: speech goes on in the same utterance."""

    source: str


@dataclass(frozen=True, slots=True)
class Utterance:
    """One stretch of speech from `start_ms` to `end_ms`; its place in the dialogue is `decided_ms` (contract 6).

    `samples` is float32 [n] at 16 kHz, from the media clock's sample `samples_start`, and reaches from the
    pre-roll to the post-roll. `cut`: the longest length was reached, and what follows is the same turn. Where several
    people share a channel, `speaker` is whose turn it is, and `overlapped` says that somebody else speaks during it.
    """

    source: str
    start_ms: int
    end_ms: int
    decided_ms: int
    samples: NDArray[np.float32]
    samples_start: int
    cut: bool
    overlapped: bool = False
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Paused:
    """The open utterance has been silent for as long as its post-roll: `so_far` is all of it if this was its end."""

    source: str
    so_far: Utterance


@dataclass(frozen=True, slots=True)
class Rejected:
    """Speech had been announced and turned out to be none: `reason` is `too_short`."""

    source: str
    start_ms: int
    end_ms: int
    decided_ms: int
    reason: str


Segment = SpeechStarted | Paused | Resumed | Utterance | Rejected

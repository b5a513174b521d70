"""What a session amounted to, counted while it runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Summary:
    """What a session amounted to.

    `latencies_ms` counts from the endpoint decision to `emotion.final`, without the waiting behind a file that is read
    faster than it was spoken. `ready` counts the finals whose transcription was ready when their endpoint was decided.
    """

    utterances: int = 0
    discarded: int = 0
    provisional: int = 0
    ready: int = 0
    emotions: dict[str, Counter[str]] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    media_ms: int = 0
    unheard: list[str] = field(default_factory=list)
    """What was not heard, in sentences with the likely reason and what to do (`SoundWatch`)."""

"""Reorder buffer: utterances are transcribed in any order and enter the dialogue in commit order. No I/O, no clock."""

from __future__ import annotations

from bisect import insort
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

# Media time by which a source may be behind the others before nobody waits for it: sources of one call deliver blocks
# of 10 to 100 ms, so one that is half a second behind has stalled, and waiting longer would delay everybody's finals.
PATIENCE_MS = 500


class _Place(NamedTuple):
    decided_ms: int
    source: str
    number: int
    utterance_id: str


class ReorderBuffer(Generic[T]):
    """Holds each utterance back until all that were decided before it on the media clock have left.

    It leaves when it is ready, when none before it is outstanding, and when every source has been segmented up to
    its decision, so that none can still decide an earlier one. With `capacity` utterances held, the sources are no
    longer waited for. What arrives later than that takes the next place.
    """

    def __init__(self, *, capacity: int, patience_ms: int = PATIENCE_MS) -> None:
        self.capacity = capacity
        self._patience_ms = patience_ms
        self._places: list[_Place] = []
        self._ready: dict[str, T] = {}
        self._marks: dict[str, int] = {}
        self._count = 0
        self._over = False

    def __len__(self) -> int:
        return len(self._places)

    @property
    def full(self) -> bool:
        """Whether no further utterance should be placed before one has left."""
        return len(self._places) >= self.capacity

    def advance(self, source: str, to_ms: int) -> None:
        """`source` has been segmented up to `to_ms` of media time: what it decides from now on comes later."""
        self._marks[source] = to_ms

    def end(self) -> None:
        """No source decides anything any more."""
        self._over = True

    def place(self, utterance_id: str, source: str, decided_ms: int) -> None:
        """An utterance has ended: its place is fixed."""
        self._count += 1
        insort(self._places, _Place(decided_ms, source, self._count, utterance_id))

    def ready(self, utterance_id: str, item: T) -> None:
        """An utterance may leave as soon as its turn has come."""
        self._ready[utterance_id] = item

    def release(self) -> T | None:
        """The utterance whose turn has come, which then has left; None while there is none."""
        if not self._places:
            return None
        first = self._places[0]
        if first.utterance_id not in self._ready or not (self._over or self.full or self._is_settled(first)):
            return None
        self._places.pop(0)
        return self._ready.pop(first.utterance_id)

    def _is_settled(self, first: _Place) -> bool:
        furthest = max(self._marks.values(), default=first.decided_ms)
        return all(
            mark >= first.decided_ms or furthest - mark > self._patience_ms
            for source, mark in self._marks.items()
            if source != first.source
        )

"""Commit order: utterances are perceived in any order and enter the dialogue in one (contract 6). No I/O, no clock."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

PATIENCE_MS = 500
"""A source that is so far behind the others has stalled, and nobody waits for what it may still decide."""


class _Place(NamedTuple):
    decided_ms: int
    source: str
    number: int
    utterance_id: str


class ReorderBuffer(Generic[T]):
    """Holds each utterance back until all that were decided before it on the media clock have left.

    It leaves when it is ready, when none before it is outstanding, and when every source that is heard has
    been followed up to its decision, so that none can still decide an earlier one. With `capacity` utterances
    held, the sources are no longer waited for. What arrives later than that takes the next place.
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

    @property
    def marks(self) -> Mapping[str, int]:
        """Media time up to which each source has been followed."""
        return self._marks

    def heard(self, source: str, to_ms: int) -> None:
        """`source` has been followed up to `to_ms`: what it decides from now on comes later."""
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

    def withdraw(self, utterance_id: str) -> None:
        """An utterance was discarded: its place is given up."""
        self._places = [place for place in self._places if place.utterance_id != utterance_id]
        self._ready.pop(utterance_id, None)

    def release(self) -> T | None:
        """The utterance whose turn has come, which then has left; None while there is none."""
        if not self._places:
            return None
        first = self._places[0]
        if first.utterance_id not in self._ready or not (self._over or self.full or self._settled(first)):
            return None
        self._places.pop(0)
        return self._ready.pop(first.utterance_id)

    def _settled(self, first: _Place) -> bool:
        furthest = max(self._marks.values(), default=first.decided_ms)
        return all(
            mark >= first.decided_ms or furthest - mark > self._patience_ms
            for source, mark in self._marks.items()
            if source != first.source
        )

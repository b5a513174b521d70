"""The latest events of a session in memory, and the position of every number in its order (no I/O)."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable

from realtime.journal.event_log import Record


class RingBuffer:
    """A bounded stretch of a session's end that one thread writes and many readers follow.

    A *position* counts the session's events through all epochs, so it tells what follows what and what is
    missing without looking at either. `earlier` gives the epochs, with their first and last numbers, of a
    journal that this session continues. When more than `limit` bytes are kept the oldest are evicted.
    """

    def __init__(self, earlier: Iterable[tuple[str, int, int]], limit: int) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        # By position, so that a reader anywhere in it finds its next event at once.
        self._kept: dict[int, Record] = {}
        self._bytes = 0
        # Position of number 1 of each epoch.
        self._starts: list[int] = []
        self._epochs: list[str] = []
        self._starts_by_epoch: dict[str, int] = {}
        self.end = 0  # position of the event to come
        for epoch, _, last in earlier:
            self._begin_epoch(epoch)
            self.end += last
        self.first = self.end  # position of the oldest event kept

    def _begin_epoch(self, epoch: str) -> None:
        self._starts.append(self.end)
        self._epochs.append(epoch)
        self._starts_by_epoch[epoch] = self.end

    def append(self, record: Record) -> list[Record]:
        """Take the event to come, and return those evicted; ValueError where it does not continue its epoch."""
        gone = []
        with self._lock:
            if not self._epochs or record.epoch != self._epochs[-1]:
                if record.epoch in self._starts_by_epoch:
                    raise ValueError(f"epoch {record.epoch} has ended")
                self._begin_epoch(record.epoch)
            if self._starts[-1] + record.seq - 1 != self.end:
                raise ValueError(f"number {record.seq} does not continue epoch {record.epoch}")
            self._kept[self.end] = record
            self._bytes += len(record.line)
            self.end += 1
            # The latest event stays however long it is: live clients are still to get it.
            while self._bytes > self._limit and self.first < self.end - 1:
                gone.append(self._kept.pop(self.first))
                self._bytes -= len(gone[-1].line)
                self.first += 1
        return gone

    def rewrite_lines(self, edit: Callable[[bytes], bytes]) -> None:
        """Replace each line that is kept by what `edit` makes of it."""
        with self._lock:
            self._kept = {position: record._replace(line=edit(record.line)) for position, record in self._kept.items()}
            self._bytes = sum(len(record.line) for record in self._kept.values())

    @property
    def epoch(self) -> str:
        """The present epoch; empty before the first event."""
        return self._epochs[-1] if self._epochs else ""

    def position_after(self, epoch: str, after: int) -> tuple[int, str | None]:
        """The position after number `after` of `epoch`, and why it is not quite that, if it is not.

        `unknown_epoch`: the position is the session's first; `ahead`: it is the epoch's end.
        """
        with self._lock:
            start = self._starts_by_epoch.get(epoch)
            if start is None:
                return 0, "unknown_epoch"
            end = self._epoch_end(start)
            return (start + after, None) if start + after <= end else (end, "ahead")

    def _epoch_end(self, position: int) -> int:
        following = bisect_right(self._starts, position)
        return self._starts[following] if following < len(self._starts) else self.end

    def id_at(self, position: int) -> tuple[str, int]:
        """(epoch, number) of the event at `position`; ("", 0) before the first."""
        with self._lock:
            index = bisect_right(self._starts, position) - 1
            return (self._epochs[index], position - self._starts[index] + 1) if index >= 0 else ("", 0)

    def position_of(self, record: Record) -> int:
        """Where an event of a known epoch stands."""
        return self._starts_by_epoch[record.epoch] + record.seq - 1

    def follows(self, epoch: str, other: str) -> bool:
        """Whether `epoch` began after `other`."""
        return self._starts_by_epoch.get(epoch, -1) > self._starts_by_epoch.get(other, -1)

    def next_available(self, position: int) -> int:
        """Where to go on when nothing can be had before the end of this epoch, or before the oldest kept."""
        with self._lock:
            return min(self._epoch_end(position), self.first)

    def read(self, position: int, count: int) -> list[Record] | None:
        """Up to `count` events from `position` on; None where they are no longer kept."""
        with self._lock:
            if position < self.first:
                return None
            return [self._kept[p] for p in range(position, min(position + count, self.end))]

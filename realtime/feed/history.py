"""What a session has said so far: from memory, from the journal, or as a snapshot of what they no longer hold."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable

import msgspec

from realtime.feed.ring_buffer import RingBuffer
from realtime.journal.event_log import Journal, Record
from realtime.protocol import events
from realtime.protocol.session_state import SessionState


class EventHistory:
    """A session's events by their place (realtime/feed/ring_buffer.py), with how it stood at each.

    `journal` is what is read for events that `memory_bytes` do not hold. One thread publishes, any may read.
    """

    def __init__(self, session: str, journal: Journal | None, memory_bytes: int) -> None:
        self._session, self._journal = session, journal
        self._lock = threading.Lock()
        self._oldest, self._latest = SessionState(), SessionState()  # before what memory holds, and after
        if journal is not None:
            _fold(self._oldest, journal.all())
            self._latest = self._oldest.fork()
        self.tail = RingBuffer(journal.epochs if journal is not None else [], memory_bytes)

    @property
    def latest(self) -> SessionState:
        """How the session stands now."""
        return self._latest

    def publish(self, record: Record) -> events.Logged | None:
        """Take the event to come; ValueError where its number does not continue its epoch.

        Returns it decoded, None where it is of a kind that this version does not know.
        """
        event = _event(record)
        with self._lock:
            _fold(self._oldest, self.tail.append(record))
            if event is not None:
                self._latest.apply(event)
        return event

    def now(self) -> tuple[int, events.Snapshot]:
        """The place of the event to come, and a snapshot of all before it."""
        with self._lock:
            end = self.tail.end
            return end, self._latest.snapshot(self._session, *self.tail.name(end - 1))

    def before(self, place: int, epoch: str, seq: int) -> events.Snapshot:
        """A snapshot of all before `place`, where number `seq` of `epoch` stands; may read all of the journal."""
        with self._lock:
            since: list[Record] | None = []
            if place == 0:
                standing = SessionState()
            elif place == self.tail.end:
                standing = self._latest.fork()
            elif place >= self.tail.first:
                standing = self._oldest.fork()
                since = self.tail.since(self.tail.first, place - self.tail.first)
            else:
                standing, since = SessionState(), None
        if since is None:
            since = []
            with contextlib.suppress(OSError):  # the file is gone: the snapshot holds what could be had
                since = [one for one in self._journal.all() if self.tail.place(one) < place] if self._journal else []
        _fold(standing, since)
        return standing.snapshot(self._session, epoch, seq - 1)

    def journaled(self, place: int) -> list[Record]:
        """A page of events from `place` on that memory no longer holds; empty where the journal has none.

        The first may stand later than `place`. Blocks on the disk.
        """
        if self._journal is None:
            return []
        epoch, seq = self.tail.name(place)
        try:
            records = self._journal.read(epoch, seq - 1)
        except OSError:  # the file is gone: so are its events
            return []
        return [record for record in records if self.tail.place(record) < self.tail.first]


def _event(record: Record) -> events.Logged | None:
    try:
        return events.decode_event(record.line)
    except msgspec.ValidationError:
        return None


def _fold(standing: SessionState, records: Iterable[Record]) -> None:
    for record in records:
        if (event := _event(record)) is not None:
            standing.apply(event)

"""The events of a session so far: from memory, from the journal, or as a snapshot of what they no longer hold."""

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
    """A session's events by their position (realtime/feed/ring_buffer.py), with the state of the session at each.

    `journal` is what is read for events that `memory_bytes` do not hold. One thread publishes, any may read.
    """

    def __init__(self, session: str, journal: Journal | None, memory_bytes: int) -> None:
        self._session, self._journal = session, journal
        self._lock = threading.Lock()
        # Two states, so that a snapshot of any position is folded from the nearer end instead of from the first event.
        # Before what memory holds, and after.
        self._oldest, self._latest = SessionState(), SessionState()
        if journal is not None:
            _fold_records(self._oldest, journal.read_all())
            self._latest = self._oldest.fork()
        self.buffer = RingBuffer(journal.epochs if journal is not None else [], memory_bytes)

    @property
    def latest(self) -> SessionState:
        """The state of the session after its latest event."""
        return self._latest

    def append(self, record: Record) -> events.Logged | None:
        """Take the event to come; ValueError where its number does not continue its epoch.

        Returns it decoded, None where it is of a kind that this version does not know.
        """
        event = _decode_known(record)
        with self._lock:
            _fold_records(self._oldest, self.buffer.append(record))
            if event is not None:
                self._latest.apply(event)
        return event

    def append_gap(self, place: Record) -> None:
        """Take the place of an event that is lost: a record without a line. ValueError as from `append`."""
        with self._lock:
            _fold_records(self._oldest, self.buffer.append(place))

    def take_snapshot(self) -> tuple[int, events.Snapshot]:
        """The position of the event to come, and a snapshot of all before it."""
        with self._lock:
            end = self.buffer.end
            return end, self._add_durable(self._latest.snapshot(self._session, *self.buffer.id_at(end - 1)))

    def snapshot_before(self, position: int, epoch: str, seq: int) -> events.Snapshot:
        """A snapshot of all before `position`, where number `seq` of `epoch` stands; may read all of the journal."""
        with self._lock:
            records: list[Record] | None = []
            if position == 0:
                state = SessionState()
            elif position == self.buffer.end:
                state = self._latest.fork()
            elif position >= self.buffer.first:
                state = self._oldest.fork()
                records = self.buffer.read(self.buffer.first, position - self.buffer.first)
            else:
                state, records = SessionState(), None
        # Outside the lock: publishing never waits for a journal to be read.
        if records is None:
            records = []
            # The file is gone: the snapshot holds what could be had.
            with contextlib.suppress(OSError):
                journaled = self._journal.read_all() if self._journal else ()
                records = [one for one in journaled if self.buffer.position_of(one) < position]
        _fold_records(state, records)
        return self._add_durable(state.snapshot(self._session, epoch, seq - 1))

    def _add_durable(self, snapshot: events.Snapshot) -> events.Snapshot:
        if self._journal is None:
            return snapshot
        epoch, seq = self._journal.durable
        # The journal's latest epoch: what stands before it was forced to the disk with it.
        if epoch != snapshot.epoch:
            seq = snapshot.seq if epoch and self.buffer.follows(epoch, snapshot.epoch) else 0
        return msgspec.structs.replace(snapshot, durable_seq=min(seq, snapshot.seq))

    def read_journal(self, position: int) -> list[Record]:
        """A page of events from `position` on that memory no longer holds; empty where the journal has none.

        The first may stand later than `position`. Blocks on the disk.
        """
        if self._journal is None:
            return []
        epoch, seq = self.buffer.id_at(position)
        try:
            records = self._journal.read_after(epoch, seq - 1)
        except OSError:  # the file is gone: so are its events
            return []
        return [record for record in records if self.buffer.position_of(record) < self.buffer.first]


def _decode_known(record: Record) -> events.Logged | None:
    if not record.line:  # the place of an event that is lost
        return None
    try:
        return events.decode_event(record.line)
    except msgspec.ValidationError:
        return None


def _fold_records(state: SessionState, records: Iterable[Record]) -> None:
    for record in records:
        if (event := _decode_known(record)) is not None:
            state.apply(event)

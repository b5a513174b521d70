"""The one place where an event gets its number: stamp, round as the wire has it, journal, then send to clients.

An epoch is a run of numbers that is never reused. A session begins with one; when the journal cannot be
written, what follows belongs to a new epoch that is kept in memory and announced as degraded; once the
journal takes writes again it first gets what memory kept, and another epoch begins.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from core_models.feature_log import FeatureRecorder
from realtime.feed.server import Feed
from realtime.journal.event_log import Journal, Record
from realtime.journal.redaction import redact_line
from realtime.journal.stores import Erasures, FeatureStore, JournalStore, Store
from realtime.protocol import events
from realtime.protocol.commands import CommandRefused
from realtime.protocol.probabilities import round_probabilities
from realtime.protocol.speaker_registry import SpeakerRegistry

# Some 8,000 events of 1 KiB: so long a person has to make room on the disk before anything is lost.
BACKLOG_BYTES = 8 * 1024 * 1024


class EventPublisher:
    """Numbers the events of one session and hands each on, in one order, to journal, feed, sinks and views.

    `journal` None keeps none (numbers then live as long as the process). With `words` false the journal holds
    no text. `sinks` take each line (no line's end), `views` each stamped event; both are called inside
    `append`, so what blocks there holds the session up. A sink that raises OSError is dropped, and an `error`
    event says so, and so is a view that raises anything. While the journal is degraded it is tried again every
    `retry_s` seconds at the earliest.

    Once a speaker has opted out they are forgotten everywhere: journal, stored `features`, what the feed and the
    backlog keep in memory, and the further `stores` (realtime/journal/stores.py). What refuses is announced, owed, and
    tried again every `retry_s` until it is done.

    A reopened journal that ended cleanly continues its epoch, any other gets a new one. What it still holds of people
    who had opted out, because it could not be taken out then, goes now.
    """

    def __init__(
        self,
        session: str,
        *,
        journal: Journal | None = None,
        feed: Feed | None = None,
        sinks: Iterable[Callable[[bytes], None]] = (),
        views: Iterable[Callable[[events.Logged], None]] = (),
        words: bool = True,
        features: FeatureRecorder | None = None,
        stores: Iterable[Store] = (),
        retry_s: float = 10.0,
        backlog_bytes: int = BACKLOG_BYTES,
    ) -> None:
        self._session = session
        self._journal = journal
        self._feed = feed
        self._sinks = list(sinks)
        self._views = list(views)
        self._words = words
        self._features = features
        self._retry_s = retry_s
        # Reentrant: a sink or a journal that fails makes an event of its own while another is being committed.
        self._lock = threading.RLock()
        self._epoch, self._seq = events.new_id(), 0
        if journal is not None and journal.clean:
            self._epoch, _, self._seq = journal.epochs[-1]
        self._retry_at: float | None = None  # set while degraded
        self._backlog: deque[Record] = deque()
        self._backlog_bytes = 0
        self._backlog_limit = backlog_bytes
        self._lost = 0
        self._over = False
        self._speakers = SpeakerRegistry()
        kept: list[Store] = [] if journal is None else [JournalStore(journal), FeatureStore(journal.path)]
        self._refusals: list[str] = []  # of the latest opt-out
        self._erasures = Erasures(
            [*kept, *stores], lock=self._lock, settled=self._announce_settled, retry_s=max(retry_s, 0.1)
        )
        for record in journal.read_all() if journal is not None else ():
            if b'"speaker.' in record.line:  # of the rest nothing matters here, and a long journal is long to decode
                with contextlib.suppress(msgspec.ValidationError):  # of a later version
                    self._speakers.apply(events.decode_event(record.line))
        for speaker in self._speakers.speakers:
            if self._speakers.has_opted_out(speaker):
                self._erasures.forget(self._ids_of(speaker))
        if feed is not None:
            feed.on_command(self.execute)

    def add_view(self, view: Callable[[events.Logged], None]) -> None:
        """Add a view: it gets every stamped event from now on, those that clients' commands became among them."""
        with self._lock:
            self._views.append(view)

    @property
    def epoch(self) -> str:
        """The epoch of the next event."""
        return self._epoch

    @property
    def speakers(self) -> SpeakerRegistry:
        """Who the speakers are by now."""
        return self._speakers

    @property
    def degraded(self) -> bool:
        """Whether the journal is not being written at the moment."""
        return self._retry_at is not None

    def append(self, event: events.Logged) -> int:
        """Stamp an event, write it through to the journal, then broadcast it; returns its number.

        May be called from any thread. A journal that fails does not fail the call.
        """
        with self._lock:
            last = isinstance(event, events.SessionClosed)
            if self._retry_at is not None and (last or time.monotonic() >= self._retry_at):
                self._end_degraded()
            self._over = last
            # They are forgotten before the opt-out is journaled: a client that reads of it finds nothing left.
            self._speakers.apply(event)
            match event:
                case events.SpeakerOptedOut() | events.SpeakerMerged() if self._speakers.has_opted_out(event.speaker):
                    self._forget_speaker(event.speaker)
                case events.EmotionFinal() | events.EmotionProvisional():
                    if self._speakers.has_opted_out(event.speaker):
                        event = events.without_words(event)  # it was on its way when the speaker opted out
            return self._commit_event(event)

    def leave_gap(self, count: int) -> None:
        """Leave numbers out where a recorded session has lost events: clients get a `stream.gap` there.

        Only without a journal, in which numbers are contiguous.
        """
        assert self._journal is None
        with self._lock:
            for _ in range(count):
                self._seq += 1
                if self._feed is not None:
                    self._feed.leave_gap(self._seq, self._epoch)

    def keep_features(self, utterance_id: str, speaker: str, features: Mapping[str, NDArray[np.float32]]) -> None:
        """Store an utterance's features, where that was asked for; none of who opted out. OSError."""
        with self._lock:
            if self._features is not None and not self._speakers.has_opted_out(speaker):
                wanted = {modality: x for modality, x in features.items() if self._words or modality != "text"}
                self._features.keep(utterance_id, speaker, wanted)

    def execute(self, event: events.Logged) -> tuple[str, int]:
        """Append what a client's command became: its epoch and number.

        CommandRefused after the session's last event (`closed`), where it names somebody who has opted out
        (`opted_out`), and where somebody opts out and is not yet forgotten everywhere (`redaction`): the opt-out itself
        stands then.
        """
        with self._lock:
            if self._over:
                raise CommandRefused("closed", "the session is over")
            if isinstance(event, events.SpeakerRenamed) and self._speakers.has_opted_out(event.speaker):
                raise CommandRefused("opted_out", f"{event.speaker} has opted out, and no name of theirs is kept")
            self._refusals = []
            seq = self.append(event)
            if self._refusals:
                raise CommandRefused("redaction", self._describe_refusals())
            return self._epoch, seq

    @property
    def unwritten(self) -> int:
        """How many events the journal does not hold, which was not written since."""
        return self._lost + len(self._backlog)

    @property
    def owed(self) -> tuple[str, ...]:
        """What still holds somebody who has opted out."""
        return self._erasures.owed

    def close(self) -> None:
        """Close the journal's file, after a last try at what is owed. The feed is its owner's to stop."""
        with self._lock:
            self._erasures.close()
            if self._journal is not None:
                self._journal.close()

    def _commit_event(self, event: events.Logged) -> int:
        seq, epoch = self._seq + 1, self._epoch
        stamped = msgspec.structs.replace(round_probabilities(event), seq=seq, epoch=epoch, session=self._session)
        line = events.encode(stamped)
        if self._journal is not None:
            # Clients get the words in either case; `words` is about what lies on the disk.
            kept = line if self._words else events.encode(events.without_words(stamped))
            record = Record(epoch, seq, kept)
            if self._retry_at is not None:
                self._buffer_record(record)
            else:
                try:
                    self._journal.append([record])
                except OSError as error:
                    self._begin_degraded(error)
                    return self._commit_event(event)
        self._seq = seq
        self._broadcast_event(stamped, line)
        return seq

    def _ids_of(self, speaker: str) -> frozenset[str]:
        speaker = self._speakers.resolve_speaker(speaker)
        return frozenset({speaker, *self._speakers.merged_ids(speaker)})

    def _forget_speaker(self, speaker: str) -> None:
        """Forget a speaker everywhere, under all ids that were merged into it."""
        people = self._ids_of(speaker)
        self._backlog = deque(record._replace(line=redact_line(people, record.line)) for record in self._backlog)
        self._backlog_bytes = sum(len(record.line) for record in self._backlog)
        if self._feed is not None:
            self._feed.rewrite_lines(lambda line: redact_line(people, line))
        self._refusals = self._erasures.forget(people)
        if self._refusals:
            self._commit_event(events.Error(code="redaction", message=self._describe_refusals(), fatal=False))

    def _describe_refusals(self) -> str:
        return (
            f"the opt-out stands, but what was kept could not be taken out of {', '.join(self._refusals)} yet: "
            "this is tried again until it is done"
        )

    def _announce_settled(self, sentence: str) -> None:
        if not self._over:
            self._commit_event(events.StreamDegraded(what="redaction", recovered=True, detail=sentence))

    def _broadcast_event(self, event: events.Logged, line: bytes) -> None:
        if self._feed is not None:
            self._feed.publish(event.seq, event.epoch, line)
        failures = []
        for sink in list(self._sinks):
            try:
                sink(line)
            except OSError as error:
                self._sinks.remove(sink)
                failures.append(str(error.strerror))
        for view in list(self._views):
            try:
                view(event)
            except Exception as error:  # a view must not end the call
                self._views.remove(view)
                failures.append(repr(error))
        for why in failures:
            sentence = f"an output of events cannot be written any more ({why}): it was given up"
            self._commit_event(events.Error(code="events_output", message=sentence, fatal=False))

    def _begin_degraded(self, error: OSError) -> None:
        # What follows may never reach the disk: in the old epoch a restart would use its numbers again.
        self._epoch, self._seq = events.new_id(), 0
        self._retry_at = time.monotonic() + self._retry_s
        sentence = (
            f"the journal cannot be written ({error.strerror}): the session goes on and keeps the latest "
            "events in memory; free some space or make the folder writable, and they will be written"
        )
        self._commit_event(events.StreamDegraded(what="journal", detail=sentence))

    def _buffer_record(self, record: Record) -> None:
        self._backlog.append(record)
        self._backlog_bytes += len(record.line)
        while self._backlog_bytes > self._backlog_limit:
            self._backlog_bytes -= len(self._backlog.popleft().line)
            self._lost += 1

    def _end_degraded(self) -> None:
        assert self._journal is not None
        try:
            # First what memory kept, in its own epoch, so that the journal stays in order; then a new epoch begins.
            self._journal.append(self._backlog)
        except OSError:
            self._retry_at = time.monotonic() + self._retry_s
            return
        lost = self._lost
        self._backlog.clear()
        self._backlog_bytes = self._lost = 0
        self._retry_at = None
        self._epoch, self._seq = events.new_id(), 0
        sentence = f"the journal is written again; {lost} of the events meanwhile are missing in it"
        self._commit_event(events.StreamDegraded(what="journal", count=lost, recovered=True, detail=sentence))

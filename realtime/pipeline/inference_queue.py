"""What waits for inference in one call, and which of it comes next. No models, no I/O."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from realtime.perception.transcriber import Transcript
from realtime.pipeline.load_shedding import LoadShedder
from realtime.pipeline.reorder_buffer import PATIENCE_MS, ReorderBuffer
from realtime.pipeline.stage_latency import StageLatency
from realtime.pipeline.summary import Summary
from realtime.pipeline.work_item import WorkItem
from realtime.protocol import events

# Utterances that may have ended and not be judged. At 2.5 s an utterance that is ten minutes of speech, 40 MB of
# samples: a recording waits at the bound, and a live machine that is so far behind does not catch up any more.
CAPACITY = 256


class RequestKind(Enum):
    """What inference is asked for."""

    CALLBACK = auto()
    """Run a function between two steps of the dialogue."""
    COMMIT = auto()
    """Take the dialogue's next step with an utterance that is transcribed."""
    TRANSCRIBE = auto()
    """Transcribe an utterance that has ended, or one that pauses and may have ended."""
    INTERIM = auto()
    """Judge an utterance that goes on, without a trace in the dialogue."""


@dataclass(frozen=True)
class InferenceRequest:
    """One piece of work: a CALLBACK has a `callback`, all others have an `item`."""

    kind: RequestKind
    item: WorkItem | None = None
    callback: Callable[[], None] | None = None


class InferenceQueue:
    """The waiting places of one call. Every method may be called from any thread.

    What `take` gives is always the first of: a callback; the utterance whose turn in the dialogue has come; the next
    ended utterance to transcribe; a pausing one to transcribe speculatively; an open one to judge meanwhile. All
    places are bounded: ended utterances by `CAPACITY`, the others by one for each source (contract 7).
    `live`: the lag is watched and what may be shed is shed; a recording waits instead. `emit` takes announcements,
    `summary` counts what was transcribed ahead of time.
    """

    def __init__(
        self, load: LoadShedder, emit: Callable[[events.Logged], None], summary: Summary, *, live: bool
    ) -> None:
        self._load = load
        self._emit = emit
        self._summary = summary
        self._live = live
        self._changed = threading.Condition()
        self._ended = False
        self._order: ReorderBuffer[WorkItem] = ReorderBuffer(capacity=CAPACITY)
        self._outstanding: dict[str, WorkItem] = {}
        self._final: deque[WorkItem] = deque()
        self._to_speculate: dict[str, WorkItem] = {}  # by source
        # By source: transcribed ahead of time, or being transcribed.
        self._speculated: dict[str, WorkItem] = {}
        self._interim: dict[str, WorkItem] = {}  # by source
        self._callbacks: deque[Callable[[], None]] = deque()

    # -- from the segmentation worker

    def advance(self, source: str, to_ms: int) -> None:
        """A source has been segmented up to `to_ms` of media time."""
        with self._changed:
            self._order.advance(source, to_ms)
            self._summary.media_ms = max(self._summary.media_ms, to_ms)
            if self._live:
                self._announce_load(self._lag_ms())
            if self._order or self._callbacks:
                self._changed.notify_all()

    def request_interim(self, item: WorkItem) -> None:
        """Judge an utterance that goes on, when there is time; a later request of its source replaces it."""
        if self._load.shedding:
            self._load.count_shed("provisional")
            return
        with self._changed:
            self._interim[item.utterance.source] = item
            self._changed.notify_all()

    def speculate(self, item: WorkItem) -> None:
        """An utterance may have ended: transcribe it ahead of time."""
        with self._changed:
            self._to_speculate[item.utterance.source] = item
            self._interim.pop(item.utterance.source, None)
            self._changed.notify_all()

    def cancel_speculation(self, source: str) -> None:
        """The utterance of `source` goes on."""
        with self._changed:
            self._to_speculate.pop(source, None)
            self._speculated.pop(source, None)

    def speculated_transcript(self, source: str, *, wait: bool) -> Transcript | None:
        """The transcript of the pausing utterance of `source`, if it is known by now; with `wait`, once it is."""
        with self._changed:
            while wait and not self._ended and (source in self._to_speculate or self._is_transcribing(source)):
                self._changed.wait()
            item = self._speculated.get(source)
            return item.transcript if item is not None else None

    def enqueue(self, item: WorkItem) -> None:
        """An utterance has ended: its place in the dialogue is fixed. Waits while `CAPACITY` are outstanding."""
        source = item.utterance.source
        with self._changed:
            while self._order.full and not self._ended:
                self._changed.wait()
            self._to_speculate.pop(source, None)
            self._interim.pop(source, None)
            ahead = self._speculated.pop(source, None)
            self._order.place(item.utterance_id, source, item.utterance.decided_ms)
            if ahead is not None and ahead.has_same_sound(item) and ahead.failure is None:
                self._summary.ready += ahead.transcript is not None
                ahead.utterance, ahead.decided_at = item.utterance, item.decided_at
                item = ahead
            self._outstanding[item.utterance_id] = item
            if item.transcript is not None:
                self._order.ready(item.utterance_id, item)
            elif not item.transcription_began:
                self._final.append(item)
            self._changed.notify_all()

    def discard(self, source: str, callback: Callable[[], None]) -> None:
        """The open utterance of `source` is none: drop what waits of it and run `callback`, which announces it."""
        with self._changed:
            for waiting in (self._to_speculate, self._speculated, self._interim):
                waiting.pop(source, None)
        self.post(callback)

    def end(self) -> None:
        """No more utterances will come: what is outstanding is still handed out, then `take` gives nothing."""
        with self._changed:
            self._ended = True
            self._order.end()
            self._to_speculate.clear()
            self._interim.clear()
            self._changed.notify_all()

    # -- from any thread

    def post(self, callback: Callable[[], None]) -> None:
        """Run a function on the inference thread, between two steps of the dialogue."""
        with self._changed:
            self._callbacks.append(callback)
            self._changed.notify_all()

    @property
    def media_ms(self) -> int:
        """Media time up to which the sources have been segmented."""
        return self._summary.media_ms

    @property
    def outstanding(self) -> int:
        """Utterances that have ended and are not judged."""
        return len(self._order)

    def latency(self, *, several_sources: bool) -> StageLatency:
        """What waits here besides work: with several sources an utterance waits for those that are behind."""
        return StageLatency(
            stage="inference",
            waits_for="sources that are behind, so that utterances enter the dialogue in commit order",
            most_wait_ms=PATIENCE_MS if several_sources else 0,
            queue="utterances that have ended",
            queue_bound=CAPACITY,
        )

    # -- from the inference worker

    def take(self, most: int = 1) -> list[InferenceRequest]:
        """The next requests in their order, at least one and up to `most`; waits for the first. Empty at the end."""
        with self._changed:
            requests: list[InferenceRequest] = []
            while len(requests) < most:
                request = self._next_request()
                if request is not None:
                    requests.append(request)
                elif requests:
                    break
                elif self._ended and not self._order:
                    self._announce_load(0.0)
                    if not self._callbacks:
                        break
                else:
                    self._changed.wait()
            return requests

    def mark_transcribed(self, item: WorkItem) -> None:
        """An item that was handed out to be transcribed is, or has failed."""
        with self._changed:
            item.transcribed_at = time.perf_counter()
            if self._outstanding.get(item.utterance_id) is item:
                self._order.ready(item.utterance_id, item)
            self._changed.notify_all()

    def mark_committed(self, item: WorkItem) -> None:
        """An utterance has been judged or discarded."""
        with self._changed:
            del self._outstanding[item.utterance_id]

    def _next_request(self) -> InferenceRequest | None:
        if self._callbacks:
            return InferenceRequest(RequestKind.CALLBACK, callback=self._callbacks.popleft())
        if (item := self._order.release()) is not None:
            self._changed.notify_all()
            return InferenceRequest(RequestKind.COMMIT, item)
        if self._final:
            return self._start_transcription(self._final.popleft())
        for source in self._to_speculate:
            item = self._speculated[source] = self._to_speculate.pop(source)
            return self._start_transcription(item)
        for source in self._interim:
            return InferenceRequest(RequestKind.INTERIM, self._interim.pop(source))
        return None

    def _start_transcription(self, item: WorkItem) -> InferenceRequest:
        item.transcription_began = time.perf_counter()
        return InferenceRequest(RequestKind.TRANSCRIBE, item)

    def _is_transcribing(self, source: str) -> bool:
        item = self._speculated.get(source)
        return item is not None and not item.transcribed_at

    def _lag_ms(self) -> float:
        oldest = min((item.decided_at for item in self._outstanding.values()), default=None)
        return 0.0 if oldest is None else (time.perf_counter() - oldest) * 1000

    def _announce_load(self, lag_ms: float) -> None:
        self._callbacks += [partial(self._emit, event) for event in self._load.update_lag(lag_ms)]

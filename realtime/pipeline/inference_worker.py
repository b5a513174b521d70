"""The perceiving thread: hears utterances as soon as it can, lets them into the dialogue in commit order, and tells.

What it does next is always the first of: an utterance whose turn in the dialogue has come; the next utterance
to be heard; one that pauses and may have ended, heard ahead of time; one that is still being spoken.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from core_models.errors import TrackerError
from core_models.feature_log import Keep
from core_models.features.text.sentence_encoder import REACH, PastTurn
from realtime.dialogue.emotion_shift import ShiftDetector
from realtime.dialogue.provisional import Provisional, ProvisionalSmoother
from realtime.dialogue.tracker import Tracker
from realtime.diarization.speaker_clustering import SpeakerClustering
from realtime.perception.transcriber import Transcript
from realtime.perception.utterance_features import FeatureExtractor, Perception
from realtime.pipeline import result_events
from realtime.pipeline.load_shedding import LoadShedder
from realtime.pipeline.reorder_buffer import ReorderBuffer
from realtime.pipeline.summary import Summary
from realtime.pipeline.work_item import WorkItem
from realtime.protocol import events
from realtime.segmentation.segments import Rejected, Utterance

OPTED_OUT = "This speaker does not want to be judged."
_OUTSTANDING = 256
_WORDS_SHARE = 0.3
"""Words are looked for in an utterance that goes on if that takes no more than so much of the time between looks."""
_WORDS_LESS = 0.9
"""A look without words makes the next one with them more likely."""


@dataclass
class _Open:
    """What was told of an utterance that goes on."""

    revision: int = 0
    steadied: ProvisionalSmoother = field(default_factory=ProvisionalSmoother)
    before: tuple[int, ...] = ()
    agreed: tuple[int, ...] = ()


class InferenceWorker:
    """One dialogue's perception and model, on one thread; every other method may be called from any thread.

    `live`: what may be shed is shed while the machine is behind; a recording waits instead. `voices` tells
    whose an utterance is that comes without a speaker of its own. `keep` stores the features that were judged.
    """

    def __init__(
        self,
        perceiver: FeatureExtractor,
        tracker: Tracker,
        tell: Callable[[events.Logged], None],
        overload: LoadShedder,
        *,
        live: bool,
        provisional: Provisional,
        voices: SpeakerClustering | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.summary = Summary()
        self._perceiver = perceiver
        self._tracker = tracker
        self._tell = tell
        self._overload = overload
        self._live = live
        self._provisional = provisional
        self._voices = voices
        self._keep = keep
        self._words_ms = 0.0
        self._changed = threading.Condition()
        self._over = False
        self._order: ReorderBuffer[WorkItem] = ReorderBuffer(capacity=_OUTSTANDING)
        self._outstanding: dict[str, WorkItem] = {}
        self._decided: deque[WorkItem] = deque()
        self._pausing: dict[str, WorkItem] = {}  # by source: to be heard ahead of time
        self._paused: dict[str, WorkItem] = {}  # by source: heard ahead of time, or being heard
        self._looks: dict[str, WorkItem] = {}  # by source
        self._open: dict[str, _Open] = {}  # by utterance
        self._opted_out: set[str] = set()
        self._merged: dict[str, list[str]] = {}  # who proved to be this speaker
        self._errands: deque[Callable[[], None]] = deque()
        self._shifts = ShiftDetector()
        self._said: deque[tuple[str, str]] = deque(maxlen=REACH)  # (speaker, words)
        self._status: dict[tuple[str, str], str] = {}

    # -- from the segmenting thread

    def heard(self, source: str, to_ms: int) -> None:
        """A source has been followed up to `to_ms` of media time."""
        with self._changed:
            self._order.heard(source, to_ms)
            self.summary.media_ms = max(self.summary.media_ms, to_ms)
            if self._live:
                self._errands += [partial(self._tell, told) for told in self._overload.observe(self._lag_ms())]
            if self._order or self._errands:
                self._changed.notify_all()

    def look(self, stretch: WorkItem) -> None:
        """Judge an utterance that goes on, when there is time; the latest look at a source replaces one that waits."""
        if self._overload.shedding:
            self._overload.shed("provisional")
            return
        with self._changed:
            self._looks[stretch.utterance.source] = stretch
            self._changed.notify_all()

    def pause(self, stretch: WorkItem) -> None:
        """An utterance may have ended: hear it ahead of time."""
        with self._changed:
            self._pausing[stretch.utterance.source] = stretch
            self._looks.pop(stretch.utterance.source, None)
            self._changed.notify_all()

    def resume(self, source: str) -> None:
        """It had not."""
        with self._changed:
            self._pausing.pop(source, None)
            self._paused.pop(source, None)

    def words(self, source: str, *, wait: bool) -> Transcript | None:
        """What was heard ahead of time of the pausing utterance of `source`, if it is known by now."""
        with self._changed:
            while wait and not self._over and (source in self._pausing or self._unheard(source)):
                self._changed.wait()
            stretch = self._paused.get(source)
            return stretch.transcript if stretch is not None else None

    def decide(self, stretch: WorkItem) -> None:
        """An utterance has ended; its place in the dialogue is fixed. Waits while too many are outstanding."""
        source = stretch.utterance.source
        with self._changed:
            while self._order.full and not self._over:
                self._changed.wait()
            self._pausing.pop(source, None)
            self._looks.pop(source, None)
            ahead = self._paused.pop(source, None)
            self._order.place(stretch.utterance_id, source, stretch.utterance.decided_ms)
            self._outstanding[stretch.utterance_id] = stretch
            if ahead is not None and ahead.same_sound(stretch) and ahead.failure is None:
                self.summary.ready += ahead.transcript is not None
                ahead.utterance, ahead.at = stretch.utterance, stretch.at
                stretch = self._outstanding[stretch.utterance_id] = ahead
            if stretch.transcript is not None:
                self._order.ready(stretch.utterance_id, stretch)
            elif not stretch.begun:
                self._decided.append(stretch)
            self._changed.notify_all()

    def drop(self, utterance_id: str, found: Rejected, detail: str) -> None:
        """An utterance that was open is none."""
        with self._changed:
            for waiting in (self._pausing, self._paused, self._looks):
                waiting.pop(found.source, None)
            self._errands.append(partial(self._discard, utterance_id, found, found.reason, detail))
            self._changed.notify_all()

    def opt_out(self, speaker: str, out: bool) -> None:
        """Judge a speaker no longer and forget what came from there; or, with `out` false, judge again."""
        with self._changed:
            (self._opted_out.add if out else self._opted_out.discard)(speaker)
            if out:
                self._errands.append(partial(self._forget, speaker))
            self._changed.notify_all()

    def end(self) -> None:
        """No more utterances will come: what is outstanding is judged, then `run` returns."""
        with self._changed:
            self._over = True
            self._order.end()
            self._pausing.clear()
            self._looks.clear()
            self._changed.notify_all()

    @property
    def capacity(self) -> int:
        """Utterances that may be outstanding before `decide` waits."""
        return self._order.capacity

    @property
    def outstanding(self) -> int:
        """Utterances that have ended and are not judged."""
        return len(self._order)

    # -- the perceiving thread

    def run(self) -> None:
        """Work until `end` and nothing is outstanding."""
        try:
            while (work := self._next()) is not None:
                work()
            for told in self._overload.observe(0.0):
                self._tell(told)
        finally:
            self.end()  # so that nobody waits for a thread that is gone

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while True:
                if self._errands:
                    return self._errands.popleft()
                if (stretch := self._order.release()) is not None:
                    self._changed.notify_all()
                    return partial(self._commit, stretch)
                if self._decided:
                    return partial(self._hear, self._begin(self._decided.popleft()))
                for source in self._pausing:
                    stretch = self._paused[source] = self._begin(self._pausing.pop(source))
                    return partial(self._hear, stretch)
                for source in self._looks:
                    return partial(self._glimpse, self._looks.pop(source))
                if self._over and not self._order:
                    return None
                self._changed.wait()

    def _lag_ms(self) -> float:
        oldest = min((stretch.at for stretch in self._outstanding.values()), default=None)
        return 0.0 if oldest is None else (time.perf_counter() - oldest) * 1000

    def _begin(self, stretch: WorkItem) -> WorkItem:
        stretch.begun = time.perf_counter()
        return stretch

    def _unheard(self, source: str) -> bool:
        stretch = self._paused.get(source)
        return stretch is not None and not stretch.heard

    def _forget(self, speaker: str) -> None:
        people = [speaker, *self._merged.get(speaker, ())]
        for one in people:
            self._tracker.forget(one)
            self._shifts.forget(one)
        self._said = deque(((one, words) for one, words in self._said if one not in people), maxlen=REACH)

    def _past(self, speaker: str) -> list[PastTurn]:
        """What was said before, as `speaker` remembers it."""
        return [PastTurn(one == speaker, words) for one, words in self._said]

    def _hear(self, stretch: WorkItem) -> None:
        try:
            if stretch.unknown and self._voices is not None and self._voices.vector is not None:
                stretch.vector = self._voices.vector(stretch.utterance.samples)
            stretch.transcript = self._perceiver.transcribe(stretch.utterance.samples)
        except TrackerError as error:
            stretch.failure = str(error)
        with self._changed:
            stretch.heard = time.perf_counter()
            if self._outstanding.get(stretch.utterance_id) is stretch:
                self._order.ready(stretch.utterance_id, stretch)
            self._changed.notify_all()

    def _glimpse(self, stretch: WorkItem) -> None:
        utterance, told = stretch.utterance, self._open.setdefault(stretch.utterance_id, _Open())
        words = self._provisional.words and self._words_ms <= _WORDS_SHARE * self._provisional.every_ms
        begun = time.perf_counter()
        try:
            perception, tokens = self._perceiver.interim_features(
                utterance, told.agreed, stretch.faces, self._past(stretch.speaker), words=words
            )
        except TrackerError:
            return  # what is wrong will be said of the utterance itself
        spent_ms = (time.perf_counter() - begun) * 1000
        self._words_ms = spent_ms if words else self._words_ms * _WORDS_LESS
        told.agreed, told.before = _agreed(told.before, tokens), tokens
        if perception.discarded is not None or not perception.features or stretch.speaker in self._opted_out:
            return
        judgement = self._tracker.peek(stretch.speaker, perception.features)
        shown = told.steadied.update(judgement.probabilities)
        told.revision += 1
        self._tell(result_events.provisional(stretch, told.revision, shown, perception, judgement))
        self.summary.provisional += 1

    def _commit(self, stretch: WorkItem) -> None:
        """The next utterance of the dialogue."""
        committed = time.perf_counter()
        self._recognise(stretch)
        if stretch.speaker in self._opted_out:
            self._give_up(stretch, "opted_out", OPTED_OUT)
            return
        try:
            if stretch.failure is not None:
                raise TrackerError(stretch.failure)
            assert stretch.transcript is not None
            perception = self._perceiver.extract_features(
                stretch.utterance, stretch.transcript, stretch.faces, self._past(stretch.speaker)
            )
        except TrackerError as error:
            self._tell(events.Error(code="perception", message=str(error), fatal=False))
            self._give_up(stretch, "failed", str(error))
            return
        if perception.discarded is not None:
            self._give_up(stretch, *perception.discarded)
            return
        if not perception.features:
            self._give_up(stretch, "nothing_usable", "No modality of it could be used.")
            return
        stepping = time.perf_counter()
        judgement = self._tracker.step(stretch.speaker, perception.features)
        fusion_ms = (time.perf_counter() - stepping) * 1000
        if stretch.speaker in self._opted_out:  # in this moment; the step is forgotten with all the others
            self._give_up(stretch, "opted_out", OPTED_OUT)
            return
        self._tell_statuses(stretch.speaker, perception.status)
        if perception.text and "text" in perception.features:
            self._said.append((stretch.speaker, perception.text))
        revision = self._open.pop(stretch.utterance_id, _Open()).revision + 1
        self._record(stretch, perception)
        self._tell(
            result_events.final(stretch, revision, perception, judgement, committed=committed, fusion_ms=fusion_ms)
        )
        shift = None
        if not judgement.uncertain:  # what says nothing is no evidence either
            shift = self._shifts.update(stretch.speaker, stretch.utterance_id, judgement.probabilities)
        if shift is not None:
            self._tell(result_events.shifted(stretch, shift))
        self._done(stretch)
        self.summary.utterances += 1
        self.summary.latencies_ms.append((time.perf_counter() - stretch.at) * 1000)
        self.summary.emotions.setdefault(stretch.speaker, Counter())[judgement.emotion] += 1

    def _record(self, stretch: WorkItem, perception: Perception) -> None:
        if self._keep is None:
            return
        try:
            self._keep(stretch.utterance_id, stretch.speaker, perception.features)
        except OSError as error:
            self._keep = None
            sentence = f"the features cannot be stored any more ({error.strerror}): the session goes on without"
            self._tell(events.StreamDegraded(what="features", detail=sentence))

    def _recognise(self, stretch: WorkItem) -> None:
        if stretch.vector is None or self._voices is None:
            return
        seconds = (stretch.utterance.end_ms - stretch.utterance.start_ms) / 1000
        stretch.speaker, merged = self._voices.assign(stretch.vector, seconds)
        for gone, kept in merged:
            self._merge(gone, kept)

    def _merge(self, gone: str, kept: str) -> None:
        self._merged.setdefault(kept, []).extend([gone, *self._merged.pop(gone, [])])
        if (counts := self.summary.emotions.pop(gone, None)) is not None:
            self.summary.emotions.setdefault(kept, Counter()).update(counts)
        self._tell(events.SpeakerMerged(speaker=gone, into=kept))
        if {gone, kept} & self._opted_out:  # who does not want to be judged does not as either of the two
            self._tell(events.SpeakerOptedOut(speaker=kept, opted_out=True))
            self.opt_out(kept, True)

    def _tell_statuses(self, speaker: str, statuses: Mapping[str, str]) -> None:
        for modality, status in statuses.items():
            before = self._status.get((speaker, modality), "ok")
            self._status[speaker, modality] = status
            if status not in (before, "unused"):
                self._tell(events.ModalityStatus(modality=modality, status=status, speaker=speaker))

    def _give_up(self, stretch: WorkItem, reason: str, detail: str) -> None:
        self._discard(stretch.utterance_id, stretch.utterance, reason, detail)
        self._done(stretch)

    def _discard(self, utterance_id: str, found: Utterance | Rejected, reason: str, detail: str) -> None:
        self._tell(result_events.discarded(utterance_id, found, reason, detail))
        self._open.pop(utterance_id, None)
        self.summary.discarded += 1

    def _done(self, stretch: WorkItem) -> None:
        with self._changed:
            del self._outstanding[stretch.utterance_id]


def _agreed(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """The beginning that two successive hypotheses share, without its last token, which may be half a word."""
    count = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[: max(0, count - 1)]

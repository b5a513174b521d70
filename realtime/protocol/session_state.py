"""The state of a session, folded from its events: what snapshots, commands and records of a session are made from.

No I/O. Who the speakers are is folded by realtime/protocol/speaker_registry.py, which those use that need no more.
"""

from __future__ import annotations

import copy
from collections import deque

import msgspec

from realtime.protocol import events
from realtime.protocol.speaker_registry import SpeakerRegistry

# Enough to see where a mood goes; a snapshot of two speakers stays below 8 KiB.
# Utterances of each speaker that a snapshot holds.
TREND = 10


class _Course:
    """What a speaker's utterances came to: how many, and the latest of them."""

    def __init__(self) -> None:
        self.utterances = 0
        self.trend: deque[events.TrendPoint] = deque(maxlen=TREND)

    def add_point(self, point: events.TrendPoint) -> None:
        if not self._replace_point(point):
            self.utterances += 1
            self.trend.append(point)

    def correct_point(self, utterance_id: str, emotion: str) -> None:
        for point in self.trend:
            if point.utterance_id == utterance_id:
                self._replace_point(msgspec.structs.replace(point, emotion=emotion))
                return

    def _replace_point(self, by: events.TrendPoint) -> bool:
        for index, point in enumerate(self.trend):
            if point.utterance_id == by.utterance_id:
                self.trend[index] = by
                return True
        return False

    def absorb_course(self, gone: _Course) -> None:
        self.utterances += gone.utterances
        self.trend = deque(sorted([*self.trend, *gone.trend], key=lambda point: point.start_ms), maxlen=TREND)

    def fork(self) -> _Course:
        other = copy.copy(self)
        other.trend = self.trend.copy()
        return other


class SessionState:
    """The fold of a session's events, in order.

    A person's correction of an utterance stands, whatever the model says of it later; a later correction replaces it.
    """

    def __init__(self) -> None:
        self._created: events.SessionCreated | None = None
        self._closed: events.SessionClosed | None = None
        self.speakers = SpeakerRegistry()
        """Who the speakers are, and what they are shown as."""
        self._courses: dict[str, _Course] = {}  # by speaker that is left
        self._open: dict[str, events.OpenUtterance] = {}
        self._judged: dict[str, tuple[str, str]] = {}  # speaker and emotion by utterance
        # Emotion that a person gave, by utterance.
        self._corrected: dict[str, str] = {}
        self._sources: dict[str, events.SourceStatus] = {}
        self._modalities: dict[tuple[str, str | None], events.ModalityStatus] = {}
        self._degraded: dict[str, events.StreamDegraded] = {}
        self.latest_ms = 0
        """End of the latest utterance that was judged, in media time."""

    def apply(self, event: events.Logged) -> None:
        """Fold the next event."""
        # A session that goes on after its end, since it was reopened, is not closed.
        self._closed = None
        merged = self.speakers.resolve_speaker(event.speaker) if isinstance(event, events.SpeakerMerged) else ""
        self.speakers.apply(event)
        match event:
            case events.SessionCreated():
                self._created = event
            case events.SpeechStarted():
                self._open[event.utterance_id] = events.OpenUtterance(
                    utterance_id=event.utterance_id,
                    source=event.source,
                    speaker=self.resolve_speaker(event.speaker),
                    start_ms=event.start_ms,
                )
            case events.SpeechEnded():
                if (begun := self._open.get(event.utterance_id)) is not None:
                    self._open[event.utterance_id] = msgspec.structs.replace(begun, end_ms=event.end_ms)
            case events.EmotionProvisional():
                if (begun := self._open.get(event.utterance_id)) is not None:
                    speaker = self.resolve_speaker(event.speaker)
                    self._open[event.utterance_id] = msgspec.structs.replace(
                        begun, speaker=speaker, emotion=event.emotion, confidence=event.confidence
                    )
            case events.EmotionFinal():
                self._add_final(event)
            case events.UtteranceDiscarded():
                self._open.pop(event.utterance_id, None)
            case events.EmotionCorrected():
                self._corrected[event.utterance_id] = event.to
                self._judged[event.utterance_id] = event.speaker, event.to
                self._course_of(event.speaker).correct_point(event.utterance_id, event.to)
            case events.SpeakerMerged():
                self._merge_speakers(merged, self.resolve_speaker(event.into))
            case events.SourceStatus():
                self._sources[event.source] = event
            case events.ModalityStatus():
                self._modalities[event.modality, event.speaker] = event
            case events.StreamDegraded(recovered=True):
                self._degraded.pop(event.what, None)
            case events.StreamDegraded():
                self._degraded[event.what] = event
            case events.SessionClosed():
                self._closed = event
                self._open.clear()

    def _course_of(self, speaker: str) -> _Course:
        return self._courses.setdefault(self.resolve_speaker(speaker), _Course())

    def _add_final(self, event: events.EmotionFinal) -> None:
        self._open.pop(event.utterance_id, None)
        # A person's correction outranks every revision of the model.
        emotion = self._corrected.get(event.utterance_id, event.emotion)
        self._judged[event.utterance_id] = event.speaker, emotion
        point = events.TrendPoint(
            utterance_id=event.utterance_id,
            start_ms=event.start_ms,
            end_ms=event.end_ms,
            emotion=emotion,
            confidence=event.confidence,
            probabilities=event.probabilities,
        )
        self._course_of(event.speaker).add_point(point)
        self.latest_ms = max(self.latest_ms, event.end_ms)

    def _merge_speakers(self, gone: str, into: str) -> None:
        if gone == into:
            return
        self._course_of(into).absorb_course(self._courses.pop(gone, _Course()))
        for utterance_id, one in self._open.items():
            self._open[utterance_id] = msgspec.structs.replace(one, speaker=self.resolve_speaker(one.speaker))
        # A status under the id that has gone would never be taken back.
        for modality, speaker in list(self._modalities):
            if speaker == gone:
                del self._modalities[modality, speaker]

    @property
    def labels(self) -> tuple[str, ...]:
        """The session's labels; none before it was created."""
        return self._created.labels.labels if self._created else ()

    @property
    def running(self) -> bool:
        """Whether the session was created and is not closed."""
        return self._created is not None and self._closed is None

    @property
    def over(self) -> bool:
        """Whether the session is closed."""
        return self._closed is not None

    @property
    def utterances(self) -> int:
        """How many utterances were judged."""
        return len(self._judged)

    @property
    def judged_speakers(self) -> tuple[str, ...]:
        """The speakers that are left of whom something was judged, in order of appearance."""
        return tuple(one for one in self.speakers.speakers if one in self._courses and self._courses[one].utterances)

    def has_speaker(self, speaker: str) -> bool:
        """Whether the session has anybody by that id."""
        return self.speakers.has_speaker(speaker)

    def resolve_speaker(self, speaker: str) -> str:
        """The id of the speaker that `speaker` was merged into, if any; else `speaker`."""
        return self.speakers.resolve_speaker(speaker)

    def judgement_of(self, utterance_id: str) -> tuple[str, str] | None:
        """(speaker, emotion as it was judged or last corrected) of an utterance; None where there is none."""
        judged = self._judged.get(utterance_id)
        return judged and (self.resolve_speaker(judged[0]), judged[1])

    def fork(self) -> SessionState:
        """A copy that shares nothing which changes."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict):
                setattr(other, name, value.copy())
        other.speakers = self.speakers.fork()
        other._courses = {speaker: one.fork() for speaker, one in self._courses.items()}
        return other

    def snapshot(self, session: str, epoch: str, seq: int) -> events.Snapshot:
        """All of it as one message, after number `seq` of `epoch`."""
        return events.Snapshot(
            session=session,
            epoch=epoch,
            seq=seq,
            created=self._created,
            speakers=tuple(self._speaker_state(speaker) for speaker in self.speakers.speakers),
            open=tuple(self._open.values()),
            sources=tuple(self._sources.values()),
            modalities=tuple(self._modalities.values()),
            degraded=tuple(self._degraded.values()),
            closed=self._closed,
        )

    def _speaker_state(self, speaker: str) -> events.SpeakerState:
        course = self._courses.get(speaker) or _Course()
        latest = course.trend[-1] if course.trend else None
        return events.SpeakerState(
            speaker=speaker,
            name=self.speakers.given_name(speaker),
            opted_out=self.speakers.has_opted_out(speaker),
            utterances=course.utterances,
            emotion=latest.emotion if latest else None,
            confidence=latest.confidence if latest else None,
            trend=tuple(course.trend),
            merged=self.speakers.merged_ids(speaker),
        )

"""How a session stands after each of its events: what a snapshot says and what commands are judged by (no I/O)."""

from __future__ import annotations

import copy
from collections import deque

import msgspec

from realtime.protocol import events

TREND = 10
"""Utterances of each speaker that a snapshot holds."""


class _Speaker:
    def __init__(self) -> None:
        self.name: str | None = None
        self.opted_out = False
        self.utterances = 0
        self.merged: tuple[str, ...] = ()
        self.trend: deque[events.TrendPoint] = deque(maxlen=TREND)

    def judge(self, final: events.EmotionFinal) -> None:
        point = events.TrendPoint(
            utterance_id=final.utterance_id,
            start_ms=final.start_ms,
            end_ms=final.end_ms,
            emotion=final.emotion,
            confidence=final.confidence,
            probabilities=final.probabilities,
        )
        if not self._replace(final.utterance_id, point):
            self.utterances += 1
            self.trend.append(point)

    def correct(self, utterance_id: str, emotion: str) -> None:
        for point in self.trend:
            if point.utterance_id == utterance_id:
                self._replace(utterance_id, msgspec.structs.replace(point, emotion=emotion))
                return

    def _replace(self, utterance_id: str, by: events.TrendPoint) -> bool:
        for index, point in enumerate(self.trend):
            if point.utterance_id == utterance_id:
                self.trend[index] = by
                return True
        return False

    def absorb(self, speaker: str, gone: _Speaker) -> None:
        """All that was known of `speaker` was said by this one."""
        self.name = self.name or gone.name
        self.opted_out |= gone.opted_out
        self.utterances += gone.utterances
        self.merged += (speaker, *gone.merged)
        self.trend = deque(sorted([*self.trend, *gone.trend], key=lambda point: point.start_ms), maxlen=TREND)

    def fork(self) -> _Speaker:
        other = copy.copy(self)
        other.trend = self.trend.copy()
        return other

    def state(self, speaker: str) -> events.SpeakerState:
        latest = self.trend[-1] if self.trend else None
        return events.SpeakerState(
            speaker=speaker,
            name=self.name,
            opted_out=self.opted_out,
            utterances=self.utterances,
            emotion=latest.emotion if latest else None,
            confidence=latest.confidence if latest else None,
            trend=tuple(self.trend),
            merged=self.merged,
        )


class SessionState:
    """Folds a session's events, in order, into how it stands."""

    def __init__(self) -> None:
        self._created: events.SessionCreated | None = None
        self._closed: events.SessionClosed | None = None
        self._speakers: dict[str, _Speaker] = {}
        self._merged: dict[str, str] = {}  # speakers who proved to be another
        self._open: dict[str, events.OpenUtterance] = {}
        self._judged: dict[str, tuple[str, str]] = {}  # speaker and emotion by utterance
        self._sources: dict[str, events.SourceStatus] = {}
        self._modalities: dict[tuple[str, str | None], events.ModalityStatus] = {}
        self._degraded: dict[str, events.StreamDegraded] = {}
        self.latest_ms = 0
        """End of the latest utterance that was judged, in media time."""

    def apply(self, event: events.Logged) -> None:
        """Take the next event."""
        self._closed = None
        match event:
            case events.SessionCreated():
                self._created = event
            case events.SpeechStarted():
                self._speaker(event.speaker)
                self._open[event.utterance_id] = events.OpenUtterance(
                    utterance_id=event.utterance_id,
                    source=event.source,
                    speaker=self.whose(event.speaker),
                    start_ms=event.start_ms,
                )
            case events.EmotionProvisional():
                if (begun := self._open.get(event.utterance_id)) is not None:
                    self._open[event.utterance_id] = msgspec.structs.replace(
                        begun, speaker=self.whose(event.speaker), emotion=event.emotion, confidence=event.confidence
                    )
            case events.EmotionFinal():
                self._open.pop(event.utterance_id, None)
                self._judged[event.utterance_id] = event.speaker, event.emotion
                self._speaker(event.speaker).judge(event)
                self.latest_ms = max(self.latest_ms, event.end_ms)
            case events.UtteranceDiscarded():
                self._open.pop(event.utterance_id, None)
            case events.EmotionCorrected():
                self._judged[event.utterance_id] = event.speaker, event.to
                self._speaker(event.speaker).correct(event.utterance_id, event.to)
            case events.SpeakerMerged():
                self._merge(event.speaker, self.whose(event.into))
            case events.SpeakerRenamed():
                self._speaker(event.speaker).name = event.name
            case events.SpeakerOptedOut():
                self._speaker(event.speaker).opted_out = event.opted_out
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

    def _speaker(self, speaker: str) -> _Speaker:
        return self._speakers.setdefault(self.whose(speaker), _Speaker())

    def _merge(self, gone: str, into: str) -> None:
        if self.whose(gone) == into:
            return
        self._merged |= {one: into for one, whose in self._merged.items() if whose == gone} | {gone: into}
        self._speaker(into).absorb(gone, self._speakers.pop(gone, _Speaker()))
        for utterance_id, one in self._open.items():
            self._open[utterance_id] = msgspec.structs.replace(one, speaker=self.whose(one.speaker))
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

    def knows(self, speaker: str) -> bool:
        """Whether anybody by that id was heard."""
        return self.whose(speaker) in self._speakers

    def whose(self, speaker: str) -> str:
        """Who a speaker is by now: another one, where two proved to be one person."""
        return self._merged.get(speaker, speaker)

    def judged(self, utterance_id: str) -> tuple[str, str] | None:
        """(speaker, emotion as it was judged or last corrected) of an utterance; None where there is none."""
        judged = self._judged.get(utterance_id)
        return judged and (self.whose(judged[0]), judged[1])

    def fork(self) -> SessionState:
        """A copy that goes its own way."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict):
                setattr(other, name, value.copy())
        other._speakers = {speaker: one.fork() for speaker, one in self._speakers.items()}
        return other

    def snapshot(self, session: str, epoch: str, seq: int) -> events.Snapshot:
        """All of it as one message, after number `seq` of `epoch`."""
        return events.Snapshot(
            session=session,
            epoch=epoch,
            seq=seq,
            created=self._created,
            speakers=tuple(one.state(speaker) for speaker, one in self._speakers.items()),
            open=tuple(self._open.values()),
            sources=tuple(self._sources.values()),
            modalities=tuple(self._modalities.values()),
            degraded=tuple(self._degraded.values()),
            closed=self._closed,
        )

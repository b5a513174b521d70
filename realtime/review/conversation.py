"""A session as its journal leaves it: every utterance with its last judgement, names and corrections applied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from realtime.protocol import events


@dataclass(frozen=True)
class Utterance:
    """One judged utterance. `emotion` is the corrected one where `judged` (the model's) was corrected.

    Times are milliseconds of media time; `name` is what the speaker is shown as. A speaker who proved to be another
    is that one throughout.
    """

    id: str
    speaker: str
    name: str
    start_ms: int
    end_ms: int
    text: str | None
    language: str | None
    emotion: str
    judged: str
    confidence: float
    probabilities: dict[str, float]
    modalities: dict[str, events.Modality]
    shifted_from: str | None
    rescored: events.Opinion | None = None

    @property
    def corrected(self) -> bool:
        """Whether a person said otherwise than the model."""
        return self.emotion != self.judged


@dataclass(frozen=True)
class Conversation:
    """A session: its first event, its utterances in order of their beginning, and the moments marked in it."""

    created: events.SessionCreated
    utterances: tuple[Utterance, ...]
    marks: tuple[events.MomentMarked, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The label set, in the order of every distribution."""
        return self.created.labels.labels

    @property
    def names(self) -> tuple[str, ...]:
        """The speakers as they are shown, by first appearance."""
        return tuple(dict.fromkeys(utterance.name for utterance in self.utterances))

    @property
    def end_ms(self) -> int:
        """Where the last utterance ends; 0 where there is none."""
        return max((utterance.end_ms for utterance in self.utterances), default=0)


@dataclass
class _Told:
    """What the events have said so far."""

    utterances: dict[str, Utterance] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    corrections: dict[str, str] = field(default_factory=dict)
    marks: list[events.MomentMarked] = field(default_factory=list)

    def take(self, event: events.Logged) -> None:
        match event:
            case events.EmotionFinal():
                self.utterances[event.utterance_id] = _utterance(event)
            case events.SpeakerMerged():
                self.merged[event.speaker] = event.into
                if event.speaker in self.names:
                    self.names.setdefault(event.into, self.names[event.speaker])
            case events.SpeakerRenamed():
                self.names[event.speaker] = event.name
            case events.EmotionCorrected():
                self.corrections[event.utterance_id] = event.to
            case events.MomentMarked():
                self.marks.append(event)


    def whose(self, speaker: str) -> str:
        """Who a speaker proved to be in the end."""
        while speaker in self.merged:
            speaker = self.merged[speaker]
        return speaker


def _utterance(event: events.EmotionFinal) -> Utterance:
    return Utterance(
        id=event.utterance_id,
        speaker=event.speaker,
        name=event.speaker,
        start_ms=event.start_ms,
        end_ms=event.end_ms,
        text=event.text,
        language=event.language,
        emotion=event.emotion,
        judged=event.emotion,
        confidence=event.confidence,
        probabilities=event.probabilities,
        modalities=event.modalities,
        shifted_from=event.shift.from_ if event.shift else None,
        rescored=event.rescored,
    )


def gather(created: events.SessionCreated, rest: Iterable[events.Logged]) -> Conversation:
    """The conversation that a session's events tell; later judgements and corrections replace earlier ones."""
    told = _Told()
    for event in rest:
        told.take(event)
    utterances = (
        replace(
            one,
            speaker=(speaker := told.whose(one.speaker)),
            name=told.names.get(speaker, speaker),
            emotion=told.corrections.get(one.id, one.emotion),
        )
        for one in told.utterances.values()
    )
    return Conversation(created, tuple(sorted(utterances, key=lambda one: one.start_ms)), tuple(told.marks))

"""A session as its journal leaves it: every utterance with its last judgement, names and corrections applied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from realtime.journal.redaction import redact_event
from realtime.protocol import events
from realtime.protocol.session_state import SessionState


@dataclass(frozen=True)
class Utterance:
    """One judged utterance. `emotion` is the corrected one where `judged` (the model's) was corrected.

    Times are milliseconds of media time; `name` is what the speaker is shown as. A speaker who was merged into another
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


def _build_utterance(event: events.EmotionFinal, state: SessionState) -> Utterance:
    """An utterance as the session leaves it: `state` is that after its last event."""
    speaker, emotion = state.judgement_of(event.utterance_id) or (event.speaker, event.emotion)
    return Utterance(
        id=event.utterance_id,
        speaker=speaker,
        name=state.speakers.shown_name(speaker),
        start_ms=event.start_ms,
        end_ms=event.end_ms,
        text=event.text,
        language=event.language,
        emotion=emotion,
        judged=event.emotion,
        confidence=event.confidence,
        probabilities=event.probabilities,
        modalities=event.modalities,
        shifted_from=event.shift.from_ if event.shift else None,
        rescored=event.rescored,
    )


def fold_conversation(created: events.SessionCreated, rest: Iterable[events.Logged]) -> Conversation:
    """The conversation that a session's events add up to; later judgements and corrections replace earlier ones.

    What was said before its speaker opted out has no words, also where they could not be taken out of the journal.
    """
    state = SessionState()
    finals: dict[str, events.Logged] = {}
    marks: list[events.Logged] = []
    for event in rest:
        state.apply(event)
        match event:
            case events.EmotionFinal():
                finals[event.utterance_id] = event
            case events.MomentMarked():
                marks.append(event)
            case events.SpeakerOptedOut(opted_out=True) | events.SpeakerMerged() if state.speakers.has_opted_out(
                event.speaker
            ):
                people = {state.resolve_speaker(event.speaker), *state.speakers.merged_ids(event.speaker)}
                finals = {one: redact_event(people, judged) for one, judged in finals.items()}
                marks = [redact_event(people, mark) for mark in marks]
    built = (_build_utterance(one, state) for one in finals.values() if isinstance(one, events.EmotionFinal))
    # Overlapping speech is judged in order of its end; a reader expects that of its beginning.
    utterances = sorted(built, key=lambda one: one.start_ms)
    return Conversation(created, tuple(utterances), tuple(m for m in marks if isinstance(m, events.MomentMarked)))

"""When a speaker's emotion has changed, and how far words, voice and face disagree. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# An utterance whose emotion leads the settled one by so much is evidence enough; else it takes two in a row.
_LEAD = 0.4


@dataclass(frozen=True)
class EmotionalShift:
    """A speaker's settled emotion gave way to another; `evidence` names the utterances that carried it."""

    from_: str
    to: str
    evidence: tuple[str, ...]


@dataclass
class _Speaker:
    settled: str
    candidate: str | None = None
    evidence: tuple[str, ...] = ()


class ShiftDetector:
    """Follows the settled emotion of every speaker.

    It changes with one clear utterance, or with two in a row that agree; a single doubtful one changes nothing,
    so an emotion that flickers between two labels is not a series of shifts.
    """

    def __init__(self) -> None:
        self._speakers: dict[str, _Speaker] = {}

    def update(self, speaker: str, utterance_id: str, probabilities: Mapping[str, float]) -> EmotionalShift | None:
        """The shift that the next utterance of `speaker` completes, or None."""
        emotion = max(probabilities, key=probabilities.__getitem__)
        state = self._speakers.get(speaker)
        if state is None:
            self._speakers[speaker] = _Speaker(emotion)
            return None
        if emotion == state.settled:
            state.candidate, state.evidence = None, ()
            return None
        again = emotion == state.candidate
        evidence = (*state.evidence, utterance_id) if again else (utterance_id,)
        if not again and probabilities[emotion] - probabilities[state.settled] < _LEAD:
            state.candidate, state.evidence = emotion, evidence
            return None
        shift = EmotionalShift(state.settled, emotion, evidence)
        self._speakers[speaker] = _Speaker(emotion)
        return shift

    def forget(self, speaker: str) -> None:
        """Nothing of this speaker's past is known any more."""
        self._speakers.pop(speaker, None)

"""When a speaker's emotion has changed, and how far words, voice and face disagree. No I/O."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_LEAD = 0.4
"""An utterance whose emotion leads the settled one by so much is evidence enough; else it takes two in a row."""


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


class Shifts:
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


def disagreement(opinions: Collection[Mapping[str, float]]) -> float | None:
    """Jensen-Shannon divergence of the modalities' own opinions, of its greatest value: 0 (one mind) to 1.

    None with fewer than two opinions.
    """
    if len(opinions) < 2:
        return None
    labels = next(iter(opinions))
    mixture = [sum(opinion[label] for opinion in opinions) / len(opinions) for label in labels]
    apart = _entropy(mixture) - sum(_entropy(opinion.values()) for opinion in opinions) / len(opinions)
    return min(1.0, max(0.0, apart / math.log(len(opinions))))


def _entropy(distribution: Collection[float]) -> float:
    return -sum(p * math.log(p) for p in distribution if p > 0)

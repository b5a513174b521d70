"""Events as a session makes them, for tests of whatever takes them."""

from __future__ import annotations

from datetime import UTC, datetime

from realtime.protocol import events
from realtime.protocol.session_state import SessionState

LABELS = ("neutral", "joy", "anger")


CREATED = events.SessionCreated(
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
    labels=events.Labels(name="three", labels=LABELS),
    checkpoint=events.CheckpointDescription(name="live", digest="ab" * 32),
    models={},
    features={},
    sources=(),
    notice="This call is analysed.",
)


def began(number: int, speaker: str = "ann") -> events.SpeechStarted:
    return events.SpeechStarted(utterance_id=f"u{number}", source="mic", speaker=speaker, start_ms=1000 * number)


def final(number: int, emotion: str = "joy", speaker: str = "ann", revision: int = 1) -> events.EmotionFinal:
    return events.EmotionFinal(
        utterance_id=f"u{number}",
        revision=revision,
        speaker=speaker,
        start_ms=1000 * number,
        end_ms=1000 * number + 900,
        text="Well.",
        emotion=emotion,
        confidence=0.8,
        probabilities={label: 0.8 if label == emotion else 0.1 for label in LABELS},
        modalities={"voice": events.Modality(status="ok")},
        latency_ms=events.Latency(endpoint=400, queue=0, asr=100, features=50, fusion=5, total=555),
    )


def fold_snapshot(*told: events.Logged) -> events.Snapshot:
    state = SessionState()
    for event in told:
        state.apply(event)
    return state.snapshot("s", "e", len(told))


FINAL = events.EmotionFinal(
    utterance_id="u57",
    revision=1,
    speaker="remote",
    start_ms=0,
    end_ms=900,
    text="You had your hands full.",
    emotion="joy",
    confidence=1.0,
    probabilities={"joy": 1.0},
    modalities={},
    latency_ms=events.Latency(endpoint=400, queue=0, asr=1, features=1, fusion=1, total=403),
)

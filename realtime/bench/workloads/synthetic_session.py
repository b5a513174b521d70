"""A synthetic session of any length: the events that a journal of so many utterances holds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime

from core_models.labels import MELD7
from realtime.protocol import events

_LINES = (
    "Hm.",
    "Did you hear what happened at the station this morning?",
    "No, tell me!",
    "I waited for an hour and nobody came, so in the end I walked home through the rain and called her.",
    "That is so good to hear.",
    "I do not think that this was fair, and I told them so.",
)


def conversation(
    utterances: int, *, speakers: tuple[str, ...] = ("anna", "ben"), seed: int = 0
) -> Iterator[events.Logged]:
    """A made-up session, `session.created` to the last utterance: what a journal of so many utterances holds.

    Every tenth stretch of sound is discarded and every fourth utterance has a provisional result first.
    """
    chance = random.Random(seed)
    yield events.SessionCreated(
        created_at=datetime.now(UTC),
        labels=events.Labels(name=MELD7.name, labels=MELD7.labels),
        checkpoint=events.CheckpointDescription(name="made up", digest="0" * 64),
        models={"whisper": "none"},
        features={"text": "none"},
        sources=(events.SourceDescription(source="made", kind="file", detail="a made-up conversation"),),
        notice="A made-up conversation: nobody is analysed.",
    )
    yield events.SourceStatus(source="made", kind="file", status="opened")
    before: dict[str, str] = {}
    now, number, judged = 500, 0, 0
    while judged < utterances:
        number += 1
        speaker, length = chance.choice(speakers), chance.randrange(400, 6_000)
        name, end = f"u{number}", now + length
        yield events.SpeechStarted(utterance_id=name, source="made", speaker=speaker, start_ms=now)
        if chance.random() < 0.1:
            yield events.UtteranceDiscarded(
                utterance_id=name, source="made", start_ms=now, end_ms=end, reason="no_speech", detail="It was a cough."
            )
        else:
            judged += 1
            final = _make_final(chance, name, speaker, now, end, before.get(speaker))
            if judged % 4 == 0:
                yield events.EmotionProvisional(
                    **{
                        field: getattr(final, field)
                        for field in ("utterance_id", "speaker", "start_ms", "end_ms", "emotion", "confidence")
                    },
                    revision=1,
                    probabilities=final.probabilities,
                    modalities={"voice": final.modalities["voice"]},
                )
            before[speaker] = final.emotion
            yield final
        now = end + chance.randrange(100, 1_500)


def _draw_probabilities(chance: random.Random) -> dict[str, float]:
    weights = [chance.expovariate(1) ** 2 for _ in MELD7.labels]
    return {label: weight / sum(weights) for label, weight in zip(MELD7.labels, weights, strict=True)}


def _make_final(
    chance: random.Random, name: str, speaker: str, start: int, end: int, before: str | None
) -> events.EmotionFinal:
    probabilities = _draw_probabilities(chance)
    emotion = max(probabilities, key=probabilities.__getitem__)
    modalities = {
        modality: events.Modality(status="ok", gate=1 / 3, probabilities=_draw_probabilities(chance))
        for modality in ("text", "voice")
    }
    return events.EmotionFinal(
        utterance_id=name,
        revision=2,
        speaker=speaker,
        start_ms=start,
        end_ms=end,
        text=chance.choice(_LINES),
        language="en",
        emotion=emotion,
        confidence=probabilities[emotion],
        probabilities=probabilities,
        modalities=modalities | {"face": events.Modality(status="absent")},
        shift=events.Shift(from_=before, to=emotion) if before not in (None, emotion) else None,
        latency_ms=events.Latency(endpoint=400, queue=0, asr=150, features=15, fusion=3, total=568),
    )

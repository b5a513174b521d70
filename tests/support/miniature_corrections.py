"""Calls of invented lines in which somebody corrected emotions, as the live program leaves them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from support.miniature_corpora import LINES

from core_models.feature_log import FeatureRecorder, features_path
from core_models.feature_spec import FeatureSpec
from core_models.labels import LABEL_SETS
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.protocol import events

SESSIONS = [f"01JCRRECT0000000000000000{n}" for n in range(4)]
SPEC = FeatureSpec(modality="voice", name="made-up", version=1, dimension=4, digest="ab" * 32)


def record(
    folder: Path, session: str, spec: FeatureSpec = SPEC, *, corrected: bool = True, labels: str = "meld7"
) -> Path:
    """A session as the live program leaves it: a line of each emotion, half of them corrected, voices kept."""
    journal = Journal(folder / f"{session}.jsonl")
    features = FeatureRecorder(features_path(journal.path), {"voice": spec})
    publisher = EventPublisher(session, journal=journal, features=features)
    publisher.append(
        events.SessionCreated(
            created_at=datetime.now(UTC),
            labels=events.Labels(name=labels, labels=LABEL_SETS[labels].labels),
            checkpoint=events.CheckpointDescription(name="live", digest="ab" * 32),
            models={},
            features={},
            sources=(),
            notice="Analysed.",
        )
    )
    chance = np.random.default_rng(int(session[-1]))
    judged = LABEL_SETS[labels].labels[0]
    for number, (emotion, lines) in enumerate(LINES.items()):
        name, speaker = f"u{number}", ("ann", "ben", "carol")[number % 3]
        publisher.keep_features(name, speaker, {"voice": chance.normal(size=spec.dimension).astype(np.float32)})
        publisher.append(
            events.EmotionFinal(
                utterance_id=name,
                revision=1,
                speaker=speaker,
                start_ms=2000 * number,
                end_ms=2000 * number + 1500,
                text=lines[int(session[-1]) % 3],
                emotion=judged,
                confidence=0.8,
                probabilities={judged: 1.0},
                modalities={"voice": events.Modality(status="ok")},
                latency_ms=events.Latency(endpoint=400, queue=0, asr=100, features=50, fusion=5, total=555),
            )
        )
        if corrected and number % 2 == 0 and labels == "meld7":
            publisher.append(events.EmotionCorrected(utterance_id=name, speaker=speaker, from_=judged, to=emotion))
    if corrected and labels != "meld7":
        publisher.append(events.EmotionCorrected(utterance_id="u0", speaker="ann", from_=judged, to=judged))
    publisher.close()
    return journal.path

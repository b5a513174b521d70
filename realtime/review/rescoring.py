"""A second opinion: another dialogue model over the features that a session kept (`--store-features`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import torch

from core_models.checkpoint import load
from core_models.errors import UsageError
from core_models.feature_log import features_path, read
from realtime.dialogue.tracker import Tracker
from realtime.protocol import events


def build_rescorer(journal: Path, checkpoint: str) -> Callable[[events.Logged], events.Logged]:
    """What gives each `emotion.final` of a journal, in its order, the result of `checkpoint` as `rescored`.

    UsageError where the session kept no features, CheckpointError where they are others than those that the
    checkpoint was trained on (contract 1).
    """
    recorded = read(features_path(journal))
    if recorded is None:
        raise UsageError(
            f"The session {journal.stem} kept no features, which a second opinion needs: "
            "record with --store-features true, or leave --rescore out."
        )
    loaded = load(checkpoint)
    loaded.require(recorded.specs)
    known = sorted(loaded.sidecar.features.keys() & recorded.specs.keys())
    if not known:
        raise UsageError(
            f"The session {journal.stem} kept features of {', '.join(recorded.specs) or 'nothing'}, "
            f"checkpoint {loaded.name} takes {', '.join(loaded.sidecar.features)}: choose another checkpoint."
        )
    # A step is one utterance: more threads cost more to wake than they save.
    torch.set_num_threads(1)
    tracker = Tracker(loaded)

    def rescore_event(event: events.Logged) -> events.Logged:
        if isinstance(event, events.SpeakerOptedOut) and event.opted_out:
            tracker.forget(event.speaker)
        if not isinstance(event, events.EmotionFinal):
            return event
        features = {m: x for m, x in recorded.utterances.get(event.utterance_id, {}).items() if m in known}
        if not features:
            return event
        judgement = tracker.step(event.speaker, features)
        opinion = events.Opinion(
            checkpoint=loaded.name,
            emotion=judgement.emotion,
            confidence=judgement.probabilities[judgement.emotion],
            probabilities=judgement.probabilities,
        )
        return msgspec.structs.replace(event, rescored=opinion)

    return rescore_event

"""What is told of an utterance: from what was perceived and judged to the events of the wire."""

from __future__ import annotations

from collections.abc import Mapping

from realtime.dialogue.disagreement import disagreement
from realtime.dialogue.emotion_shift import EmotionalShift
from realtime.dialogue.tracker import Judgement
from realtime.perception.utterance_features import Perception
from realtime.pipeline.work_item import WorkItem
from realtime.protocol import events
from realtime.segmentation.segments import Rejected, Utterance


def provisional(
    stretch: WorkItem, revision: int, shown: dict[str, float], perception: Perception, judgement: Judgement
) -> events.EmotionProvisional:
    """A look at an utterance that goes on; `shown` is its steadied distribution."""
    emotion = max(shown, key=shown.__getitem__)
    return events.EmotionProvisional(
        utterance_id=stretch.utterance_id,
        revision=revision,
        speaker=stretch.speaker,
        start_ms=stretch.utterance.start_ms,
        end_ms=stretch.utterance.end_ms,
        text=perception.text,
        language=perception.language,
        emotion=emotion,
        confidence=shown[emotion],
        probabilities=shown,
        modalities=_modalities(perception.status, judgement),
    )


def final(
    stretch: WorkItem,
    revision: int,
    perception: Perception,
    judgement: Judgement,
    *,
    committed: float,
    fusion_ms: float,
) -> events.EmotionFinal:
    """The result of an utterance whose turn in the dialogue came at `committed`."""
    utterance, before = stretch.utterance, judgement.before
    endpoint_ms = utterance.decided_ms - utterance.end_ms
    # What was heard ahead of time costs nobody anything after the endpoint.
    asr_ms = max(0.0, stretch.heard - max(stretch.at, stretch.begun)) * 1000
    queue_ms = max(0.0, (committed - stretch.at) * 1000 - asr_ms)
    queue, asr, features, fusion = (round(p) for p in (queue_ms, asr_ms, perception.features_ms, fusion_ms))
    return events.EmotionFinal(
        utterance_id=stretch.utterance_id,
        revision=revision,
        speaker=stretch.speaker,
        start_ms=utterance.start_ms,
        end_ms=utterance.end_ms,
        text=perception.text,
        language=perception.language,
        emotion=judgement.emotion,
        confidence=judgement.probabilities[judgement.emotion],
        probabilities=judgement.probabilities,
        uncertain=judgement.uncertain,
        modalities=_modalities(perception.status, judgement),
        disagreement=disagreement(list(judgement.opinions.values())),
        shift=events.Shift(from_=before, to=judgement.emotion)
        if before is not None and before != judgement.emotion and not judgement.uncertain
        else None,
        latency_ms=events.Latency(
            endpoint=endpoint_ms,
            queue=queue,
            asr=asr,
            features=features,
            fusion=fusion,
            total=endpoint_ms + queue + asr + features + fusion,
        ),
    )


def shifted(stretch: WorkItem, shift: EmotionalShift) -> events.EmotionShift:
    """The utterance that completed a shift."""
    return events.EmotionShift(
        utterance_id=stretch.utterance_id,
        speaker=stretch.speaker,
        at_ms=stretch.utterance.end_ms,
        from_=shift.from_,
        to=shift.to,
        evidence=shift.evidence,
    )


def discarded(
    utterance_id: str, utterance: Utterance | Rejected, reason: str, detail: str
) -> events.UtteranceDiscarded:
    """An utterance that was announced and is not judged."""
    return events.UtteranceDiscarded(
        utterance_id=utterance_id,
        source=utterance.source,
        start_ms=utterance.start_ms,
        end_ms=utterance.end_ms,
        reason=reason,
        detail=detail,
    )


def _modalities(statuses: Mapping[str, str], judgement: Judgement) -> dict[str, events.Modality]:
    return {
        modality: events.Modality(
            status=status,
            gate=judgement.gates.get(modality),
            probabilities=judgement.opinions.get(modality),
        )
        for modality, status in statuses.items()
    }

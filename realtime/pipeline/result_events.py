"""Results as events of the wire: what was perceived and judged of an utterance, and how long each part took."""

from __future__ import annotations

from collections.abc import Mapping

from realtime.dialogue.disagreement import disagreement
from realtime.dialogue.emotion_shift import EmotionalShift
from realtime.dialogue.tracker import Judgement
from realtime.perception.utterance_features import Perception
from realtime.pipeline.work_item import WorkItem
from realtime.protocol import events
from realtime.segmentation.segments import Rejected, Utterance


def provisional_event(
    item: WorkItem, revision: int, shown: dict[str, float], perception: Perception, judgement: Judgement
) -> events.EmotionProvisional:
    """The judgement of an utterance that goes on; `shown` is its smoothed distribution."""
    emotion = max(shown, key=shown.__getitem__)
    return events.EmotionProvisional(
        utterance_id=item.utterance_id,
        revision=revision,
        speaker=item.speaker,
        start_ms=item.utterance.start_ms,
        end_ms=item.utterance.end_ms,
        text=perception.text,
        language=perception.language,
        emotion=emotion,
        confidence=shown[emotion],
        probabilities=shown,
        modalities=_describe_modalities(perception.status, judgement),
    )


def final_event(
    item: WorkItem,
    revision: int,
    perception: Perception,
    judgement: Judgement,
    *,
    committed_at: float | None,
    fusion_ms: float,
) -> events.EmotionFinal:
    """The result of an utterance whose turn in the dialogue came at `committed_at`, seconds as in WorkItem.

    None where the waiting for that turn says nothing, because the sound came faster than it was spoken.
    """
    utterance, previous = item.utterance, judgement.previous
    endpoint_ms = utterance.decided_ms - utterance.end_ms
    # What was transcribed ahead of time costs nobody anything after the endpoint.
    asr_ms = max(0.0, item.transcribed_at - max(item.decided_at, item.transcription_began)) * 1000
    queue_ms = 0.0 if committed_at is None else max(0.0, (committed_at - item.decided_at) * 1000 - asr_ms)
    queue, asr, features, fusion = (round(p) for p in (queue_ms, asr_ms, perception.features_ms, fusion_ms))
    return events.EmotionFinal(
        utterance_id=item.utterance_id,
        revision=revision,
        speaker=item.speaker,
        start_ms=utterance.start_ms,
        end_ms=utterance.end_ms,
        text=perception.text,
        language=perception.language,
        emotion=judgement.emotion,
        confidence=judgement.probabilities[judgement.emotion],
        probabilities=judgement.probabilities,
        uncertain=judgement.uncertain,
        overlapped=utterance.overlapped,
        modalities=_describe_modalities(perception.status, judgement),
        disagreement=disagreement(list(judgement.unimodal.values())),
        shift=events.Shift(from_=previous, to=judgement.emotion)
        if previous is not None and previous != judgement.emotion and not judgement.uncertain
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


def shift_event(item: WorkItem, shift: EmotionalShift) -> events.EmotionShift:
    """The utterance that completed a shift."""
    return events.EmotionShift(
        utterance_id=item.utterance_id,
        speaker=item.speaker,
        at_ms=item.utterance.end_ms,
        from_=shift.from_,
        to=shift.to,
        evidence=shift.evidence,
    )


def discarded_event(
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


def _describe_modalities(statuses: Mapping[str, str], judgement: Judgement) -> dict[str, events.Modality]:
    return {
        modality: events.Modality(
            status=status,
            gate=judgement.gates.get(modality),
            probabilities=judgement.unimodal.get(modality),
        )
        for modality, status in statuses.items()
    }

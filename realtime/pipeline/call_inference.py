"""Inference of one call: from a transcribed utterance to its step of the dialogue and the events that announce it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from core_models.errors import TrackerError
from core_models.feature_log import Keep
from realtime.dialogue.emotion_shift import ShiftDetector
from realtime.dialogue.history import DialogueHistory
from realtime.dialogue.provisional import Provisional, ProvisionalSmoother
from realtime.dialogue.tracker import Judgement, Tracker
from realtime.perception.utterance_features import FeatureExtractor, Perception
from realtime.pipeline import result_events
from realtime.pipeline.summary import Summary
from realtime.pipeline.work_item import WorkItem
from realtime.protocol import events
from realtime.segmentation.segments import Rejected, Utterance

OPTED_OUT = "This speaker does not want to be judged."

# Words are decoded in an interim judgement where that takes no more than this share of the time between two of them:
# the rest is left for finals and for what else runs on the machine.
_WORDS_SHARE = 0.3
# A measured decoding time fades by so much with each judgement without words, so that a machine that was busy for a
# while decodes them again after some: from twice the limit after seven.
_WORDS_DECAY = 0.9


@dataclass
class _OpenUtterance:
    """What was announced of an utterance that goes on."""

    revision: int = 0
    smoother: ProvisionalSmoother = field(default_factory=ProvisionalSmoother)
    last_tokens: tuple[int, ...] = ()
    agreed_tokens: tuple[int, ...] = ()


class CallInference:
    """The dialogue of one call and everything that belongs to it; all but the opt-outs on the inference thread.

    `keep` stores the features that were judged. `real_time`:
    sound arrives as it is spoken, so that an utterance's waiting for its turn is a delay that people notice; of a
    recording that is read as fast as possible it says nothing, and latencies count work alone.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        tracker: Tracker,
        emit: Callable[[events.Logged], None],
        summary: Summary,
        *,
        provisional: Provisional,
        keep: Keep | None = None,
        real_time: bool = True,
    ) -> None:
        self._extractor = extractor
        self._tracker = tracker
        self._emit = emit
        self._summary = summary
        self._provisional = provisional
        self._keep = keep
        self._features_lost = 0  # utterances since they could last be stored
        self._real_time = real_time
        self._history = DialogueHistory()
        self._shifts = ShiftDetector()
        self._merged: dict[str, str] = {}  # speakers who proved to be somebody else
        self._words_ms = 0.0  # what decoding the words of an interim judgement took of late
        self._open: dict[str, _OpenUtterance] = {}
        self._modality_status: dict[tuple[str, str], str] = {}

    # -- from any thread

    def has_opted_out(self, speaker: str) -> bool:
        """Whether a speaker wants not to be judged."""
        return self._history.has_opted_out(speaker)

    def set_opted_out(self, speaker: str, opted_out: bool) -> None:
        """Record it at once; `forget_speaker` removes the past."""
        self._history.set_opted_out(speaker, opted_out)

    # -- from the inference thread

    def forget_speaker(self, speaker: str) -> None:
        """Remove what a speaker said and showed from the dialogue; the utterances of others keep their places."""
        for one in self._history.forget_speaker(speaker):
            self._tracker.forget(one)
            self._shifts.forget(one)

    def transcribe(self, item: WorkItem) -> None:
        """Put the transcript into `item`."""
        try:
            item.transcript = self._extractor.transcribe(item.utterance.samples)
        except TrackerError as error:
            item.failure = str(error)

    def judge_interim(self, item: WorkItem) -> None:
        """Announce what an utterance that goes on is judged as so far; the dialogue is left as it is."""
        opened = self._open.setdefault(item.utterance_id, _OpenUtterance())
        words = self._provisional.words and self._words_ms <= _WORDS_SHARE * self._provisional.every_ms
        began = time.perf_counter()
        try:
            perception, tokens = self._extractor.interim_features(
                item.utterance,
                opened.agreed_tokens,
                item.faces,
                self._history.turns_before(item.speaker),
                words=words,
            )
        except TrackerError:
            return  # what is wrong is announced with the utterance itself
        spent_ms = (time.perf_counter() - began) * 1000
        self._words_ms = spent_ms if words else self._words_ms * _WORDS_DECAY
        opened.agreed_tokens, opened.last_tokens = _agreed_prefix(opened.last_tokens, tokens), tokens
        perception = perception.without_broken()
        if perception.discarded is not None or not perception.features or self.has_opted_out(item.speaker):
            return
        try:
            judgement = self._tracker.step_without_commit(item.speaker, perception.features)
        except TrackerError:
            return  # as above
        shown = opened.smoother.update(judgement.probabilities)
        opened.revision += 1
        self._emit(result_events.provisional_event(item, opened.revision, shown, perception, judgement))
        self._summary.provisional += 1

    def commit(self, item: WorkItem) -> None:
        """Take the dialogue's next step with `item`, whose turn it is, and announce its result or its discard."""
        committed_at = time.perf_counter()
        item.speaker = self._merged.get(item.speaker, item.speaker)
        if self.has_opted_out(item.speaker):
            self.discard(item.utterance_id, item.utterance, "opted_out", OPTED_OUT)
            return
        try:
            if item.failure is not None:
                raise TrackerError(item.failure)
            assert item.transcript is not None
            perception = self._extractor.extract_features(
                item.utterance, item.transcript, item.faces, self._history.turns_before(item.speaker)
            )
            perception = perception.without_broken()
        except TrackerError as error:
            self._emit(events.Error(code="perception", message=str(error), fatal=False))
            self.discard(item.utterance_id, item.utterance, "failed", str(error))
            return
        if perception.discarded is not None:
            self.discard(item.utterance_id, item.utterance, *perception.discarded)
            return
        if not perception.features:
            self.discard(item.utterance_id, item.utterance, "nothing_usable", "No modality of it could be used.")
            return
        stepping = time.perf_counter()
        try:
            judgement = self._tracker.step(item.speaker, perception.features)
        except TrackerError as error:
            self._emit(events.Error(code="model", message=str(error), fatal=False))
            self.discard(item.utterance_id, item.utterance, "failed", str(error))
            return
        fusion_ms = (time.perf_counter() - stepping) * 1000
        if self.has_opted_out(item.speaker):  # since the check above; the step is forgotten with all the others
            self.discard(item.utterance_id, item.utterance, "opted_out", OPTED_OUT)
            return
        self._announce_result(item, perception, judgement, committed_at=committed_at, fusion_ms=fusion_ms)

    def discard(self, utterance_id: str, segment: Utterance | Rejected, reason: str, detail: str) -> None:
        """Announce that an utterance is not judged: `reason` is a code of the wire, `detail` a sentence."""
        self._emit(result_events.discarded_event(utterance_id, segment, reason, detail))
        self._open.pop(utterance_id, None)
        self._summary.discarded += 1

    def _announce_result(
        self, item: WorkItem, perception: Perception, judgement: Judgement, *, committed_at: float, fusion_ms: float
    ) -> None:
        self._announce_modalities(item.speaker, perception.status)
        if perception.text and "text" in perception.features:
            self._history.add_turn(item.speaker, perception.text)
        revision = self._open.pop(item.utterance_id, _OpenUtterance()).revision + 1
        self._store_features(item, perception)
        final = result_events.final_event(
            item,
            revision,
            perception,
            judgement,
            committed_at=committed_at if self._real_time else None,
            fusion_ms=fusion_ms,
        )
        self._emit(final)
        shift = None
        if not judgement.uncertain:  # an uncertain label is no evidence of a shift
            shift = self._shifts.update(item.speaker, item.utterance_id, judgement.probabilities)
        if shift is not None:
            self._emit(result_events.shift_event(item, shift))
        self._summary.utterances += 1
        self._summary.latencies_ms.append(final.latency_ms.total - final.latency_ms.endpoint)
        self._summary.emotions.setdefault(item.speaker, Counter())[judgement.emotion] += 1

    def _announce_modalities(self, speaker: str, statuses: Mapping[str, str]) -> None:
        for modality, status in statuses.items():
            previous = self._modality_status.get((speaker, modality), "ok")
            self._modality_status[speaker, modality] = status
            if status not in (previous, "unused"):
                self._emit(events.ModalityStatus(modality=modality, status=status, speaker=speaker))

    def _store_features(self, item: WorkItem, perception: Perception) -> None:
        """Keep the features; trouble is announced once, and its end, since a disk or descriptors may be free again."""
        if self._keep is None:
            return
        try:
            self._keep(item.utterance_id, item.speaker, perception.features)
        except OSError as error:
            if not self._features_lost:
                sentence = f"the features cannot be stored ({error.strerror}): the session goes on without"
                self._emit(events.StreamDegraded(what="features", detail=sentence))
            self._features_lost += 1
            return
        if self._features_lost:
            count, self._features_lost = self._features_lost, 0
            sentence = f"the features are stored again; those of {count} utterances are missing"
            self._emit(events.StreamDegraded(what="features", count=count, recovered=True, detail=sentence))

    def merge_speakers(self, gone: str, kept: str) -> None:
        """Two speakers proved to be one person: what was said as `gone`, and still is, was said as `kept`."""
        self._merged = {one: kept if into == gone else into for one, into in self._merged.items()} | {gone: kept}
        self._merged.pop(kept, None)
        opted_out = self.has_opted_out(gone) or self.has_opted_out(kept)
        self._history.merge_speakers(gone, kept)
        if (counts := self._summary.emotions.pop(gone, None)) is not None:
            self._summary.emotions.setdefault(kept, Counter()).update(counts)
        self._emit(events.SpeakerMerged(speaker=gone, into=kept))
        if opted_out:  # who does not want to be judged does not as either of the two
            self._emit(events.SpeakerOptedOut(speaker=kept, opted_out=True))
            self.set_opted_out(kept, True)
            self.forget_speaker(kept)


def _agreed_prefix(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """The beginning that two successive hypotheses share, without its last token, which may be half a word."""
    count = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[: max(0, count - 1)]

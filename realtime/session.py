"""One call: sources -> segmenters -> perception -> tracker -> ledger, each on its own thread, in commit order."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from core_models.errors import TrackerError
from realtime import events
from realtime.faces import FaceTrack
from realtime.perceive import Perceiver, Perception
from realtime.sources.media import SAMPLE_RATE, AudioChunk, Source, SourceStatus, VideoFrame
from realtime.tracker import Judgement, Tracker
from realtime.utterances import Endpointing, Rejected, Segmenter, SpeechStarted, Utterance

log = structlog.get_logger()

_QUEUED_AUDIO_CHUNKS = 3_000
_QUEUED_UTTERANCES = 64


@dataclass(frozen=True)
class _Decided:
    """An utterance on its way to perception, and the moment its endpoint was decided."""

    utterance_id: str
    utterance: Utterance
    at: float


@dataclass
class Summary:
    """What a session amounted to; `latencies_ms` counts from the endpoint decision to `emotion.final`."""

    utterances: int = 0
    discarded: int = 0
    emotions: dict[str, Counter[str]] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    media_ms: int = 0


class Session:
    """Runs sources to their end, or until `stop`, and appends every event by `append`.

    One thread segments all sources and so fixes the commit order; one thread perceives and steps, so that
    utterances reach the dialogue model in that order however long each took (contract 6). Both queues are
    bounded and wait rather than shed: final utterances are never lost (contract 7). `speakers` names who is
    heard in a source (by source name), `camera_speaker` whose face the camera sees.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        perceiver: Perceiver,
        tracker: Tracker,
        append: Callable[[events.Logged], object],
        *,
        endpointing: Endpointing,
        speakers: Mapping[str, str],
        camera_speaker: str | None,
        lossless: bool,
    ) -> None:
        self.summary = Summary()
        self.failure: TrackerError | None = None
        self._sources = sources
        self._perceiver = perceiver
        self._tracker = tracker
        self._append = append
        self._endpointing = endpointing
        self._speakers = dict(speakers)
        self._camera_speaker = camera_speaker
        self._lossless = lossless
        self._audio: queue.Queue[AudioChunk | None] = queue.Queue(_QUEUED_AUDIO_CHUNKS)
        self._decided: queue.Queue[_Decided | None] = queue.Queue(_QUEUED_UTTERANCES)
        self._segmenters: dict[str, Segmenter] = {}
        self._open: dict[str, str] = {}
        self._count = 0
        self._faces: FaceTrack | None = None
        self._running: set[str] = set()
        self._over = threading.Event()
        self._reason = "ended"

    # -- Sink: called from the threads of the sources

    def audio(self, chunk: AudioChunk) -> None:
        """Queue sound for segmentation; waits while the queue is full."""
        self._audio.put(chunk)

    def video(self, frame: VideoFrame) -> None:
        """Hand a picture to the face track."""
        if self._perceiver.face is None:
            return
        if self._faces is None:
            self._faces = FaceTrack(
                self._perceiver.face,
                lossless=self._lossless,
                failed=lambda sentence: self._error("face", sentence),
            )
        self._faces.put(frame)

    def status(self, status: SourceStatus) -> None:
        """Announce what happened to a source; the session ends with its last source of sound."""
        try:
            self._append(
                events.SourceStatus(
                    source=status.source, kind=status.kind, status=status.status, detail=status.detail
                )
            )
        finally:  # the session ends with its sources, even where their end cannot be told
            if status.status in ("ended", "lost", "absent"):
                self._running.discard(status.source)
                if not self._running & {s.name for s in self._sources if s.hears}:
                    self._over.set()

    # -- life

    def run(self) -> Summary:
        """Start the sources, follow them until the last one that hears ends or `stop` is called, drain, and return.

        A TrackerError of a source that cannot be opened passes through, after what was opened is closed.
        """
        perceiving = self._thread("perceive", self._perceive, self._decided)
        segmenting = self._thread("segment", self._segment, self._audio)
        perceiving.start()
        segmenting.start()
        try:
            self._running = {source.name for source in self._sources}
            for source in self._sources:
                source.start(self)
            while not self._over.wait(0.2):  # a bounded wait lets signal handlers of the main thread run
                pass
        finally:
            for source in self._sources:
                source.stop()
            self._audio.put(None)
            segmenting.join()
            self._decided.put(None)
            perceiving.join()
            if self._faces is not None:
                self._faces.close()
                self._shed("video_frames", self._faces.shed)
        return self.summary

    def stop(self, reason: str) -> None:
        """End the session from any thread: what was heard so far is still judged."""
        self._reason = reason
        self._over.set()

    @property
    def reason(self) -> str:
        """Why the session ended: `ended` (the sources did), `interrupted`, `terminated` or `failed`."""
        return "failed" if self.failure else self._reason

    # -- the segmenting thread

    def _segment(self) -> None:
        while (chunk := self._audio.get()) is not None:
            segmenter = self._segmenters.get(chunk.source)
            if segmenter is None:
                segmenter = self._segmenters[chunk.source] = Segmenter(chunk.source, self._endpointing)
            for found in segmenter.feed(chunk):
                self._commit(found)
            self.summary.media_ms = (chunk.start + len(chunk.samples)) * 1000 // SAMPLE_RATE
        for segmenter in self._segmenters.values():
            for found in segmenter.flush():
                self._commit(found)

    def _commit(self, found: SpeechStarted | Utterance | Rejected) -> None:
        if isinstance(found, SpeechStarted):
            self._count += 1
            utterance_id = self._open[found.source] = f"u{self._count}"
            self._append(
                events.SpeechStarted(
                    utterance_id=utterance_id,
                    source=found.source,
                    speaker=self._speakers[found.source],
                    start_ms=found.start_ms,
                )
            )
            return
        utterance_id = self._open.pop(found.source)
        if isinstance(found, Rejected):
            self._discard(utterance_id, found, found.reason, "It was too short to be judged.")
        else:
            self._decided.put(_Decided(utterance_id, found, time.perf_counter()))

    # -- the perceiving thread

    def _perceive(self) -> None:
        while (decided := self._decided.get()) is not None:
            utterance, begun = decided.utterance, time.perf_counter()
            speaker = self._speakers[utterance.source]
            faces = self._faces if speaker == self._camera_speaker else None
            try:
                perception = self._perceiver(utterance, faces)
            except TrackerError as error:
                self._error("perception", str(error))
                self._discard(decided.utterance_id, utterance, "failed", str(error))
                continue
            if perception.discarded is not None:
                self._discard(decided.utterance_id, utterance, *perception.discarded)
            elif not perception.features:
                self._discard(
                    decided.utterance_id, utterance, "nothing_usable", "No modality of it could be used."
                )
            else:
                stepping = time.perf_counter()
                judgement = self._tracker.step(speaker, perception.features)
                fusion_ms = (time.perf_counter() - stepping) * 1000
                self._finalise(decided, speaker, perception, judgement, (begun - decided.at) * 1000, fusion_ms)

    def _finalise(
        self,
        decided: _Decided,
        speaker: str,
        perception: Perception,
        judgement: Judgement,
        queue_ms: float,
        fusion_ms: float,
    ) -> None:
        utterance = decided.utterance
        endpoint_ms = utterance.decided_ms - utterance.end_ms
        parts = [round(p) for p in (queue_ms, perception.asr_ms, perception.features_ms, fusion_ms)]
        shifted = judgement.before is not None and judgement.before != judgement.emotion
        self._append(
            events.EmotionFinal(
                utterance_id=decided.utterance_id,
                revision=1,
                speaker=speaker,
                start_ms=utterance.start_ms,
                end_ms=utterance.end_ms,
                text=perception.text,
                language=perception.language,
                emotion=judgement.emotion,
                confidence=judgement.probabilities[judgement.emotion],
                probabilities=judgement.probabilities,
                modalities={
                    modality: events.Modality(
                        status=status,
                        gate=judgement.gates.get(modality),
                        probabilities=judgement.opinions.get(modality),
                    )
                    for modality, status in perception.status.items()
                },
                shift=events.Shift(from_=judgement.before, to=judgement.emotion)
                if judgement.before is not None and shifted
                else None,
                latency_ms=events.Latency(
                    endpoint=endpoint_ms,
                    queue=parts[0],
                    asr=parts[1],
                    features=parts[2],
                    fusion=parts[3],
                    total=endpoint_ms + sum(parts),
                ),
            )
        )
        self.summary.utterances += 1
        self.summary.latencies_ms.append((time.perf_counter() - decided.at) * 1000)
        self.summary.emotions.setdefault(speaker, Counter())[judgement.emotion] += 1

    # -- from any thread

    def _thread(self, name: str, loop: Callable[[], None], inbox: queue.Queue[Any]) -> threading.Thread:
        return threading.Thread(target=self._guard, args=(loop, inbox), name=name, daemon=True)

    def _guard(self, loop: Callable[[], None], inbox: queue.Queue[Any]) -> None:
        """Run a thread's loop; whatever escapes it ends the session in order, and is told."""
        try:
            loop()
        except Exception as error:
            log.exception("the pipeline failed", thread=threading.current_thread().name)
            self.failure = TrackerError(f"The pipeline failed and the session was ended: {error!r}.")
            self._over.set()
            try:
                self._append(events.Error(code="pipeline", message=str(self.failure), fatal=True))
            finally:
                for _ in iter(inbox.get, None):  # so that nobody waits for a place in it
                    pass

    def _discard(self, utterance_id: str, found: Utterance | Rejected, reason: str, detail: str) -> None:
        self._append(
            events.UtteranceDiscarded(
                utterance_id=utterance_id,
                source=found.source,
                start_ms=found.start_ms,
                end_ms=found.end_ms,
                reason=reason,
                detail=detail,
            )
        )
        self.summary.discarded += 1

    def _error(self, code: str, sentence: str) -> None:
        self._append(events.Error(code=code, message=sentence, fatal=False))

    def _shed(self, what: str, count: int) -> None:
        if count:
            self.summary.lost[what] += count
            self._append(events.StreamDegraded(what=what, count=count))

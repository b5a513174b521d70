"""One call: sources -> segmenters -> perception -> tracker -> ledger, each on its own thread, in commit order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog

from core_models.errors import TrackerError
from core_models.feature_log import Keep
from realtime.dialogue.provisional import Provisional
from realtime.dialogue.tracker import Tracker
from realtime.diarization.speaker_clustering import UNKNOWN_SPEAKER, SpeakerClustering
from realtime.perception.face_track import FaceTrack
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.inference_worker import OPTED_OUT, InferenceWorker
from realtime.pipeline.load_shedding import LoadShedder
from realtime.pipeline.summary import Summary
from realtime.pipeline.work_item import WorkItem
from realtime.protocol import events
from realtime.segmentation.crosstalk import CROSSTALK_SHARE, CrosstalkDetector
from realtime.segmentation.end_of_turn import end_of_turn
from realtime.segmentation.endpointing import Endpointing
from realtime.segmentation.segmenter import Segmenter
from realtime.segmentation.segments import Paused, Rejected, Resumed, Segment, SpeechStarted, Utterance
from realtime.sources.media import SAMPLE_RATE, AudioChunk, VideoFrame
from realtime.sources.source import Source, SourceStatus

log = structlog.get_logger()


_QUEUED_AUDIO_CHUNKS = 3_000
_PIECE = SAMPLE_RATE // 50
"""Samples between which what is known of the words can change what the segmenter expects."""


class Session:
    """Runs sources to their end, or until `stop`, and appends every event by `append`.

    One thread segments all sources, another perceives and judges (realtime/pipeline/inference_worker.py);
    utterances enter the dialogue in commit order however long each took (contract 6). Queues are bounded and wait
    rather than shed: final utterances are never lost (contract 7). `speakers` names who is heard in a source (by
    source name); what other sources deliver is not listened to. `camera_speaker` is whose face the camera sees.
    `lossless` sources are recordings, which wait; `speculate`: transcribe in the pause, before it has lasted.
    `far_ends` names for a source the one whose sound may leak into it; what did is discarded
    (realtime/segmentation/crosstalk.py). `voices` tells apart who speaks in a source that is named `UNKNOWN_SPEAKER`.
    `keep` stores the features that were judged.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        perceiver: FeatureExtractor,
        tracker: Tracker,
        append: Callable[[events.Logged], object],
        *,
        endpointing: Endpointing,
        speakers: Mapping[str, str],
        camera_speaker: str | None,
        lossless: bool,
        provisional: Provisional | None = None,
        speculate: bool = True,
        far_ends: Mapping[str, str] | None = None,
        voices: SpeakerClustering | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.failure: TrackerError | None = None
        self._sources = sources
        self._perceiver = perceiver
        self._append = append
        self._endpointing = endpointing
        self._speakers = dict(speakers)
        self._camera_speaker = camera_speaker
        self._lossless = lossless
        self._provisional = provisional or Provisional(every_ms=0)
        self._speculate = speculate or endpointing.adaptive
        sees = perceiver.face is not None and camera_speaker is not None
        self.overload = LoadShedder(["provisional", "video_frames"] if sees else ["provisional"])
        self._judge = InferenceWorker(
            perceiver,
            tracker,
            self._tell,
            self.overload,
            live=not lossless,
            provisional=self._provisional,
            voices=voices,
            keep=keep,
        )
        self._voices = voices
        self._audio: queue.Queue[AudioChunk | str | None] = queue.Queue(_QUEUED_AUDIO_CHUNKS)  # str: a voice is lost
        self._segmenters: dict[str, Segmenter] = {}
        self._far_ends = {near: far for near, far in (far_ends or {}).items() if near in self._speakers}
        self._far = {far: CrosstalkDetector() for far in self._far_ends.values()}
        self._open: dict[str, str] = {}  # utterance by source
        self._looks: dict[str, int] = {}  # at the open utterance, by source
        self._announced: dict[str, events.SpeechStarted] = {}  # and neither judged nor discarded
        self._opted_out: frozenset[str] = frozenset()
        self._count = 0
        self._faces: FaceTrack | None = None
        self._running: set[str] = set()
        self._over = threading.Event()
        self._reason = "ended"

    # -- Sink: called from the threads of the sources

    def audio(self, chunk: AudioChunk) -> None:
        """Queue sound for segmentation; waits while the queue is full."""
        if chunk.source in self._speakers or chunk.source in self._far:
            self._audio.put(chunk)

    def video(self, frame: VideoFrame) -> None:
        """Hand a picture to the face track, unless the machine is behind or nobody may be seen."""
        if self._perceiver.face is None or self._camera_speaker in (None, *self._opted_out):
            return
        if self.overload.shedding:
            self.overload.shed("video_frames")
            return
        if self._faces is None:
            self._faces = FaceTrack(
                self._perceiver.face,
                lossless=self._lossless,
                failed=lambda sentence: self._tell(events.Error(code="face", message=sentence, fatal=False)),
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
            if status.will_retry:
                if status.source in self._speakers:
                    self._audio.put(status.source)
            elif status.status in ("ended", "lost", "absent"):
                self._running.discard(status.source)
                if not self._running & {s.name for s in self._sources if s.has_audio}:
                    if self._reason == "ended" and not self._over.is_set():
                        self._reason = status.status
                    self._over.set()

    # -- life

    def run(self) -> Summary:
        """Start the sources, follow them until the last one that hears ends or `stop` is called, drain, and return.

        A TrackerError of a source that cannot be opened passes through, after what was opened is closed.
        """
        judging = self._thread("judge", self._judge.run)
        segmenting = self._thread("segment", self._segment)
        judging.start()
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
            self._judge.end()
            judging.join()
            if self._faces is not None:
                self._faces.close()
                self._lose("video_frames", self._faces.shed)
            self._bury()
        self.summary.lost.update(self.overload.total)
        return self.summary

    def stop(self, reason: str) -> None:
        """End the session from any thread: what was heard so far is still judged."""
        self._reason = reason
        self._over.set()

    def follow(self, event: events.Logged) -> None:
        """Do what a client's command became; a view of the ledger."""
        if isinstance(event, events.SpeakerOptedOut):
            self.opt_out(event.speaker, event.opted_out)

    def opt_out(self, speaker: str, out: bool = True) -> None:
        """Hear and see a speaker no longer and forget what came from there; with `out` false, again. Any thread."""
        self._opted_out = self._opted_out | {speaker} if out else self._opted_out - {speaker}
        self._judge.opt_out(speaker, out)
        if out and speaker == self._camera_speaker and self._faces is not None:
            self._faces.clear()

    @property
    def summary(self) -> Summary:
        """What has come about until now."""
        return self._judge.summary

    @property
    def reason(self) -> str:
        """Why the session ended: `ended` or `lost` (as its last source), `interrupted`, `terminated` or `failed`."""
        return "failed" if self.failure else self._reason

    @property
    def queues(self) -> dict[str, tuple[Callable[[], float], int]]:
        """How full each queue is, and how much it holds."""
        return {
            "audio_chunks": (self._audio.qsize, _QUEUED_AUDIO_CHUNKS),
            "utterances": (lambda: self._judge.outstanding, self._judge.capacity),
        }

    # -- the segmenting thread

    def _segment(self) -> None:
        while (chunk := self._audio.get()) is not None:
            if isinstance(chunk, str):
                self._finish(chunk)
                continue
            source = chunk.source
            if source in self._far:
                self._far[source].observe(chunk)
                if source not in self._speakers:
                    continue
            if self._speakers[source] in self._opted_out:
                self._hush(source)
            else:
                segmenter = self._segmenters.get(source)
                if segmenter is None:
                    segmenter = self._segmenters[source] = Segmenter(source, self._endpointing)
                for piece in _pieces(chunk):
                    self._feed(segmenter, piece)
            self._judge.heard(source, (chunk.start + len(chunk.samples)) * 1000 // SAMPLE_RATE)
        for source in list(self._segmenters):
            self._finish(source)

    def _finish(self, source: str) -> None:
        """Nothing more comes from a source, at least for now: what it was saying has ended."""
        segmenter = self._segmenters.get(source)
        if segmenter is not None:
            for found in segmenter.flush():
                self._follow(segmenter, found)

    def _feed(self, segmenter: Segmenter, piece: AudioChunk) -> None:
        source = segmenter.source
        if self._endpointing.adaptive and source in self._open:
            words = self._judge.words(source, wait=self._lossless)  # a recording gives the same events each time
            if words is not None:
                segmenter.expect(end_of_turn(words.text, words.language))
        for found in segmenter.feed(piece):
            self._follow(segmenter, found)
        if source in self._open and self._provisional.every_ms:
            now_ms = (piece.start + len(piece.samples)) * 1000 // SAMPLE_RATE
            start_ms = self._announced[self._open[source]].start_ms
            if now_ms >= self._provisional.due(start_ms, self._looks[source]):
                self._looks[source] += 1
                self._judge.look(self._stretch(source, segmenter.so_far()))

    def _follow(self, segmenter: Segmenter, found: Segment) -> None:
        source = found.source
        match found:
            case SpeechStarted():
                self._count += 1
                self._open[source], self._looks[source] = f"u{self._count}", 0
                self._tell(
                    events.SpeechStarted(
                        utterance_id=self._open[source],
                        source=source,
                        speaker=self._speaker(source),
                        start_ms=found.start_ms,
                    )
                )
            case Paused():
                if self._speculate:
                    self._judge.pause(self._stretch(source, segmenter.so_far()))
            case Resumed():
                self._judge.resume(source)
            case Utterance() if (far := self._far_ends.get(source)) and self._far[far].share(found) > CROSSTALK_SHARE:
                leak = Rejected(source, found.start_ms, found.end_ms, found.decided_ms, "leak")
                self._judge.drop(self._open.pop(source), leak, f"It is what {far} plays, heard by {source} too.")
            case Utterance():
                self._judge.decide(self._stretch(source, found))
                del self._open[source]
            case Rejected():
                self._judge.drop(self._open.pop(source), found, "It was too short to be judged.")

    def _stretch(self, source: str, utterance: Utterance | None) -> WorkItem:
        assert utterance is not None
        faces = self._faces if self._speakers[source] == self._camera_speaker else None
        unknown = self._speakers[source] == UNKNOWN_SPEAKER
        return WorkItem(self._open[source], utterance, self._speaker(source), faces, unknown)

    def _speaker(self, source: str) -> str:
        """Who is heard there, or the best guess."""
        named = self._speakers[source]
        return self._voices.latest if self._voices is not None and named == UNKNOWN_SPEAKER else named

    def _hush(self, source: str) -> None:
        """Nobody listens to this source any more: what it was saying is dropped unheard."""
        segmenter = self._segmenters.pop(source, None)
        if segmenter is not None and source in self._open:
            said = segmenter.so_far()
            assert said is not None
            found = Rejected(source, said.start_ms, said.end_ms, said.decided_ms, "opted_out")
            self._judge.drop(self._open.pop(source), found, OPTED_OUT)

    # -- from any thread

    def _tell(self, event: events.Logged) -> None:
        match event:
            case events.SpeechStarted():
                self._announced[event.utterance_id] = event
            case events.EmotionFinal() | events.UtteranceDiscarded():
                self._announced.pop(event.utterance_id, None)
        self._append(event)

    def _thread(self, name: str, loop: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=self._guard, args=(loop,), name=name, daemon=True)

    def _guard(self, loop: Callable[[], None]) -> None:
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
                self._judge.end()
                if loop == self._segment:
                    for _ in iter(self._audio.get, None):  # so that no source waits for a place in it
                        pass

    def _bury(self) -> None:
        """What was announced and will not be judged, because the pipeline failed."""
        for started in list(self._announced.values()):
            discarded = events.UtteranceDiscarded(
                utterance_id=started.utterance_id,
                source=started.source,
                start_ms=started.start_ms,
                end_ms=max(started.start_ms, self.summary.media_ms),
                reason="failed",
                detail="The session failed before it could be judged.",
            )
            try:
                self._tell(discarded)
            except Exception:  # where nobody can be told, the session must still end
                log.exception("an utterance could not be given up")
            self.summary.discarded += 1

    def _lose(self, what: str, count: int) -> None:
        if count:
            self.summary.lost[what] += count
            self._append(events.StreamDegraded(what=what, count=count))


def _pieces(chunk: AudioChunk) -> Iterator[AudioChunk]:
    for at in range(0, len(chunk.samples), _PIECE):
        yield AudioChunk(chunk.source, chunk.start + at, chunk.samples[at : at + _PIECE])

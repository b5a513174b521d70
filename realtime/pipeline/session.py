"""One call: wires its sources, workers and queues, and sees to it that it ends in order."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog

from core_models.errors import TrackerError
from core_models.feature_log import Keep
from realtime.dialogue.provisional import Provisional
from realtime.dialogue.tracker import Tracker
from realtime.diarization.turn_segmenter import TurnSegmenter
from realtime.perception.face_track import FaceTrack
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline import inference_queue, segmentation_worker
from realtime.pipeline.call_inference import CallInference
from realtime.pipeline.inference_queue import InferenceQueue
from realtime.pipeline.inference_worker import InferenceWorker
from realtime.pipeline.load_shedding import LoadShedder
from realtime.pipeline.segmentation_worker import SegmentationWorker
from realtime.pipeline.sound_watch import SoundWatch
from realtime.pipeline.stage_latency import StageLatency, face_latency
from realtime.pipeline.summary import Summary
from realtime.protocol import events
from realtime.protocol.announced_utterances import AnnouncedUtterances
from realtime.segmentation.endpointing import Endpointing
from realtime.sources.media import AudioChunk, VideoFrame
from realtime.sources.source import Source, SourceStatus

log = structlog.get_logger()


class Session:
    """Runs sources to their end, or until `stop`, and appends every event by `append`.

    One thread segments all sources, another infers (realtime/pipeline/README.md). `speakers` names who is heard in a
    source (by source name); what other sources deliver is not listened to. `camera_speaker` is whose face the camera
    sees. `lossless` sources are recordings, which wait; with `real_time` false they are read faster than they were
    spoken, and latencies count work alone. `speculate`: transcribe in the pause, before it has lasted. `far_ends`
    names for a source the one whose sound may leak into it; what did is discarded (realtime/segmentation/crosstalk.py).
    `turn_segmenters` are for sources in which several people may speak. `keep` stores the features that were judged.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        extractor: FeatureExtractor,
        tracker: Tracker,
        append: Callable[[events.Logged], object],
        *,
        endpointing: Endpointing,
        speakers: Mapping[str, str],
        camera_speaker: str | None,
        lossless: bool,
        real_time: bool = True,
        provisional: Provisional | None = None,
        speculate: bool = True,
        far_ends: Mapping[str, str] | None = None,
        turn_segmenters: Mapping[str, Callable[[], TurnSegmenter]] | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.failure: TrackerError | None = None
        self.summary = Summary()
        """What has come about until now."""
        self._sources = sources
        self._extractor = extractor
        self._append = append
        self._speakers = dict(speakers)
        self._camera_speaker = camera_speaker
        self._lossless = lossless
        self._sees = extractor.face is not None and camera_speaker is not None
        provisional = provisional or Provisional(every_ms=0)
        self.overload = LoadShedder(["provisional", "video_frames"] if self._sees else ["provisional"])
        self._call = CallInference(
            extractor,
            tracker,
            self._emit_event,
            self.summary,
            provisional=provisional,
            keep=keep,
            real_time=real_time,
        )
        self._inference = InferenceQueue(self.overload, self._emit_event, self.summary, live=not lossless)
        self._inference_worker = InferenceWorker(self._inference, self._call)
        self._segmentation = SegmentationWorker(
            self._inference,
            self._call,
            self._emit_event,
            endpointing=endpointing,
            speakers=speakers,
            lossless=lossless,
            provisional=provisional,
            speculate=speculate,
            far_ends=far_ends or {},
            turn_segmenters=turn_segmenters,
            faces=self._faces_of,
        )
        self._announced = AnnouncedUtterances()
        self._sound_watch = SoundWatch(list(self._speakers))
        self._faces: FaceTrack | None = None
        self._running: set[str] = set()
        self._over = threading.Event()
        self._reason = "ended"

    # -- Sink: called from the threads of the sources

    def audio(self, chunk: AudioChunk) -> None:
        """Queue sound for segmentation; waits while the queue is full."""
        self._sound_watch.observe_chunk(chunk)
        self._segmentation.put_chunk(chunk)

    def video(self, frame: VideoFrame) -> None:
        """Hand a picture to the face track, unless the machine is behind or nobody may be seen."""
        speaker = self._camera_speaker
        if self._extractor.face is None or speaker is None or self._call.has_opted_out(speaker):
            return
        if self.overload.shedding:
            self.overload.count_shed("video_frames")
            return
        if self._faces is None:
            self._faces = FaceTrack(
                self._extractor.face,
                lossless=self._lossless,
                failed=lambda sentence: self._emit_event(events.Error(code="face", message=sentence, fatal=False)),
            )
        self._faces.put(frame)

    def status(self, status: SourceStatus) -> None:
        """Announce what happened to a source; the session ends with its last source of sound."""
        try:
            self._append(
                events.SourceStatus(source=status.source, kind=status.kind, status=status.status, detail=status.detail)
            )
        finally:  # the session ends with its sources, even where their end cannot be announced
            if status.will_retry:
                self._segmentation.source_lost(status.source)
            elif status.status in ("ended", "lost", "absent"):
                self._running.discard(status.source)
                if not self._running & {s.name for s in self._sources if s.has_audio}:
                    if self._reason == "ended" and not self._over.is_set():
                        self._reason = status.status
                    self._over.set()

    # -- life

    def run(self) -> Summary:
        """Start the sources, follow them until the last one with sound ends or `stop` is called, drain, and return.

        A TrackerError of a source that cannot be opened passes through, after what was opened is closed.
        """
        inferring = self._start_thread("inference", self._inference_worker.run)
        segmenting = self._start_thread("segmentation", self._segmentation.run, self._segmentation.discard_queued)
        inferring.start()
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
            self._segmentation.end()
            segmenting.join()
            self._inference.end()
            inferring.join()
            if self._faces is not None:
                self._faces.close()
                self._count_lost("video_frames", self._faces.shed)
            self._discard_outstanding()
        self.summary.lost.update(self.overload.total)
        self.summary.unheard = self._sound_watch.report(self.summary.utterances)
        if self._segmentation.left_out_ms:
            self.summary.lost[segmentation_worker.LATE_SOUND] += self._segmentation.left_out_ms
        return self.summary

    def stop(self, reason: str) -> None:
        """End the session from any thread: what was heard so far is still judged."""
        self._reason = reason
        self._over.set()

    def follow(self, event: events.Logged) -> None:
        """Do what a client's command became; a view of the publisher."""
        if isinstance(event, events.SpeakerOptedOut):
            self.opt_out(event.speaker, event.opted_out)

    def opt_out(self, speaker: str, out: bool = True) -> None:
        """Hear and see a speaker no longer and forget what came from there; with `out` false, again. Any thread."""
        self._call.set_opted_out(speaker, out)
        if out:
            self._inference.post(partial(self._call.forget_speaker, speaker))
        if out and speaker == self._camera_speaker and self._faces is not None:
            self._faces.clear()

    @property
    def reason(self) -> str:
        """Why the session ended: `ended` or `lost` (as its last source), `interrupted`, `terminated` or `failed`."""
        return "failed" if self.failure else self._reason

    @property
    def queues(self) -> dict[str, tuple[Callable[[], float], int]]:
        """How full each queue is, and how much it holds."""
        return {
            "audio_chunks": (lambda: self._segmentation.queued, segmentation_worker.CAPACITY),
            "utterances": (lambda: self._inference.outstanding, inference_queue.CAPACITY),
        }

    @property
    def stages(self) -> tuple[StageLatency, ...]:
        """What each stage between a source and `emotion.final` declares of its waiting and its queue."""
        heard = sum(source.has_audio for source in self._sources)
        faces = (face_latency(),) if self._sees else ()
        return (self._segmentation.latency, *faces, self._inference.latency(several_sources=heard > 1))

    # -- from any thread

    def _emit_event(self, event: events.Logged) -> None:
        self._announced.apply(event)
        self._sound_watch.observe_event(event)
        self._append(event)

    def _faces_of(self, speaker: str) -> FaceTrack | None:
        return self._faces if speaker == self._camera_speaker else None

    def _start_thread(
        self, name: str, loop: Callable[[], None], after_failure: Callable[[], None] = lambda: None
    ) -> threading.Thread:
        return threading.Thread(target=self._run_guarded, args=(loop, after_failure), name=name, daemon=True)

    def _run_guarded(self, loop: Callable[[], None], after_failure: Callable[[], None]) -> None:
        """Run a thread's loop; whatever escapes it ends the session in order, and is announced."""
        try:
            loop()
        except Exception as error:
            _log_failure("the pipeline failed")
            self.failure = TrackerError(f"The pipeline failed and the session was ended: {error!r}.")
            self._over.set()
            try:
                self._append(events.Error(code="pipeline", message=str(self.failure), fatal=True))
            finally:
                self._inference.end()
                after_failure()

    def _discard_outstanding(self) -> None:
        """Give every utterance its end that was announced and will not be judged, because the pipeline failed."""
        for discarded in self._announced.failed_events(self.summary.media_ms):
            try:
                self._emit_event(discarded)
            except Exception:  # where nothing can be announced, the session must still end
                _log_failure("an utterance could not be discarded")
            self.summary.discarded += 1

    def _count_lost(self, what: str, count: int) -> None:
        if count:
            self.summary.lost[what] += count
            self._append(events.StreamDegraded(what=what, count=count))


def _log_failure(sentence: str) -> None:
    """Log the exception that is being handled, without the values of variables: they hold sound, words and vectors.

    Formatted here, because structlog shows local variables in a traceback wherever rich is installed.
    """
    log.error(sentence, thread=threading.current_thread().name, exception=traceback.format_exc())

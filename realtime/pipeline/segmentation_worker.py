"""The segmentation worker: the sound of all sources in, utterances on their way to inference out."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from realtime.dialogue.provisional import Provisional
from realtime.diarization.turn_segmenter import TurnSegmenter
from realtime.perception.face_track import FaceTrack
from realtime.pipeline.call_inference import OPTED_OUT, CallInference
from realtime.pipeline.inference_queue import InferenceQueue
from realtime.pipeline.stage_latency import StageLatency
from realtime.pipeline.work_item import WorkItem
from realtime.protocol import events
from realtime.segmentation.chunk_sequencer import ChunkSequencer
from realtime.segmentation.crosstalk import CROSSTALK_SHARE, CrosstalkDetector
from realtime.segmentation.end_of_turn import end_of_turn
from realtime.segmentation.endpointing import Endpointing
from realtime.segmentation.segmenter import Segmenter
from realtime.segmentation.segments import Paused, Rejected, Resumed, Segment, SpeechStarted, Utterance
from realtime.sources.media import SAMPLE_RATE, AudioChunk

# Code under which sound is counted, in milliseconds, that arrived twice or too late to be heard.
LATE_SOUND = "late_sound_ms"
# Chunks that may wait: 30 s of a device that delivers blocks of 10 ms. Segmenting takes under a hundredth of real
# time, so more than that waits only where the machine is stopped.
CAPACITY = 3_000
# Samples after which the endpoint may follow what the words say: a frame of 20 ms.
_PIECE = SAMPLE_RATE // 50
# Two channels that differ by less hold one recording twice; crosstalk on a wire is 10 dB down and more.
_SAME_LEVEL_DB = 1.0
# Media time between two reports of sound that was left out, so that a bad line is reported and floods nobody.
_REPORT_EVERY_MS = 10_000


@dataclass(frozen=True)
class _SourceLost:
    """In the queue after a source's last chunk: nothing more comes from it for now."""

    source: str


@dataclass
class _Open:
    """The utterance that is being spoken in a source."""

    utterance_id: str
    start_ms: int
    interim_requests: int = 0


class SegmentationWorker:
    """Cuts the sound of all sources into utterances, on one thread behind one bounded queue.

    Each source has a segmenter of its own. A chunk's times may be anything: `ChunkSequencer` puts them in order, and a
    gap ends an utterance at worst. An utterance goes to inference when its endpoint is decided; in a pause before that
    it may be transcribed speculatively (`speculate`), and while it goes on judged provisionally.

    Several people on one channel: `turn_segmenters` makes the segmenter of such a source, whose utterances are one
    person's turns and say whose. Speech is split before anything of it is final: the first turn keeps the id of
    `speech.started`, each further one is announced with an id of its own. After that only the speaker's name may still
    change, where two prove to be one person.

    `speakers` names who is heard in a source; `far_ends` for a source the one whose sound may leak into it.
    `lossless` sources wait for the words that endpointing asks for. `faces` gives the face track of a speaker.
    """

    def __init__(
        self,
        inference: InferenceQueue,
        call: CallInference,
        emit: Callable[[events.Logged], None],
        *,
        endpointing: Endpointing,
        speakers: Mapping[str, str],
        lossless: bool,
        provisional: Provisional,
        speculate: bool,
        far_ends: Mapping[str, str],
        turn_segmenters: Mapping[str, Callable[[], TurnSegmenter]] | None = None,
        faces: Callable[[str], FaceTrack | None] = lambda speaker: None,
    ) -> None:
        self.left_out_ms = 0
        """Sound that arrived twice or too late to be heard, of all sources."""
        self._inference = inference
        self._call = call
        self._emit = emit
        self._endpointing = endpointing
        self._speakers = dict(speakers)
        self._lossless = lossless
        self._provisional = provisional
        self._speculate = speculate or endpointing.adaptive
        self._turn_segmenters = dict(turn_segmenters or {})
        self._faces = faces
        self._chunks: queue.Queue[AudioChunk | _SourceLost | None] = queue.Queue(CAPACITY)
        self._sequencers: dict[str, ChunkSequencer] = {}
        self._reports: dict[str, tuple[int, int]] = {}  # by source: media time and samples left out at the last one
        self._segmenters: dict[str, Segmenter | TurnSegmenter] = {}
        self._far_ends = {near: far for near, far in far_ends.items() if near in self._speakers}
        self._mutual = [near for near, far in far_ends.items() if far_ends.get(far) == near]
        self._crosstalk = {far: CrosstalkDetector() for far in self._far_ends.values()}
        self._open: dict[str, _Open] = {}  # by source
        self._count = 0

    # -- from the threads of the sources

    def put_chunk(self, chunk: AudioChunk) -> None:
        """Queue sound; waits while `CAPACITY` chunks do. Sound of a source that nobody asked for is dropped."""
        if chunk.source in self._speakers or chunk.source in self._crosstalk:
            self._chunks.put(chunk)

    def source_lost(self, source: str) -> None:
        """End what is being said in a source, after the sound of it that is queued."""
        if source in self._speakers:
            self._chunks.put(_SourceLost(source))

    def end(self) -> None:
        """No more sound comes: `run` returns once everything queued is segmented."""
        self._chunks.put(None)

    def discard_queued(self) -> None:
        """Drop what is queued until `end`, where the worker is gone, so that no source waits for a place."""
        for _ in iter(self._chunks.get, None):
            pass

    @property
    def queued(self) -> int:
        """Chunks that wait."""
        return self._chunks.qsize()

    @property
    def latency(self) -> StageLatency:
        """What waits here besides work: the silence that ends an utterance."""
        config = self._endpointing
        return StageLatency(
            stage="segmentation",
            waits_for="the silence that ends an utterance",
            wait_ms=config.finished_hangover_ms if config.adaptive else config.hangover_ms,
            most_wait_ms=config.unfinished_hangover_ms if config.adaptive else config.hangover_ms,
            queue="chunks of sound",
            queue_bound=CAPACITY,
        )

    # -- the worker's thread

    def run(self) -> None:
        """Segment until `end`, then end what is still being said."""
        while (entry := self._chunks.get()) is not None:
            if isinstance(entry, _SourceLost):
                self._finish_source(entry.source)
            else:
                self._place_chunk(entry)
        for source in list(self._sequencers):
            self._finish_source(source)

    def _place_chunk(self, chunk: AudioChunk) -> None:
        sequencer = self._sequencers.setdefault(chunk.source, ChunkSequencer())
        for placed in sequencer.place(chunk):
            self._segment_chunk(placed)
        self._report_left_out(chunk.source, at_end=False)

    def _segment_chunk(self, chunk: AudioChunk) -> None:
        source = chunk.source
        if source in self._crosstalk:
            self._crosstalk[source].observe(chunk)
            if source not in self._speakers:
                return
        if self._call.has_opted_out(self._speakers[source]):
            self._stop_listening(source)
        else:
            segmenter = self._segmenters.get(source)
            if segmenter is None:
                segmenter = self._segmenters[source] = self._make_segmenter(source)
            for piece in _split_chunk(chunk):
                self._feed_piece(segmenter, piece)
        self._inference.advance(source, _end_ms(chunk))

    def _make_segmenter(self, source: str) -> Segmenter | TurnSegmenter:
        make = self._turn_segmenters.get(source)
        return make() if make is not None else Segmenter(source, self._endpointing)

    def _finish_source(self, source: str) -> None:
        """Nothing more comes from a source, at least for now: what was being said has ended."""
        if (sequencer := self._sequencers.get(source)) is not None:
            sequencer.drop_late()
            self._report_left_out(source, at_end=True)
        if (segmenter := self._segmenters.get(source)) is not None:
            for segment in segmenter.flush():
                self._handle_segment(segment)
            self._merge_speakers(segmenter)

    def _feed_piece(self, segmenter: Segmenter | TurnSegmenter, piece: AudioChunk) -> None:
        source = segmenter.source
        if self._endpointing.adaptive and source in self._open:
            # A recording waits for the words, so that it gives the same events each time.
            transcript = self._inference.speculated_transcript(source, wait=self._lossless)
            if transcript is not None:
                segmenter.expect(end_of_turn(transcript.text, transcript.language))
        for segment in segmenter.feed(piece):
            self._handle_segment(segment)
        self._merge_speakers(segmenter)
        opened = self._open.get(source)
        if opened is None or not self._provisional.every_ms:
            return
        if _end_ms(piece) >= self._provisional.due(opened.start_ms, opened.interim_requests):
            opened.interim_requests += 1
            if (so_far := segmenter.so_far()) is not None:
                self._inference.request_interim(self._work_item(opened.utterance_id, so_far))

    def _handle_segment(self, segment: Segment) -> None:
        source = segment.source
        match segment:
            case SpeechStarted():
                self._open[source] = _Open(self._announce_start(source, segment.start_ms), segment.start_ms)
            case Paused():
                if self._speculate:
                    self._inference.speculate(self._work_item(self._open[source].utterance_id, segment.so_far))
            case Resumed():
                self._inference.cancel_speculation(source)
            case Utterance() if self._is_crosstalk(segment):
                detail = f"Crosstalk: {source} picked up what {self._far_ends[source]} holds."
                times = segment.start_ms, segment.end_ms, segment.decided_ms
                self._discard_open_utterance(Rejected(source, *times, "leak"), detail)
            case Utterance():
                self._end_utterance(segment)
            case Rejected():
                self._discard_open_utterance(segment, "It was too short to be judged.")

    def _end_utterance(self, utterance: Utterance) -> None:
        """Send an ended utterance to inference."""
        item = self._work_item(self._open.pop(utterance.source).utterance_id, utterance)
        self._emit(
            events.SpeechEnded(
                utterance_id=item.utterance_id,
                source=utterance.source,
                speaker=item.speaker,
                start_ms=utterance.start_ms,
                end_ms=utterance.end_ms,
            )
        )
        self._inference.enqueue(item)

    def _merge_speakers(self, segmenter: Segmenter | TurnSegmenter) -> None:
        """Announce who proved to be one person."""
        if isinstance(segmenter, TurnSegmenter):
            for gone, kept in segmenter.take_merged():
                self._inference.post(partial(self._call.merge_speakers, gone, kept))

    def _announce_start(self, source: str, start_ms: int) -> str:
        self._count += 1
        utterance_id = f"u{self._count}"
        self._emit(
            events.SpeechStarted(
                utterance_id=utterance_id, source=source, speaker=self._speaker_of(source), start_ms=start_ms
            )
        )
        return utterance_id

    def _is_crosstalk(self, utterance: Utterance) -> bool:
        far = self._far_ends.get(utterance.source)
        if far is None or self._crosstalk[far].share(utterance) <= CROSSTALK_SHARE:
            return False
        if utterance.source not in self._mutual:
            return True
        # Each of two channels may hold the other: it belongs to the louder one, and to the first where both are equal.
        excess_db = self._crosstalk[far].excess_db(utterance)
        is_first = self._mutual.index(utterance.source) < self._mutual.index(far)
        return excess_db > (_SAME_LEVEL_DB if is_first else -_SAME_LEVEL_DB)

    def _discard_open_utterance(self, rejected: Rejected, detail: str) -> None:
        opened = self._open.pop(rejected.source)
        self._inference.discard(
            rejected.source, partial(self._call.discard, opened.utterance_id, rejected, rejected.reason, detail)
        )

    def _stop_listening(self, source: str) -> None:
        """Nobody listens to this source any more: what is being said there is dropped unheard."""
        segmenter = self._segmenters.pop(source, None)
        if segmenter is not None and (said := segmenter.so_far()) is not None:
            times = said.start_ms, said.end_ms, said.decided_ms
            self._discard_open_utterance(Rejected(source, *times, "opted_out"), OPTED_OUT)

    def _work_item(self, utterance_id: str, utterance: Utterance) -> WorkItem:
        speaker = utterance.speaker or self._speaker_of(utterance.source)
        # The camera sees a person by name, or whoever speaks in a source of which nobody knows the people.
        faces = self._faces(self._speakers[utterance.source]) or self._faces(speaker)
        return WorkItem(utterance_id, utterance, speaker, faces)

    def _speaker_of(self, source: str) -> str:
        """Who is heard there, or the best guess."""
        segmenter = self._segmenters.get(source)
        return segmenter.latest_speaker if isinstance(segmenter, TurnSegmenter) else self._speakers[source]

    def _report_left_out(self, source: str, *, at_end: bool) -> None:
        """Announce sound that was left out since the last report, if there is any and that is some time ago."""
        left_out = self._sequencers[source].left_out
        reported_at_ms, reported = self._reports.get(source, (-_REPORT_EVERY_MS, 0))
        if left_out == reported or (self._inference.media_ms - reported_at_ms < _REPORT_EVERY_MS and not at_end):
            return
        self._reports[source] = self._inference.media_ms, left_out
        lost_ms = max(1, (left_out - reported) * 1000 // SAMPLE_RATE)
        self.left_out_ms += lost_ms
        sentence = f"{lost_ms} ms of {source} arrived twice or too late, and were left out."
        self._emit(events.StreamDegraded(what=LATE_SOUND, count=lost_ms, recovered=True, detail=sentence))


def _split_chunk(chunk: AudioChunk) -> Iterator[AudioChunk]:
    for at in range(0, len(chunk.samples), _PIECE):
        yield AudioChunk(chunk.source, chunk.start + at, chunk.samples[at : at + _PIECE])


def _end_ms(chunk: AudioChunk) -> int:
    return (chunk.start + len(chunk.samples)) * 1000 // SAMPLE_RATE

"""A recording as a source: any container that PyAV reads, with sound and perhaps pictures."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from numpy.typing import NDArray

from core_models.errors import MediaError
from realtime.sources.media import SAMPLE_RATE, AudioChunk, VideoFrame
from realtime.sources.recording.container import Recording, open_recording
from realtime.sources.recording.raw_pcm import RawFormat
from realtime.sources.recording.tracks import Placed, TrackDecoder, TrackMixer
from realtime.sources.source import Sink, SourceStatus

# Codecs give up to 300 ms at once; a chunk is at most 100 ms, so that real time is not held up by the codec.
_CHUNK = SAMPLE_RATE // 10
# Sound waits no longer than this for pictures of its time: badly interleaved files must not be held in memory.
_SKEW_S = 2.0
# A recording that ends this much before its stated length has been cut off.
_BROKEN_OFF_S = 1.0
# Containers whose header states the length; that of others is estimated from their size.
_STATES_LENGTH = ("matroska", "mp4", "flac")
# A demuxer that fails for ever would never end.
_BROKEN_MOST = 10_000
# Larger pictures are scaled down to it; no face worth judging is lost, and a queue of 4K frames fills no memory.
_WIDEST = 1280


class FileSource:
    """Delivers a recording on its own media clock, sound and pictures in order of media time.

    `pace` "realtime" holds to the wall clock, "fast" runs as fast as the sink takes it. `split` makes each channel a
    voice of its own, `split_tracks` each audio track; else they are mixed. `channels` names the voices, as they stand
    in `AudioChunk.source`. `raw`: the file is headerless PCM. The path `-` is standard input. At most `video_fps`
    pictures a second are delivered, always before the sound of their time. MediaError for what cannot be opened or
    has no sound.
    """

    kind = "file"
    has_audio = True

    def __init__(
        self,
        path: Path,
        *,
        pace: Literal["realtime", "fast"] = "realtime",
        video_fps: float = 10.0,
        split: bool = False,
        split_tracks: bool = False,
        raw: RawFormat | None = None,
        name: str = "file",
    ) -> None:
        self.name = name
        self._path = path
        self._raw = raw
        self._pace = pace
        self._video_fps = video_fps
        self._split_tracks = split_tracks
        recording = open_recording(path, raw)
        self.detail = recording.name
        count = len(recording.tracks) if split_tracks else recording.tracks[0][1].channels
        split = split or split_tracks
        # What comes through a pipe cannot be opened twice.
        self._opened = None if recording.can_reopen else recording
        if recording.can_reopen:
            recording.close()
        self.channels = tuple(f"{name}.{n + 1}" for n in range(count)) if split else (name,)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, sink: Sink) -> None:
        """Begin to deliver; MediaError where the file has vanished since, or nothing in it can be decoded."""
        recording = self._opened or open_recording(self._path, self._raw)
        reading = _Reading(recording, self.name, self.channels, self._video_fps, split_tracks=self._split_tracks)
        items = reading.items()
        first = next(items, None)
        if first is None:
            recording.close()
            raise MediaError(f"Nothing in {self._path} can be decoded: give a recording with sound.")
        self._thread = threading.Thread(
            target=self._play_items, args=(recording, reading, chain([first], items), sink), name=self.name, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop delivering; idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _play_items(
        self, recording: Recording, reading: _Reading, items: Iterator[AudioChunk | VideoFrame], sink: Sink
    ) -> None:
        end = SourceStatus(self.name, self.kind, "lost", f"Reading {self.detail} failed.")
        try:
            sink.status(SourceStatus(self.name, self.kind, "opened", self.detail))
            with closing(recording):
                self._deliver_items(items, sink)
                why = "The recording was stopped." if self._stop.is_set() else reading.verdict()
            end = SourceStatus(self.name, self.kind, "ended", why)
        finally:  # a session waits for this word, whatever became of the thread
            sink.status(end)

    def _deliver_items(self, items: Iterator[AudioChunk | VideoFrame], sink: Sink) -> None:
        begun = time.monotonic()
        for item in items:
            at = item.at_ms / 1000 if isinstance(item, VideoFrame) else _end_of(item)
            ahead = begun + at - time.monotonic()
            if self._pace == "realtime" and ahead > 0:
                self._stop.wait(ahead)
            if self._stop.is_set():
                return
            if isinstance(item, VideoFrame):
                sink.video(item)
            else:
                sink.audio(item)


def read_audio(path: Path) -> NDArray[np.float32]:
    """The whole recording mixed to mono, float32 [n] at 16 kHz; gaps are silence. MediaError."""
    with closing(open_recording(path)) as recording:
        chunks = [c for c in _Reading(recording, "file", ("file",), 0.0).items() if isinstance(c, AudioChunk)]
    samples = np.zeros(max((c.start + len(c.samples) for c in chunks), default=0), np.float32)
    for chunk in chunks:
        samples[chunk.start : chunk.start + len(chunk.samples)] = chunk.samples
    return samples


def _end_of(chunk: AudioChunk) -> float:
    return (chunk.start + len(chunk.samples)) / SAMPLE_RATE


class _Reading:
    """One pass over a container: packets in, chunks and frames out, and a count of what was broken."""

    def __init__(
        self,
        recording: Recording,
        name: str,
        channels: tuple[str, ...],
        video_fps: float,
        *,
        split_tracks: bool = False,
    ) -> None:
        container = recording.container
        self._recording = recording
        self._container = container
        self._name = name
        self._channels = channels
        self._video_fps = video_fps
        # The cover of a song is no video.
        films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        self._film = films[0] if films and video_fps > 0 else None
        self._origin = (container.start_time or 0) / 1_000_000
        self._broken = 0
        self._pictures = 0
        self._picture_due = 0.0
        self._seen_to = 0.0  # seconds up to which pictures were read
        self._split_tracks = split_tracks
        voices = 1 if split_tracks else len(channels)
        self._decoders = {
            stream.index: TrackDecoder(number, voices, self._origin) for number, stream in recording.tracks
        }
        self._mixer = None
        if len(self._decoders) > 1 and not split_tracks:
            self._mixer = TrackMixer(list(self._decoders), voices)

    def items(self) -> Iterator[AudioChunk | VideoFrame]:
        """Chunks and frames in order of media time, a frame before the sound of its time."""
        waiting: deque[AudioChunk] = deque()
        for item in self._decode_items():
            if isinstance(item, AudioChunk):
                waiting.append(item)
            while waiting and (
                self._film is None
                or _end_of(waiting[0]) <= self._seen_to
                or _end_of(waiting[-1]) - _end_of(waiting[0]) > _SKEW_S
            ):
                yield waiting.popleft()
            if isinstance(item, VideoFrame):
                yield item
        yield from waiting

    def verdict(self) -> str:
        """What is to be said of the recording at its end, in a sentence."""
        said = [*self._recording.notes, *self._track_findings()]
        if self._broken:
            said.append(f"{self._broken} damaged pieces of it were skipped")
        missing_s = max(decoder.missing_s for decoder in self._decoders.values())
        if missing_s:
            said.append(f"{missing_s:.1f} s of its sound are missing")
        heard_s = max(decoder.reached_s for decoder in self._decoders.values())
        reached = max(heard_s, self._seen_to)
        stated = (self._container.duration or 0) / 1_000_000
        whole = self._film is not None or not self._container.streams.video  # all was read that has a length
        if (
            whole
            and stated - reached > _BROKEN_OFF_S
            and any(name in self._container.format.name for name in _STATES_LENGTH)
        ):
            said.append(f"it breaks off {stated - reached:.0f} s before its stated length")
        if not heard_s:
            said.append("none of its sound could be decoded")
        if self._film is not None and not self._pictures:
            said.append("its video has no frames")
        return f"The recording has ended; {', and '.join(said)}." if said else "The recording has ended."

    def _decode_items(self) -> Iterator[AudioChunk | VideoFrame | None]:
        """Chunks, frames, and None for a frame that is not needed but tells how far the pictures are."""
        streams = [stream for _, stream in self._recording.tracks]
        if self._film is not None:
            self._film.thread_type = "AUTO"
            streams.append(self._film)
        packets = self._container.demux(streams)
        while self._broken < _BROKEN_MOST:
            try:
                packet = next(packets)
                frames = packet.decode()
            except (StopIteration, EOFError):
                break
            except FFmpegError:
                self._broken += 1
                continue
            for frame in frames:
                if isinstance(frame, av.AudioFrame):
                    yield from self._deliver(packet.stream.index, self._decoders[packet.stream.index].decode(frame))
                elif frame.time is not None:
                    yield self._convert_picture(frame)
        for index, decoder in self._decoders.items():
            yield from self._deliver(index, decoder.flush())
        if self._mixer is not None:
            for placed in self._mixer.flush():
                yield from self._cut_chunks(self._channels, placed)

    def _convert_picture(self, frame: Any) -> VideoFrame | None:
        self._seen_to = max(self._seen_to, frame.time - self._origin)
        if self._seen_to + 1e-6 < self._picture_due:
            return None
        self._picture_due = max(self._picture_due + 1 / self._video_fps, self._seen_to)
        self._pictures += 1
        scale = min(1.0, _WIDEST / max(frame.width, frame.height))
        width, height = round(frame.width * scale), round(frame.height * scale)
        rgb = frame.to_ndarray(format="rgb24", width=width, height=height)
        # Telephones film sideways and note by how much the picture must be turned.
        upright = np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90))
        return VideoFrame(self._name, round(self._seen_to * 1000), upright)

    def _deliver(self, index: int, decoded: Iterator[Placed]) -> Iterator[AudioChunk]:
        """Chunks of what a track holds next, mixed with the others' where they are not split."""
        for placed in decoded:
            if self._mixer is not None:
                for mixed in self._mixer.add(index, placed):
                    yield from self._cut_chunks(self._channels, mixed)
            elif self._split_tracks:
                yield from self._cut_chunks((self._channels[list(self._decoders).index(index)],), placed)
            else:
                yield from self._cut_chunks(self._channels, placed)

    def _cut_chunks(self, channels: tuple[str, ...], placed: Placed) -> Iterator[AudioChunk]:
        start, samples = placed
        for at in range(0, len(samples), _CHUNK):
            piece = samples[at : at + _CHUNK]
            for voice, channel in enumerate(channels):
                yield AudioChunk(channel, start + at, np.ascontiguousarray(piece[:, voice]))

    def _track_findings(self) -> Iterator[str]:
        decoders = list(self._decoders.values())
        audible = [str(decoder.number) for decoder in decoders if not decoder.is_silent]
        for decoder in decoders:
            if len(decoders) > 1 and decoder.is_silent:
                yield f"its audio track {decoder.number} is silent"
            yield from decoder.findings()
        if len(audible) > 1 and not self._split_tracks:
            yield f"its audio tracks {' and '.join(audible)} were mixed (with --tracks split each is a side)"

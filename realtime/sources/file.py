"""A recording as a source: any container that PyAV reads, with sound and perhaps pictures."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import soxr
from av.error import FFmpegError
from av.stream import Disposition
from numpy.typing import NDArray

from core_models.errors import MediaError
from realtime.sources.media import SAMPLE_RATE, AudioChunk, VideoFrame
from realtime.sources.source import Sink, SourceStatus

_CHUNK = SAMPLE_RATE // 10
"""Codecs give up to 300 ms at once; a chunk is at most 100 ms, so that real time is not held up by the codec."""
_JUMP_S = 0.05
"""A timestamp that runs ahead of the samples by more than this is a gap; less is rounding of the container."""
_SKEW_S = 2.0
"""Sound waits no longer than this for pictures of its time: badly interleaved files must not be held in memory."""
_BROKEN_OFF_S = 1.0
"""A recording that ends this much before its stated length has been cut off."""
_STATES_LENGTH = ("matroska", "mp4", "flac")
"""Containers whose header states the length; that of others is estimated from their size."""
_BROKEN_MOST = 10_000
"""A demuxer that fails for ever would never end."""
_WIDEST = 1280
"""Larger pictures are scaled down to it; no face worth judging is lost, and a queue of 4K frames fills no memory."""


class FileSource:
    """Delivers a recording on its own media clock, sound and pictures in order of media time.

    `pace` "realtime" holds to the wall clock, "fast" runs as fast as the sink takes it. `split` makes each
    channel a voice of its own; `channels` names the voices, as they stand in `AudioChunk.source`. At most
    `video_fps` pictures a second are delivered, always before the sound of their time. MediaError for what
    cannot be opened or has no sound.
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
        name: str = "file",
    ) -> None:
        self.name = name
        self.detail = os.fsencode(path.name).decode(errors="replace")  # a name may be no text at all
        self._path = path
        self._pace = pace
        self._video_fps = video_fps
        with _open(path) as container:
            count = container.streams.audio[0].channels
        self.channels = tuple(f"{name}.{n + 1}" for n in range(count)) if split else (name,)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, sink: Sink) -> None:
        """Begin to deliver; MediaError where the file has vanished since, or nothing in it can be decoded."""
        container = _open(self._path)
        reading = _Reading(container, self.name, self.channels, self._video_fps)
        items = reading.items()
        first = next(items, None)
        if first is None:
            container.close()
            raise MediaError(f"Nothing in {self._path} can be decoded: give a recording with sound.")
        self._thread = threading.Thread(
            target=self._run, args=(container, reading, chain([first], items), sink), name=self.name, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop delivering; idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, container: Any, reading: _Reading, items: Iterator[AudioChunk | VideoFrame], sink: Sink) -> None:
        end = SourceStatus(self.name, self.kind, "lost", f"Reading {self.detail} failed.")
        try:
            sink.status(SourceStatus(self.name, self.kind, "opened", self.detail))
            with container:
                self._deliver(items, sink)
                why = "The recording was stopped." if self._stop.is_set() else reading.verdict()
            end = SourceStatus(self.name, self.kind, "ended", why)
        finally:  # a session waits for this word, whatever became of the thread
            sink.status(end)

    def _deliver(self, items: Iterator[AudioChunk | VideoFrame], sink: Sink) -> None:
        begun = time.monotonic()
        for item in items:
            at = item.at_ms / 1000 if isinstance(item, VideoFrame) else _end(item)
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
    with _open(path) as container:
        chunks = [c for c in _Reading(container, "file", ("file",), 0.0).items() if isinstance(c, AudioChunk)]
    samples = np.zeros(max((c.start + len(c.samples) for c in chunks), default=0), np.float32)
    for chunk in chunks:
        samples[chunk.start : chunk.start + len(chunk.samples)] = chunk.samples
    return samples


def _open(path: Path) -> Any:
    try:
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty: give a recording with sound.")
        container = av.open(str(path), metadata_errors="ignore")
    except FFmpegError as error:
        raise MediaError(f"{path} is no recording that can be read ({error.strerror}): give one with sound.") from None
    except OSError as error:
        raise MediaError(f"{path} cannot be opened ({error.strerror}): give a recording with sound.") from None
    if not container.streams.audio:
        container.close()
        raise MediaError(f"{path} has no sound: without speech there is nothing to follow.")
    return container


def _end(chunk: AudioChunk) -> float:
    return (chunk.start + len(chunk.samples)) / SAMPLE_RATE


class _Reading:
    """One pass over a container: packets in, chunks and frames out, and a count of what was broken."""

    def __init__(self, container: Any, name: str, channels: tuple[str, ...], video_fps: float) -> None:
        self._container = container
        self._name = name
        self._channels = channels
        self._video_fps = video_fps
        # The cover of a song is no video.
        films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        self._film = films[0] if films and video_fps > 0 else None
        self._origin = (container.start_time or 0) / 1_000_000
        self._broken = 0
        self._missing = 0.0  # seconds without sound between sound
        self._pictures = 0
        self._picture_due = 0.0
        self._seen_to = 0.0  # seconds up to which pictures were read
        self._heard_to = 0.0  # and sound
        self._resampler: Any = None
        self._rate = 0  # of the sound that goes into the resampler
        self._next = 0  # sample at 16 kHz that comes out of it next

    def items(self) -> Iterator[AudioChunk | VideoFrame]:
        """Chunks and frames in order of media time, a frame before the sound of its time."""
        waiting: deque[AudioChunk] = deque()
        for item in self._decoded():
            if isinstance(item, AudioChunk):
                waiting.append(item)
            while waiting and (
                self._film is None
                or _end(waiting[0]) <= self._seen_to
                or _end(waiting[-1]) - _end(waiting[0]) > _SKEW_S
            ):
                yield waiting.popleft()
            if isinstance(item, VideoFrame):
                yield item
        yield from waiting

    def verdict(self) -> str:
        """What is to be said of the recording at its end, in a sentence."""
        said = []
        if self._broken:
            said.append(f"{self._broken} damaged pieces of it were skipped")
        if self._missing:
            said.append(f"{self._missing:.1f} s of its sound are missing")
        reached = max(self._heard_to, self._seen_to)
        stated = (self._container.duration or 0) / 1_000_000
        whole = self._film is not None or not self._container.streams.video  # all was read that has a length
        if (
            whole
            and stated - reached > _BROKEN_OFF_S
            and any(name in self._container.format.name for name in _STATES_LENGTH)
        ):
            said.append(f"it breaks off {stated - reached:.0f} s before its stated length")
        if not self._heard_to:
            said.append("none of its sound could be decoded")
        if self._film is not None and not self._pictures:
            said.append("its video has no frames")
        return f"The recording has ended; {', and '.join(said)}." if said else "The recording has ended."

    def _decoded(self) -> Iterator[AudioChunk | VideoFrame | None]:
        """Chunks, frames, and None for a frame that is not needed but tells how far the pictures are."""
        streams = [self._container.streams.audio[0]]
        if self._film is not None:
            self._film.thread_type = "AUTO"
            streams.append(self._film)
        packets = self._container.demux(streams)
        while self._broken < _BROKEN_MOST:
            try:
                frames = next(packets).decode()
            except (StopIteration, EOFError):
                break
            except FFmpegError:
                self._broken += 1
                continue
            for frame in frames:
                if isinstance(frame, av.AudioFrame):
                    yield from self._sound(frame)
                elif frame.time is not None:
                    yield self._picture(frame)
        yield from self._flush()

    def _picture(self, frame: Any) -> VideoFrame | None:
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

    def _sound(self, frame: Any) -> Iterator[AudioChunk]:
        samples = _floats(frame)
        at = self._heard_to if frame.time is None else frame.time - self._origin
        if self._resampler is None or at - self._heard_to > _JUMP_S or frame.sample_rate != self._rate:
            yield from self._flush()
            self._rate = frame.sample_rate
            self._resampler = soxr.ResampleStream(self._rate, SAMPLE_RATE, len(self._channels), dtype="float32")
            if at - self._heard_to > _JUMP_S:
                self._missing += at - self._heard_to if self._next else 0.0
                self._heard_to = at
                self._next = max(self._next, round(at * SAMPLE_RATE))
        self._heard_to += len(samples) / self._rate
        yield from self._given(self._resampler.resample_chunk(self._voices(samples)))

    def _voices(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Channels of a frame -> voices; a stream may change its mind about how many channels it has."""
        count = len(self._channels)
        if samples.shape[1] == count:
            return np.ascontiguousarray(samples)
        return np.repeat(samples.mean(axis=1, keepdims=True), count, axis=1)

    def _flush(self) -> Iterator[AudioChunk]:
        if self._resampler is not None:
            rest = np.zeros((0, len(self._channels)), np.float32)
            yield from self._given(self._resampler.resample_chunk(rest, last=True))
            self._resampler = None

    def _given(self, samples: NDArray[np.float32]) -> Iterator[AudioChunk]:
        for at in range(0, len(samples), _CHUNK):
            piece = samples[at : at + _CHUNK]
            for voice, channel in enumerate(self._channels):
                yield AudioChunk(channel, self._next, np.ascontiguousarray(piece[:, voice]))
            self._next += len(piece)


def _floats(frame: Any) -> NDArray[np.float32]:
    """The samples of an audio frame of any format, float32 [n, channels] in [-1, 1]."""
    raw = frame.to_ndarray()
    samples = raw.T if frame.format.is_planar else raw.reshape(-1, frame.layout.nb_channels)
    if np.issubdtype(samples.dtype, np.floating):
        return np.asarray(np.nan_to_num(samples, posinf=1.0, neginf=-1.0), dtype=np.float32)
    information = np.iinfo(samples.dtype)
    middle = 0 if information.min else 128  # unsigned 8-bit sound rests at 128
    scaled: NDArray[np.float32] = (samples.astype(np.float32) - middle) / np.float32(-information.min or 128)
    return scaled

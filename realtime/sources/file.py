"""A recording as a source: any container that PyAV reads, with sound and perhaps pictures."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import soxr
from av.error import FFmpegError
from numpy.typing import NDArray

from core_models.errors import MediaError
from realtime.sources.media import SAMPLE_RATE, AudioChunk, Sink, SourceStatus, VideoFrame

_JUMP_S = 0.05
"""A timestamp that runs ahead of the samples by more than this is a gap; less is rounding of the container."""
_SKEW_S = 2.0
"""Sound waits no longer than this for pictures of its time: badly interleaved files must not be held in memory."""


class FileSource:
    """Delivers a recording on its own media clock, sound and pictures in order of media time.

    `pace` "realtime" holds to the wall clock, "fast" runs as fast as the sink takes it. `split` makes each
    channel a voice of its own; `channels` names the voices, as they stand in `AudioChunk.source`. At most
    `video_fps` pictures a second are delivered, always before the sound of their time. MediaError for what
    cannot be opened or has no sound.
    """

    kind = "file"
    hears = True

    def __init__(
        self,
        path: Path,
        *,
        pace: Literal["realtime", "fast"] = "realtime",
        video_fps: float = 6.0,
        split: bool = False,
        name: str = "file",
    ) -> None:
        self.name = name
        self.detail = path.name
        self._path = path
        self._pace = pace
        self._video_fps = video_fps
        with _open(path) as container:
            count = container.streams.audio[0].channels
            self._has_video = bool(container.streams.video) and video_fps > 0
        self.channels = tuple(f"{name}.{n + 1}" for n in range(count)) if split else (name,)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, sink: Sink) -> None:
        """Begin to deliver; MediaError where the file has vanished since."""
        container = _open(self._path)
        self._thread = threading.Thread(target=self._run, args=(container, sink), name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop delivering; idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, container: Any, sink: Sink) -> None:
        sink.status(SourceStatus(self.name, self.kind, "opened", self.detail))
        with container:
            reading = _Reading(container, self.name, self.channels, self._video_fps if self._has_video else 0.0)
            begun = time.monotonic()
            for item in reading.items():
                at = item.at_ms / 1000 if isinstance(item, VideoFrame) else _end(item)
                ahead = begun + at - time.monotonic()
                if self._pace == "realtime" and ahead > 0:
                    self._stop.wait(ahead)
                if self._stop.is_set():
                    break
                if isinstance(item, VideoFrame):
                    sink.video(item)
                else:
                    sink.audio(item)
        sink.status(SourceStatus(self.name, self.kind, "ended", reading.verdict()))


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
        container = av.open(str(path))
    except OSError as error:
        if isinstance(error, FFmpegError):
            raise MediaError(f"{path} is no recording that can be read ({error.strerror}).") from None
        raise MediaError(f"{path} cannot be opened ({error.strerror}): give a recording with sound.") from None
    except FFmpegError as error:
        raise MediaError(f"{path} is no recording that can be read ({error}): give one with sound.") from None
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
        self._origin = (container.start_time or 0) / 1_000_000
        self._broken = 0
        self._pictures = 0
        self._picture_due = 0.0
        self._resampler: Any = None
        self._written = 0  # samples at 16 kHz that were given out since `_base`
        self._base = 0
        self._heard_to = 0.0  # seconds up to which sound was read

    def items(self) -> Iterator[AudioChunk | VideoFrame]:
        """Chunks and frames in order of media time, a frame before the sound of its time."""
        waiting: deque[AudioChunk] = deque()
        seen_to = 0.0 if self._video_fps else float("inf")
        for item in self._decoded():
            if isinstance(item, VideoFrame):
                seen_to = item.at_ms / 1000
                yield item
            elif isinstance(item, float):  # a frame that is not needed still tells how far the pictures are
                seen_to = max(seen_to, item)
            else:
                waiting.append(item)
            while waiting and (_end(waiting[0]) <= seen_to or _end(waiting[-1]) - _end(waiting[0]) > _SKEW_S):
                yield waiting.popleft()
        yield from waiting

    def verdict(self) -> str:
        """What is to be said of the recording at its end."""
        said = []
        if self._broken:
            said.append(f"{self._broken} damaged pieces of it were skipped")
        if self._video_fps and not self._pictures:
            said.append("its video has no frames")
        return f"The recording has ended; {', '.join(said)}." if said else "The recording has ended."

    def _decoded(self) -> Iterator[AudioChunk | VideoFrame | float]:
        streams = [self._container.streams.audio[0]]
        if self._video_fps:
            streams.append(self._container.streams.video[0])
            self._container.streams.video[0].thread_type = "AUTO"
        packets = self._container.demux(streams)
        while True:
            try:
                packet = next(packets)
                frames = packet.decode()
            except StopIteration:
                break
            except EOFError:
                break
            except FFmpegError:
                self._broken += 1
                if self._broken > 10_000:  # a demuxer that fails for ever would never end
                    break
                continue
            for frame in frames:
                yield from self._sound(frame) if isinstance(frame, av.AudioFrame) else self._picture(frame)
        yield from self._flush()

    def _picture(self, frame: Any) -> Iterator[VideoFrame | float]:
        if frame.time is None:
            return
        at = max(0.0, frame.time - self._origin)
        if at + 1e-6 < self._picture_due:
            yield at
            return
        self._picture_due = max(self._picture_due + 1 / self._video_fps, at)
        self._pictures += 1
        yield VideoFrame(self._name, round(at * 1000), frame.to_ndarray(format="rgb24"))

    def _sound(self, frame: Any) -> Iterator[AudioChunk]:
        samples = _floats(frame)
        at = self._heard_to if frame.time is None else frame.time - self._origin
        if self._resampler is None or at - self._heard_to > _JUMP_S:
            yield from self._flush()
            width = len(self._channels)
            self._resampler = soxr.ResampleStream(frame.sample_rate, SAMPLE_RATE, width, dtype="float32")
            self._base, self._written = max(self._base + self._written, round(at * SAMPLE_RATE)), 0
            self._heard_to = max(at, 0.0)
        self._heard_to += len(samples) / frame.sample_rate
        mixed = samples if len(self._channels) > 1 else samples.mean(axis=1, keepdims=True)
        yield from self._given(self._resampler.resample_chunk(np.ascontiguousarray(mixed)))

    def _flush(self) -> Iterator[AudioChunk]:
        if self._resampler is not None:
            rest = np.zeros((0, len(self._channels)), np.float32)
            yield from self._given(self._resampler.resample_chunk(rest, last=True))
            self._resampler = None

    def _given(self, samples: NDArray[np.float32]) -> Iterator[AudioChunk]:
        samples = samples.reshape(-1, len(self._channels))
        if len(samples):
            for column, channel in enumerate(self._channels):
                yield AudioChunk(channel, self._base + self._written, np.ascontiguousarray(samples[:, column]))
            self._written += len(samples)


def _floats(frame: Any) -> NDArray[np.float32]:
    """The samples of an audio frame of any format, float32 [n, channels] in [-1, 1]."""
    raw = frame.to_ndarray()
    samples = raw.T if frame.format.is_planar else raw.reshape(-1, frame.layout.nb_channels)
    if np.issubdtype(samples.dtype, np.floating):
        return np.asarray(samples, dtype=np.float32)
    information = np.iinfo(samples.dtype)
    middle = 0 if information.min else 128  # unsigned 8-bit sound rests at 128
    scaled: NDArray[np.float32] = (samples.astype(np.float32) - middle) / np.float32(-information.min or 128)
    return scaled

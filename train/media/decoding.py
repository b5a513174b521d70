"""Sound and pictures out of files of any kind: a span of a recording, decoded once and cut to the millisecond."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from core_models.errors import MediaError
from train.corpora.dialogues import Span

# libsndfile reads these to the sample; everything else, films above all, goes through FFmpeg.
_SOUNDS = {".wav", ".flac", ".ogg"}


def samples_of(path: Path, span: Span | None) -> tuple[NDArray[np.float32], int]:
    """(mono float32 [n], rate): the mean of the channels over `span`, or over the whole file. Raises MediaError."""
    if path.suffix.lower() in _SOUNDS:
        try:
            with soundfile.SoundFile(path) as file:
                rate = int(file.samplerate)
                start, end = (0, None) if span is None else (span[0] * rate // 1000, span[1] * rate // 1000)
                file.seek(min(start, len(file)))
                samples = file.read(-1 if end is None else end - start, dtype="float32", always_2d=True)
        except (OSError, RuntimeError) as error:
            raise MediaError(f"{path} cannot be decoded ({error}): expected a sound file.") from None
        return samples.mean(axis=1), rate
    with _open_stream(path, "audio", "sound") as (container, stream):
        rate = stream.codec_context.sample_rate
        return _cut_span(container, stream, rate, span), rate


def frames_of(path: Path, span: Span | None, per_second: float) -> Iterator[NDArray[np.uint8]]:
    """RGB uint8 [height, width, 3], `per_second` a second of `span`, or of the whole film. Raises MediaError."""
    with _open_stream(path, "video", "picture") as (container, stream):
        start, end = (0.0, float("inf")) if span is None else (span[0] / 1000, span[1] / 1000)
        _seek_start(container, stream, start)
        origin = _stream_origin(stream)
        due = start
        for frame in container.decode(stream):
            time = 0.0 if frame.time is None else frame.time - origin
            if time >= end:
                break
            # Half a millisecond: frames of 25 a second are due on times that binary fractions miss.
            if time + 5e-4 >= due:
                yield frame.to_ndarray(format="rgb24")
                due = max(due + 1 / per_second, time)


def _cut_span(container: Any, stream: Any, rate: int, span: Span | None) -> NDArray[np.float32]:
    start, end = (0.0, float("inf")) if span is None else (span[0] / 1000, span[1] / 1000)
    _seek_start(container, stream, start)
    origin = _stream_origin(stream)
    # The form alone; channels and rate stay.
    planar = av.AudioResampler(format="fltp")
    parts: list[NDArray[np.float32]] = []
    first: float | None = None
    for frame in container.decode(stream):
        time = 0.0 if frame.time is None else frame.time - origin
        if time >= end:
            break
        if first is None:
            first = time
        parts += [made.to_ndarray().mean(axis=0) for made in planar.resample(frame)]
    if first is None:
        return np.zeros(0, np.float32)
    samples: NDArray[np.float32] = np.concatenate(parts).astype(np.float32)
    # Frames follow one another without gaps, so the first one's time places every sample.
    low = max(0, round((start - first) * rate))
    return samples[low : None if span is None else max(low, round((end - first) * rate))]


def _seek_start(container: Any, stream: Any, start: float) -> None:
    if start > 0:
        # Backwards to a key frame: what lies before the span is decoded and dropped.
        container.seek(int((start + _stream_origin(stream)) / stream.time_base), stream=stream, backward=True)


def _stream_origin(stream: Any) -> float:
    return float((stream.start_time or 0) * stream.time_base)


@contextmanager
def _open_stream(path: Path, kind: str, what: str) -> Iterator[tuple[Any, Any]]:
    try:
        with av.open(str(path)) as container:
            streams = getattr(container.streams, kind)
            if not streams:
                raise MediaError(f"{path} holds no {what}: expected a recording with one.")
            streams[0].thread_type = "AUTO"
            yield container, streams[0]
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be decoded ({error}): expected a recording.") from None

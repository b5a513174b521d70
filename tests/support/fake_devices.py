"""A browser whose microphone speaks and whose camera sees a face."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

_FPS = 12


def devices(sound: Path, picture: Path) -> tuple[str, ...]:
    """Chromium's options for microphone and camera made of files, over and over, and for consent without a person."""
    return (
        *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
        f"--use-file-for-fake-audio-capture={sound}",
        f"--use-file-for-fake-video-capture={picture}",
        "--autoplay-policy=no-user-gesture-required",
    )


def spoken(file: Path, speech: NDArray[np.float32], silence_s: float) -> Path:
    """Write speech at 16 kHz and the silence behind it, as Chromium's microphone wants it."""
    silence = np.zeros(round(16_000 * silence_s), np.float32)
    soundfile.write(file, np.concatenate([speech, silence]), 16_000, subtype="PCM_16")
    return file


def filmed(file: Path, clip: Path, seconds: float) -> Path:
    """Write the beginning of a clip as Chromium's camera wants it (YUV4MPEG2, 640x360)."""
    with av.open(str(clip)) as film, av.open(str(file), "w", format="yuv4mpegpipe") as out:
        stream = out.add_stream("rawvideo", rate=_FPS)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        written = 0
        for frame in film.decode(video=0):
            if frame.time is None or frame.time * _FPS < written:
                continue
            small = frame.reformat(640, 360, "yuv420p")
            small.pts, small.time_base = written, Fraction(1, _FPS)
            out.mux(stream.encode(small))
            written += 1
            if written >= seconds * _FPS:
                break
        out.mux(stream.encode(None))
    return file

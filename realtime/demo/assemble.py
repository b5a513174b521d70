"""`python -m realtime.demo FILE` puts the demonstration conversation and its face clip into one recording."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.command_line.options import build_parser, read_options
from core_models.command_line.run import run_cli

_FPS = 12
_SCENE = Path(__file__).with_name("conversation.ogg")
# The clip among the files of demo-face.
FACE = "WolfgangLanger_Pexels.mp4"

# (from this second of the conversation, clip from, clip to): the clip runs forth and back between the two,
# None is a covered camera. Its first half is sad, its second half laughs.
_CUTS: tuple[tuple[float, tuple[float, float] | None], ...] = (
    (0.0, (10.2, 19.4)),
    (26.0, (0.2, 8.5)),
    (62.0, None),
    (68.0, (10.2, 19.4)),
)


def assemble(target: Path) -> None:
    """Write the recording (Matroska; Opus stereo, H.264 640x360) to `target`, whole or not at all."""
    clip = _read_pictures(model_folder("demo-face") / FACE)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial.mkv")
    with av.open(str(_SCENE)) as scene, av.open(str(partial), "w") as out:
        sound = scene.streams.audio[0]
        seconds = float(scene.duration or 0) / 1_000_000
        copied = out.add_stream_from_template(sound)
        video = out.add_stream("libx264", rate=_FPS, options={"crf": "26", "preset": "veryfast"})
        assert isinstance(copied, AudioStream)
        assert isinstance(video, VideoStream)
        height, width = clip[0].shape[:2]
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        packets = [p for p in scene.demux(sound) if p.dts is not None]
        for packet in packets:
            packet.stream = copied
        pictures = _encode_pictures(video, clip, seconds)
        _interleave_packets(out, packets, pictures)
    os.replace(partial, target)


def _read_pictures(path: Path) -> list[NDArray[np.uint8]]:
    """The clip at `_FPS`, rgb24."""
    kept: list[NDArray[np.uint8]] = []
    with av.open(str(path)) as clip:
        for frame in clip.decode(video=0):
            if frame.time is not None and frame.time * _FPS >= len(kept):
                kept.append(frame.to_ndarray(format="rgb24"))
    return kept


def _encode_pictures(stream: VideoStream, clip: list[NDArray[np.uint8]], seconds: float) -> Iterator[av.Packet]:
    covered = np.zeros_like(clip[0])
    for number in range(int(seconds * _FPS)):
        now = number / _FPS
        begins, span = max((cut for cut in _CUTS if cut[0] <= now), key=lambda cut: cut[0])
        picture = covered
        if span is not None:
            first, last = round(span[0] * _FPS), min(round(span[1] * _FPS), len(clip) - 1)
            step = round((now - begins) * _FPS) % (2 * (last - first))
            picture = clip[first + min(step, 2 * (last - first) - step)]
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, _FPS)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _interleave_packets(
    out: av.container.OutputContainer, sound: list[av.Packet], pictures: Iterator[av.Packet]
) -> None:
    waiting = iter(sound)
    packet = next(waiting, None)
    for picture in pictures:
        while packet is not None and _time_of(packet) <= _time_of(picture):
            out.mux(packet)
            packet = next(waiting, None)
        out.mux(picture)
    while packet is not None:
        out.mux(packet)
        packet = next(waiting, None)


def _time_of(packet: av.Packet) -> float:
    return float((packet.dts or 0) * packet.time_base)


def main(arguments: Sequence[str] | None = None) -> int:
    """Assemble the recording unless it is there; return an exit code (core_models/errors.py)."""
    return run_cli(lambda: _run_demo(sys.argv[1:] if arguments is None else arguments))


def _run_demo(arguments: Sequence[str]) -> None:
    parser = build_parser("python -m realtime.demo", __doc__, config=False)
    parser.add_argument("file", type=Path, help="where to write it, for example .cache/demo/conversation.mkv")
    target: Path = read_options(parser, arguments).file
    if not target.exists():
        assemble(target)

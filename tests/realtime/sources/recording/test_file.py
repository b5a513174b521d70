"""Recordings of every kind as a source: sound and pictures on the recording's own clock, whatever is wrong with it."""

from __future__ import annotations

import re
import threading
import time
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soxr
from numpy.typing import NDArray
from support.collecting_sink import CollectingSink, alignment

from core_models.errors import MediaError
from realtime.sources.media import SAMPLE_RATE, AudioChunk, VideoFrame
from realtime.sources.recording.file import FileSource, read_audio
from realtime.sources.source import Sink, SourceStatus

Samples = NDArray[np.float32]
FPS = 25


@pytest.fixture(scope="module")
def speech(librivox: list[tuple[str, Samples]]) -> Samples:
    """Five seconds of it."""
    return librivox[2][1][: 5 * SAMPLE_RATE]


def write(
    path: Path,
    sound: Samples,
    *,
    rate: int = SAMPLE_RATE,
    codec: str = "pcm_s16le",
    video: str | None = None,
    frames: int | None = None,
) -> Path:
    """A recording of `sound`, [n] or [n, 2] at 16 kHz, at `rate`; with `video`, grey pictures that brighten."""
    channels = sound if sound.ndim == 2 else sound[:, None]
    at_rate = soxr.resample(channels, SAMPLE_RATE, rate, quality="VHQ").astype(np.float32)
    with av.open(str(path), "w") as out:
        audio = out.add_stream(codec, rate=rate, layout="stereo" if channels.shape[1] == 2 else "mono")
        pictures = out.add_stream(video, rate=FPS) if video else None
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 96, 64, "yuv420p"
            for number in range(len(sound) * FPS // SAMPLE_RATE if frames is None else frames):
                grey = np.full((64, 96, 3), min(255, 10 + number), np.uint8)
                out.mux(pictures.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            if frames != 0:
                out.mux(pictures.encode(None))
        for start in range(0, len(at_rate), 1_000):
            packed = np.ascontiguousarray(at_rate[start : start + 1_000].T)
            frame = av.AudioFrame.from_ndarray(packed, format="fltp", layout=audio.layout.name)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    return path


def played(source: FileSource) -> CollectingSink:
    keeper = CollectingSink()
    source.start(keeper)
    keeper.until_over()
    source.stop()
    return keeper


KINDS = [
    ("wav", "pcm_s16le", 16_000, None),
    ("wav", "pcm_u8", 8_000, None),
    ("wav", "pcm_s24le", 96_000, None),
    ("wav", "pcm_f32le", 11_025, None),
    ("flac", "flac", 44_100, None),
    ("mp3", "libmp3lame", 44_100, None),
    ("m4a", "aac", 22_050, None),
    ("ogg", "libopus", 48_000, None),
    ("webm", "libopus", 48_000, None),
    ("mp4", "aac", 48_000, "libx264"),
    ("mkv", "aac", 44_100, "mpeg4"),
    ("avi", "libmp3lame", 32_000, "mpeg4"),
]


@pytest.mark.parametrize(("suffix", "codec", "rate", "video"), KINDS, ids=[f"{s}-{c}-{r}" for s, c, r, _ in KINDS])
def test_containers(tmp_path: Path, speech: Samples, suffix: str, codec: str, rate: int, video: str | None) -> None:
    """What was recorded comes out at 16 kHz, at its time, whatever the container, the codec and the rate."""
    file = write(tmp_path / f"call.{suffix}", speech, rate=rate, codec=codec, video=video)
    keeper = played(FileSource(file, pace="fast"))
    heard = keeper.sound()
    band = soxr.resample(soxr.resample(speech, SAMPLE_RATE, 8_000), 8_000, SAMPLE_RATE)  # all that 8 kHz can carry
    correlation, late = alignment(band, heard)
    assert correlation > 0.95
    assert abs(heard.mean()) < 0.01
    assert abs(late) <= SAMPLE_RATE // 10
    assert abs(len(heard) - len(speech)) <= SAMPLE_RATE // 5
    assert all(len(c.samples) <= SAMPLE_RATE // 10 and c.samples.dtype == np.float32 for c in keeper.chunks)
    assert [s.status for s in keeper.said] == ["opened", "ended"]
    assert keeper.said[-1].detail == "The recording has ended."
    assert bool(keeper.frames) is (video is not None)


def test_stereo_is_mixed_to_its_mean(tmp_path: Path, speech: Samples) -> None:
    """Both channels of a recording count equally where they are mixed."""
    other = np.roll(speech, 12_345) * 0.3
    file = write(tmp_path / "call.wav", np.stack([speech, other], axis=1), codec="pcm_f32le")
    np.testing.assert_allclose(read_audio(file), (speech + other) / 2, atol=1e-3)


def test_channels_can_be_voices_of_their_own(tmp_path: Path, speech: Samples) -> None:
    """With `split`, each channel is delivered as a source that `channels` names, and none hears the other."""
    other = speech[::-1].copy()
    file = write(tmp_path / "call.wav", np.stack([speech, other], axis=1), codec="pcm_f32le")
    source = FileSource(file, pace="fast", split=True)
    keeper = played(source)
    left, right = (keeper.sound(channel) for channel in source.channels)
    np.testing.assert_allclose(left, speech, atol=1e-3)
    np.testing.assert_allclose(right, other, atol=1e-3)


def test_pictures_come_at_the_asked_rate_before_the_sound_of_their_time(tmp_path: Path, speech: Samples) -> None:
    """No more than `video_fps` pictures a second, each with its own time, none after sound that is later than it."""
    file = write(tmp_path / "call.mp4", speech, codec="aac", video="libx264")
    keeper = played(FileSource(file, pace="fast", video_fps=10))
    at = [frame.at_ms for frame in keeper.frames]
    assert 49 <= len(at) <= 51
    # 25 pictures a second cannot be thinned evenly to 10; over time they are.
    assert np.diff(at).min() >= 80
    brightness = [float(frame.rgb.mean()) for frame in keeper.frames]
    np.testing.assert_allclose(brightness, 10 + np.array(at) * FPS / 1000, atol=4)
    heard_to = 0.0
    for item in keeper.items:
        if isinstance(item, AudioChunk):
            heard_to = (item.start + len(item.samples)) / SAMPLE_RATE * 1000
        else:
            assert heard_to <= item.at_ms + 1
            assert item.at_ms - heard_to < 200  # nor long before it: real time must not wait for sound


def test_a_telephone_picture_is_turned_upright(tmp_path: Path, speech: Samples) -> None:
    """A video that is marked as filmed sideways is delivered upright."""
    file = write(tmp_path / "call.mp4", speech, codec="aac", video="mpeg4")
    content = bytearray(file.read_bytes())
    matrices = [at + 44 for at in range(len(content)) if content[at : at + 4] == b"tkhd"]
    clockwise = np.array([0, 0x10000, 0, -0x10000, 0, 0, 64 << 16, 0, 1 << 30], ">i4").tobytes()
    for at in matrices:
        content[at : at + 36] = clockwise
    file.write_bytes(content)
    assert played(FileSource(file, pace="fast")).frames[0].rgb.shape == (96, 64, 3)


def test_a_cover_picture_is_no_video(tmp_path: Path, speech: Samples) -> None:
    """The cover inside a music file is not shown to the face landmarker."""
    file = tmp_path / "song.mp3"
    with av.open(str(file), "w") as out:
        audio = out.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(speech[None], format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    keeper = played(FileSource(file, pace="fast"))
    assert keeper.frames == []
    assert keeper.said[-1].detail == "The recording has ended."
    assert len(keeper.sound()) > 4 * SAMPLE_RATE


def test_a_gap_in_the_timestamps_is_a_gap_in_the_sound(tmp_path: Path, speech: Samples) -> None:
    """What follows a hole in a recording keeps its time."""
    file = tmp_path / "call.mkv"
    second = speech[:SAMPLE_RATE]
    with av.open(str(file), "w") as out:
        audio = out.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        pcm = (second * 32767).astype(np.int16)
        for at in (0, 3 * SAMPLE_RATE):
            for start in range(0, SAMPLE_RATE, 4_000):
                frame = av.AudioFrame.from_ndarray(pcm[None, start : start + 4_000], format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, at + start, Fraction(1, SAMPLE_RATE)
                out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    keeper = played(FileSource(file, pace="fast"))
    heard = keeper.sound()
    quiet = np.zeros(2 * SAMPLE_RATE - 800, np.float32)
    np.testing.assert_array_equal(heard[SAMPLE_RATE + 400 : 3 * SAMPLE_RATE - 400], quiet)
    correlation, late = alignment(second, heard[2 * SAMPLE_RATE :])
    assert correlation > 0.99
    assert abs(late - SAMPLE_RATE) <= 160
    assert "2.0 s of its sound are missing" in keeper.said[-1].detail


def test_real_time_is_kept(tmp_path: Path, speech: Samples) -> None:
    """With pace "realtime" nothing is delivered before its time has come."""
    file = write(tmp_path / "call.mp4", speech[:SAMPLE_RATE], codec="aac", video="mpeg4")
    source = FileSource(file)
    early: list[float] = []
    begun = 0.0

    class Stopwatch(CollectingSink):
        def audio(self, chunk: AudioChunk) -> None:
            early.append((chunk.start + len(chunk.samples)) / SAMPLE_RATE - (time.monotonic() - begun))
            super().audio(chunk)

        def video(self, frame: VideoFrame) -> None:
            early.append(frame.at_ms / 1000 - (time.monotonic() - begun))
            super().video(frame)

    keeper = Stopwatch()
    begun = time.monotonic()
    source.start(keeper)
    keeper.until_over()
    source.stop()
    assert len(early) > 15
    assert max(early) < 0.01


def test_stop_interrupts_a_recording(tmp_path: Path, speech: Samples) -> None:
    """`stop` in the middle of a recording ends the thread; nothing comes afterwards."""
    file = write(tmp_path / "call.wav", np.tile(speech, 100))
    source, keeper = FileSource(file), CollectingSink()
    source.start(keeper)
    keeper.until(lambda: len(keeper.chunks) >= 3)
    source.stop()
    count = len(keeper.chunks)
    assert count < 100
    assert keeper.said[-1].status == "ended"
    assert not any(thread.name == source.name for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("content", "wrong"),
    [(None, "cannot be opened"), (b"", "is empty"), (b"hardly a recording " * 99, "no recording that can be read")],
    ids=["missing", "empty", "text"],
)
def test_what_is_no_recording(tmp_path: Path, content: bytes | None, wrong: str) -> None:
    """A file that is not there, empty or no media is refused in one sentence with its name."""
    file = tmp_path / "call.wav"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(MediaError, match=f"call.wav.*{wrong}") as refused:
        FileSource(file)
    assert str(refused.value).count(". ") == 0


def test_a_header_without_sound(tmp_path: Path) -> None:
    """A recording whose header promises sound of which there is none is refused when it starts."""
    file = tmp_path / "call.wav"
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
    with pytest.raises(MediaError, match="call.wav can be decoded"):
        FileSource(file).start(CollectingSink())


def test_a_video_without_sound(tmp_path: Path) -> None:
    """Pictures alone are refused in a sentence that says what is missing."""
    file = tmp_path / "call.mp4"
    with av.open(str(file), "w") as out:
        stream = out.add_stream("mpeg4", rate=FPS)
        stream.width = stream.height = 64
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        out.mux(stream.encode(None))
    with pytest.raises(MediaError, match="has no sound"):
        FileSource(file)


def test_a_video_without_frames(tmp_path: Path, speech: Samples) -> None:
    """A video stream with nothing in it costs no sound, and the end says so."""
    file = write(tmp_path / "call.mkv", speech, codec="flac", video="mpeg4", frames=0)
    keeper = played(FileSource(file, pace="fast"))
    assert alignment(speech, keeper.sound())[0] > 0.99
    assert "its video has no frames" in keeper.said[-1].detail


@pytest.mark.parametrize(("suffix", "codec"), [("ogg", "libopus"), ("flac", "flac"), ("mkv", "aac")])
def test_damage_in_the_middle(tmp_path: Path, speech: Samples, suffix: str, codec: str) -> None:
    """What can be decoded of a damaged recording is delivered at its time, and the end says that some was lost."""
    long = np.tile(speech, 6)
    file = write(tmp_path / f"call.{suffix}", long, codec=codec)
    content = bytearray(file.read_bytes())
    third = len(content) // 3
    content[third : third + len(content) // 10] = np.random.default_rng(0).bytes(len(content) // 10)
    file.write_bytes(content)
    keeper = played(FileSource(file, pace="fast"))
    heard = keeper.sound()
    assert alignment(speech, heard[: 6 * SAMPLE_RATE])[0] > 0.9
    correlation, late = alignment(speech, heard[24 * SAMPLE_RATE :])
    assert correlation > 0.9
    assert abs(late - SAMPLE_RATE) <= SAMPLE_RATE // 10
    assert keeper.said[-1].status == "ended"
    assert re.search(r"damaged pieces|s of its sound are missing", keeper.said[-1].detail)


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "aac"), ("flac", "flac")])
def test_a_recording_that_breaks_off(tmp_path: Path, speech: Samples, suffix: str, codec: str) -> None:
    """The first half of a recording is delivered, and the end says that the other half is missing."""
    file = write(tmp_path / f"call.{suffix}", np.tile(speech, 4), codec=codec)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    keeper = played(FileSource(file, pace="fast"))
    assert 8 <= len(keeper.sound()) / SAMPLE_RATE <= 12
    assert "breaks off" in keeper.said[-1].detail


def test_a_source_that_fails_says_so(tmp_path: Path, speech: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in the thread of a source, the session hears that it is over."""
    monkeypatch.setattr(threading, "excepthook", lambda thrown: None)

    class Broken(CollectingSink):
        def audio(self, chunk: AudioChunk) -> None:
            raise RuntimeError("a sink that breaks")

    keeper: Sink = Broken()
    source = FileSource(write(tmp_path / "call.wav", speech), pace="fast")
    source.start(keeper)
    assert isinstance(keeper, Broken)
    assert keeper.until_over() == SourceStatus("file", "file", "lost", "Reading call.wav failed.")
    source.stop()


def test_a_recording_that_changes_its_rate(tmp_path: Path, speech: Samples) -> None:
    """Sound that goes on at another sample rate is resampled from that rate."""
    parts = [write(tmp_path / f"{rate}.mp3", speech, rate=rate, codec="libmp3lame") for rate in (48_000, 32_000)]
    file = tmp_path / "call.mp3"
    file.write_bytes(b"".join(part.read_bytes() for part in parts))
    keeper = played(FileSource(file, pace="fast"))
    heard = keeper.sound()
    assert "missing" not in keeper.said[-1].detail
    assert alignment(speech, heard[: len(speech)])[0] > 0.95
    assert alignment(speech, heard[len(speech) :])[0] > 0.95

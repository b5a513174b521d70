"""Sound and pictures of a span: of the right length, from the right place, of the right half."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from core_models.errors import MediaError
from train.corpora.dialogues import Utterance
from train.corpora.meld import read_meld
from train.extraction.face_extractor import pictures_of
from train.media.decoding import frames_of, samples_of
from train.media.utterance_audio import read_sound

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"


def write_film(path: Path, seconds: int = 4, rate: int = 44_100, sound: bool = True) -> Path:
    """A film of 25 pictures a second: its left half grows brighter, its right half darker; a tone that grows louder."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt, video.gop_size = 128, 96, "yuv420p", 25
        video.bit_rate = 2_000_000
        audio = container.add_stream("aac" if path.suffix == ".mp4" else "pcm_s16le", rate=rate) if sound else None
        for number in range(25 * seconds):
            picture = np.zeros((96, 128, 3), np.uint8)
            picture[:, :64], picture[:, 64:] = 50 + 2 * number, 250 - 2 * number
            for packet in video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in video.encode():
            container.mux(packet)
        if audio is not None:
            t = np.arange(rate * seconds) / rate
            tone = 0.2 * t * np.sin(2 * np.pi * 440 * t)
            stereo = np.ascontiguousarray(np.stack([tone, np.zeros_like(tone)]).astype(np.float32))
            for start in range(0, len(t), 1024):
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(stereo[:, start : start + 1024]), format="fltp", layout="stereo"
                )
                frame.rate, frame.pts = rate, start
                for packet in audio.encode(frame):
                    container.mux(packet)
            for packet in audio.encode():
                container.mux(packet)
    return path


@pytest.mark.parametrize("name", ["film.mp4", "film.avi"])
@pytest.mark.parametrize("span", [None, (1000, 2500), (2000, 9000)])
def test_sound_of_a_span_is_from_its_place(tmp_path: Path, name: str, span: tuple[int, int] | None) -> None:
    """The loudness of each tenth of a second is that of its own time in the film, in the middle of the channels."""
    samples, rate = samples_of(write_film(tmp_path / name), span)
    start, end = span or (0, 4000)
    end = min(end, 4000)
    assert abs(len(samples) - (end - start) * rate / 1000) < 0.05 * rate
    tenths = samples[: len(samples) // (rate // 10) * (rate // 10)].reshape(-1, rate // 10)[: (end - start) // 100]
    heard = np.sqrt(2 * (tenths**2).mean(axis=1))
    expected = 0.1 * (start / 1000 + 0.05 + 0.1 * np.arange(len(tenths)))
    np.testing.assert_allclose(heard[1:-1], expected[1:-1], atol=0.02)


@pytest.mark.parametrize("name", ["film.mp4", "film.avi"])
@pytest.mark.parametrize("span", [None, (1000, 2500)])
def test_pictures_of_a_span_are_five_a_second(tmp_path: Path, name: str, span: tuple[int, int] | None) -> None:
    """Pictures are 200 ms apart and show what the film shows at their time."""
    frames = list(frames_of(write_film(tmp_path / name), span, 5))
    start, end = span or (0, 4000)
    times = np.arange(start, end, 200) / 1000
    assert len(frames) == len(times)
    left = np.array([frame[40:56, 16:48].mean() for frame in frames])
    np.testing.assert_allclose(left, 50 + 50 * times, atol=6)


def test_speaker_is_seen_in_their_half(tmp_path: Path) -> None:
    """The left half of the picture grows brighter and the right one darker, each 64 wide."""
    film = write_film(tmp_path / "film.avi", sound=False)
    for half, sign in (("left", 1), ("right", -1)):
        frames = list(pictures_of(Utterance("x", "F", video=film, video_half=half)))  # type: ignore[arg-type]
        assert frames[0].shape == (96, 64, 3)
        assert sign * (float(frames[-1].mean()) - float(frames[0].mean())) > 100


def test_what_cannot_be_decoded_is_a_media_error(tmp_path: Path) -> None:
    """A file that is no film, a film without sound, and a span behind its end are named."""
    (tmp_path / "no.mp4").write_bytes(b"no film")
    with pytest.raises(MediaError, match=r"no\.mp4 cannot be decoded"):
        samples_of(tmp_path / "no.mp4", None)
    with pytest.raises(MediaError, match=r"no\.mp4 cannot be decoded"):
        list(frames_of(tmp_path / "no.mp4", None, 5))
    silent = write_film(tmp_path / "silent.avi", sound=False)
    with pytest.raises(MediaError, match="holds no sound"):
        samples_of(silent, None)
    film = write_film(tmp_path / "film.avi")
    with pytest.raises(MediaError, match="no usable sound"):
        read_sound(Utterance("x", "F", audio=film, audio_span=(8000, 9000)))


def test_meld_lines_have_the_film_that_is_theirs(tmp_path: Path) -> None:
    """A line has sound and picture of its own mp4 where it is on disk; its times stay the episode's."""
    row = '1,Hm.,Ann,anger,negative,4,{},8,21,"00:16:21,940","00:16:23,442"'
    (tmp_path / "dev_sent_emo.csv").write_text("\n".join([HEADER, row.format(1), row.format(2)]))
    films = tmp_path / "dev_splits_complete"
    films.mkdir()
    path = write_film(films / "dia4_utt2.mp4", seconds=1)
    without, having = read_meld(tmp_path, "dev").utterances()
    assert (without.audio, without.video) == (None, None)
    assert (having.audio, having.video, having.audio_span, having.start_ms) == (path, path, None, 981_940)
    assert abs(len(read_sound(having)) - 16_000) < 800
    assert len(list(pictures_of(having))) == 5

"""What a recording really holds: all its tracks, channels that cancel, headers that lie, PCM without one, pipes."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.collecting_sink import CollectingSink

from core_models.errors import Exit, MediaError, UsageError
from realtime.sources.media import SAMPLE_RATE
from realtime.sources.recording.file import FileSource, read_audio
from realtime.sources.recording.raw_pcm import RawFormat, parse_raw_format
from realtime.sources.recording.tracks import TrackMixer
from realtime.sources.recording.wav_repair import JoinedBytes

Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def speech(librivox: list[tuple[str, Samples]]) -> Samples:
    """Four seconds of it."""
    return librivox[2][1][: 4 * SAMPLE_RATE]


def write(path: Path, sound: Samples, subtype: str = "PCM_16") -> Path:
    soundfile.write(str(path), sound, SAMPLE_RATE, subtype=subtype, format="WAV")
    return path


def mux(path: Path, tracks: Sequence[Samples], codec: str = "flac") -> Path:
    """A film without pictures, its tracks interleaved by time."""
    with av.open(str(path), "w") as out:
        streams = [out.add_stream(codec, rate=SAMPLE_RATE, layout="mono") for _ in tracks]
        packets = []
        for stream, samples in zip(streams, tracks, strict=True):
            frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, 0
            context = stream.codec_context
            shaped = av.AudioResampler(context.format.name, "mono", SAMPLE_RATE, context.frame_size or 1024)
            for part in [*shaped.resample(frame), *shaped.resample(None)]:
                packets += stream.encode(part)
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            out.mux(packet)
    return path


def played(source: FileSource) -> tuple[dict[str, Samples], str]:
    """The sound of each voice, and the last sentence."""
    sink = CollectingSink()
    source.start(sink)
    end = sink.until_over()
    source.stop()
    voices = {name: np.zeros(0, np.float32) for name in source.channels}
    for chunk in sink.chunks:
        voices[chunk.source] = np.concatenate([voices[chunk.source], chunk.samples])
    return voices, end.detail


def heard(path: Path, **options: bool) -> tuple[dict[str, Samples], str]:
    return played(FileSource(path, pace="fast", **options))  # type: ignore[arg-type]


def similar(one: Samples, other: Samples) -> bool:
    count = min(len(one), len(other))
    return count > 0.95 * max(len(one), len(other)) and np.corrcoef(one[:count], other[:count])[0, 1] > 0.98


def test_a_silent_first_track_does_not_hide_the_second(speech: Samples, tmp_path: Path) -> None:
    """What a screen recorder kept of an empty desktop is named, and the microphone is heard."""
    voices, said = heard(mux(tmp_path / "call.mkv", [0 * speech, speech]))
    assert similar(voices["file"], speech)
    assert "track 1 is silent" in said


def test_two_audible_tracks_are_mixed_or_sides(speech: Samples, tmp_path: Path) -> None:
    """Both are heard: added up, with a sentence that names the option, or each as a voice of its own."""
    other = np.roll(speech[::-1], 100)
    path = mux(tmp_path / "call.mkv", [speech, other])
    voices, said = heard(path)
    assert similar(voices["file"], speech + other)
    assert "tracks 1 and 2 were mixed" in said
    assert "--tracks split" in said
    voices, _ = heard(path, split_tracks=True)
    assert list(voices) == ["file.1", "file.2"]
    assert similar(voices["file.1"], speech)
    assert similar(voices["file.2"], other)


def unknown_codec(path: Path) -> Path:
    """A QuickTime file whose first sound is of a kind that says nothing to the decoder, as Apple's apac is."""
    whole = path.read_bytes()
    at = whole.find(b"mp4a", whole.find(b"stsd"))
    esds = whole.find(b"esds", at)
    path.write_bytes(whole[:at] + b"apac" + whole[at + 4 : esds] + b"xxxx" + whole[esds + 4 :])
    return path


def test_a_track_that_nobody_decodes_is_named_and_the_other_heard(speech: Samples, tmp_path: Path) -> None:
    """A newer telephone's spatial sound is left out with a sentence; alone, it is exit 4 with what to do."""
    voices, said = heard(unknown_codec(mux(tmp_path / "film.mov", [0.5 * speech, speech], "aac")))
    assert len(voices["file"]) > 0.9 * len(speech)
    assert "track 1 is in a codec that cannot be decoded" in said
    alone = unknown_codec(mux(tmp_path / "alone.mov", [speech], "aac"))
    with pytest.raises(MediaError, match="AAC") as refused:
        FileSource(alone)
    assert refused.value.exit_code == Exit.MEDIA


def test_opposite_channels_do_not_cancel(speech: Samples, tmp_path: Path) -> None:
    """A cable that was wired the wrong way round costs nothing, and is mentioned; usual stereo is not."""
    stereo = np.stack([speech, -0.98 * speech], axis=1)
    voices, said = heard(write(tmp_path / "call.wav", stereo))
    assert np.std(voices["file"]) > 0.9 * np.std(speech)
    assert "opposite phase" in said
    stereo[:, 1] = np.roll(speech, 4_000)
    assert "phase" not in heard(write(tmp_path / "usual.wav", stereo))[1]


def test_one_microphone_on_both_channels_is_mentioned(speech: Samples, tmp_path: Path) -> None:
    """Split into sides, the same sound twice is said to be that; two sides are not."""
    assert "the same sound" in heard(write(tmp_path / "a.wav", np.stack([speech, speech], axis=1)), split=True)[1]
    sides = np.stack([speech, np.roll(speech, 4_000)], axis=1)
    assert "the same sound" not in heard(write(tmp_path / "b.wav", sides), split=True)[1]


def test_integers_that_were_stored_as_floats_are_scaled(speech: Samples, tmp_path: Path) -> None:
    """A float file of 16-bit numbers is as loud as its sound; one that is a little over full scale stays as it is."""
    voices, said = heard(write(tmp_path / "call.wav", speech * 32767, "FLOAT"))
    assert np.abs(voices["file"]).max() == pytest.approx(np.abs(speech).max(), rel=0.05)
    assert "scaled" in said
    hot = speech * (1.5 / np.abs(speech).max())
    voices, said = heard(write(tmp_path / "hot.wav", hot, "FLOAT"))
    assert np.abs(voices["file"]).max() == pytest.approx(1.5, rel=0.05)
    assert "scaled" not in said


@settings(max_examples=25, deadline=None)
@given(stated=st.one_of(st.just(0), st.integers(2, 60_000).map(lambda n: 2 * n), st.just(2**32 - 1)))
def test_whatever_length_a_header_states_all_is_heard(
    speech: Samples, tmp_path_factory: pytest.TempPathFactory, stated: int
) -> None:
    """Too short, zero or the greatest there is: a WAV is read to the end of the file, to the sample."""
    path = write(tmp_path_factory.mktemp("lies") / "call.wav", speech[:SAMPLE_RATE])
    whole = read_audio(path)
    lying = bytearray(path.read_bytes())
    lying[40:44] = struct.pack("<I", stated)
    path.write_bytes(lying)
    np.testing.assert_allclose(read_audio(path), whole, atol=1e-4)


def test_what_follows_the_sound_of_a_whole_file_is_not_heard(speech: Samples, tmp_path: Path) -> None:
    """A chunk of remarks behind the sound stays what it is, and nothing is said of the header."""
    path = write(tmp_path / "call.wav", speech)
    whole = path.read_bytes()
    path.write_bytes(whole + b"LIST" + struct.pack("<I", 4_000) + b"INFO" + bytes(3_996))
    voices, said = heard(path)
    assert len(voices["file"]) == len(speech)
    assert said == "The recording has ended."


def test_wav_files_put_together_are_heard_one_after_another(speech: Samples, tmp_path: Path) -> None:
    """The second one's header is no noise between them; one of another format is left out with a sentence."""
    halves = [write(tmp_path / f"{n}.wav", part).read_bytes() for n, part in enumerate(np.split(speech, 2))]
    (tmp_path / "call.wav").write_bytes(b"".join(halves))
    voices, said = heard(tmp_path / "call.wav")
    np.testing.assert_allclose(voices["file"], speech, atol=1e-3)
    assert "one after another" in said
    other = write(tmp_path / "float.wav", speech, "FLOAT").read_bytes()
    (tmp_path / "mixed.wav").write_bytes(halves[0] + other)
    voices, said = heard(tmp_path / "mixed.wav")
    assert len(voices["file"]) == len(speech) // 2
    assert "another format" in said


@pytest.mark.parametrize(("encoding", "dtype"), [("s16le", "<i2"), ("f32le", "<f4"), ("s16be", ">i2")])
def test_headerless_pcm_is_read_as_it_is_said_to_be(
    speech: Samples, tmp_path: Path, encoding: str, dtype: str
) -> None:
    """Without the option the sentence names it; with it the sound is there, from one or two channels."""
    scale = 1.0 if dtype.endswith("f4") else 32767.0
    path = tmp_path / "call.raw"
    path.write_bytes((speech * scale).astype(dtype).tobytes())
    with pytest.raises(MediaError, match="--raw-format s16le:16000:1"):
        FileSource(path)
    voices, _ = played(FileSource(path, pace="fast", raw=RawFormat(encoding, SAMPLE_RATE, 1)))
    np.testing.assert_allclose(voices["file"], speech, atol=1e-3)
    path.write_bytes((np.stack([speech, speech], axis=1) * scale).astype(dtype).tobytes())
    voices, _ = played(FileSource(path, pace="fast", raw=RawFormat(encoding, SAMPLE_RATE, 2), split=True))
    assert list(voices) == ["file.1", "file.2"]


@pytest.mark.parametrize("text", ["", "s16le", "s16le:16000", "mp3:16000:1", "s16le:0:1", "s16le:16000:0", "s16le:a:1"])
def test_a_raw_format_that_is_none_is_refused(text: str) -> None:
    """What is missing is named, with an example."""
    with pytest.raises(UsageError, match="s16le:16000:1"):
        parse_raw_format(text)
    assert parse_raw_format("s16le:8000:2") == RawFormat("s16le", 8_000, 2)


def test_a_colon_in_a_name_is_no_protocol(speech: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that is named by the clock is opened from its own folder."""
    write(tmp_path / "12:30.wav", speech)
    monkeypatch.chdir(tmp_path)
    assert len(read_audio(Path("12:30.wav"))) == len(speech)


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_pipe_is_read_once_from_its_start(speech: Samples, tmp_path: Path, name: str) -> None:
    """Standard input, under either name, gives the same sound as the file."""
    path = write(tmp_path / "call.wav", speech)
    program = (
        "from pathlib import Path\n"
        "from support.collecting_sink import CollectingSink\n"
        "from realtime.sources.recording.file import FileSource\n"
        f"source, sink = FileSource(Path({name!r}), pace='fast'), CollectingSink()\n"
        "source.start(sink)\n"
        "sink.until_over()\n"
        "print(len(sink.sound()))\n"
    )
    root = Path(__file__).resolve().parents[4]
    ran = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE).stdout,
        env={"PYTHONPATH": f"{root}:{root / 'tests'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.strip() == str(len(speech)), ran.stderr


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.booleans(), st.integers(1, 5_000)), min_size=1, max_size=20),
    late=st.integers(0, 3_000),
)
def test_the_mix_is_the_sum_whatever_the_interleaving(lengths: list[tuple[bool, int]], late: int) -> None:
    """Two tracks in pieces of any size, in any order within two seconds, add up sample by sample."""
    at = {False: 0, True: late}
    whole = np.zeros((200_000, 1), np.float32)
    mixer, out = TrackMixer([0, 1], 1), np.zeros((200_000, 1), np.float32)
    taken = []
    for track, count in lengths:
        if at[track] - at[not track] > 20_000:
            continue
        piece = np.full((count, 1), 1.0 + track, np.float32)
        whole[at[track] : at[track] + count] += piece
        taken += list(mixer.add(int(track), (at[track], piece)))
        at[track] += count
    for start, samples in [*taken, *mixer.flush()]:
        out[start : start + len(samples)] = samples
    np.testing.assert_array_equal(out, whole)


def test_a_joined_file_reads_like_one(tmp_path: Path) -> None:
    """Seeking and reading over the borders gives the bytes that the parts hold."""
    path = tmp_path / "parts"
    path.write_bytes(bytes(range(200)))
    expected = b"head" + bytes(range(10, 60)) + bytes(range(100, 150))
    with JoinedBytes(path, [b"head", (10, 50), (100, 50)]) as joined:
        assert joined.read() == expected
        for start, count in ((0, 3), (2, 10), (50, 30), (100, 100)):
            joined.seek(start)
            assert joined.read(count) == expected[start : start + count]
        assert joined.seek(-4, io.SEEK_END) == len(expected) - 4

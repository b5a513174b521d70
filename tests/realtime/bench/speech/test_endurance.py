"""`bench endurance` and `bench restraint`: what is counted, on real sound through the real pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from realtime.bench.speech.endurance import measure_recall
from realtime.bench.suite import main
from realtime.bench.workloads.audio_player import BLOCK, AudioPlayer
from realtime.bench.workloads.speech_clips import Turn
from realtime.sources.media import AudioChunk
from realtime.sources.source import SourceStatus


def test_recall_is_the_share_of_what_is_said_that_is_heard() -> None:
    """Two of three seconds between the two moments lie in an utterance, whatever lies outside of them."""
    turns = [Turn(0, 2000), Turn(5000, 7000)]
    heard = [(-500.0, 1000.0), (5500.0, 9000.0)]
    assert measure_recall(turns, heard, 0, 6000) == pytest.approx((1000 + 500) / 3000)
    assert np.isnan(measure_recall(turns, heard, 2000, 5000))


class Taken:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.chunks: list[AudioChunk] = []
        self.told: list[SourceStatus] = []

    def audio(self, chunk: AudioChunk) -> None:
        self.chunks.append(chunk)

    def video(self, frame: object) -> None:
        raise AssertionError("there are no pictures")

    def status(self, status: SourceStatus) -> None:
        self.told.append(status)


def test_every_sample_is_played_once_and_in_order() -> None:
    """Pieces that are no multiple of a block come through whole, their positions contiguous, and then the end."""
    pieces = [np.arange(n, dtype=np.float32) for n in (BLOCK + 7, 3, 0, 5 * BLOCK)]
    source, sink = AudioPlayer(pieces, pace=False), Taken()
    source._play_samples(sink)
    assert np.array_equal(np.concatenate([c.samples for c in sink.chunks]), np.concatenate(pieces))
    starts = np.cumsum([0] + [len(c.samples) for c in sink.chunks])
    assert [c.start for c in sink.chunks] == starts[:-1].tolist()
    assert source.samples == starts[-1]
    assert [s.status for s in sink.told] == ["ended"]


@pytest.mark.weights
def test_noise_is_told_to_feel_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The demonstration's first seconds are judged, and of noise and silence no strong emotion is told."""
    given = ["restraint", f"--sounds=[{tmp_path}]", "--noise-minutes=0.5", "--minutes=0.2", "--threads=1", "--json"]
    assert main(given) == 4
    assert "holds no recording" in capsys.readouterr().err
    scene = Path(__file__).parents[4] / "realtime" / "demo" / "conversation.ogg"
    assert main([*given[:1], f"--sounds=[{scene}]", *given[2:]]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sounds"][str(scene)]["finals"] > 5
    assert {kind: found["sounds"][kind]["strong"] for kind in ("white noise", "pink noise", "silence")} == {
        "white noise": 0,
        "pink noise": 0,
        "silence": 0,
    }

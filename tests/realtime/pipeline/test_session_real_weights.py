"""The live pipeline with real weights: what runs beside the finals changes nothing in them."""

from __future__ import annotations

import itertools
import threading
import time

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from realtime.dialogue.provisional import Provisional
from realtime.dialogue.tracker import Tracker
from realtime.perception.transcriber import Transcript
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.models import LoadedModels, load_models
from realtime.pipeline.session import Session
from realtime.protocol import events
from realtime.segmentation.endpointing import Endpointing
from realtime.sources.media import SAMPLE_RATE, AudioChunk
from realtime.sources.source import Sink, SourceStatus

pytestmark = pytest.mark.weights

Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def models() -> LoadedModels:
    return load_models("default", device="cpu")


@pytest.fixture(scope="module")
def stream(librivox: list[tuple[str, Samples]]) -> Samples:
    """Four turns of 1.5 to 3 s with pauses between them, one of them with a pause inside."""
    quiet = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32) * 2.5e-4
    a, b = librivox[1][1], librivox[4][1]
    inside = np.concatenate([a[: 3 * SAMPLE_RATE // 2], quiet[: SAMPLE_RATE // 4], b[: 2 * SAMPLE_RATE]])
    parts = [a[: 2 * SAMPLE_RATE], inside, b, a]
    return np.concatenate([quiet, *itertools.chain.from_iterable((part, quiet) for part in parts)])


class Player:
    """Plays samples from a thread, `speed` times as fast as they were spoken."""

    name, kind, detail, has_audio = "player", "player", "", True

    def __init__(self, samples: Samples, speed: float) -> None:
        self._samples, self._speed = samples, speed
        self._stopped = threading.Event()

    def start(self, sink: Sink) -> None:
        self._thread = threading.Thread(target=self._play, args=(sink,))
        self._thread.start()

    def _play(self, sink: Sink) -> None:
        begun = time.monotonic()
        for start in range(0, len(self._samples), 480):
            piece = self._samples[start : start + 480]
            due = begun + (start + len(piece)) / SAMPLE_RATE / self._speed
            self._stopped.wait(max(0.0, due - time.monotonic()))
            sink.audio(AudioChunk(self.name, start, piece))
        sink.status(SourceStatus(self.name, self.kind, "ended"))

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


class Slow(FeatureExtractor):
    """A real Whisper that takes `factor` seconds more for each second of speech."""

    factor = 0.0

    def transcribe(self, samples: Samples) -> Transcript:
        time.sleep(self.factor * len(samples) / SAMPLE_RATE)
        return super().transcribe(samples)


def follow(
    models: LoadedModels,
    samples: Samples,
    *,
    speed: float,
    provisional: int = 0,
    speculate: bool = True,
    live: bool = False,
    factor: float = 0.0,
) -> tuple[list[events.Logged], Session]:
    told: list[events.Logged] = []
    perceiver = Slow(models.transcriber("en"), models.voice, models.text, None)
    perceiver.factor = factor
    session = Session(
        [Player(samples, speed)],
        perceiver,
        Tracker(models.checkpoint),
        told.append,
        endpointing=Endpointing(),
        speakers={"player": "anna"},
        camera_speaker=None,
        lossless=not live,
        provisional=Provisional(every_ms=provisional, first_ms=500),
        speculate=speculate,
    )
    session.run()
    return told, session


def finals(told: list[events.Logged]) -> list[events.EmotionFinal]:
    return [e for e in told if isinstance(e, events.EmotionFinal)]


def test_looks_and_speculation_change_no_final(models: LoadedModels, stream: Samples) -> None:
    """Finals are the same to the last bit with provisional results and with neither them nor speculation."""
    plain, _ = follow(models, stream, speed=100, speculate=False)
    looking, session = follow(models, stream, speed=6, provisional=300)
    assert len(finals(plain)) == 4
    assert session.summary.provisional
    nothing = finals(plain)[0].latency_ms
    with_looks, without = (
        [msgspec.structs.replace(e, revision=1, latency_ms=nothing) for e in finals(told)] for told in (looking, plain)
    )
    assert with_looks == without


def test_looks_come_before_their_final_with_rising_revisions(models: LoadedModels, stream: Samples) -> None:
    """`emotion.provisional` carries the id of its utterance, revisions rise by one, and the final has the last."""
    told, _ = follow(models, stream, speed=4, provisional=300)
    for final in finals(told):
        looks = [e for e in told if isinstance(e, events.EmotionProvisional) and e.utterance_id == final.utterance_id]
        assert [e.revision for e in [*looks, final]] == list(range(1, len(looks) + 2))
        assert all(told.index(e) < told.index(final) for e in looks)
        for look in looks:
            assert look.confidence == max(look.probabilities.values())
            assert sum(look.probabilities.values()) == pytest.approx(1)
            assert look.end_ms <= final.end_ms


def test_a_slow_transcriber_delays_finals_and_loses_none(models: LoadedModels, stream: Samples) -> None:
    """Five times too slow: what is shed is said at once, finals are late but all arrive, and recovery is said."""
    expected = [e.text for e in finals(follow(models, stream, speed=100, speculate=False)[0])]
    rest = np.zeros(40 * SAMPLE_RATE, np.float32)
    told, session = follow(
        models, np.concatenate([stream, rest]), speed=8, provisional=300, live=True, factor=5 / 8
    )
    assert [e.text for e in finals(told)] == expected
    degraded = [e for e in told if isinstance(e, events.StreamDegraded)]
    assert [(e.what, e.recovered) for e in degraded] == [("provisional", False), ("provisional", True)]
    assert told.index(degraded[0]) < told.index(finals(told)[-2])
    assert session.overload.lag_ms < 500

"""A session says what it did not hear, why that is likely and what to do; and nothing where it heard all."""

from __future__ import annotations

import re

import numpy as np
import pytest

from realtime.pipeline.sound_watch import SoundWatch
from realtime.protocol import events
from realtime.sources.media import SAMPLE_RATE, AudioChunk


def watched(*parts: tuple[float, float], sources: tuple[str, ...] = ("file",)) -> SoundWatch:
    """A watch over the first of `sources` that gave noise of each (seconds, amplitude); minus infinity: no chunks."""
    watch, at, random = SoundWatch([*sources]), 0, np.random.default_rng(0)
    for seconds, amplitude in parts:
        count = int(seconds * SAMPLE_RATE)
        if amplitude >= 0:
            for start in range(0, count, 1_600):
                samples = (amplitude * random.uniform(-1, 1, min(1_600, count - start))).astype(np.float32)
                watch.observe_chunk(AudioChunk(sources[0], at + start, samples + np.float32(0.1)))
        at += count
    return watch


def final(end_ms: int, status: str = "ok", language: str = "en") -> events.EmotionFinal:
    return events.EmotionFinal(
        utterance_id="u1",
        revision=1,
        speaker="speaker1",
        start_ms=end_ms - 1_000,
        end_ms=end_ms,
        text="Yes.",
        language=language,
        emotion="neutral",
        confidence=1.0,
        probabilities={"neutral": 1.0},
        modalities={"text": events.Modality(status=status)},
        latency_ms=events.Latency(endpoint=400, queue=0, asr=1, features=1, fusion=1, total=403),
    )


@pytest.mark.parametrize(
    ("parts", "utterances", "expected"),
    [
        ([], 0, "no sound arrived"),
        ([(30, 0.0)], 0, "digital silence from start to end"),
        ([(10, 0.1), (60, 0.0)], 3, "after 0:10.*digital silence"),
        ([(30, 0.0003)], 0, "too soft"),
        ([(30, 0.1)], 0, "No speech was heard in file, though there was sound"),
        ([(30, 0.1)], 2, "No speech was heard in file after 0:05"),
        ([(20, 0.1), (2, -np.inf), (5, 0.1)], 3, "2.0 s of the sound of file are missing"),
    ],
    ids=["nothing came", "silence", "died", "soft", "no speech", "speech at first only", "dropout"],
)
def test_what_was_not_heard_is_said(parts: list[tuple[float, float]], utterances: int, expected: str) -> None:
    """Nothing, nothing from some moment on, or more than a second lost: a sentence with the likely reason."""
    watch = watched(*parts)
    if utterances:
        watch.observe_event(final(5_000 if expected.endswith("0:05") else 9_000 if "0:10" in expected else 26_000))
    (sentence,) = watch.report(utterances)
    assert re.search(expected, sentence), sentence


def test_a_session_that_heard_all_says_nothing() -> None:
    """Half a second that went missing, a pause at the end and a short trial are no reason to speak."""
    watch = watched((20, 0.1), (0.5, -np.inf), (10, 0.1), (4, 0.0))
    watch.observe_event(final(29_000))
    assert watch.report(5) == []
    assert watched((2, 0.0)).report(0) == []


def test_a_side_that_only_listens_is_no_fault() -> None:
    """Of two sides, one that has sound and says nothing is not mentioned; one that is dead is."""
    watch = watched((30, 0.1), sources=("file.1", "file.2"))
    (sentence,) = watch.report(0)
    assert "file.2" in sentence


def test_words_that_could_not_be_judged_are_counted() -> None:
    """Utterances in a language that the model does not know are named with it."""
    watch = watched((10, 0.1))
    watch.observe_event(final(8_000, "unsupported_language", "fr"))
    watch.observe_event(final(9_000))
    (sentence,) = watch.report(2)
    assert "1 utterances" in sentence
    assert "(fr)" in sentence

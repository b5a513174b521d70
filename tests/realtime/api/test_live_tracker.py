"""`Tracker` follows sound and pictures that a program hands over, as the feed would."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from core_models.errors import MediaError, UsageError
from realtime import Tracker
from realtime.protocol import events

CLIP = Path(__file__).resolve().parents[2] / "data" / "librivox" / "sense_and_sensibility_01_0880.flac"


@pytest.fixture(scope="module")
def sentence() -> NDArray[np.float32]:
    """Somebody reads a sentence, 16 kHz."""
    return soundfile.read(CLIP, dtype="float32")[0]


def finals(told: list[events.Logged]) -> list[events.EmotionFinal]:
    return [event for event in told if isinstance(event, events.EmotionFinal)]


@pytest.mark.weights
def test_two_speakers_in_turn(sentence: NDArray[np.float32]) -> None:
    """Each speaker's sound has its own rate, form and time; both are judged in one dialogue, and nothing is lost."""
    later_ms = len(sentence) // 16 + 1500
    with Tracker(speakers=["anna", "ben"], language="en") as tracker:
        for start in range(0, len(sentence), 1600):
            tracker.feed(sentence[start : start + 1600], 16_000, speaker="anna")
        stereo = np.stack([sentence, sentence], axis=1).repeat(2, axis=0)
        tracker.feed((stereo * 32767).astype(np.int16), 32_000, speaker="ben", at_ms=later_ms)
    told = list(tracker)
    assert isinstance(told[0], events.SessionCreated)
    assert isinstance(told[-1], events.SessionClosed)
    assert told[-1].reason == "ended"
    assert [event.seq for event in told] == list(range(1, len(told) + 1))
    first, second = finals(told)
    assert (first.speaker, second.speaker) == ("anna", "ben")
    assert "young man" in (first.text or "")
    assert first.text == second.text
    assert abs(second.start_ms - first.start_ms - later_ms) < 100
    assert list(tracker) == []


@pytest.mark.weights
def test_trackers_share_models_and_run_side_by_side(sentence: NDArray[np.float32]) -> None:
    """Two conversations at once, by callback and by event loop, each hear their own words alone."""
    called: list[events.Logged] = []

    async def follow() -> list[events.Logged]:
        async with Tracker(language="en") as tracker:
            with Tracker(language="en", on_event=called.append) as other:
                other.feed(sentence, 16_000)
                await asyncio.to_thread(tracker.feed, sentence[: len(sentence) // 2], 16_000)
            closing = asyncio.create_task(asyncio.to_thread(tracker.close))
            told = [event async for event in tracker]
            await closing
            return told

    told = asyncio.run(follow())
    assert isinstance(told[-1], events.SessionClosed)
    assert isinstance(called[-1], events.SessionClosed)
    assert told[0].session != called[0].session
    assert "young man" in (finals(called)[0].text or "")
    assert "young man" not in (finals(told)[0].text or "")


@pytest.mark.weights
def test_pictures_without_a_face_are_said_to_be_so(sentence: NDArray[np.float32]) -> None:
    """Pictures reach the face track, at the time of the sound that was fed."""
    with Tracker(language="en") as tracker:
        for start in range(0, len(sentence), 3200):
            tracker.feed_frame(np.zeros((120, 160, 3), np.uint8))
            tracker.feed(sentence[start : start + 3200], 16_000)
    (judged,) = finals(list(tracker))
    assert judged.modalities["face"].status == "absent"
    assert judged.modalities["voice"].status == "ok"


@pytest.mark.weights
def test_what_is_no_sound_is_refused_and_the_rest_is_heard(sentence: NDArray[np.float32]) -> None:
    """A wrong array, rate, picture or name is one sentence, and the conversation goes on."""
    with Tracker(language="en") as tracker:
        for samples, rate in ((np.zeros((2, 2, 2)), 16_000), (np.zeros(9, complex), 16_000), (np.zeros(9), 0)):
            with pytest.raises(MediaError):
                tracker.feed(samples, rate)
        with pytest.raises(MediaError, match="RGB"):
            tracker.feed_frame(np.zeros((4, 4), np.uint8))
        with pytest.raises(UsageError, match="none of the speakers"):
            tracker.feed(sentence, 16_000, speaker="nobody")
        tracker.feed(sentence, 16_000)
    assert len(finals(list(tracker))) == 1
    with pytest.raises(UsageError, match="one conversation"):
        tracker.open()


def test_names_are_checked_first() -> None:
    """Nobody, twice the same person, and a camera on a stranger are refused before any model loads."""
    for speakers in ([], ["anna", "anna"]):
        with pytest.raises(UsageError):
            Tracker(speakers=speakers)
    with pytest.raises(UsageError, match="camera"):
        Tracker(speakers=["anna"], camera_speaker="ben")
    with pytest.raises(UsageError, match="opened"):
        Tracker().feed(np.zeros(10), 16_000)

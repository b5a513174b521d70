"""Input that used to come out as long utterances of two people, made again from the demonstration."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.features.audio.campplus import SpeakerVector
from core_models.segmentation.speaker_segmentation import SpeakerSegmentation
from realtime.diarization.speaker_clustering import SpeakerClustering
from realtime.diarization.streaming_diarizer import StreamingDiarizer
from realtime.diarization.turn_segmenter import TurnSegmenter
from realtime.segmentation.endpointing import Endpointing
from realtime.segmentation.segments import Utterance
from realtime.sources.media import AudioChunk
from realtime.sources.recording.file import read_audio

REPOSITORY = Path(__file__).resolve().parents[3]
DEMO = REPOSITORY / "realtime" / "demo"
RATE = 16_000

Sound = NDArray[np.float32]
Times = list[tuple[str, float, float]]

pytestmark = pytest.mark.weights


def trimmed(samples: Sound) -> Sound:
    """At one level, without the silence at both ends."""
    power = (samples[: len(samples) // 160 * 160].reshape(-1, 160) ** 2).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10**-3.5)
    samples = samples[max(0, loud[0] - 3) * 160 : (loud[-1] + 4) * 160]
    return (samples * 0.063 / np.sqrt((samples**2).mean())).astype(np.float32)


def laid_out(numbers: range, gap_s: float) -> tuple[Sound, Times]:
    """Lines of the demonstration on one channel, each `gap_s` after the one before, and who speaks when."""
    lines = json.loads((DEMO / "conversation.json").read_text(encoding="utf-8"))
    both = read_audio(DEMO / "conversation.ogg")
    whole, times, at = np.zeros(60 * RATE, np.float32), list[tuple[str, float, float]](), 1.0
    for line in (lines[number] for number in numbers):
        sound = trimmed(both[line["start_ms"] * 16 : line["end_ms"] * 16])
        start = round(at * RATE)
        whole[start : start + len(sound)] += sound
        times.append((line["speaker"], at, at + len(sound) / RATE))
        at = times[-1][2] + gap_s
    return with_room(whole[: round((times[-1][2] + 1.5) * RATE)]), times


def with_room(samples: Sound) -> Sound:
    noise = np.random.default_rng(1).standard_normal(len(samples))
    return (samples + noise * 10**-3.5).astype(np.float32)


def find_turns(samples: Sound) -> list[Utterance]:
    diarizer = StreamingDiarizer(
        SpeakerSegmentation(model_folder("pyannote-segmentation")),
        SpeakerVector(model_folder("campplus")),
        SpeakerClustering(),
    )
    segmenter = TurnSegmenter("m", Endpointing(), diarizer)
    segments = [*segmenter.feed(AudioChunk("m", 0, samples)), *segmenter.flush()]
    return [segment for segment in segments if isinstance(segment, Utterance)]


def shares(one: Utterance, times: Times) -> dict[str, float]:
    """Seconds that each person has alone in an utterance."""
    grid = np.arange(one.start_ms / 1000, one.end_ms / 1000, 0.01)
    people = {who: np.zeros(len(grid), bool) for who, _, _ in times}
    for who, start, end in times:
        people[who] |= (grid >= start) & (grid < end)
    single = sum(people.values()) == 1
    return {who: 0.01 * float((mask & single).sum()) for who, mask in people.items()}


def test_quick_answers_are_turns_of_two_people() -> None:
    """Eight turns of two people, 120 ms apart: none holds both, and each has its person's name throughout."""
    samples, times = laid_out(range(8), 0.12)
    found = find_turns(samples)
    assert len(found) >= 8
    assert {one.speaker for one in found} == {"speaker1", "speaker2"}
    for one in found:
        alone = shares(one, times)
        assert max(alone.values()) >= 0.85 * sum(alone.values())
        assert one.decided_ms - one.end_ms <= 2_500

"""Who speaks when, with the real networks: two voices of the demonstration on one channel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

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

DEMO = Path(__file__).resolve().parents[3] / "realtime" / "demo"

pytestmark = pytest.mark.weights


def test_two_people_are_told_apart_at_a_second() -> None:
    """Nine of ten moments of one voice alone are given to its person, when they are decided, a second later."""
    sound = read_audio(DEMO / "conversation.ogg")[: 40 * 16_000]
    lines = [line for line in json.loads((DEMO / "conversation.json").read_text()) if line["end_ms"] < 40_000]
    diarizer = StreamingDiarizer(
        SpeakerSegmentation(model_folder("pyannote-segmentation")),
        SpeakerVector(model_folder("campplus")),
        SpeakerClustering(),
    )
    segmenter = TurnSegmenter("m", Endpointing(), diarizer)
    found = [*segmenter.feed(AudioChunk("m", 0, sound)), *segmenter.flush()]
    right = total = 0
    names = {"anna": "speaker1", "ben": "speaker2"}
    for one in found:
        if isinstance(one, Utterance):
            for line in lines:
                shared = min(one.end_ms, line["end_ms"]) - max(one.start_ms, line["start_ms"])
                if shared > 0:
                    total += shared
                    right += shared * (one.speaker == names[line["speaker"]])
    assert total > 20_000
    assert right >= 0.9 * total


def test_it_keeps_up_with_any_length() -> None:
    """Neither sound nor scores of what is long past are kept."""
    diarizer = StreamingDiarizer(
        lambda samples: np.log(np.tile(np.array([0.1, 0.84, *[0.012] * 5], np.float32), (len(samples) // 270 - 3, 1))),
        lambda samples: np.ones(192, np.float32),
        SpeakerClustering(),
    )
    for _ in range(120):
        diarizer.feed(np.zeros(16_000, np.float32))
    assert len(diarizer._sound) < 40 * 16_000
    assert len(diarizer._weights) < 40 * 60
    assert 117 * 16_000 < diarizer.decided < 120 * 16_000

"""Several people at one microphone: who speaks, by vectors whose angles are known and by real voices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.errors import DiskError, UsageError
from core_models.features.audio.campplus import SpeakerVector
from realtime.diarization.speaker_clustering import ONE_PERSON, SAME, SpeakerClustering
from realtime.segmentation.endpointing import Endpointing
from realtime.segmentation.segmenter import Segmenter
from realtime.segmentation.segments import Utterance
from realtime.sources.file import read_audio
from realtime.sources.media import AudioChunk

DEMO = Path(__file__).resolve().parents[3] / "realtime" / "demo"


def towards(degrees: float) -> NDArray[np.float32]:
    vector = np.zeros(192, np.float32)
    vector[:2] = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return 7 * vector


def test_voices_are_numbered_by_appearance_and_known_again() -> None:
    """Far apart is somebody else, near is the same person; names come in order of appearance."""
    voices = SpeakerClustering()
    heard = [voices.assign(towards(at), 2.0)[0] for at in (0, 90, 20, 100, 5)]
    assert heard == ["speaker1", "speaker2", "speaker1", "speaker2", "speaker1"]


def test_too_little_speech_decides_nothing() -> None:
    """A short word founds no speaker and teaches none; it is the nearest one's, or the latest one's."""
    voices = SpeakerClustering()
    voices.assign(towards(0), 2.0)
    voices.assign(towards(90), 2.0)
    assert voices.assign(towards(12), 0.4)[0] == "speaker1"
    assert voices.assign(towards(200), 0.4)[0] == "speaker1"
    assert voices.assign(towards(200), 2.0)[0] == "speaker3"


def test_two_speakers_that_prove_to_be_one_are_merged() -> None:
    """When two clusters have grown together it is told once, and what comes later belongs to the older one."""
    voices = SpeakerClustering()
    assert voices.assign(towards(0), 1.0)[0] == "speaker1"
    assert voices.assign(towards(70), 1.0)[0] == "speaker2"
    told = [merged for _ in range(9) for merged in [*voices.assign(towards(40), 3.0)[1]]]
    assert told == [("speaker2", "speaker1")]
    assert voices.assign(towards(60), 1.0)[0] == "speaker1"
    assert np.cos(np.deg2rad(70)) < SAME < ONE_PERSON


def test_prints_are_kept_only_when_asked_for(tmp_path: Path) -> None:
    """Who was enrolled is known by name, also in the next call, from a file that its owner alone can read."""
    file = tmp_path / "prints"
    voices = SpeakerClustering()
    voices.load(file)
    voices.enrol("anna", towards(0))
    with pytest.raises(UsageError, match="anna"):
        voices.enrol("anna", towards(0))
    voices.assign(towards(90), 2.0)
    assert not file.exists()
    voices.save(file)
    assert file.stat().st_mode & 0o777 == 0o600
    later = SpeakerClustering()
    later.load(file)
    heard = [later.assign(towards(at), 2.0)[0] for at in (80, 10, 180)]
    assert heard == ["speaker1", "anna", "speaker2"]
    file.write_bytes(b"nothing")
    with pytest.raises(DiskError, match="delete it"):
        SpeakerClustering().load(file)


@pytest.mark.weights
def test_two_voices_in_one_recording_are_told_apart() -> None:
    """In the demonstration conversation, mixed to mono, at least nine of ten utterances get their speaker."""
    scene = json.loads((DEMO / "conversation.json").read_text(encoding="utf-8"))
    sound = read_audio(DEMO / "conversation.ogg")
    segmenter, vector = Segmenter("m", Endpointing()), SpeakerVector(model_folder("campplus"))
    voices = SpeakerClustering()
    pairs = []
    for found in [*segmenter.feed(AudioChunk("m", 0, sound)), *segmenter.flush()]:
        if isinstance(found, Utterance):
            start, end = found.start_ms, found.end_ms
            said = max(scene, key=lambda line: min(end, line["end_ms"]) - max(start, line["start_ms"]))
            seconds = (found.end_ms - found.start_ms) / 1000
            pairs.append((said["speaker"], voices.assign(vector(found.samples), seconds)[0]))
    names = {"anna": "speaker1", "ben": "speaker2"}
    right = sum(names[who] == heard for who, heard in pairs)
    assert len(pairs) > 20
    assert right >= 0.9 * len(pairs)

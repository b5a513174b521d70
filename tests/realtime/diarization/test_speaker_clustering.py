"""Who is one person: by vectors whose angles are known, by what the segmentation says, and by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core_models.errors import UsageError
from realtime.diarization.speaker_clustering import SpeakerClustering
from realtime.diarization.voice_prints import VoicePrintFile


def towards(degrees: float) -> NDArray[np.float32]:
    vector = np.zeros(192, np.float32)
    vector[:2] = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return 7 * vector


def say(clustering: SpeakerClustering, degrees: float, seconds: float = 2.0) -> str:
    """A stretch of speech with a vector in this direction, and who is said to have spoken."""
    stretch = clustering.new_stretch()
    clustering.hear(stretch, towards(degrees), seconds)
    return clustering.name_turn([stretch])


def test_people_are_numbered_by_appearance_and_known_again() -> None:
    """Far apart is somebody else, near is the same person; names come in order of appearance."""
    clustering = SpeakerClustering()
    heard = [say(clustering, at) for at in (0, 90, 20, 100, 5)]
    assert heard == ["speaker1", "speaker2", "speaker1", "speaker2", "speaker1"]
    assert clustering.take_merged() == []


def test_a_short_word_is_the_nearest_ones() -> None:
    """Below what founds a person, a near voice is theirs, a far one somebody's who gets a name with the final."""
    clustering = SpeakerClustering()
    say(clustering, 0)
    say(clustering, 90)
    assert say(clustering, 12, 0.5) == "speaker1"
    assert say(clustering, 200, 0.5) == "speaker2"  # too short for a name of its own
    assert say(clustering, 200, 1.0) == "speaker3"
    assert say(clustering, 205, 3.0) == "speaker3"
    assert clustering.take_merged() == []


def test_no_more_people_than_there_are() -> None:
    """With two people given, a third voice is one of the two, and no third name is ever told."""
    clustering = SpeakerClustering(people=2)
    heard = [say(clustering, at, seconds) for at, seconds in ((0, 0.8), (80, 0.8), (160, 2), (0, 2), (90, 3), (45, 2))]
    assert set(heard) <= {"speaker1", "speaker2"}
    assert {name for pair in clustering.take_merged() for name in pair} <= {"speaker1", "speaker2"}


def test_two_who_prove_to_be_one_are_merged_once() -> None:
    """What lies between two people draws them together; that is told once, by the names that were told."""
    clustering = SpeakerClustering()
    assert (say(clustering, 0), say(clustering, 70)) == ("speaker1", "speaker2")
    for at in (35, 30, 40, 35, 32, 38):
        say(clustering, at, 5.0)
    assert clustering.take_merged() in ([("speaker2", "speaker1")], [("speaker1", "speaker2")])
    assert clustering.take_merged() == []


def test_the_network_counts_beside_the_voice() -> None:
    """Two stretches that windows took for one speaker are one person where vectors alone would just part them."""

    def people(same: bool | None) -> int:
        clustering = SpeakerClustering()
        one, other = clustering.new_stretch(), clustering.new_stretch()
        if same is not None:
            for _ in range(8):
                clustering.compare(one, other, same=same)
        clustering.hear(one, towards(0), 3.0)
        clustering.hear(other, towards(65), 3.0)  # a distance of 0.58
        return len({clustering.person_of(one), clustering.person_of(other)})

    assert (people(None), people(True), people(False)) == (2, 1, 2)


def test_a_name_is_refused_where_two_are_equally_near() -> None:
    """Who is enrolled is known by name, but not a voice that could be either of two."""
    clustering = SpeakerClustering()
    clustering.enrol("anna", towards(0))
    clustering.enrol("ben", towards(40))
    assert say(clustering, 20) == "speaker1"
    apart = SpeakerClustering()
    apart.enrol("anna", towards(0))
    apart.enrol("ben", towards(80))
    assert [say(apart, at) for at in (5, 85, 180)] == ["anna", "ben", "speaker1"]
    with pytest.raises(UsageError, match="anna"):
        apart.enrol("anna", towards(0))


def test_memory_is_bounded_and_the_silent_stay_known() -> None:
    """After hundreds of stretches of one person, somebody who spoke once at the beginning is known again."""
    clustering = SpeakerClustering()
    say(clustering, 90)
    assert {say(clustering, at % 7) for at in range(200)} == {"speaker2"}
    assert say(clustering, 92) == "speaker1"


def test_prints_are_kept_only_when_asked_for(tmp_path: Path) -> None:
    """Who was heard is known by name in the next call, from a file that its owner alone can read."""
    file = tmp_path / "prints"
    clustering = SpeakerClustering()
    clustering.enrol("anna", towards(0))
    say(clustering, 90)
    assert not file.exists()
    VoicePrintFile(file).write(clustering.prints())
    assert file.stat().st_mode & 0o777 == 0o600
    later = SpeakerClustering()
    for name, vector in VoicePrintFile(file).read().items():
        later.enrol(name, vector)
    assert [say(later, at) for at in (85, 5, 180)] == ["speaker1", "anna", "speaker2"]

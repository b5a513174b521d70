"""`analyse` gives what the feed would have said of a recording, as tables, JSON and a picture."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from core_models.errors import MediaError, UsageError
from realtime import Analysis, analyse
from realtime.protocol import events

ROOT = Path(__file__).resolve().parents[3]
CLIP = ROOT / "tests" / "data" / "librivox" / "sense_and_sensibility_01_0870.flac"


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    """A sentence that was read aloud, judged."""
    return analyse(CLIP, speakers=["reader"], language="en")


@pytest.mark.weights
def test_utterances_are_those_of_the_events(analysis: Analysis) -> None:
    """Events begin and end as on the feed and are numbered; each final is an utterance."""
    assert isinstance(analysis.events[0], events.SessionCreated)
    assert isinstance(analysis.events[-1], events.SessionClosed)
    assert [event.seq for event in analysis.events] == list(range(1, len(analysis.events) + 1))
    finals = [event for event in analysis.events if isinstance(event, events.EmotionFinal)]
    assert [one.id for one in analysis.utterances] == [event.utterance_id for event in finals]
    assert "leisure" in (analysis.utterances[0].text or "")
    assert analysis.utterances[0].speaker == "reader"


@pytest.mark.weights
def test_json_and_data_frame_hold_the_same(analysis: Analysis) -> None:
    """An utterance is an object, and a row whose session and file come first."""
    told = json.loads(analysis.to_json())
    assert told["session"] == analysis.session
    frame = analysis.to_dataframe()
    assert list(frame.columns[:2]) == ["session", "file"]
    assert list(frame["emotion"]) == [one["emotion"] for one in told["utterances"]]
    assert list(frame["p_joy"]) == [one["probabilities"]["joy"] for one in told["utterances"]]


@pytest.mark.weights
def test_the_picture_has_a_lane_a_speaker(analysis: Analysis, tmp_path: Path) -> None:
    """The lane bears the speaker's name, and the file is in the format of its ending."""
    figure = analysis.plot(tmp_path / "timeline.svg")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["reader"]
    assert "<svg" in (tmp_path / "timeline.svg").read_text(encoding="utf-8")


def test_what_cannot_be_judged_is_one_sentence(tmp_path: Path) -> None:
    """A file that is no recording, and names that do not fit its channels, are told before any model loads."""
    (tmp_path / "words.txt").write_text("no sound")
    with pytest.raises(MediaError, match=r"words\.txt"):
        analyse(tmp_path / "words.txt")
    with pytest.raises(UsageError, match="name one speaker a channel"):
        analyse(CLIP, speakers=["anna", "ben"])


def test_importing_the_package_loads_nothing() -> None:
    """`import realtime` is free: torch comes with the first use of what needs it."""
    code = "import sys, realtime; assert 'torch' not in sys.modules; realtime.analyse; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.sample_events import final
from websockets.sync.client import connect

from core_models.errors import UsageError
from realtime.bench.workloads.synthetic_session import conversation
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.journal.reader import find_journal, read_events
from realtime.journal.session_files import list_session_ids
from realtime.protocol import events
from realtime.protocol.media_time import media_time_of
from realtime.review.playback import play_events

SESSION = "01JREPAY000000000000000000"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The journal of a session of twenty utterances that ended in order."""
    publisher = EventPublisher(SESSION, journal=Journal(tmp_path / f"{SESSION}.jsonl"))
    for event in [*conversation(20), events.SessionClosed(reason="ended", totals={"utterances": 20})]:
        publisher.append(event)
    publisher.close()
    return tmp_path / f"{SESSION}.jsonl"


def told(path: Path) -> list[events.Logged]:
    played: list[events.Logged] = []
    never = lambda seconds: pytest.fail("nothing is waited for")  # noqa: E731
    play_events(read_events(path), played.append, speed="max", wait=never)
    return played


def test_everything_is_played_in_order(recorded: Path) -> None:
    """All events of the journal come, in its order, but the last, which is given back for the end."""
    events_there = list(read_events(recorded))
    assert told(recorded) == events_there[:-1]
    assert isinstance(events_there[-1], events.SessionClosed)


def test_the_pace_is_that_of_media_time(recorded: Path) -> None:
    """At four times the speed the waits add up to a quarter of the session's length."""
    waits: list[float] = []
    play_events(read_events(recorded), lambda event: None, speed=4.0, wait=lambda seconds: bool(waits.append(seconds)))
    last = max(at for event in read_events(recorded) if (at := media_time_of(event)) is not None)
    assert sum(waits) == pytest.approx(last / 4000)
    assert min(waits) > 0


def test_a_mark_far_off_is_not_waited_for() -> None:
    """A mark says which moment it means, not when it was made: a replay goes on at once."""
    waits: list[float] = []
    far = [final(1), events.MomentMarked(at_ms=10**12), final(2)]
    play_events(iter(far), lambda event: None, speed=1.0, wait=lambda seconds: bool(waits.append(seconds)))
    assert sum(waits) < 10


def test_a_torn_journal_plays_to_its_last_whole_line(recorded: Path) -> None:
    """What a crash left behind is played; the half line at its end is passed over."""
    whole = told(recorded)
    lines = recorded.read_bytes().splitlines(keepends=True)
    recorded.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    assert told(recorded) == whole


def test_a_damaged_line_is_named_and_the_rest_is_played(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line in the middle that is no event is said with its number; everything else comes."""
    whole = told(recorded)
    lines = recorded.read_bytes().splitlines(keepends=True)
    recorded.write_bytes(b"".join([*lines[:3], b'{"type":"nonsense"}\n', *lines[3:]]))
    assert told(recorded) == whole
    assert "Line 4 of the journal" in capsys.readouterr().err


def test_sessions_are_found_by_id_path_and_as_the_latest(recorded: Path, tmp_path: Path) -> None:
    """An id, a file and `latest` name the same journal; what is not there is refused with what to do."""
    assert list_session_ids(tmp_path) == [SESSION]
    for name, folder in ((SESSION, tmp_path), (str(recorded), None), ("latest", tmp_path)):
        assert find_journal(name, folder) == recorded
    with pytest.raises(UsageError, match="journal list"):
        find_journal("01JREPAY000000000000000009", tmp_path)
    with pytest.raises(UsageError, match="no journals"):
        find_journal("latest", tmp_path / "nowhere")


@pytest.fixture
def replay(recorded: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program, replaying as fast as it can, and its feed's address."""
    running = subprocess.Popen(
        [sys.executable, "-m", "realtime.replay", str(recorded), "--speed", "max", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert running.stdout is not None
    page = next(line for line in running.stdout if line.startswith("page: ")).removeprefix("page: ").strip()
    threading.Thread(target=running.stdout.read, daemon=True).start()
    yield running, page.replace("http", "ws", 1)
    running.kill()
    running.wait()


def test_the_feed_gives_the_journals_events_and_takes_corrections(
    replay: tuple[subprocess.Popen[str], str], recorded: Path
) -> None:
    """The replay's feed tells what the journal holds and says that it is a replay; a correction made in it is
    kept in the journal; Ctrl-C ends it with `session.closed` and exit code 0."""
    running, url = replay
    before = list(read_events(recorded))
    with connect(url + "?from=0") as feed:
        got = [events.decode(feed.recv()) for _ in range(len(before) + 1)]
        finals = [event for event in got if isinstance(event, events.EmotionFinal)]
        assert [e.utterance_id for e in finals] == [
            e.utterance_id for e in before if isinstance(e, events.EmotionFinal)
        ]
        status = [event for event in got if isinstance(event, events.SourceStatus) and event.kind == "replay"]
        assert [event.status for event in status] == ["opened", "ended"]
        assert {event.epoch for event in got if not isinstance(event, events.StreamGap)}.isdisjoint({before[0].epoch})
        wrong = next(label for label in finals[0].probabilities if label != finals[0].emotion)
        feed.send(
            json.dumps({"type": "emotion.correct", "id": "1", "utterance_id": finals[0].utterance_id, "emotion": wrong})
        )
        answers = [events.decode(feed.recv()) for _ in range(2)]
        assert {type(answer) for answer in answers} == {events.CommandResult, events.EmotionCorrected}
        running.send_signal(signal.SIGINT)
        assert isinstance(events.decode(feed.recv()), events.SessionClosed)
    assert running.wait() == 0
    kept = list(read_events(recorded))[len(before) :]
    assert [(e.utterance_id, e.to) for e in kept if isinstance(e, events.EmotionCorrected)] == [
        (finals[0].utterance_id, wrong)
    ]


def test_a_replay_without_hold_ends_by_itself(recorded: Path) -> None:
    """`--hold false` plays to the end and returns 0."""
    done = subprocess.run(
        [sys.executable, "-m", "realtime.replay", str(recorded), "--speed", "max", "--port", "0", "--hold", "false"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("speed", ["0", "-1"])
def test_a_speed_that_goes_nowhere_is_refused(recorded: Path, speed: str) -> None:
    """A speed of nought or less is a usage error in one sentence."""
    done = subprocess.run(
        [sys.executable, "-m", "realtime.replay", str(recorded), f"--speed={speed}"], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"goes nowhere" in done.stderr

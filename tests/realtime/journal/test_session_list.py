from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core_models.errors import Exit
from realtime.bench.workloads.synthetic_session import conversation
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.journal.session_files import list_session_ids
from realtime.journal.session_list import list_sessions, main
from realtime.protocol import events

WHOLE, CUT, BROKEN = (f"01JSHEKF00000000000000000{n}" for n in range(3))


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Three sessions: one ended in order, one cut off, one with a damaged line."""
    for session in (WHOLE, CUT, BROKEN):
        publisher = EventPublisher(session, journal=Journal(tmp_path / f"{session}.jsonl"))
        for event in conversation(5):
            publisher.append(event)
        if session == WHOLE:
            publisher.append(events.SessionClosed(reason="ended", totals={}))
        publisher.close()
    with (tmp_path / f"{BROKEN}.jsonl").open("ab") as file:
        file.write(b"nonsense\n")
    return tmp_path


def test_every_session_is_told_as_far_as_it_can_be_read(shelf: Path) -> None:
    """Each journal gives its length, utterances and speakers, and whether it ended, was cut off or is damaged."""
    told = {one.session: one for one in list_sessions(shelf)}
    assert {session: one.ended for session, one in told.items()} == {WHOLE: "ended", CUT: "cut off", BROKEN: "damaged"}
    assert all((one.utterances, set(one.speakers)) == (5, {"anna", "ben"}) for one in told.values())
    assert all(one.length_ms > 5_000 and one.began is not None and one.size > 1_000 for one in told.values())


def test_the_program_lists_them(shelf: Path) -> None:
    """`python -m realtime.journal list` shows every id whole."""
    command = [sys.executable, "-m", "realtime.journal", "--journal", str(shelf), "list"]
    said = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | {"COLUMNS": "60"}
    ).stdout
    assert all(session in said for session in (WHOLE, CUT, BROKEN))


def test_named_sessions_are_deleted_and_no_others(shelf: Path) -> None:
    """`delete ID` deletes that journal; an id that is not there is a usage error, and nothing else goes."""
    assert main(["--journal", str(shelf), "delete", CUT]) == Exit.OK
    assert list_session_ids(shelf) == [WHOLE, BROKEN]
    assert main(["--journal", str(shelf), "delete", CUT]) == Exit.USAGE
    assert main(["--journal", str(shelf), "delete", "../../etc/passwd"]) == Exit.USAGE
    assert list_session_ids(shelf) == [WHOLE, BROKEN]


def test_old_sessions_or_all_are_deleted_on_request_only(shelf: Path) -> None:
    """Naming nothing deletes nothing; `--older-than-days` goes by the last write; `--all` takes the rest."""
    assert main(["--journal", str(shelf), "delete"]) == Exit.USAGE
    old = time.time() - 10 * 86_400
    os.utime(shelf / f"{WHOLE}.jsonl", (old, old))
    assert main(["--journal", str(shelf), "delete", "--older-than-days", "9"]) == Exit.OK
    assert list_session_ids(shelf) == [CUT, BROKEN]
    assert main(["--journal", str(shelf), "delete", "--all"]) == Exit.OK
    assert list_session_ids(shelf) == []


def test_a_line_nested_beyond_measure_costs_its_own_session_alone(shelf: Path) -> None:
    """One journal with a line of 100,000 brackets is damaged; the list shows the others as they are."""
    nested = shelf / f"{BROKEN}.jsonl"
    nested.write_bytes(nested.read_bytes().replace(b"nonsense\n", b'{"type":"error","x":' + b"[" * 100_000 + b"\n"))
    assert [one.ended for one in list_sessions(shelf)] == ["ended", "cut off", "damaged"]
    assert Journal.reopen(nested).epochs

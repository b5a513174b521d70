"""A journal has one writer at a time; a second one is refused in a sentence, and nobody's words are lost by it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.sample_events import CREATED, final

from core_models.errors import DiskError, Exit
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.journal.session_files import delete_session
from realtime.journal.writer_lock import require_unlocked
from realtime.protocol import events

SESSION = "01JCKED0000000000000000000"

WRITER = """
import sys
from pathlib import Path
from realtime.journal.event_log import Journal, Record
journal = Journal(Path(sys.argv[1]))
journal.append([Record("e", 1, b'{"type":"error","epoch":"e","seq":1}')])
print("written", flush=True)
sys.stdin.read()
"""


def running_call(folder: Path) -> EventPublisher:
    publisher = EventPublisher(SESSION, journal=Journal(folder / f"{SESSION}.jsonl"))
    for event in (CREATED, final(1)):
        publisher.append(event)
    return publisher


def test_a_second_writer_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """While one program has a journal another cannot reopen it; afterwards it can."""
    call = running_call(tmp_path)
    path = tmp_path / f"{SESSION}.jsonl"
    before = path.read_bytes()
    with pytest.raises(DiskError, match="being written by another program"):
        Journal.reopen(path)
    assert path.read_bytes() == before
    call.append(final(2))
    call.close()
    Journal.reopen(path).close()


def test_a_writer_that_was_killed_keeps_nobody_out(tmp_path: Path) -> None:
    """The lock ends with its process: a journal of a killed program is reopened, one of a living program is not."""
    path = tmp_path / "a.jsonl"
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(DiskError, match="being written"):
            require_unlocked(path)
        writer.send_signal(signal.SIGKILL)
    require_unlocked(path)
    assert Journal.reopen(path).epochs == [("e", 1, 1)]


@pytest.mark.parametrize("program", ["realtime.replay", "realtime.export"])
def test_a_call_that_runs_is_neither_replayed_nor_exported(tmp_path: Path, program: str) -> None:
    """`latest` names the running call: one sentence, exit code 8, and nothing is written."""
    call = running_call(tmp_path)
    out = tmp_path / "out"
    further = ["--output", str(out)] if program.endswith("export") else ["--port", "0", "--hold", "false"]
    done = subprocess.run(
        [sys.executable, "-m", program, "latest", "--journal", str(tmp_path), *further],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert done.returncode == Exit.DISK, done.stderr
    assert "being written by another program" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not out.exists()
    call.append(events.SpeakerOptedOut(speaker="ann", opted_out=True))
    assert b"Well." not in (tmp_path / f"{SESSION}.jsonl").read_bytes()


def test_a_call_that_runs_is_not_deleted(tmp_path: Path) -> None:
    """`delete` refuses; the file stays whole."""
    call = running_call(tmp_path)
    with pytest.raises(DiskError, match="being written"):
        delete_session(tmp_path, SESSION)
    call.close()
    delete_session(tmp_path, SESSION)
    assert list(tmp_path.iterdir()) == []

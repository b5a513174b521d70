from __future__ import annotations

import errno
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core_models.errors import DiskError, UsageError
from realtime.journal.event_log import Journal, Record
from realtime.journal.session_files import (
    default_folder,
    delete_older_than,
    delete_session,
    journal_path,
    list_session_ids,
    sweep_sessions,
)
from realtime.journal.stored_lines import seal_line
from realtime.protocol import events

EPOCH = "01EPOCH"


def record(seq: int, epoch: str = EPOCH, padding: int = 0) -> Record:
    event = events.Error(seq=seq, epoch=epoch, session="s", code="x" * padding, message="é\n", fatal=False)
    return Record(epoch, seq, events.encode(event))


def closing(seq: int) -> Record:
    event = events.SessionClosed(seq=seq, epoch=EPOCH, session="s", reason="end", totals={})
    return Record(EPOCH, seq, events.encode(event))


def test_only_its_owner_can_read_a_journal(tmp_path: Path) -> None:
    """The file is made with mode 0600 in a folder of mode 0700, and not before there is something to write."""
    journal = Journal(tmp_path / "sessions" / "a.jsonl")
    assert not journal.path.parent.exists()
    journal.append([record(1)])
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700


def test_a_line_stands_in_the_file_when_append_returns(tmp_path: Path) -> None:
    """Another reader of the file finds each line as soon as it was appended."""
    journal = Journal(tmp_path / "a.jsonl")
    for seq in range(1, 4):
        journal.append([record(seq)])
        assert journal.path.read_bytes().splitlines()[-1] == seal_line(record(seq).line)


def test_a_journal_is_never_written_over(tmp_path: Path) -> None:
    """A new session does not take over a file that is there already."""
    (tmp_path / "a.jsonl").write_bytes(b"precious\n")
    with pytest.raises(FileExistsError):
        Journal(tmp_path / "a.jsonl").append([record(1)])
    assert (tmp_path / "a.jsonl").read_bytes() == b"precious\n"


@pytest.mark.parametrize("wrong", [record(3), record(1)])
def test_numbers_are_contiguous(tmp_path: Path, wrong: Record) -> None:
    """A number that is skipped or used twice is refused."""
    journal = Journal(tmp_path / "a.jsonl")
    journal.append([record(1)])
    with pytest.raises(ValueError, match="cannot stand here"):
        journal.append([wrong])


@given(cut=st.integers(0, 2000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_a_torn_last_line_is_cut_off(tmp_path: Path, cut: int) -> None:
    """Whatever byte a file ends at, the whole lines before it are kept, and writing goes on behind them."""
    path = tmp_path / f"{cut}.jsonl"
    lines = [record(seq).line + b"\n" for seq in range(1, 13)]
    path.write_bytes(b"".join(lines)[:cut])
    whole = path.read_bytes().count(b"\n")

    journal = Journal.reopen(path)
    assert path.read_bytes() == b"".join(lines[:whole])
    assert journal.epochs == ([(EPOCH, 1, whole)] if whole else [])
    assert not journal.clean
    journal.append([record(whole + 1)])
    assert path.read_bytes() == b"".join(lines[:whole]) + seal_line(record(whole + 1).line) + b"\n"


def test_only_a_journal_that_was_closed_is_clean(tmp_path: Path) -> None:
    """A journal that ends with session.closed reopens clean; with its line torn, or without it, it does not."""
    journal = Journal(tmp_path / "a.jsonl")
    journal.append([record(1), closing(2)])
    journal.close()
    assert Journal.reopen(journal.path).clean
    os.truncate(journal.path, journal.path.stat().st_size - 2)
    assert not Journal.reopen(journal.path).clean


@pytest.mark.parametrize("damage", [b"not json\n", b'{"type":"error"}\n', record(9).line + b"\n"])
def test_damage_before_the_end_costs_nothing_else(tmp_path: Path, damage: bytes) -> None:
    """A line in the middle that is no event, or not the next one, is passed over: nothing is cut."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(record(1).line + b"\n" + damage + record(2).line + b"\n")
    size = path.stat().st_size
    assert list(Journal.reopen(path).read_all()) == [record(1), record(2)]
    assert path.stat().st_size == size


def test_a_journal_that_is_not_there_cannot_be_reopened(tmp_path: Path) -> None:
    """Reopening what is not there says so in a sentence."""
    with pytest.raises(DiskError, match="No such file"):
        Journal.reopen(tmp_path / "a.jsonl")


def test_reading_gives_exactly_what_follows(tmp_path: Path) -> None:
    """Pages are no longer than asked for, and put together the epoch's records after a number, and no other's."""
    journal = Journal(tmp_path / "a.jsonl")
    first = [record(seq) for seq in range(1, 31)]
    second = [record(seq, "02") for seq in range(4, 8)]
    journal.append(first)
    journal.append(second)
    for page in (1, 500, 10**6):
        got: list[Record] = []
        while found := journal.read_after(EPOCH, got[-1].seq if got else 3, page=page):
            assert len(found) == 1 or sum(len(one.line) + 1 for one in found) <= page
            got += found
        assert got == first[3:]
    assert journal.read_after("02", 7) == []
    assert journal.read_after("unknown", 0) == []
    journal.close()
    assert Journal.reopen(journal.path).read_after("02", 0) == second


WRITER = """
import sys
import threading
from pathlib import Path
from realtime.protocol import events
from realtime.journal.event_log import Journal
from realtime.feed.publisher import EventPublisher
publisher = EventPublisher("s", journal=Journal(Path(sys.argv[1])))
while True:
    seq = publisher.append(events.Error(code="x", message="m" * 500, fatal=False))
    print(seq, flush=True)
"""


@pytest.mark.parametrize("attempt", range(5))
def test_kill_9_leaves_every_number_that_was_told(tmp_path: Path, attempt: int) -> None:
    """A writer killed at a random moment leaves contiguous whole lines, with all that it had announced."""
    path = tmp_path / "a.jsonl"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(random.uniform(0, 0.05))
        writer.send_signal(signal.SIGKILL)
        told = 1 + writer.stdout.read().count(b"\n")  # a torn announcement was not read by anybody
    journal = Journal.reopen(path)
    ((_, first, last),) = journal.epochs
    assert first == 1
    assert last >= told
    assert not journal.clean
    assert path.read_bytes().count(b"\n") == last


LIMITED = """
import resource, sys
from pathlib import Path
from realtime.journal.event_log import Journal, Record
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
journal = Journal(Path(sys.argv[1]))
line = b'{"type":"error","epoch":"e","seq":%d,"p":"' + b"x" * 200 + b'"}'
failed = 0
for seq in range(1, 50):
    try:
        journal.append([Record("e", seq, line % seq)])
    except OSError as error:
        failed = seq
        break
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append([Record("e", failed, line % failed)])
print(failed, journal.read_after("e", failed - 1)[0].line.decode())
"""


def test_a_write_that_fails_half_way_leaves_no_trace(tmp_path: Path) -> None:
    """At the largest size of a file a line that did not fit is gone as a whole, and the same number can follow."""
    path = tmp_path / "a.jsonl"
    ran = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    failed, line = ran.stdout.strip().split(" ", 1)
    assert f'"seq":{failed},' in line
    assert failed == "4"
    assert Journal.reopen(path).epochs == [("e", 1, 4)]


def test_retention_and_deletion_touch_journals_only(tmp_path: Path) -> None:
    """`delete_older_than` deletes old journals, `delete` the one that is named, and neither any other file."""
    old, new, other = events.new_id(), events.new_id(), tmp_path / "notes.jsonl"
    for name in (journal_path(tmp_path, old), journal_path(tmp_path, new), other):
        name.write_bytes(b"{}\n")
        os.utime(name, (time.time() - 10 * 86400,) * 2)
    os.utime(journal_path(tmp_path, new))
    assert delete_older_than(tmp_path, 9) == [old]
    assert list_session_ids(tmp_path) == [new]
    delete_session(tmp_path, new)
    assert list_session_ids(tmp_path) == []
    assert other.exists()
    with pytest.raises(UsageError, match="nothing was deleted"):
        delete_session(tmp_path, new)
    with pytest.raises(UsageError, match="is no session"):
        delete_session(tmp_path, "../notes")
    assert delete_older_than(tmp_path / "nowhere", 1) == []


def test_journals_lie_in_the_users_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folder follows XDG_STATE_HOME, and without it lies below the home folder."""
    if sys.platform == "win32":
        pytest.skip("Windows has LOCALAPPDATA instead")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "conversation-emotion-tracker" / "sessions"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_folder() == Path.home() / ".local/state/conversation-emotion-tracker/sessions"


def test_what_was_written_is_forced_to_the_disk_by_and_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without being closed a journal asks the disk to keep what was appended, and nobody waits for it."""
    asked = threading.Event()
    sizes: list[int] = []

    def fsync(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        asked.set()

    monkeypatch.setattr("realtime.journal.event_log.SYNC_S", 0.0)
    monkeypatch.setattr(os, "fsync", fsync)
    journal = Journal(tmp_path / "a.jsonl")
    journal.append([record(1)])
    asked.wait()
    assert sizes[0] == len(seal_line(record(1).line)) + 1
    journal.close()


def test_a_disk_that_fails_to_keep_is_told_to_the_next_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When forcing to the disk fails, the next append raises what the disk said, and the one after it works."""

    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("realtime.journal.event_log.SYNC_S", 0.0)
    monkeypatch.setattr(os, "fsync", fsync)
    journal = Journal(tmp_path / "a.jsonl")
    journal.append([record(1)])
    while journal._sync_error is None:
        time.sleep(0.001)
    with pytest.raises(OSError, match="Input/output"):
        journal.append([record(2)])
    monkeypatch.undo()
    journal.append([record(2)])
    journal.close()
    assert Journal.reopen(journal.path).epochs == [(EPOCH, 1, 2)]


def test_a_closed_journal_that_goes_on_is_on_the_disk_as_open_before_anybody_hears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first event after a clean end is forced to the disk at once: a power failure cannot bring that end back."""
    journal = Journal(tmp_path / "a.jsonl")
    journal.append([record(1), closing(2)])
    journal.close()
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    again = Journal.reopen(journal.path)
    again.append([record(3)])
    assert sizes == [journal.path.stat().st_size]
    assert not again.clean
    again.close()


def test_a_program_without_descriptors_forces_again_when_it_has_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no descriptor can be had to force the file to the disk the next writer is told, and the thread goes on."""
    monkeypatch.setattr("realtime.journal.event_log.SYNC_S", 0.0)
    real, lacking = os.dup, threading.Event()
    lacking.set()

    def dup(descriptor: int) -> int:
        if lacking.is_set():
            raise OSError(errno.EMFILE, "Too many open files")
        return real(descriptor)

    monkeypatch.setattr(os, "dup", dup)
    journal = Journal(tmp_path / "a.jsonl")
    journal.append([record(1)])
    while journal._sync_error is None:
        time.sleep(0.001)
    lacking.clear()
    with pytest.raises(OSError, match="Too many open files"):
        journal.append([record(2)])
    journal.append([record(2)])
    while journal.durable != (EPOCH, 2):
        time.sleep(0.001)
    journal.close()


def test_a_thread_that_died_is_noticed_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the forcing thread ended, the next writers hear of it, and what they write is forced."""
    monkeypatch.setattr("realtime.journal.event_log.SYNC_S", 0.0)
    journal = Journal(tmp_path / "a.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_sync_until_closed", lambda self: None)
        journal.append([record(1)])
        assert journal._syncing is not None
        journal._syncing.join()
    journal.append([record(2)])
    with pytest.raises(OSError, match="had stopped"):
        journal.append([record(3)])
    journal.append([record(3)])
    while journal.durable != (EPOCH, 3):
        time.sleep(0.001)
    journal.close()


def test_a_clock_that_is_ahead_sweeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention goes by the latest journal too: with a clock a month ahead all stay, and what was due then goes."""
    day, now = 86_400, time.time()
    ages = {events.new_id(): age for age in (40, 5, 0)}
    for session, age in ages.items():
        journal_path(tmp_path, session).write_bytes(b"{}\n")
        os.utime(journal_path(tmp_path, session), (now - age * day,) * 2)
    orphan = tmp_path / f"{events.new_id()}.features.jsonl"
    orphan.write_bytes(b"{}\n")
    (tmp_path / "notes.features.jsonl").write_bytes(b"{}\n")
    monkeypatch.setattr(time, "time", lambda: now + 31 * day)
    oldest = next(iter(ages))
    assert sweep_sessions(tmp_path, 30) == [oldest, orphan.name]
    assert sorted(list_session_ids(tmp_path)) == sorted(set(ages) - {oldest})
    assert (tmp_path / "notes.features.jsonl").exists()

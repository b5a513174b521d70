from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.feed_session import Subscriber
from support.sample_events import FINAL

from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.journal.event_log import Journal
from realtime.journal.stored_lines import seal_line
from realtime.protocol import events


def said(number: int, size: int = 10) -> events.Error:
    return events.Error(code=str(number), message="m" * size, fatal=False)


def closed() -> events.SessionClosed:
    return events.SessionClosed(reason="end", totals={})


def written(path: Path) -> list[events.Message]:
    return [events.decode(line) for line in path.read_bytes().splitlines()]


def test_an_event_is_journaled_before_anybody_hears_of_it(tmp_path: Path) -> None:
    """When a sink or a view is called the journal already holds the line, byte for byte."""
    journal = Journal(tmp_path / "a.jsonl")
    heard: list[bytes] = []
    seen: list[events.Logged] = []

    def sink(line: bytes) -> None:
        assert journal.path.read_bytes().splitlines()[-1] == seal_line(line)
        heard.append(line)

    publisher = EventPublisher("s", journal=journal, sinks=[sink], views=[seen.append])
    assert [publisher.append(said(n)) for n in range(5)] == [1, 2, 3, 4, 5]
    assert [events.decode(line) for line in heard] == seen == written(journal.path)
    assert {event.session for event in seen} == {"s"}
    assert len({event.epoch for event in seen}) == 1


def test_numbers_are_contiguous_whoever_appends(tmp_path: Path) -> None:
    """Eight threads at once get every number once, and journal and sinks have them in one order."""
    heard: list[bytes] = []
    publisher = EventPublisher("s", journal=Journal(tmp_path / "a.jsonl"), sinks=[heard.append])
    numbers: list[int] = []
    threads = [
        threading.Thread(target=lambda: numbers.extend([publisher.append(said(n)) for n in range(200)]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 1601))
    assert b"".join(seal_line(line) + b"\n" for line in heard) == (tmp_path / "a.jsonl").read_bytes()
    assert [event.seq for event in written(tmp_path / "a.jsonl")] == list(range(1, 1601))


def test_a_journal_without_words_holds_none(tmp_path: Path) -> None:
    """With `words` off the text is on the feed and in no byte of the journal, which is else the same."""
    heard: list[events.Logged] = []
    publisher = EventPublisher("s", journal=Journal(tmp_path / "a.jsonl"), views=[heard.append], words=False)
    publisher.append(FINAL)
    assert heard[0].text == FINAL.text
    assert b"hands full" not in (tmp_path / "a.jsonl").read_bytes()
    assert written(tmp_path / "a.jsonl") == [events.without_words(heard[0])]


def test_an_output_that_fails_is_given_up_and_announced(tmp_path: Path) -> None:
    """A sink on a full device is dropped once, with one `error` event; everything else goes on."""
    heard: list[bytes] = []
    with Path("/dev/full").open("wb", buffering=0) as full:
        publisher = EventPublisher("s", sinks=[full.write, heard.append])
        publisher.append(said(1))
        publisher.append(said(2))
    kinds = [events.decode(line) for line in heard]
    assert [event.code for event in kinds] == ["1", "events_output", "2"]
    assert [event.seq for event in kinds] == [1, 2, 3]


def test_a_clean_journal_continues_its_epoch(tmp_path: Path) -> None:
    """A session reopened after session.closed goes on counting in the same epoch."""
    path = tmp_path / "a.jsonl"
    publisher = EventPublisher("s", journal=Journal(path))
    publisher.append(said(1))
    publisher.append(closed())
    publisher.close()
    assert EventPublisher("s", journal=Journal.reopen(path)).append(said(2)) == 3
    assert len({event.epoch for event in written(path)}) == 1


def test_an_unclean_journal_gets_a_new_epoch(tmp_path: Path) -> None:
    """A session reopened after a crash starts a new epoch at 1: no number is used twice."""
    path = tmp_path / "a.jsonl"
    publisher = EventPublisher("s", journal=Journal(path))
    publisher.append(said(1))
    publisher.close()
    assert EventPublisher("s", journal=Journal.reopen(path)).append(said(2)) == 1
    assert len({event.epoch for event in written(path)}) == 2


def test_a_session_outlives_a_journal_that_cannot_be_made(tmp_path: Path) -> None:
    """Where the folder is a file the session goes on in memory, says so once, and writes all of it when it can."""
    folder = tmp_path / "sessions"
    folder.write_text("in the way")
    heard: list[events.Logged] = []
    publisher = EventPublisher("s", journal=Journal(folder / "a.jsonl"), views=[heard.append], retry_s=0)
    for n in range(3):
        publisher.append(said(n))
    assert publisher.degraded
    assert [type(event).__name__ for event in heard] == ["StreamDegraded", "Error", "Error", "Error"]
    assert [event.seq for event in heard] == [1, 2, 3, 4]

    folder.unlink()
    assert publisher.append(said(3)) == 2
    assert not publisher.degraded
    back = heard[4]
    assert isinstance(back, events.StreamDegraded)
    assert back.recovered
    assert back.count == 0
    assert back.epoch != heard[0].epoch
    assert written(folder / "a.jsonl") == heard


def test_what_memory_could_not_keep_is_counted(tmp_path: Path) -> None:
    """Events beyond the backlog's bound are lost to the journal, oldest first; their number is announced, and who
    asks for them gets a gap of exactly these."""
    folder = tmp_path / "sessions"
    folder.write_text("in the way")
    heard: list[events.Logged] = []
    journal = Journal(folder / "a.jsonl")
    feed = Feed("s", history=journal, port=0, memory_bytes=1)
    feed.start()
    publisher = EventPublisher("s", journal=journal, feed=feed, views=[heard.append], retry_s=1e9, backlog_bytes=2000)
    for n in range(50):
        publisher.append(said(n))
    folder.unlink()
    publisher.append(closed())  # the last event tries again whatever the time

    back = heard[-2]
    assert isinstance(back, events.StreamDegraded)
    kept = written(journal.path)
    assert kept == heard[back.count :]
    assert back.count > 0
    with Subscriber(feed.url, "?from=0") as client:
        gap, snapshot, *rest = client.wait_for(2 + len(kept))
    feed.stop()
    assert rest == kept
    assert gap == events.StreamGap(
        session="s", from_epoch="", from_=0, epoch=heard[0].epoch, to=back.count + 1, reason="not_kept"
    )
    assert isinstance(snapshot, events.Snapshot)
    assert (snapshot.epoch, snapshot.seq) == (heard[0].epoch, back.count)
    publisher.close()
    assert Journal.reopen(journal.path).clean


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; skipped where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_no_event(small_disk: Path) -> None:
    """The disk fills and is freed twice: a client gets every event once, in order, under epochs that each count
    from 1, and in the end the journal holds exactly what the client got."""
    ballast = small_disk / "ballast"
    journal = Journal(small_disk / "sessions" / "a.jsonl")
    feed = Feed("s", history=journal, port=0)
    feed.start()
    publisher = EventPublisher("s", journal=journal, feed=feed, retry_s=0)
    numbers = iter(range(10_000))
    with Subscriber(feed.url, "?from=0") as client:
        for size in (200_000, 150_000):
            ballast.write_bytes(b"x" * size)
            while not publisher.degraded:
                publisher.append(said(next(numbers), 500))
            for _ in range(10):
                publisher.append(said(next(numbers), 500))
            assert publisher.degraded
            assert journal.path.read_bytes().endswith(b"\n")
            ballast.unlink()
            publisher.append(said(next(numbers), 500))
            assert not publisher.degraded
        publisher.append(closed())
        feed.stop()
        got = client.finish()
    publisher.close()

    assert got == written(journal.path)
    assert [event.code for event in got if isinstance(event, events.Error)] == [str(n) for n in range(next(numbers))]
    announced = [event.recovered for event in got if isinstance(event, events.StreamDegraded)]
    assert announced == [False, True, False, True]
    epochs = Journal.reopen(journal.path).epochs
    assert [first for _, first, _ in epochs] == [1, 1, 1, 1, 1]


def test_a_read_only_disk_costs_no_event(small_disk: Path) -> None:
    """While the journal's disk is read-only the feed goes on and warns; when it can be written again the journal gets
    all of it."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    journal = Journal(small_disk / "sessions" / "a.jsonl")
    feed = Feed("s", history=journal, port=0)
    feed.start()
    publisher = EventPublisher("s", journal=journal, feed=feed, retry_s=0)
    with Subscriber(feed.url) as client:
        for n in range(5):
            publisher.append(said(n))
        warning, *rest = client.wait_for(6)
        assert isinstance(warning, events.StreamDegraded)
        assert "Read-only" in warning.detail
        assert [event.code for event in rest if isinstance(event, events.Error)] == ["0", "1", "2", "3", "4"]
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        publisher.append(closed())
        feed.stop()
        got = client.finish()
    publisher.close()
    assert got == written(journal.path)
    assert [type(event).__name__ for event in got[-2:]] == ["StreamDegraded", "SessionClosed"]

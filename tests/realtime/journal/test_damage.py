"""Bit rot and power cuts: nothing changes silently, damage is named, and all that is whole stays readable."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from support.feed_session import Subscriber
from support.sample_events import CREATED, began, final

from core_models.errors import Exit
from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.journal.event_log import Journal
from realtime.journal.reader import Damage, read_journal
from realtime.journal.session_list import main
from realtime.protocol import events

SESSION = "01JDAMAGED0000000000000000"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The journal of a short session that ended in order."""
    path = tmp_path / f"{SESSION}.jsonl"
    publisher = EventPublisher(SESSION, journal=Journal(path))
    for event in (CREATED, began(1), final(1), began(2), final(2, speaker="ben"), final(3)):
        publisher.append(event)
    publisher.append(events.SessionClosed(reason="ended", totals={}))
    publisher.close()
    return path


def flip(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def whole_of(path: Path) -> list[events.Logged]:
    return [one for one in read_journal(path) if not isinstance(one, Damage)]


def test_one_flipped_bit_changes_nothing_silently(recorded: Path) -> None:
    """Any bit of the file: at most one event is missing, which is named; all others are as they were, for a reader
    and for a program that reopens the journal."""
    data, before = recorded.read_bytes(), whole_of(recorded)
    chance = random.Random(7)
    for _ in range(400):
        at, bit = chance.randrange(len(data)), chance.randrange(8)
        recorded.write_bytes(flip(data, at, bit))
        read = list(read_journal(recorded))
        after = [one for one in read if not isinstance(one, Damage)]
        assert len(after) >= len(before) - 1
        assert [one for one in before if one in after] == after
        assert len(after) == len(before) or sum(isinstance(one, Damage) for one in read) == 1
        journal = Journal.reopen(recorded)
        assert [events.decode_event(record.line) for record in journal.read_all()] == after
        journal.close()


def test_every_end_of_line_may_be_damaged(recorded: Path) -> None:
    """Each of them, by each bit: the records around it are found, none is lost."""
    data, before = recorded.read_bytes(), whole_of(recorded)
    for at in [at for at, byte in enumerate(data) if byte == ord("\n")]:
        for bit in range(8):
            recorded.write_bytes(flip(data, at, bit))
            assert whole_of(recorded) == before


def test_a_cut_at_every_byte_leaves_all_that_was_whole(recorded: Path) -> None:
    """Wherever a file ends, the records before are read, and nothing is said of the torn one: no client has seen it."""
    data, before = recorded.read_bytes(), whole_of(recorded)
    for size in range(len(data)):
        recorded.write_bytes(data[:size])
        read = list(read_journal(recorded))
        assert read == before[: len(read)]
        assert len(read) >= data[:size].count(b"\n")


def test_a_journal_of_before_is_read_without_checksums(recorded: Path) -> None:
    """What earlier versions wrote is whole; what this one appends to it has checksums, which then must be right."""
    lines = [events.encode(one) for one in whole_of(recorded)]
    recorded.write_bytes(b"\n".join(lines) + b"\n")
    assert len(whole_of(recorded)) == len(lines)
    publisher = EventPublisher(SESSION, journal=Journal.reopen(recorded))
    publisher.append(events.MomentMarked(at_ms=1))
    publisher.append(events.MomentMarked(at_ms=2))
    publisher.close()
    data = recorded.read_bytes()
    assert data.count(b"crc32") == 2
    assert len(whole_of(recorded)) == len(lines) + 2
    recorded.write_bytes(data.replace(b'"at_ms":1', b'"at_ms":7'))
    assert len(whole_of(recorded)) == len(lines) + 1


def test_a_client_gets_a_gap_where_the_journal_is_damaged(recorded: Path) -> None:
    """A feed over a reopened journal announces exactly the number that is damaged, and gives all others."""
    data = recorded.read_bytes()
    recorded.write_bytes(flip(data, data.index(b"Well."), 0))
    journal = Journal.reopen(recorded)
    feed = Feed(SESSION, history=journal, port=0)
    feed.start()
    with Subscriber(feed.url, "?from=0") as client:
        got = client.wait_for(8)
    feed.stop(grace=0.2)
    journal.close()
    (gap,) = [one for one in got if isinstance(one, events.StreamGap)]
    assert (gap.from_, gap.to, gap.epoch) == (2, 4, journal.epochs[0][0])
    assert [one.seq for one in got if not isinstance(one, events.StreamGap | events.Snapshot)] == [1, 2, 4, 5, 6, 7]


@pytest.mark.parametrize("what", [b"Well.", b"session.created"])
def test_a_replay_shows_a_gap_and_goes_on(recorded: Path, what: bytes) -> None:
    """Clients of `realtime.replay` get a `stream.gap` for what is damaged, be it the session's first event."""
    data = recorded.read_bytes()
    recorded.write_bytes(flip(data, data.index(what), 0))
    command = [sys.executable, "-m", "realtime.replay", str(recorded), "--speed", "max", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as running:
        assert running.stdout is not None
        url = next(line for line in running.stdout if line.startswith("feed: ")).split()[1]
        with Subscriber(url, "?from=0") as client:
            got = client.wait_for(9)
        running.terminate()
        running.stdout.read()
    gaps = [one for one in got if isinstance(one, events.StreamGap)]
    assert [(gap.reason, gap.to - gap.from_) for gap in gaps] == [("damaged", 2)]
    assert isinstance(got[0], events.SessionCreated)
    assert sum(isinstance(one, events.EmotionFinal) for one in got) == (2 if what == b"Well." else 3)


def test_verify_names_what_is_damaged(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`journal verify` counts what is whole and exits with 8 where anything is not, naming the line."""
    folder = str(recorded.parent)
    assert main(["verify", "--journal", folder]) == Exit.OK
    assert f"{SESSION}: 7 events whole, 0 places damaged" in capsys.readouterr().out
    data = recorded.read_bytes()
    recorded.write_bytes(flip(data, data.index(b"Well."), 0))
    assert main(["verify", "--journal", folder]) == Exit.DISK
    shown = capsys.readouterr().out
    assert f"{SESSION}: 6 events whole, 1 places damaged" in shown
    assert "Line 3 of the journal" in shown
    assert "1 event is missing there" in shown


def test_words_in_a_damaged_line_go_with_whoever_opts_out(recorded: Path) -> None:
    """Nobody can tell whose words stand in a damaged line: none stay, whatever bit of it was damaged."""
    data = recorded.read_bytes()
    for at in (data.index(b'"text"') + 2, data.index(b'"ann"', data.index(b"emotion.final")) + 1):
        recorded.write_bytes(flip(data, at, 0))
        publisher = EventPublisher(SESSION, journal=Journal.reopen(recorded))
        publisher.append(events.SpeakerOptedOut(speaker="ann", opted_out=True))
        publisher.close()
        assert recorded.read_bytes().count(b"Well.") == 1  # Ben's

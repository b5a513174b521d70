from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.feed_session import HANDSHAKE, FeedSession, Subscriber, numbers
from websockets.sync.client import connect

from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.journal.event_log import Journal
from realtime.journal.stored_lines import seal_line
from realtime.protocol import events


def test_a_new_client_gets_what_follows_in_order(call: Callable[..., FeedSession]) -> None:
    """Without parameters a client gets the events after it came, in order, byte for byte as journaled."""
    it = call()
    it.say(3)
    with connect(it.feed.url) as client:
        it.say(50)
        lines = [client.recv(decode=False) for _ in range(50)]
    assert [seal_line(line) for line in lines] == it.journal.path.read_bytes().splitlines()[3:]


@pytest.mark.parametrize("memory_bytes", [1, 3_000, 10**7])
def test_a_late_client_can_have_everything(call: Callable[..., FeedSession], memory_bytes: int) -> None:
    """`?from=0` gives all events from the first on, then live ones, however little of them memory holds."""
    it = call(memory_bytes=memory_bytes)
    it.say(300)
    with Subscriber(it.feed.url, "?from=0") as client:
        client.wait_for(300)
        it.say(20)
        assert numbers(client.wait_for(320)) == list(range(1, 321))


@pytest.mark.parametrize("memory_bytes", [3_000, 10**7])
def test_a_killed_client_resumes_with_exactly_what_it_missed(
    call: Callable[..., FeedSession], memory_bytes: int
) -> None:
    """After a crash `?from=N&epoch=E` gives the events after N: none is missing and none comes twice."""
    it = call(memory_bytes=memory_bytes)
    it.say(100)
    first = Subscriber(it.feed.url, "?from=0", stop_after=40)
    last = first.finish()[-1]
    assert isinstance(last, events.Error)
    it.say(100)
    with Subscriber(it.feed.url, f"?from={last.seq}&epoch={last.epoch}") as second:
        it.say(10)
        assert numbers(first.got + second.wait_for(170)) == list(range(1, 211))


def test_resuming_again_and_again_while_events_flow_loses_nothing(call: Callable[..., FeedSession]) -> None:
    """Clients that are cut at random moments while thousands of events flow get each exactly once, in order."""
    it = call(memory_bytes=20_000, queue_limit=10**6)
    total = 4_000
    it.say(1)

    def lives(seed: int, into: list[events.Message]) -> None:
        chance = random.Random(seed)
        while len(into) < total:
            query = f"?from={into[-1].seq}&epoch={into[-1].epoch}" if into else "?from=0"
            length = min(chance.randrange(1, 600), total - len(into))
            into.extend(Subscriber(it.feed.url, query, stop_after=length).finish()[:length])

    got: list[list[events.Message]] = [[] for _ in range(6)]
    threads = [threading.Thread(target=lives, args=(seed, into)) for seed, into in enumerate(got)]
    for thread in threads:
        thread.start()
    while it.said < total:
        it.say(min(20, total - it.said))
        time.sleep(0.002)
    for thread in threads:
        thread.join()
    assert all(numbers(one) == list(range(1, total + 1)) for one in got)


def test_resumption_crosses_epochs(tmp_path: Path, call: Callable[..., FeedSession]) -> None:
    """A client that left in an epoch that has ended gets the rest of it and all that came after."""
    it = call(memory_bytes=1)
    it.say(10)
    left = it.epoch
    again = EventPublisher(it.session, journal=it.journal, feed=it.feed)  # as after a crash: a new epoch
    for code in range(11, 16):
        again.append(events.Error(code=str(code), message="", fatal=False))
    assert it.epoch != left
    with Subscriber(it.feed.url, f"?from=7&epoch={left}") as client:
        got = client.wait_for(8)
    assert numbers(got) == list(range(8, 16))
    assert [message.seq for message in got] == [8, 9, 10, 1, 2, 3, 4, 5]


def test_a_continued_session_gives_what_an_earlier_process_journaled(tmp_path: Path) -> None:
    """A feed over a reopened journal resumes clients of the process that wrote it."""
    path = tmp_path / "a.jsonl"
    session = events.new_id()
    before = EventPublisher(session, journal=Journal(path))
    for code in range(1, 6):
        before.append(events.Error(code=str(code), message="", fatal=False))
    before.close()
    journal = Journal.reopen(path)
    feed = Feed(session, history=journal, port=0)
    feed.start()
    EventPublisher(session, journal=journal, feed=feed).append(events.Error(code="6", message="", fatal=False))
    with Subscriber(feed.url, f"?from=3&epoch={journal.epochs[0][0]}") as client:
        assert numbers(client.wait_for(3)) == [4, 5, 6]
    feed.stop()


def test_what_memory_holds_comes_with_its_words(tmp_path: Path) -> None:
    """Where the journal may hold no words, only events too old for memory come without their text."""
    session, journal = events.new_id(), Journal(tmp_path / "a.jsonl")
    feed = Feed(session, history=journal, port=0, memory_bytes=1_000)
    feed.start()
    publisher = EventPublisher(session, journal=journal, feed=feed, words=False)
    for revision in range(1, 21):
        publisher.append(
            events.EmotionFinal(
                utterance_id="u1",
                revision=revision,
                speaker="local",
                start_ms=0,
                end_ms=1,
                text="Hello.",
                emotion="joy",
                confidence=1.0,
                probabilities={"joy": 1.0},
                modalities={},
                latency_ms=events.Latency(endpoint=0, queue=0, asr=0, features=0, fusion=0, total=0),
            )
        )
    with Subscriber(feed.url, "?from=0") as client:
        texts = [message.text for message in client.wait_for(20) if isinstance(message, events.EmotionFinal)]
    feed.stop()
    kept = texts.count("Hello.")
    assert texts == [None] * (20 - kept) + ["Hello."] * kept
    assert 0 < kept < 20


def gap_and_rest(it: FeedSession, query: str, count: int) -> tuple[events.StreamGap, list[int]]:
    with Subscriber(it.feed.url, query) as client:
        it.say(1)
        gap, snapshot, *rest = client.wait_for(count + 2)
    assert isinstance(gap, events.StreamGap)
    assert isinstance(snapshot, events.Snapshot)
    assert gap.session == snapshot.session == it.session
    assert (gap.epoch, gap.to) == (snapshot.epoch, snapshot.seq + 1)
    assert (gap.epoch, gap.to) == (rest[0].epoch, rest[0].seq)  # type: ignore[union-attr]
    return gap, numbers(rest)


def test_an_unknown_epoch_is_a_gap_and_then_everything(call: Callable[..., FeedSession]) -> None:
    """A client of another session is told so, and gets this one from its start."""
    it = call()
    it.say(5)
    gap, rest = gap_and_rest(it, "?from=3&epoch=01OTHER", 6)
    assert (gap.from_epoch, gap.from_, gap.reason) == ("01OTHER", 3, "unknown_epoch")
    assert rest == [1, 2, 3, 4, 5, 6]


def test_a_number_that_was_never_given_is_a_gap(call: Callable[..., FeedSession]) -> None:
    """A client that claims to be ahead is told so, and gets what follows the epoch's end."""
    it = call()
    it.say(5)
    gap, rest = gap_and_rest(it, f"?from=99&epoch={it.epoch}", 1)
    assert (gap.from_, gap.reason, rest) == (99, "ahead", [6])


def test_what_nobody_keeps_is_a_gap_of_exact_bounds(call: Callable[..., FeedSession]) -> None:
    """Without a journal a client that comes too late learns from which number to which the events are gone."""
    it = call(keep=False, memory_bytes=5_000)
    it.say(200)
    with Subscriber(it.feed.url, "?from=0") as client:
        it.say(1)
        gap, snapshot = client.wait_for(2)[:2]
        assert isinstance(gap, events.StreamGap)
        assert isinstance(snapshot, events.Snapshot)
        assert numbers(client.wait_for(2 + 201 - gap.to + 1)[2:]) == list(range(gap.to, 202))
    assert (gap.from_, gap.reason) == (0, "not_kept")
    assert 1 < gap.to < 200


def test_a_deleted_journal_is_a_gap_not_a_failure(call: Callable[..., FeedSession]) -> None:
    """When somebody deletes the running session's journal, what memory holds still comes, after a gap."""
    it = call(memory_bytes=5_000)
    it.say(200)
    it.journal.path.unlink()
    gap, rest = gap_and_rest(it, "?from=10", 5)
    assert (gap.from_epoch, gap.from_, gap.reason) == (it.epoch, 10, "not_kept")
    assert rest == list(range(gap.to, gap.to + len(rest)))


def sleeper(it: FeedSession) -> socket.socket:
    """A client that opens the feed with a small receive buffer and then reads nothing."""
    address = urlsplit(it.feed.url)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect((address.hostname, address.port))
    raw.sendall((HANDSHAKE + "\n").replace("\n", "\r\n").encode())
    assert raw.recv(12) == b"HTTP/1.1 101"
    return raw


def everything_from(raw: socket.socket, last: bytes) -> bytes:
    """What the feed sends until `last` has come, or until it closes."""
    got = bytearray()
    while piece := raw.recv(1 << 20):
        got += piece
        if last in got[-len(piece) - len(last) :]:
            break
    return bytes(got)


def closing_frame(raw: socket.socket) -> bytes:
    """Code and reason of the close frame behind all the text that was on its way."""
    return everything_from(raw, b"with from and epoch").rpartition(b"}\x88")[2][1:]


def test_a_client_that_does_not_read_is_cut_off_and_nobody_else_notices(call: Callable[..., FeedSession]) -> None:
    """One that reads nothing is closed with 1013 once its queue is full; another gets every event in order."""
    it = call(queue_limit=100, patience_s=0.1)
    with sleeper(it) as raw, Subscriber(it.feed.url) as reader:
        while len(it.feed._fanout.clients) == 2:
            it.say(20, size=20_000)
            time.sleep(0.01)
        it.say(20)
        assert closing_frame(raw).startswith(b"\x03\xf5too slow")
        assert numbers(reader.wait_for(it.said)) == list(range(1, it.said + 1))


def test_a_client_whose_socket_stays_full_is_cut_off_though_few_events_wait(call: Callable[..., FeedSession]) -> None:
    """A client that reads nothing does not hold its place for ever when the conversation falls silent."""
    it = call(queue_limit=10**6, send_timeout_s=0.3)
    with sleeper(it) as raw:
        it.say(40, size=200_000)
        while it.feed._fanout.clients:
            time.sleep(0.01)
        assert closing_frame(raw).startswith(b"\x03\xf5too slow")


def test_a_client_that_pauses_is_waited_for(call: Callable[..., FeedSession]) -> None:
    """A client whose socket is full while more events come than its queue may hold has time to go on reading."""
    it = call(queue_limit=5, patience_s=1e9, send_timeout_s=1e10)
    with sleeper(it) as raw:
        it.say(40, size=200_000)
        for _ in range(20):
            it.say(1)
            time.sleep(0.005)
        assert everything_from(raw, b'"code":"60"').count(b'"code"') == 60


def test_a_burst_beyond_the_queue_does_not_cut_off_who_reads(call: Callable[..., FeedSession]) -> None:
    """A client that keeps reading gets a burst of many times its queue's length, whole."""
    it = call(queue_limit=10, memory_bytes=20_000)
    with Subscriber(it.feed.url) as reader:
        it.say(5_000)
        assert numbers(reader.wait_for(5_000)) == list(range(1, 5_001))


def test_stopping_gives_out_all_that_was_published(call: Callable[..., FeedSession]) -> None:
    """A client that is far behind when the feed is stopped gets the rest within the grace, and then 1001."""
    it = call()
    with sleeper(it) as raw:
        it.say(40, size=200_000)
        stopping = threading.Thread(target=it.feed.stop, args=(1e9,))
        stopping.start()
        while not it.feed._stopping.is_set():
            time.sleep(0.001)
        got = everything_from(raw, b"\x03\xe9the session is over")
        assert got.count(b'"code"') == 40
        assert got.endswith(b"the session is over")
    stopping.join()
    it.feed.stop()
    it.say(1)


def test_stopping_waits_for_nobody_who_does_not_read(call: Callable[..., FeedSession]) -> None:
    """`stop` returns though a client reads nothing and another never finishes its handshake."""
    it = call(handshake_s=1e9)
    address = urlsplit(it.feed.url)
    with sleeper(it), socket.create_connection((address.hostname or "", address.port or 0)):
        it.say(40, size=200_000)
        it.feed.stop(grace=0.1)
    assert not it.feed._thread.is_alive()


def test_a_feed_that_was_never_started_can_be_stopped() -> None:
    """`stop` without `start` does nothing."""
    Feed("s", port=0).stop()

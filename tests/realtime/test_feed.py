from __future__ import annotations

import contextlib
import http.client
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from subscriber import Subscriber
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from core_models.errors import FeedError, UsageError
from realtime import events
from realtime.feed import Feed
from realtime.journal import Journal
from realtime.ledger import Ledger


class Call:
    """A session with a journal and a feed, without the part that listens."""

    def __init__(self, folder: Path, *, keep: bool = True, **options: Any) -> None:
        self.session = events.new_id()
        self.journal = Journal(folder / "sessions" / "a.jsonl") if keep else None
        self.feed = Feed(self.session, history=self.journal, **{"port": 0, **options})
        self.ledger = Ledger(self.session, journal=self.journal, feed=self.feed)
        self.said = 0
        self.feed.start()

    def say(self, count: int, size: int = 100) -> None:
        for _ in range(count):
            self.said += 1
            self.ledger.append(events.Error(code=str(self.said), message="m" * size, fatal=False))

    @property
    def epoch(self) -> str:
        assert self.journal is not None
        return self.journal.epochs[-1][0]


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Callable[..., Call]]:
    made: list[Call] = []

    def make(**options: Any) -> Call:
        made.append(Call(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.feed.stop(grace=0.2)
        one.ledger.close()


def numbers(messages: list[events.Message]) -> list[int]:
    """What was said, of messages that are all of the one kind that `Call.say` makes."""
    assert {type(message) for message in messages} <= {events.Error}
    return [int(message.code) for message in messages if isinstance(message, events.Error)]


def request(url: str, text: str) -> bytes:
    """What the feed answers to raw bytes, until it closes the connection."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0)) as raw:
        raw.sendall(text.replace("\n", "\r\n").encode())
        answer = b""
        while piece := raw.recv(65536):
            answer += piece
    return answer


HANDSHAKE = (
    "GET / HTTP/1.1\nHost: localhost\nUpgrade: websocket\nConnection: Upgrade\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\n"
)


def test_a_new_client_gets_what_follows_in_order(call: Callable[..., Call]) -> None:
    """Without parameters a client gets the events after it came, in order, byte for byte as journaled."""
    it = call()
    it.say(3)
    with connect(it.feed.url) as client:
        it.say(50)
        lines = [client.recv(decode=False) for _ in range(50)]
    assert lines == it.journal.path.read_bytes().splitlines()[3:]


@pytest.mark.parametrize("memory_bytes", [1, 3_000, 10**7])
def test_a_late_client_can_have_everything(call: Callable[..., Call], memory_bytes: int) -> None:
    """`?from=0` gives all events from the first on, then live ones, however little of them memory holds."""
    it = call(memory_bytes=memory_bytes)
    it.say(300)
    with Subscriber(it.feed.url, "?from=0") as client:
        client.wait_for(300)
        it.say(20)
        assert numbers(client.wait_for(320)) == list(range(1, 321))


@pytest.mark.parametrize("memory_bytes", [3_000, 10**7])
def test_a_killed_client_resumes_with_exactly_what_it_missed(call: Callable[..., Call], memory_bytes: int) -> None:
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


def test_resuming_again_and_again_while_events_flow_loses_nothing(call: Callable[..., Call]) -> None:
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


def test_resumption_crosses_epochs(tmp_path: Path, call: Callable[..., Call]) -> None:
    """A client that left in an epoch that has ended gets the rest of it and all that came after."""
    it = call(memory_bytes=1)
    it.say(10)
    left = it.epoch
    again = Ledger(it.session, journal=it.journal, feed=it.feed)  # as after a crash: a new epoch
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
    before = Ledger(session, journal=Journal(path))
    for code in range(1, 6):
        before.append(events.Error(code=str(code), message="", fatal=False))
    journal = Journal.reopen(path)
    feed = Feed(session, history=journal, port=0)
    feed.start()
    Ledger(session, journal=journal, feed=feed).append(events.Error(code="6", message="", fatal=False))
    with Subscriber(feed.url, f"?from=3&epoch={journal.epochs[0][0]}") as client:
        assert numbers(client.wait_for(3)) == [4, 5, 6]
    feed.stop()


def test_what_memory_holds_comes_with_its_words(tmp_path: Path) -> None:
    """Where the journal may hold no words, only events too old for memory come without their text."""
    session, journal = events.new_id(), Journal(tmp_path / "a.jsonl")
    feed = Feed(session, history=journal, port=0, memory_bytes=1_000)
    feed.start()
    ledger = Ledger(session, journal=journal, feed=feed, words=False)
    for revision in range(1, 21):
        ledger.append(
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


def gap_and_rest(it: Call, query: str, count: int) -> tuple[events.StreamGap, list[int]]:
    with Subscriber(it.feed.url, query) as client:
        it.say(1)
        gap, *rest = client.wait_for(count + 1)
    assert isinstance(gap, events.StreamGap)
    assert gap.session == it.session
    assert (gap.epoch, gap.to) == (rest[0].epoch, rest[0].seq)  # type: ignore[union-attr]
    return gap, numbers(rest)


def test_an_unknown_epoch_is_a_gap_and_then_everything(call: Callable[..., Call]) -> None:
    """A client of another session is told so, and gets this one from its start."""
    it = call()
    it.say(5)
    gap, rest = gap_and_rest(it, "?from=3&epoch=01OTHER", 6)
    assert (gap.from_epoch, gap.from_, gap.reason) == ("01OTHER", 3, "unknown_epoch")
    assert rest == [1, 2, 3, 4, 5, 6]


def test_a_number_that_was_never_given_is_a_gap(call: Callable[..., Call]) -> None:
    """A client that claims to be ahead is told so, and gets what follows the epoch's end."""
    it = call()
    it.say(5)
    gap, rest = gap_and_rest(it, f"?from=99&epoch={it.epoch}", 1)
    assert (gap.from_, gap.reason, rest) == (99, "ahead", [6])


def test_what_nobody_keeps_is_a_gap_of_exact_bounds(call: Callable[..., Call]) -> None:
    """Without a journal a client that comes too late learns from which number to which the events are gone."""
    it = call(keep=False, memory_bytes=5_000)
    it.say(200)
    with Subscriber(it.feed.url, "?from=0") as client:
        it.say(1)
        gap, first, *_ = client.wait_for(2)
        assert isinstance(gap, events.StreamGap)
        assert isinstance(first, events.Error)
        assert numbers(client.wait_for(1 + 201 - gap.to + 1)[1:]) == list(range(gap.to, 202))
    assert (gap.from_, gap.reason) == (0, "not_kept")
    assert 1 < gap.to < 200


def test_a_deleted_journal_is_a_gap_not_a_failure(call: Callable[..., Call]) -> None:
    """When somebody deletes the running session's journal, what memory holds still comes, after a gap."""
    it = call(memory_bytes=5_000)
    it.say(200)
    it.journal.path.unlink()
    gap, rest = gap_and_rest(it, "?from=10", 5)
    assert (gap.from_epoch, gap.from_, gap.reason) == (it.epoch, 10, "not_kept")
    assert rest == list(range(gap.to, gap.to + len(rest)))


def sleeper(it: Call) -> socket.socket:
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


def test_a_client_that_does_not_read_is_cut_off_and_nobody_else_notices(call: Callable[..., Call]) -> None:
    """One that reads nothing is closed with 1013 once its queue is full; another gets every event in order."""
    it = call(queue_limit=100, patience_s=0.1)
    with sleeper(it) as raw, Subscriber(it.feed.url) as reader:
        while len(it.feed._clients) == 2:
            it.say(20, size=20_000)
            time.sleep(0.01)
        it.say(20)
        assert numbers(reader.wait_for(it.said)) == list(range(1, it.said + 1))
        assert closing_frame(raw).startswith(b"\x03\xf5too slow")


def test_a_client_whose_socket_stays_full_is_cut_off_though_few_events_wait(call: Callable[..., Call]) -> None:
    """A client that reads nothing does not hold its place for ever when the conversation falls silent."""
    it = call(queue_limit=10**6, send_timeout_s=0.3)
    with sleeper(it) as raw:
        it.say(40, size=200_000)
        while it.feed._clients:
            time.sleep(0.01)
        assert closing_frame(raw).startswith(b"\x03\xf5too slow")


def test_a_client_that_pauses_is_waited_for(call: Callable[..., Call]) -> None:
    """A client whose socket is full while more events come than its queue may hold has time to go on reading."""
    it = call(queue_limit=5, patience_s=1e9, send_timeout_s=1e10)
    with sleeper(it) as raw:
        it.say(40, size=200_000)
        for _ in range(20):
            it.say(1)
            time.sleep(0.005)
        assert everything_from(raw, b'"code":"60"').count(b'"code"') == 60


def test_a_burst_beyond_the_queue_does_not_cut_off_who_reads(call: Callable[..., Call]) -> None:
    """A client that keeps reading gets a burst of many times its queue's length, whole."""
    it = call(queue_limit=10, memory_bytes=20_000)
    with Subscriber(it.feed.url) as reader:
        it.say(5_000)
        assert numbers(reader.wait_for(5_000)) == list(range(1, 5_001))


def test_no_more_clients_than_allowed(call: Callable[..., Call]) -> None:
    """One client too many is closed with 1013, and may come when another has gone."""
    it = call(max_clients=2)
    with Subscriber(it.feed.url):
        with Subscriber(it.feed.url):
            third = Subscriber(it.feed.url)
            third.finish()
            assert third.code == 1013
        while len(it.feed._clients) == 2:
            time.sleep(0.01)
        with Subscriber(it.feed.url) as fourth:
            it.say(1)
            assert numbers(fourth.wait_for(1)) == [1]


@pytest.mark.parametrize(("messages", "code"), [(["hello"] * 11, 1008), (["x" * 1025], 1009), ([b"\0" * 5000], 1009)])
def test_a_client_that_talks_is_closed(call: Callable[..., Call], messages: list[str | bytes], code: int) -> None:
    """Too many messages end in 1008, one that is too long in 1009."""
    it = call()
    client = Subscriber(it.feed.url)
    for message in messages:
        with contextlib.suppress(ConnectionClosed):
            client.connection.send(message)
    client.finish()
    assert client.code == code


def test_a_few_words_are_let_pass(call: Callable[..., Call]) -> None:
    """Ten messages are ignored, and the client still gets events."""
    it = call()
    with connect(it.feed.url) as client:
        for _ in range(10):
            client.send("hello")
        assert client.ping().wait(60)
        it.say(1)
        assert b'"code":"1"' in client.recv(decode=False)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (HANDSHAKE + "\n", b"101"),
        (HANDSHAKE.replace("localhost", "evil.example") + "\n", b"403"),
        (HANDSHAKE + "Origin: http://evil.example\n\n", b"403"),
        (HANDSHAKE.replace("GET /", "GET /?from=x") + "\n", b"400"),
        (HANDSHAKE.replace("GET /", "GET /?from=-1") + "\n", b"400"),
        (HANDSHAKE.replace("GET /", "GET /?from=" + "9" * 19) + "\n", b"400"),
        (HANDSHAKE.replace("GET /", "GET /?epoch=01A") + "\n", b"400"),
        (HANDSHAKE.replace("GET /", "GET /?from=1&from=2") + "\n", b"400"),
        (HANDSHAKE.replace("GET /", "GET /elsewhere") + "\n", b"404"),
        (HANDSHAKE.replace("GET /", "POST /") + "\n", b"405"),
        (HANDSHAKE.replace("Version: 13", "Version: 12") + "\n", b"400"),
        (HANDSHAKE + "Cookie: " + "x" * 10_000 + "\n\n", b"431"),
        (HANDSHAKE.replace("GET /", "GET /" + "x" * 10_000) + "\n", b"414"),
        ("GET / HTTP/1.1\nHost: localhost\n\n", b"200"),
        ("GET /healthz HTTP/1.1\nHost: localhost\n\n", b"200"),
        ("GET /healthz HTTP/1.1\nHost: evil.example\n\n", b"403"),
        ("\x16\x03\x01 not http at all\n\n", b""),
    ],
)
def test_each_request_gets_its_answer(call: Callable[..., Call], text: str, status: bytes) -> None:
    """What is wrong with a handshake is answered with its status, and the feed lives on."""
    it = call()
    address = urlsplit(it.feed.url)
    with socket.create_connection((address.hostname or "", address.port or 0)) as raw:
        raw.sendall(text.replace("\n", "\r\n").encode())
        answer = raw.recv(65536)
    assert answer[9:12] == status
    with connect(it.feed.url) as client:
        it.say(1)
        assert client.recv()


def test_a_handshake_that_never_ends_is_ended(call: Callable[..., Call]) -> None:
    """A client that sends its request a byte at a time, or nothing, is cut off."""
    it = call(handshake_s=0.2)
    assert request(it.feed.url, "GET / HT") == b""


def test_handshakes_are_bounded_in_number(call: Callable[..., Call]) -> None:
    """Of many connections that say nothing only so many stay open."""
    it = call(max_clients=1, handshake_s=1e9)
    address = urlsplit(it.feed.url)
    silent = [socket.create_connection((address.hostname or "", address.port or 0)) for _ in range(40)]
    cut = 0
    for raw in silent[18:]:
        try:
            cut += raw.recv(1) == b""
        except ConnectionResetError:
            cut += 1
    assert cut == 22
    assert len(it.feed._connections) == 18
    for raw in silent:
        raw.close()


def test_the_page_says_how_to_connect(call: Callable[..., Call]) -> None:
    """Plain HTTP gets a text page that explains the feed."""
    it = call()
    plain = http.client.HTTPConnection(urlsplit(it.feed.url).netloc)
    plain.request("GET", "/")
    answer = plain.getresponse()
    assert answer.getheader("Content-Type", "").startswith("text/plain")
    assert b"?from=N&epoch=E" in answer.read()


def test_a_token_lets_in_and_is_never_logged(call: Callable[..., Call], caplog: pytest.LogCaptureFixture) -> None:
    """Without the token 401, with it events; at no log level does a log hold it."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets.server").setLevel(logging.DEBUG)
    secret = "correct-horse"
    it = call(token=secret)
    for query, headers in (("", {}), ("?token=wrong", {}), ("", {"Authorization": "Bearer wrong"})):
        with pytest.raises(InvalidStatus) as refused:
            connect(it.feed.url + query, additional_headers=headers)
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["WWW-Authenticate"] == "Bearer"
    quiet = logging.getLogger("quiet client")
    quiet.disabled = True
    for query, headers in ((f"?token={secret}", {}), ("", {"Authorization": f"Bearer {secret}"})):
        with connect(it.feed.url + query, additional_headers=headers, logger=quiet) as client:
            it.say(1)
            assert client.recv()
    request(it.feed.url, f"GET /?token={secret} HTTP/9\n\n")
    assert secret not in caplog.text


def test_a_taken_port_is_one_sentence(call: Callable[..., Call]) -> None:
    """Where another program listens the feed says so and what to do."""
    taken = urlsplit(call().feed.url).port
    with pytest.raises(FeedError, match=f"cannot listen on 127.0.0.1:{taken} .*in use.*another"):
        Feed("s", port=taken or 0).start()


def test_an_address_that_does_not_exist_is_one_sentence() -> None:
    """A host that is not this machine's is a FeedError."""
    with pytest.raises(FeedError, match=r"cannot listen on 192\.0\.2\.1:0"):
        Feed("s", host="192.0.2.1", port=0, token="t").start()


def test_what_would_open_the_feed_to_others_is_refused() -> None:
    """No token and an address beyond this machine, or a port that is none, are usage errors before anything runs."""
    with pytest.raises(UsageError, match="without a token"):
        Feed("s", host="0.0.0.0")
    with pytest.raises(UsageError, match="port 70000"):
        Feed("s", port=70000)
    with pytest.raises(FeedError, match="start it first"):
        _ = Feed("s").url


def test_stopping_gives_out_all_that_was_published(call: Callable[..., Call]) -> None:
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


def test_stopping_waits_for_nobody_who_does_not_read(call: Callable[..., Call]) -> None:
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

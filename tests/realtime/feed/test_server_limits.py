"""Who is let in, how many, and what happens to those who misbehave."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from support.bearer_protocol import bearer_protocol
from support.feed_session import HANDSHAKE, FeedSession, Subscriber, numbers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from core_models.errors import FeedError, UsageError
from realtime.feed.server import Feed
from realtime.protocol import events


def request(url: str, text: str) -> bytes:
    """What the feed answers to raw bytes, until it closes the connection."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0)) as raw:
        raw.sendall(text.replace("\n", "\r\n").encode())
        answer = b""
        while piece := raw.recv(65536):
            answer += piece
    return answer


def test_no_more_clients_than_allowed(call: Callable[..., FeedSession]) -> None:
    """One client too many is closed with 1013, and may come when another has gone."""
    it = call(max_clients=2)
    with Subscriber(it.feed.url):
        with Subscriber(it.feed.url):
            third = Subscriber(it.feed.url)
            third.finish()
            assert third.code == 1013
        while len(it.feed._fanout.clients) == 2:
            time.sleep(0.01)
        with Subscriber(it.feed.url) as fourth:
            it.say(1)
            assert numbers(fourth.wait_for(1)) == [1]


@pytest.mark.parametrize(("messages", "code"), [(["hello"] * 60, 1008), (["x" * 4097], 1009), ([b"hello"], 1003)])
def test_a_client_that_talks_is_closed(
    call: Callable[..., FeedSession], messages: list[str | bytes], code: int
) -> None:
    """Too many messages end in 1008, one that is too long in 1009, a binary one in 1003."""
    it = call()
    client = Subscriber(it.feed.url)
    for message in messages:
        with contextlib.suppress(ConnectionClosed):
            client.connection.send(message)
    client.finish()
    assert client.code == code
    with Subscriber(it.feed.url) as another:
        it.say(1)
        assert numbers(another.wait_for(1)) == [1]


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
def test_each_request_gets_its_answer(call: Callable[..., FeedSession], text: str, status: bytes) -> None:
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


def test_a_handshake_that_never_ends_is_ended(call: Callable[..., FeedSession]) -> None:
    """A client that sends its request a byte at a time, or nothing, is cut off."""
    it = call(handshake_s=0.2)
    assert request(it.feed.url, "GET / HT") == b""


def test_handshakes_are_bounded_in_number(call: Callable[..., FeedSession]) -> None:
    """Of many connections that say nothing only the latest stay open, and they keep nobody out who says something."""
    it = call(max_clients=1, handshake_s=1e9)
    address = urlsplit(it.feed.url)
    silent = [socket.create_connection((address.hostname or "", address.port or 0)) for _ in range(40)]
    cut = 0
    for raw in silent[:22]:
        try:
            cut += raw.recv(1) == b""
        except ConnectionResetError:
            cut += 1
    assert cut == 22
    with Subscriber(it.feed.url) as client:
        it.say(1)
        assert numbers(client.wait_for(1)) == [1]
    for raw in silent:
        raw.close()


def test_the_page_says_how_to_connect(call: Callable[..., FeedSession]) -> None:
    """Plain HTTP gets a text page that explains the feed."""
    it = call()
    plain = http.client.HTTPConnection(urlsplit(it.feed.url).netloc)
    plain.request("GET", "/")
    answer = plain.getresponse()
    assert answer.getheader("Content-Type", "").startswith("text/plain")
    assert b"?from=N&epoch=E" in answer.read()


def get(url: str, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body of a plain HTTP request."""
    plain = http.client.HTTPConnection(urlsplit(url).netloc)
    plain.request("GET", path, headers=headers)
    answer = plain.getresponse()
    body = answer.read()
    plain.close()
    return answer.status, body


def test_a_token_lets_in_and_is_never_logged(
    call: Callable[..., FeedSession], caplog: pytest.LogCaptureFixture
) -> None:
    """Without the token, or with it in the query, 401; with it in the header or a sub-protocol events; at no log
    level does a log hold it."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets.server").setLevel(logging.DEBUG)
    secret = "correct-horse"
    it = call(token=secret)
    quiet = logging.getLogger("quiet client")
    quiet.disabled = True
    for query, headers in (("", {}), (f"?token={secret}", {}), ("", {"Authorization": "Bearer wrong"})):
        with pytest.raises(InvalidStatus) as refused:
            connect(it.feed.url + query, additional_headers=headers, logger=quiet)
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["WWW-Authenticate"] == "Bearer"
    protocols = [Subprotocol(events.SUBPROTOCOL), Subprotocol(bearer_protocol(secret))]
    for options in ({"additional_headers": {"Authorization": f"Bearer {secret}"}}, {"subprotocols": protocols}):
        with connect(it.feed.url, logger=quiet, **options) as client:
            it.say(1)
            assert client.recv()
            assert client.subprotocol in (None, events.SUBPROTOCOL)
    request(it.feed.url, f"GET /?token={secret} HTTP/9\n\n")
    assert secret not in caplog.text


def test_a_one_time_token_is_good_once(call: Callable[..., FeedSession]) -> None:
    """`/ticket` gives who shows the token a one-time token, which lets one client in by its query, and no other."""
    it = call(token="correct-horse")
    assert get(it.feed.url, "/ticket")[0] == 401
    status, body = get(it.feed.url, "/ticket", Authorization="Bearer correct-horse")
    assert status == 200
    query = f"?token={body.decode().strip()}"
    with connect(it.feed.url + query) as client:
        it.say(1)
        assert client.recv()
        with pytest.raises(InvalidStatus):
            connect(it.feed.url + query)


def test_a_taken_port_is_one_sentence(call: Callable[..., FeedSession]) -> None:
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

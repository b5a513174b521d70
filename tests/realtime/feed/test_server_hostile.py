"""Clients that break the protocol, on raw sockets: each ends alone, and the feed serves the next."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from support.feed_session import HANDSHAKE, FeedSession, Subscriber, numbers
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

TEXT, BINARY, CONTINUED, CLOSE, PING = 0x1, 0x2, 0x0, 0x8, 0x9
FIN, COMPRESSED = 0x80, 0x40


def frame(opcode: int, payload: bytes, *, flags: int = FIN, masked: bool = True, length: int | None = None) -> bytes:
    """One frame as a client sends it; `length` is what it claims to hold."""
    size = len(payload) if length is None else length
    head = bytes([flags | opcode])
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head += bytes([mask_bit | size])
    elif size < 1 << 16:
        head += bytes([mask_bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", size)
    return head + b"\0\0\0\0" * masked + payload


def opened(url: str, further: str = "") -> socket.socket:
    address = urlsplit(url)
    raw = socket.create_connection((address.hostname or "", address.port or 0))
    raw.sendall((HANDSHAKE + further + "\n").replace("\n", "\r\n").encode())
    answer = b""
    while b"\r\n\r\n" not in answer and (piece := raw.recv(4096)):
        answer += piece
    assert answer.startswith(b"HTTP/1.1 101")
    assert b"xtensions" not in answer
    return raw


def close_code(raw: socket.socket) -> int | None:
    """The code of the close frame that comes, None where the connection just ends."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while len(got.partition(b"\x88")[2]) < 3 and (piece := raw.recv(65536)):
            got += piece
    _, found, rest = got.partition(b"\x88")
    return int.from_bytes(rest[1:3], "big") if found else None


BOMB = zlib.compress(b"\0" * 2_000_000)  # 2 KB


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"x" * 4097), 1009),
        (frame(TEXT, b"x", length=1 << 40), 1009),
        (frame(TEXT, b"x" * 3000, flags=0) + frame(CONTINUED, b"x" * 3000), 1009),
        (frame(TEXT, b"{", flags=0) * 2, 1002),
        (frame(CONTINUED, b"}"), 1002),
        (frame(BINARY, b"\0\1"), 1003),
        (frame(BINARY, b"\0", flags=0) + frame(CONTINUED, b"\1"), 1003),
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(TEXT, BOMB, flags=FIN | COMPRESSED), 1002),
        (frame(TEXT, b"hello", masked=False), 1002),
        (frame(0x3, b"hello"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"", flags=0), 1002),
        (frame(CLOSE, b"\0"), 1002),
        (frame(TEXT, b"[" * 4000) * 60, 1008),
    ],
)
def test_what_breaks_the_protocol_ends_its_own_connection(
    call: Callable[..., FeedSession], sent: bytes, code: int
) -> None:
    """Oversize, fragmented, binary, compressed, unmasked and malformed frames end in their close codes; another
    client notices nothing."""
    it = call()
    with Subscriber(it.feed.url) as other:
        with opened(it.feed.url, "Sec-WebSocket-Extensions: permessage-deflate\n") as raw:
            raw.sendall(sent)
            assert close_code(raw) == code
        it.say(1)
        assert numbers(other.wait_for(1)) == [1]


def test_a_command_may_come_in_pieces(call: Callable[..., FeedSession]) -> None:
    """Fragments that stay within the limit are one message."""
    it = call()
    with opened(it.feed.url) as raw:
        raw.sendall(frame(TEXT, b'{"type":"mo', flags=0) + frame(CONTINUED, b'ment.mark","id":"c7"}'))
        got = b""
        while b"command.result" not in got and (piece := raw.recv(4096)):
            got += piece
    assert b'"id":"c7","ok":true' in got


def test_noise_ends_nobody_else(call: Callable[..., FeedSession]) -> None:
    """Random bytes, before the handshake and after it, leave a feed that serves."""
    it = call(handshake_s=1.0)
    address = urlsplit(it.feed.url)
    with Subscriber(it.feed.url) as other:
        for size in (1, 100, 5000):
            with socket.create_connection((address.hostname or "", address.port or 0)) as raw:
                raw.sendall(os.urandom(size))
            with opened(it.feed.url) as raw:
                raw.sendall(os.urandom(size))
        it.say(3)
        assert numbers(other.wait_for(3)) == [1, 2, 3]


def test_half_sent_frames_cost_nobody_anything(call: Callable[..., FeedSession]) -> None:
    """A client that sends half a frame and then nothing is served like any other."""
    it = call()
    with opened(it.feed.url) as raw:
        raw.sendall(frame(TEXT, b"x" * 10, length=100))
        it.say(1)
        assert b'"code":"1"' in raw.recv(4096)


def test_a_handshake_sent_drop_by_drop_is_ended(call: Callable[..., FeedSession]) -> None:
    """However steadily its bytes come, a handshake has its time and no more."""
    it = call(handshake_s=0.3)
    address = urlsplit(it.feed.url)
    raw = socket.create_connection((address.hostname or "", address.port or 0))
    with raw, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while True:  # until the feed has had enough
            raw.sendall(b"G")
            time.sleep(0.05)
    with connect(it.feed.url) as client:
        it.say(1)
        assert client.recv()


def until_closed(client: ClientConnection) -> Iterator[str]:
    with contextlib.suppress(ConnectionClosed):
        while True:
            yield str(client.recv())


def test_a_flood_of_commands_ends_the_one_who_sends_it(call: Callable[..., FeedSession]) -> None:
    """A client that commands without pause is closed with 1008 when thirty at once are used up, each answered."""
    it = call()
    with connect(it.feed.url) as client:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(60):
                client.send('{"type":"moment.mark"}')
        assert 30 <= sum('"command.result"' in message for message in until_closed(client)) < 60
        assert client.close_code == 1008

"""Both ends of a feed for the tests: a session that only numbers and publishes, and a program that listens."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.journal.event_log import Journal
from realtime.protocol import events


class Subscriber:
    """Collects what comes until the feed closes or `stop_after` messages are there; `code` is the close code.

    With `reading` false it reads nothing, not even into the library's buffer, before `start`.
    """

    def __init__(
        self, url: str, query: str = "", *, stop_after: int | None = None, reading: bool = True
    ) -> None:
        self.got: list[events.Message] = []
        self._lines: list[bytes] = []
        self.code: int | None = None
        self._stop_after = stop_after
        self._news = threading.Condition()
        self.connection = connect(url + query, compression=None, max_size=None, max_queue=None if reading else 1)
        self._thread = threading.Thread(target=self._read, daemon=True)
        if reading:
            self.start()

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def _read(self) -> None:
        try:
            while self._stop_after is None or len(self.got) < self._stop_after:
                line = self.connection.recv(decode=False)
                with self._news:
                    self._lines.append(line)
                    self.got.append(events.decode(line))
                    self._news.notify_all()
        except ConnectionClosed as closed:
            self.code = closed.rcvd.code if closed.rcvd else None
        else:
            self.kill()

    def kill(self) -> None:
        """End the connection as a crash does: a reset, no close frame."""
        self.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.socket.shutdown(socket.SHUT_RDWR)
        self.connection.socket.close()

    def wait_for(self, count: int) -> list[events.Message]:
        """The messages, once there are `count` of them."""
        with self._news:
            self._news.wait_for(lambda: len(self.got) >= count)
            return list(self.got)

    def lines(self, count: int) -> list[bytes]:
        """The messages as they came, once there are `count` of them."""
        self.wait_for(count)
        return self._lines

    def finish(self) -> list[events.Message]:
        """All messages, once the connection has ended."""
        self._thread.join()
        return self.got

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()
        self._thread.join()


class FeedSession:
    """A session with a journal and a feed, without the part that listens."""

    def __init__(self, folder: Path, *, keep: bool = True, **options: Any) -> None:
        self.session = events.new_id()
        self.journal = Journal(folder / "sessions" / "a.jsonl") if keep else None
        self.feed = Feed(self.session, history=self.journal, **{"port": 0, **options})
        self.publisher = EventPublisher(self.session, journal=self.journal, feed=self.feed)
        self.said = 0
        self.feed.start()

    def say(self, count: int, size: int = 100) -> None:
        for _ in range(count):
            self.said += 1
            self.publisher.append(events.Error(code=str(self.said), message="m" * size, fatal=False))

    @property
    def epoch(self) -> str:
        assert self.journal is not None
        return self.journal.epochs[-1][0]


def numbers(messages: list[events.Message]) -> list[int]:
    """What was said, of messages that are all of the one kind that `FeedSession.say` makes."""
    assert {type(message) for message in messages} <= {events.Error}
    return [int(message.code) for message in messages if isinstance(message, events.Error)]


HANDSHAKE = (
    "GET / HTTP/1.1\nHost: localhost\nUpgrade: websocket\nConnection: Upgrade\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\n"
)

"""A client of the feed on a thread of its own, as a program that listens would be."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from realtime import events


class Subscriber:
    """Collects what comes until the feed closes or `stop_after` messages are there; `code` is the close code."""

    def __init__(self, url: str, query: str = "", *, stop_after: int | None = None) -> None:
        self.got: list[events.Message] = []
        self.code: int | None = None
        self._stop_after = stop_after
        self._news = threading.Condition()
        self.connection = connect(url + query, compression=None, max_size=None)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while self._stop_after is None or len(self.got) < self._stop_after:
                message = events.decode(self.connection.recv())
                with self._news:
                    self.got.append(message)
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

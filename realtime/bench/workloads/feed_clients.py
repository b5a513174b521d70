"""Many clients of a feed in one process, as light as they can be, for `python -m realtime.bench feed`.

They speak just enough WebSocket to read whole text frames. The program takes its commands line by line on standard
input and says on standard output what has happened: `ready`, `all` when every client has an event, and at the end
one JSON object.
"""

from __future__ import annotations

import json
import re
import resource
import selectors
import socket
import struct
import sys
import time
from collections import Counter

_REQUEST = (
    "GET /{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_SENT = re.compile(rb'"text":"(\d+)')
_NUMBER = re.compile(rb'"seq":(\d+),"epoch":"([^"]+)"')


def allow_many_files() -> None:
    """Raise this process's limit of open files as far as it may be raised."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Reader:
    """One client: `read` gives the text frames that have come, None when the connection has ended with `code`."""

    def __init__(self, port: int, query: str = "", *, group: int = 0) -> None:
        self.group = group
        self.seen = ("", 0)
        self.opened = False
        self.code: int | None = None
        self._got = bytearray()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(_REQUEST.format(query=query).encode())
        self.socket.setblocking(False)

    def read(self) -> list[bytes] | None:
        try:
            piece = self.socket.recv(1 << 18)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            return None
        if not piece:
            return None
        got = self._got
        got += piece
        if not self.opened:
            end = got.find(b"\r\n\r\n")
            if end < 0:
                return []
            if not got.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(bytes(got[:end]).decode())
            self.opened = True
            del got[: end + 4]
        frames, at = [], 0
        while len(got) - at >= 2:
            size, begin = got[at + 1], at + 2
            if size == 126:
                begin = at + 4
                size = int.from_bytes(got[at + 2 : begin], "big")
            elif size == 127:
                begin = at + 10
                size = int.from_bytes(got[at + 2 : begin], "big")
            if len(got) < begin or len(got) - begin < size:
                break
            if got[at] == 0x81:
                frames.append(bytes(got[begin : begin + size]))
            elif got[at] == 0x89:
                self.socket.sendall(bytes([0x8A, 0x80 | size]) + bytes(4) + got[begin : begin + size])
            elif got[at] == 0x88:
                self.code = int.from_bytes(got[begin : begin + 2], "big")
            at = begin + size
        del got[:at]
        return frames

    def cut(self) -> None:
        """End the connection as a crash does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def _print_line(line: str) -> None:
    print(line, flush=True)


def _open_all(selector: selectors.BaseSelector, readers: list[Reader]) -> None:
    for reader in readers:
        selector.register(reader.socket, selectors.EVENT_READ, reader)
    while not all(reader.opened for reader in readers):
        for key, _ in selector.select():
            if key.data is not None:
                key.data.read()


def fanout(count: int, ports: list[int]) -> None:
    """`count` clients of each port; the time from the stamp in an event's text to its arrival at each."""
    selector = selectors.DefaultSelector()
    arrivals: list[list[int]] = [[] for _ in ports]
    for group, port in enumerate(ports):
        _open_all(selector, [Reader(port, group=group) for _ in range(count)])
        _print_line("ready")
        sys.stdin.readline()
    arrived: Counter[bytes] = Counter()
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                _print_line(json.dumps(arrivals))
                return
            for line in key.data.read() or ():
                now = time.monotonic_ns()
                found = _SENT.search(line)
                if found is None:
                    continue
                arrivals[key.data.group].append(now - int(found[1]))
                arrived[found[1]] += 1
                if arrived[found[1]] == count:
                    _print_line("all")


def resume(count: int, port: int, total: int) -> None:
    """`count` clients from the first event to number `total`; each line on standard input cuts all of them at once."""
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    wrong: Counter[str] = Counter()
    live: set[Reader] = set()

    def connect(seen: list[tuple[str, int]]) -> None:
        for epoch, number in seen:
            reader = Reader(port, f"?from={number}&epoch={epoch}" if epoch else "?from=0")
            reader.seen = epoch, number
            selector.register(reader.socket, selectors.EVENT_READ, reader)
            live.add(reader)

    connect([("", 0)] * count)
    _print_line("ready")
    begun, done, times = time.monotonic(), 0, []
    while done < count:
        for key, _ in selector.select():
            reader: Reader | None = key.data
            if reader is None:
                if sys.stdin.readline():
                    for one in live:
                        selector.unregister(one.socket)
                        one.cut()
                    seen = [one.seen for one in live]
                    live.clear()
                    begun = time.monotonic()
                    connect(seen)
                    break
                continue
            lines = reader.read()
            if lines is None:
                wrong[f"closed with {reader.code}"] += 1
                selector.unregister(reader.socket)
                reader.socket.close()
                live.discard(reader)
                connect([reader.seen])
                continue
            for line in lines:
                _check_order(reader, line, wrong)
            if reader.seen[1] >= total and reader in live:
                selector.unregister(reader.socket)
                live.discard(reader)
                done += 1
                times.append(time.monotonic() - begun)
    _print_line(json.dumps({"wrong": wrong, "seconds": times}))


def _check_order(reader: Reader, line: bytes, wrong: Counter[str]) -> None:
    if line.startswith((b'{"type":"stream.gap"', b'{"type":"snapshot"')):
        wrong["gap"] += line.startswith(b'{"type":"stream.gap"')
        return
    found = _NUMBER.search(line)
    assert found is not None
    number = int(found[1])
    if number > reader.seen[1] + 1:
        wrong["missing"] += 1
    elif number <= reader.seen[1]:
        wrong["twice"] += 1
    reader.seen = found[2].decode(), number


if __name__ == "__main__":
    allow_many_files()
    what, *numbers = sys.argv[1:]
    first, *rest = (int(number) for number in numbers)
    if what == "fanout":
        fanout(first, rest)
    else:
        resume(first, *rest)

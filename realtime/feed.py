"""The WebSocket feed: every event of a session to whoever may listen, each at its own pace.

`ws://HOST:PORT/` is the feed, one JSON message (realtime/events.py) a text frame. The same address over plain
HTTP gives the dashboard to a browser and a few lines to anything else; `/healthz` answers 200.

Where a client begins:
- no parameters: with the next event;
- `?from=0`: with the first event of the session;
- `?from=N&epoch=E`: after number N of epoch E; without `epoch`, of the present epoch.

It then gets every event in order and none twice. Where that cannot be, a `stream.gap` stands in place of what
is missing, just before the event that follows it, with the reason
- `unknown_epoch`: E is not of this session, so everything that is kept follows;
- `ahead`: E has no number N yet, or never will; what comes after E's present end follows;
- `not_kept`: neither memory nor the journal holds it any more.
Events that come from memory carry their text; older ones come from the journal, which may have been told to
hold none.

How a connection ends: 1001 the session is over, or the program ends; 1008 the client talks too much (it has
nothing to say in version 1); 1009 a message of more than 1 KiB; 1011 a fault of the feed's own; 1013 the
client does not read, or there are too many: come back later with `from`. Before the handshake is done:
400 a parameter that makes no sense, 401 no token, 403 the wrong Host or Origin (realtime/access.py), 404 no
such path.

No client has a queue of its own. All of them read one bounded stretch of memory, each from its own place, and
the journal behind it, so one that does not read costs its socket's buffer and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import threading
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from core_models.errors import FeedError, UsageError
from realtime import events
from realtime.access import Access, Refusal
from realtime.journal import Journal, Record
from realtime.pages import page
from realtime.tail import Tail

GOING_AWAY, POLICY_VIOLATION, INTERNAL_ERROR, TRY_AGAIN_LATER = 1001, 1008, 1011, 1013

_LARGEST_MESSAGE = 1024  # bytes that a client may send at once
_MESSAGES, _PER_SECONDS = 10, 10.0  # what it may say in all
_BATCH = 64  # events taken from memory at a time
_CLOSE_S = 5.0  # for a client to read what is on its way and the close frame behind it

_PAGE = """Conversation emotion tracker: the live feed of one session.

Connect a WebSocket to this address: every message is one JSON event.
  ?from=0              everything from the start of the session
  ?from=N&epoch=E      what came after event N of epoch E
  ?token=TOKEN         where the feed asks for one (or Authorization: Bearer TOKEN)
"""

_log = logging.getLogger(__name__)
# The library logs request lines, and a request line may hold the token: no configuration reaches this logger.
_silent = logging.Logger("websockets of the feed", level=logging.CRITICAL + 1)


@dataclass(eq=False)
class _Client:
    """Where a client is: the place of its next event, the last that it has seen, and why a gap is due.

    It is made before the handshake is answered, so that nothing published after the answer is missed.
    """

    connection: ServerConnection
    place: int
    seen: tuple[str, int]
    gap: str | None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    deadline: asyncio.Timeout | None = None  # of the message being sent


class _Connection(ServerConnection):
    """Counts connections from their first byte, so that handshakes which never end are bounded too."""

    client: _Client

    def __init__(self, connections: set[ServerConnection], limit: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections, self._limit = connections, limit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._connections) >= self._limit:
            self.transport.abort()
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        super().connection_lost(exc)


def _beginning(query: str) -> tuple[str | None, int] | None:
    """(epoch, number) to resume after; None for the live tail; Refusal where it makes no sense."""
    parameters = parse_qsl(query, keep_blank_values=True)
    numbers = [value for name, value in parameters if name == "from"]
    epochs = [value for name, value in parameters if name == "epoch"]
    if not numbers and not epochs:
        return None
    if len(numbers) != 1 or len(epochs) > 1:
        raise Refusal(HTTPStatus.BAD_REQUEST, "expected one from=NUMBER, and at most one epoch=ID with it")
    if not (numbers[0].isascii() and numbers[0].isdigit() and len(numbers[0]) <= 18):
        raise Refusal(HTTPStatus.BAD_REQUEST, "expected from=NUMBER: the last event's seq, or 0 for all")
    return (epochs[0] if epochs else None), int(numbers[0])


class Feed:
    """The server of one session, on a thread and an event loop of its own.

    `history` is the journal that is read for what memory does not hold. `port` 0 takes any free one. A client
    is closed with 1013 when it is more than `queue_limit` events behind and its socket has taken nothing for
    `patience_s`, or for `send_timeout_s` however few events wait. UsageError: a port out of range, an address
    beyond this machine without a `token`.
    """

    def __init__(
        self,
        session: str,
        *,
        history: Journal | None = None,
        host: str = "127.0.0.1",
        port: int = 8765,
        token: str | None = None,
        origins: Collection[str] = (),
        hosts: Collection[str] = (),
        max_clients: int = 100,
        queue_limit: int = 1000,
        patience_s: float = 2.0,
        send_timeout_s: float = 20.0,
        handshake_s: float = 5.0,
        memory_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        if not 0 <= port <= 65535:
            raise UsageError(f"the feed cannot listen on port {port}: expected 0 (any free one) to 65535")
        self._access = Access(host, token, origins, hosts)
        self._session, self._history = session, history
        self._host, self._port = host, port
        self._max_clients, self._queue_limit = max_clients, queue_limit
        self._patience_s, self._send_timeout_s, self._handshake_s = patience_s, send_timeout_s, handshake_s
        self._tail = Tail(history.epochs if history is not None else [], memory_bytes)
        self._clients: set[_Client] = set()
        self._connections: set[ServerConnection] = set()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._bound: Future[int] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake_is_due = False
        self._stopping = asyncio.Event()
        self._grace = 0.0

    @property
    def url(self) -> str:
        """Address for a client on this machine; FeedError before `start`."""
        if not self._bound.done():
            raise FeedError("the feed has no address yet: start it first")
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        return f"ws://{f'[{host}]' if ':' in host else host}:{self._bound.result()}/"

    def start(self) -> None:
        """Listen; returns when clients can connect. FeedError where that is not possible."""
        self._thread.start()
        self._bound.result()

    def publish(self, seq: int, epoch: str, line: bytes) -> None:
        """Hand an event to whoever listens; never blocks; any thread may call it, before `start` too.

        Numbers rise by one within an epoch, and an epoch, once left, does not come back (ValueError).
        """
        self._tail.append(Record(epoch, seq, line))
        if self._loop is not None and not self._wake_is_due:
            self._wake_is_due = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: the feed has stopped
                self._loop.call_soon_threadsafe(self._wake)

    def stop(self, grace: float = 2.0) -> None:
        """Give clients up to `grace` seconds to read what was published, close them with 1001; idempotent."""
        self._grace = grace
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the feed has stopped
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    # What follows runs on the feed's own thread.

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._bound.done():
                raise
            self._bound.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        connection = functools.partial(_Connection, self._connections, 2 * self._max_clients + 16)
        try:
            server = await serve(
                self._handle,
                self._host,
                self._port,
                create_connection=connection,  # type: ignore[arg-type]  # it is only ever called
                process_request=self._process_request,
                compression=None,  # costs more than it saves on messages of 1 KiB
                max_size=_LARGEST_MESSAGE,
                open_timeout=self._handshake_s,
                close_timeout=_CLOSE_S,
                server_header=None,
                logger=_silent,
            )
        except (OSError, UnicodeError) as error:
            code = getattr(error, "errno", None) or 0  # negative where a name could not be resolved
            why = os.strerror(code) if code > 0 else str(error)
            raise FeedError(
                f"the feed cannot listen on {self._host}:{self._port} ({why}): stop the program that does, "
                "or choose another address or port (0 takes any free one)"
            ) from None
        self._bound.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close(close_connections=False)
        self._wake()
        try:
            async with asyncio.timeout(self._grace):
                await server.wait_closed()
        except TimeoutError:
            for late in list(self._connections):
                late.transport.abort()
            await server.wait_closed()

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        path, _, query = request.path.partition("?")
        try:
            found = page(path, request.headers.get_all("If-None-Match"))
            if found is None and path not in ("/", "/healthz"):
                raise Refusal(HTTPStatus.NOT_FOUND, "there is nothing here: the feed is at /")
            if "Upgrade" in request.headers and path == "/":
                self._access.check_client(request.headers, query)
                assert isinstance(connection, _Connection)
                connection.client = self._admit(connection, query)
                return None
            self._access.check_host(request.headers)
            if found is not None and (path != "/" or "text/html" in request.headers.get("Accept", "")):
                headers = Headers([*found.headers, ("Content-Length", str(len(found.body))), ("Connection", "close")])
                return Response(found.status.value, found.status.phrase, headers, found.body)
            return connection.respond(HTTPStatus.OK, _PAGE if path == "/" else "ok\n")
        except Refusal as refusal:
            response = connection.respond(refusal.status, f"{refusal}\n")
            if refusal.status is HTTPStatus.UNAUTHORIZED:
                response.headers["WWW-Authenticate"] = "Bearer"
            return response

    async def _handle(self, connection: ServerConnection) -> None:
        if len(self._clients) >= self._max_clients:
            await self._close(connection, TRY_AGAIN_LATER, "too many clients")
            return
        assert isinstance(connection, _Connection)
        client = connection.client
        tasks = {asyncio.create_task(self._deliver(client)), asyncio.create_task(self._listen(connection))}
        self._clients.add(client)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients.discard(client)
            for task in tasks:
                task.cancel()
        code, reason = INTERNAL_ERROR, "the feed failed"
        try:
            code, reason = done.pop().result()
        except ConnectionClosed:
            return
        except Exception:
            _log.exception("serving a client failed")
        await self._close(connection, code, reason)

    async def _close(self, connection: ServerConnection, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(_CLOSE_S):  # the library's own begins only when its buffer has drained
                await connection.close(code, reason)
        except TimeoutError:
            connection.transport.abort()

    def _admit(self, connection: ServerConnection, query: str) -> _Client:
        asked = _beginning(query)
        if asked is None:
            place = self._tail.end
            return _Client(connection, place, self._tail.name(place - 1), None)
        epoch, after = asked
        if epoch is None:
            if after == 0:
                return _Client(connection, 0, ("", 0), None)
            epoch = self._tail.epoch
        place, gap = self._tail.find(epoch, after)
        return _Client(connection, place, (epoch, after), gap)

    async def _listen(self, connection: ServerConnection) -> tuple[int, str]:
        clock = asyncio.get_running_loop().time
        said, since = 0, clock()
        while said <= _MESSAGES:
            await connection.recv()
            if clock() - since > _PER_SECONDS:
                said, since = 0, clock()
            said += 1
        return POLICY_VIOLATION, "a client has nothing to say"

    def _wake(self) -> None:
        """Something was published, or the feed is stopping: rouse who waits, cut off who does not read."""
        self._wake_is_due = False
        now = asyncio.get_running_loop().time()
        for client in self._clients:
            client.wake.set()
            deadline = client.deadline
            if deadline is None or self._tail.end - client.place <= self._queue_limit:
                continue
            expiry = deadline.when()
            if expiry is not None and expiry - now < self._send_timeout_s - self._patience_s:
                client.deadline = None
                deadline.reschedule(now)

    async def _deliver(self, client: _Client) -> tuple[int, str]:
        try:
            while True:
                if client.place < self._tail.end:
                    for record in await self._next(client):
                        await self._send_record(client, record)
                    await asyncio.sleep(0)  # sending to a socket with room does not yield: let others have a turn
                elif self._stopping.is_set():
                    return GOING_AWAY, "the session is over"
                else:
                    client.wake.clear()
                    await client.wake.wait()
        except TimeoutError:
            return TRY_AGAIN_LATER, "too slow: resume with from and epoch"

    async def _next(self, client: _Client) -> list[Record]:
        records = self._tail.since(client.place, _BATCH)
        if records is not None:
            return records
        epoch, seq = self._tail.name(client.place)
        records = []
        if self._history is not None:
            with contextlib.suppress(OSError):  # the file is gone: so are its events
                records = await asyncio.to_thread(self._history.read, epoch, seq - 1)
        records = [record for record in records if self._tail.place(record) < self._tail.first]
        if not records:
            client.place = self._tail.skip(client.place)
            client.gap = client.gap or "not_kept"
        return records

    async def _send_record(self, client: _Client, record: Record) -> None:
        place = self._tail.place(record)
        if client.gap or place > client.place:
            (from_epoch, number), reason = client.seen, client.gap or "not_kept"
            gap = events.StreamGap(
                session=self._session,
                from_epoch=from_epoch,
                from_=number,
                epoch=record.epoch,
                to=record.seq,
                reason=reason,
            )
            await self._send(client, events.encode(gap))
            client.gap = None
        await self._send(client, record.line)
        client.place, client.seen = place + 1, (record.epoch, record.seq)

    async def _send(self, client: _Client, line: bytes) -> None:
        try:
            async with asyncio.timeout(self._send_timeout_s) as client.deadline:
                await client.connection.send(line, text=True)
        finally:
            client.deadline = None

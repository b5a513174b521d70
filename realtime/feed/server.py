"""The WebSocket server of one session: every event to every client that is admitted, each at its own pace.

`ws://HOST:PORT/` (`wss://` with a certificate) is the feed, one JSON message (realtime/protocol/events.py) a text
frame; a client that offers sub-protocols must offer `emotion.v1` among them. The same port answers plain HTTP
(realtime/feed/http_routes.py); realtime/feed/access.py says who is admitted. The query says where a client begins and
which events it wants (realtime/feed/subscription.py). It then gets every such event in order and none twice.

Where that cannot be, a `stream.gap` stands in place of what is missing, and behind it a `snapshot` of the session
just before the event that follows. Its reason is
- `unknown_epoch`: E is not of this session, so everything that is kept follows;
- `ahead`: E has no number N yet, or never will; what comes after E's present end follows;
- `not_kept`: neither memory nor the journal holds it any more;
- `damaged`: in a replay, the journal has lost it;
- `too_slow`: the client did not read; nothing follows but the close frame, and `from` the snapshot's `seq` and
  `epoch`, or from the last event before the gap, resumes.
Events that come from memory carry their text; older ones come from the journal, which may have been asked to
hold none.

The page at `/capture` sends a session sound and pictures by a socket of its own (realtime/feed/capture_endpoint.py).

A client may give commands (realtime/protocol/commands.py): text, 4 KiB at most, three a second and 30 at once. Each is
answered by `command.result`, and what it changes is an event like any other.

How a connection ends: 1001 the session is over, or the program ends; 1002 a broken frame, compressed ones among them;
1003 a binary message; 1007 text that is no UTF-8; 1008 too many commands; 1009 a message of more than 4 KiB;
1011 a fault of the feed's own; 1013 the client does not read, or there are too many: come back later with `from`.
Before the handshake is done: 400 a parameter that makes no sense, 401 no token, 403 the wrong Host or Origin, 404 no
such path.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from core_models.errors import FeedError, TrackerError, UsageError
from realtime.feed import capture_endpoint, subscription
from realtime.feed.access import Access, HttpRefusal
from realtime.feed.connection import FeedConnection, load_tls, select_subprotocol
from realtime.feed.fanout import GOING_AWAY, TRY_AGAIN_LATER, Client, Fanout
from realtime.feed.history import EventHistory
from realtime.feed.http_routes import Routes, build_response
from realtime.feed.limits import AddressLimits, SocketGate, listen_at
from realtime.feed.metrics import Metrics
from realtime.journal.event_log import Journal, Record
from realtime.protocol import commands, events
from realtime.sources.browser.capture import Browser
from realtime.sources.browser.limits import TokenBucket

# RFC 6455, 7.4.1.
UNSUPPORTED_DATA, POLICY_VIOLATION, INTERNAL_ERROR = 1003, 1008, 1011

# Bytes of one message: the longest command is a mark with a note of 500 characters, 2,000 bytes of UTF-8 at most.
_LARGEST_MESSAGE = 4096
# Three times what a person who corrects emotions can click, about one a second.
_COMMANDS_PER_S, _COMMANDS_AT_ONCE = 3.0, 30.0
# For a client to read what is on its way and the close frame behind it: more than a mobile network's worst second.
_CLOSE_S = 5.0

_log = logging.getLogger(__name__)
# The library logs request lines and headers, which may hold a token: no configuration reaches this logger.
_silent = logging.Logger("websockets of the feed", level=logging.CRITICAL + 1)


class _Addressed(msgspec.Struct):
    id: str = ""


class Feed:
    """The server of one session, on a thread and an event loop of its own.

    `history` is the journal that is read for what memory does not hold. `port` 0 takes any free one. A client
    is closed with 1013 when it is more than `queue_limit` events behind and its socket has taken nothing for
    `patience_s`, or for `send_timeout_s` however few events wait. With `certificate` and `key` (PEM files) it
    speaks TLS. `metrics` counts events. Capture pages fill the sources of `browser`. UsageError: a port out of
    range, an address beyond this machine without a `token`, a certificate that cannot be used.
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
        certificate: Path | None = None,
        key: Path | None = None,
        browser: Browser | None = None,
        max_clients: int = 100,
        queue_limit: int = 1000,
        patience_s: float = 2.0,
        send_timeout_s: float = 20.0,
        handshake_s: float = 5.0,
        memory_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        if not 0 <= port <= 65535:
            raise UsageError(f"the feed cannot listen on port {port}: expected 0 (any free one) to 65535")
        self._tls = load_tls(certificate, key)
        self._access = Access(host, token, origins, hosts, secure=self._tls is not None)
        self._session = session
        self._host, self._port = host, port
        self._max_clients, self._handshake_s = max_clients, handshake_s
        self._gate = SocketGate(2 * max_clients + 16)
        self._address_limits = AddressLimits()
        self.metrics = Metrics()
        self._history = EventHistory(session, history, memory_bytes)
        self._fanout = Fanout(
            session,
            self._history,
            self.metrics,
            queue_limit=queue_limit,
            patience_s=patience_s,
            send_timeout_s=send_timeout_s,
        )
        self.metrics.watch_feed(lambda: len(self._fanout.clients), lambda: self._fanout.lag)
        self._capture = None if browser is None else capture_endpoint.Capture(browser, self._access)
        self._routes = Routes(self._access, self._history, self.metrics, self._capture)
        self._execute: Callable[[events.Logged], tuple[str, int]] | None = None
        self._connections: set[ServerConnection] = set()
        self._thread = threading.Thread(target=self._run_loop, name="feed", daemon=True)
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
        scheme = "ws" if self._tls is None else "wss"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._bound.result()}/"

    def on_command(self, append: Callable[[events.Logged], tuple[str, int]]) -> None:
        """Take clients' commands from now on; `append` stamps what they become and returns (epoch, number).

        It is called on threads of the feed's own and may raise commands.CommandRefused.
        """
        self._execute = append

    def start(self) -> None:
        """Listen; returns when clients can connect. FeedError where that is not possible."""
        self._thread.start()
        self._bound.result()

    def publish(self, seq: int, epoch: str, line: bytes) -> None:
        """Hand an event to the clients; never waits for them; any thread may call it, before `start` too.

        Numbers rise by one within an epoch, and an epoch, once left, does not come back (ValueError).
        """
        event = self._history.append(Record(epoch, seq, line))
        # One wake-up for all events since the last: each writes to a pipe, which costs more than publishing does.
        if self._loop is not None and not self._wake_is_due:
            self._wake_is_due = True
            # The loop is closed: the feed has stopped.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake_clients)
        if event is not None:
            self.metrics.count_event(event)

    def leave_gap(self, seq: int, epoch: str) -> None:
        """Put a `stream.gap` in the place of this number; otherwise as `publish`."""
        self._history.append_gap(Record(epoch, seq, b""))

    def rewrite_lines(self, edit: Callable[[bytes], bytes]) -> None:
        """Replace what memory keeps for clients that come later."""
        self._history.buffer.rewrite_lines(edit)

    def stop(self, grace: float = 2.0) -> None:
        """Give clients up to `grace` seconds to read what was published, close them with 1001; idempotent."""
        self._grace = grace
        if self._loop is not None:
            # The loop is closed: the feed has stopped.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    # What follows runs on the feed's own thread.

    def _run_loop(self) -> None:
        try:
            asyncio.run(self._serve_port())
        except BaseException as error:
            if self._bound.done():
                raise
            self._bound.set_exception(error)

    async def _serve_port(self) -> None:
        self._loop = asyncio.get_running_loop()
        connection = functools.partial(FeedConnection, self._connections)
        try:
            listening = listen_at(self._host, self._port, self._gate)
        except (OSError, UnicodeError) as error:
            raise self._describe_refusal(error) from None
        servers = [
            await serve(
                self._handle_connection,
                sock=one,
                create_connection=connection,  # type: ignore[arg-type]  # it is only ever called
                process_request=self._process_request,
                select_subprotocol=select_subprotocol,
                compression=None,  # costs more than it saves on messages of 1 KiB, and lets nobody send a bomb
                max_size=_LARGEST_MESSAGE,
                open_timeout=self._handshake_s,
                close_timeout=_CLOSE_S,
                server_header=None,
                logger=_silent,
                ssl=self._tls,
                # So many may wait, since clients that were disconnected come back together.
                backlog=1024,
            )
            for one in listening
        ]
        self._bound.set_result(listening[0].getsockname()[1])
        await self._stopping.wait()
        for server in servers:
            server.close(close_connections=False)
        self._fanout.stop()
        try:
            async with asyncio.timeout(self._grace):
                for server in servers:
                    await server.wait_closed()
        except TimeoutError:
            for late in list(self._connections):
                late.transport.abort()
            for server in servers:
                await server.wait_closed()

    def _describe_refusal(self, error: Exception) -> FeedError:
        # Negative where a name could not be resolved.
        code = getattr(error, "errno", None) or 0
        why = os.strerror(code) if code > 0 else str(error)
        return FeedError(
            f"the feed cannot listen on {self._host}:{self._port} ({why}): stop the program that does, "
            "or choose another address or port (0 takes any free one)"
        )

    def _wake_clients(self) -> None:
        self._wake_is_due = False
        if self._fanout.distribute_events():
            self._wake_is_due = True
            asyncio.get_running_loop().call_soon(self._wake_clients)

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        path, _, query = request.path.partition("?")
        assert isinstance(connection, FeedConnection)
        try:
            if "Upgrade" in request.headers and path == capture_endpoint.ENDPOINT and self._capture is not None:
                connection.sends = self._capture.admit_page(connection, request.headers, query)
                connection.speaks = capture_endpoint.SUBPROTOCOL
                return None
            if "Upgrade" not in request.headers or path != "/":
                return self._routes.answer_get(path, query, request.headers)
            wanted = subscription.parse_query(query)
            may_command = self._access.check_client(request.headers, query)
            # Placed before the handshake is answered, so that nothing published after the answer is missed.
            connection.client = self._fanout.place_client(connection, wanted, may_command)
            return None
        except HttpRefusal as refusal:
            challenge = (("WWW-Authenticate", "Bearer"),) if refusal.status is HTTPStatus.UNAUTHORIZED else ()
            return build_response(refusal.status, f"{refusal}\n".encode(), further=challenge)

    async def _handle_connection(self, connection: ServerConnection) -> None:
        assert isinstance(connection, FeedConnection)
        self._gate.mark_served(connection.transport.get_extra_info("socket").fileno())
        ended: tuple[int, str] | None = TRY_AGAIN_LATER, "too many clients"
        if connection.sends is not None and self._capture is not None:
            page = self._capture.serve_page(connection, connection.sends)
            ended = await self._run_until_first(page, self._wait_until_over())
        elif len(self._fanout.clients) < self._max_clients:
            client = connection.client
            self._fanout.clients.add(client)
            try:
                ended = await self._run_until_first(self._fanout.serve_client(client), self._take_commands(client))
            finally:
                self._fanout.clients.discard(client)
        if ended is not None:
            await self._close_connection(connection, *ended)

    async def _run_until_first(self, *services: Coroutine[Any, Any, tuple[int, str]]) -> tuple[int, str] | None:
        """Serve until one of the services ends: the close code and why, None where the connection is closed."""
        tasks = {asyncio.create_task(service) for service in services}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        finished = done.pop()
        try:
            # A timeout that runs out in the moment in which its message is sent cancels the next one (Python 3.11).
            return (TRY_AGAIN_LATER, "too slow") if finished.cancelled() else finished.result()
        except ConnectionClosed:
            return None
        except Exception:
            _log.exception("serving a client failed")
            return INTERNAL_ERROR, "the feed failed"

    async def _wait_until_over(self) -> tuple[int, str]:
        await self._stopping.wait()
        return GOING_AWAY, "the session is over"

    async def _close_connection(self, connection: ServerConnection, code: int, reason: str) -> None:
        self.metrics.closed.labels(code).inc()
        try:
            # The library's own begins only when its buffer has drained.
            async with asyncio.timeout(_CLOSE_S):
                await connection.close(code, reason)
        except TimeoutError:
            connection.transport.abort()

    async def _take_commands(self, client: Client) -> tuple[int, str]:
        clock = asyncio.get_running_loop().time
        allowance = TokenBucket(per_s=_COMMANDS_PER_S, most=_COMMANDS_AT_ONCE)
        while True:
            message = await client.connection.recv()
            if isinstance(message, bytes):
                return UNSUPPORTED_DATA, "commands are text"
            address = str(client.connection.remote_address[0])
            if not (allowance.take(1, clock()) and self._address_limits.take_command(address, clock())):
                return POLICY_VIOLATION, "too many commands"
            result = await self._answer_command(client, message)
            self.metrics.commands.labels("ok" if result.ok else result.code).inc()
            await client.connection.send(events.encode(result), text=True)

    async def _answer_command(self, client: Client, message: str) -> events.CommandResult:
        answer = events.CommandResult(session=self._session, id=_message_id(message), ok=False)
        try:
            command = commands.decode(message)
            if not client.may_command:
                sentence = "pages of another origin only read, unless they show a token"
                raise commands.CommandRefused("forbidden", sentence)
            if self._execute is None:
                raise commands.CommandRefused("unavailable", "this feed takes no commands")
            event = commands.event_of(command, self._history.latest)
            # On a thread: the publisher may be waiting for the disk, and the other clients must not wait with it.
            epoch, seq = await asyncio.to_thread(self._execute, event)
        except TrackerError as error:
            return msgspec.structs.replace(answer, code="failed", message=str(error))
        except commands.CommandRefused as refused:
            return msgspec.structs.replace(answer, code=refused.code, message=str(refused))
        return msgspec.structs.replace(answer, ok=True, event_epoch=epoch, event_seq=seq)


def _message_id(message: str) -> str:
    """What a message calls itself, however wrong the rest of it is."""
    with contextlib.suppress(msgspec.MsgspecError, RecursionError):
        return msgspec.json.decode(message, type=_Addressed).id[:64]
    return ""

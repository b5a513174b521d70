"""The feed from Python: every event once and in order, through cut connections and restarts of the server.

    async for event in Client("ws://127.0.0.1:8765/"):
        if isinstance(event, events.EmotionFinal):
            print(event.speaker, event.emotion, event.text)
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Collection
from http import HTTPStatus
from typing import Literal
from urllib.parse import urlencode

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from core_models.errors import FeedError
from realtime.protocol import commands, events

# The session is over, or the program ended: there is nothing to come back for.
_OVER = 1001
# Closed for what this client did: it would do so again.
_HOPELESS = {1002, 1003, 1007, 1008, 1009}


class _Stamp(msgspec.Struct):
    seq: int
    epoch: str


class Client:
    """One subscription to the feed at `url`, for one `async for`.

    It begins after (epoch, number) `after`, or as `history` says, and asks only for events of these `types`,
    `speakers` and of at least `min_confidence` (realtime/feed/subscription.py). A cut connection is made again, at
    first after about `first_pause_s`, then after ever longer pauses up to `longest_pause_s`, and goes on where
    it was; what cannot be had any more is a `stream.gap` and a `snapshot` among the events. The iteration ends
    after `session.closed`, or when the feed is stopped. It raises FeedError where the first connection fails,
    and where the feed refuses this client.

    Events of types that this version does not know are skipped.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        after: tuple[str, int] | None = None,
        history: Literal["none", "snapshot", "full"] = "none",
        types: Collection[str] = (),
        speakers: Collection[str] = (),
        min_confidence: float | None = None,
        tls: ssl.SSLContext | None = None,
        first_pause_s: float = 0.2,
        longest_pause_s: float = 10.0,
    ) -> None:
        self._url, self._token, self._tls = url, token, tls
        self._request: dict[str, str] = {"history": history}
        for name, wanted in (("types", types), ("speakers", speakers)):
            if wanted:
                self._request[name] = ",".join(wanted)
        if min_confidence is not None:
            self._request["min_confidence"] = str(min_confidence)
        self._first_pause_s, self._longest_pause_s = first_pause_s, longest_pause_s
        self._connection: ClientConnection | None = None
        self._pending: dict[str, asyncio.Future[events.CommandResult]] = {}
        self._over = False
        self.durable: tuple[str, int] | None = None
        """(epoch, number) up to which a power failure takes nothing, by the latest snapshot that said so."""
        self.place = after
        """(epoch, number) of the latest event: `after` of a client that is to go on from here."""

    async def __aiter__(self) -> AsyncIterator[events.Message]:
        pause, met, code = self._first_pause_s, False, None
        while code != _OVER:
            code = None
            try:
                async with self._open_connection() as connection:
                    self._connection, met = connection, True
                    while True:
                        message = self._take_message(await connection.recv(decode=False))
                        pause = self._first_pause_s
                        if message is not None:
                            yield message
                        if self._over:
                            return
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else None
            except InvalidStatus as refused:
                status = refused.response.status_code
                # A server error of a feed that was there before is a restart: it is tried again.
                if not met or status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    why = bytes(refused.response.body or b"").decode(errors="replace").strip()
                    raise FeedError(f"the feed at {self._url} refuses this client ({status}: {why})") from None
            except (OSError, InvalidHandshake, TimeoutError) as error:
                if not met:
                    raise FeedError(
                        f"there is no feed at {self._url} ({error}): start a session, or give its address"
                    ) from None
            finally:
                self._fail_pending()
            if code in _HOPELESS:
                raise FeedError(f"the feed at {self._url} closed the connection with {code}: it will not serve this")
            if code != _OVER:
                # Half of it is chance, so that clients that were cut together do not come back together.
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(2 * pause, self._longest_pause_s)

    async def ask(self, command: commands.Command) -> events.CommandResult:
        """Give a command and return its answer; FeedError where there is no connection at the moment.

        Answers are read by the task that iterates over this client, so that must be another one.
        """
        connection = self._connection
        if connection is None:
            raise FeedError("there is no connection to the feed at the moment: try again")
        addressed = msgspec.structs.replace(command, id=events.new_id())
        answer: asyncio.Future[events.CommandResult] = asyncio.get_running_loop().create_future()
        self._pending[addressed.id] = answer
        try:
            await connection.send(commands.encode(addressed), text=True)
            return await answer
        except ConnectionClosed:
            raise FeedError("the connection to the feed was lost before the answer: it may have been done") from None
        finally:
            self._pending.pop(addressed.id, None)

    def _open_connection(self) -> connect:
        request = dict(self._request)
        if self.place is not None:
            epoch, number = self.place
            request |= {"from": str(number), "epoch": epoch}
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return connect(
            f"{self._url.rstrip('/')}/?{urlencode(request)}",
            additional_headers=headers,
            subprotocols=[Subprotocol(events.SUBPROTOCOL)],
            # On messages of 1 KiB it costs more than it saves.
            compression=None,
            max_size=None,
            ssl=self._tls,
        )

    def _take_message(self, line: bytes) -> events.Message | None:
        try:
            message = events.decode(line)
        except msgspec.ValidationError:
            with contextlib.suppress(msgspec.ValidationError):
                # A type of a later version is skipped, its number is not: resuming must not ask for it again.
                stamp = msgspec.json.decode(line, type=_Stamp)
                self.place = stamp.epoch, stamp.seq
            return None
        match message:
            case events.CommandResult():
                answer = self._pending.get(message.id)
                if answer is not None and not answer.done():
                    answer.set_result(message)
                return None
            case events.StreamGap():
                return message
            case events.Snapshot(durable_seq=int(durable)):
                self.durable = message.epoch, durable
            case events.SessionClosed():
                self._over = True
        self.place = message.epoch, message.seq
        return message

    def _fail_pending(self) -> None:
        self._connection = None
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(
                    FeedError("the connection to the feed was lost before the answer: it may have been done")
                )

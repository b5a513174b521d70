"""How events get from a session to its clients: at once to those who keep up, to each other at its own pace.

No client has a queue of its own. All of them read one bounded stretch of memory, each from its own place, and the
journal behind it, so one that does not read costs its socket's buffer and nothing else. A client that has
everything and whose socket is empty is *live*: an event is written to all live ones in one go. Whoever's socket
does not take it at once goes on by a task of its own, until it is live again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from realtime.feed.history import EventHistory
from realtime.feed.metrics import Metrics
from realtime.feed.subscription import Filter, Subscription
from realtime.journal.event_log import Record
from realtime.protocol import events

GOING_AWAY, TRY_AGAIN_LATER = 1001, 1013

_BATCH = 64  # events taken from memory at a time


@dataclass(eq=False)
class Client:
    """Where a client is: the place of its next event, the last that it has seen, and why a gap is due.

    It is made before the handshake is answered, so that nothing published after the answer is missed.
    `previous` is the last event that its filter let through.
    """

    connection: ServerConnection
    place: int
    seen: tuple[str, int]
    gap: str | None
    filter: Filter | None
    greet: bool
    may_command: bool
    previous: tuple[str, int] = ("", 0)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    deadline: asyncio.Timeout | None = None  # of the message being sent

    def __post_init__(self) -> None:
        self.previous = self.seen


class Fanout:
    """Serves the clients of one session; everything in it runs on the feed's event loop.

    A client is given up when it is more than `queue_limit` events behind and its socket has taken nothing for
    `patience_s`, or for `send_timeout_s` however few events wait.
    """

    def __init__(
        self,
        session: str,
        recall: EventHistory,
        metrics: Metrics,
        *,
        queue_limit: int,
        patience_s: float,
        send_timeout_s: float,
    ) -> None:
        self._session, self._recall, self._tail, self._metrics = session, recall, recall.tail, metrics
        self._queue_limit, self._patience_s, self._send_timeout_s = queue_limit, patience_s, send_timeout_s
        self._live: set[Client] = set()
        self._told = recall.tail.end  # place of the event that live clients get next
        self._stopping = False
        self.clients: set[Client] = set()

    @property
    def lag(self) -> int:
        """Events by which the last of the clients is behind."""
        return max((self._tail.end - client.place for client in list(self.clients)), default=0)

    def admit(self, connection: ServerConnection, wishes: Subscription, may_command: bool) -> Client:
        """A client of those wishes, placed where it begins."""
        end, gap = self._tail.end, None
        place, seen = end, self._tail.name(end - 1)
        if wishes.after is not None:
            epoch, number = wishes.after
            if epoch is None and number == 0:
                place, seen = 0, ("", 0)
            else:
                epoch = epoch or self._tail.epoch
                place, gap = self._tail.find(epoch, number)
                seen = epoch, number
        greet = wishes.after is None and wishes.history == "snapshot"
        return Client(connection, place, seen, gap, wishes.filter, greet, may_command)

    def stop(self) -> None:
        """Let every client go once it has everything."""
        self._stopping = True
        for client in self.clients:
            client.wake.set()

    def wake(self) -> bool:
        """Something was published: tell who is live, rouse who waits, cut off who does not read.

        Returns whether there is more, for another call when others have had their turn.
        """
        records = self._tail.since(self._told, _BATCH)
        for record in records or ():
            self._tell(record)
            self._told += 1
        if records is None:
            self._told = self._tail.end  # gone from memory before it could be told: whoever was live is roused
        now = asyncio.get_running_loop().time()
        for client in self.clients:
            if client.place != self._told:
                client.wake.set()
            deadline = client.deadline
            if deadline is None or self._tail.end - client.place <= self._queue_limit:
                continue
            expiry = deadline.when()
            if expiry is not None and expiry - now < self._send_timeout_s - self._patience_s:
                client.deadline = None
                deadline.reschedule(now)
        return self._told < self._tail.end

    def _tell(self, record: Record) -> None:
        frame = _frame(record.line)  # the same bytes to everybody without a filter
        late = []
        for client in self._live:
            if client.place != self._told:
                continue
            transport = client.connection.transport
            if client.connection.protocol.state is not State.OPEN or transport.is_closing():
                late.append(client)
                continue
            line = self._line(client, record)
            if line is not None:
                transport.write(frame if line is record.line else _frame(line))
                if transport.get_write_buffer_size():
                    late.append(client)
        for client in late:
            self._live.discard(client)
            client.wake.set()

    async def deliver(self, client: Client) -> tuple[int, str]:
        """Give a client its events until the session ends or it stops reading; returns the close code and why."""
        try:
            while True:
                if client.greet:
                    client.greet = False
                    client.place, snapshot = self._recall.now()
                    client.seen = client.previous = snapshot.epoch, snapshot.seq
                    await self._send(client, events.encode(snapshot))
                elif client.place < self._tail.end:
                    for record in await self._next(client):
                        await self._give(client, record)
                    await asyncio.sleep(0)  # sending to a socket with room does not yield: let others have a turn
                elif client.gap and self._tail.end:
                    epoch, seq = self._tail.name(client.place - 1)
                    await self._announce(client, client.place, epoch, seq + 1)
                elif self._stopping:
                    return GOING_AWAY, "the session is over"
                else:
                    await self._rest(client)
        except TimeoutError:
            self._give_up(client)
            return TRY_AGAIN_LATER, "too slow: resume with from and epoch"

    async def _rest(self, client: Client) -> None:
        client.wake.clear()
        if not client.connection.transport.get_write_buffer_size():
            self._live.add(client)
        try:
            await client.wake.wait()
        finally:
            self._live.discard(client)

    async def _next(self, client: Client) -> list[Record]:
        records = self._tail.since(client.place, _BATCH)
        if records is not None:
            return records
        records = await asyncio.to_thread(self._recall.journaled, client.place)
        if not records:
            client.place = self._tail.skip(client.place)
            client.gap = client.gap or "not_kept"
        return records

    async def _give(self, client: Client, record: Record) -> None:
        place = self._tail.place(record)
        if client.gap or place > client.place:
            await self._announce(client, place, record.epoch, record.seq)
        line = self._line(client, record)
        if line is not None:
            await self._send(client, line)

    def _line(self, client: Client, record: Record) -> bytes | None:
        """What this client gets of an event that is its next, None where its filter wants nothing of it."""
        client.place, client.seen = self._tail.place(record) + 1, (record.epoch, record.seq)
        if client.filter is None:
            return record.line
        if not client.filter.admits(record.line):
            return None
        before = client.previous[1] if client.previous[0] == record.epoch else 0
        client.previous = client.seen
        return record.line[:-1] + b',"prev_seq":%d}' % before

    async def _announce(self, client: Client, place: int, epoch: str, seq: int) -> None:
        gap = self._gap(client, epoch, seq, client.gap or "not_kept")
        snapshot = await asyncio.to_thread(self._recall.before, place, epoch, seq)
        client.gap = None
        client.place, client.seen = place, (epoch, seq - 1)
        client.previous = client.seen
        await self._send(client, events.encode(gap))
        await self._send(client, events.encode(snapshot))

    def _give_up(self, client: Client) -> None:
        """Put what a client misses by being cut off behind what its socket has not taken yet."""
        end, snapshot = self._recall.now()
        connection = client.connection
        if client.place < end and connection.protocol.state is State.OPEN:
            gap = self._gap(client, snapshot.epoch, snapshot.seq + 1, "too_slow")
            for message in (gap, snapshot):
                connection.protocol.send_text(events.encode(message))
            connection.send_data()

    def _gap(self, client: Client, epoch: str, to: int, reason: str) -> events.StreamGap:
        self._metrics.gaps.labels(reason).inc()
        from_epoch, number = client.seen
        return events.StreamGap(
            session=self._session, from_epoch=from_epoch, from_=number, epoch=epoch, to=to, reason=reason
        )

    async def _send(self, client: Client, line: bytes) -> None:
        connection, transport = client.connection, client.connection.transport
        if transport.is_closing():
            await connection.wait_closed()  # then `send` says so
        elif connection.protocol.state is State.OPEN and not transport.get_write_buffer_size():
            transport.write(_frame(line))
            return
        try:
            async with asyncio.timeout(self._send_timeout_s) as client.deadline:
                await connection.send(line, text=True)
        finally:
            client.deadline = None


def _frame(line: bytes) -> bytes:
    return Frame(Opcode.TEXT, line).serialize(mask=False)

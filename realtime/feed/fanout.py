"""Fan-out: how events get to clients, at once to those that keep up, to every other at its own pace.

No client has a queue of its own. All of them read one bounded stretch of memory, each from its own position, and the
journal behind it, so one that does not read costs its socket's buffer and nothing else. A client that has
everything and whose socket is empty is *live*: an event is written to all live ones in one go. A client whose socket
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

# RFC 6455, 7.4.1, and the registry of close codes.
GOING_AWAY, TRY_AGAIN_LATER = 1001, 1013

# Events taken from memory at a time: some 64 KiB, about a socket's buffer, before other clients get their turn.
_BATCH = 64


@dataclass(eq=False)
class Client:
    """Where a client is: the position of its next event, the last that it has last_seen, and why a gap is due.

    It is made before the handshake is answered, so that nothing published after the answer is missed.
    `last_admitted` is the last event that its filter let through.
    """

    connection: ServerConnection
    position: int
    last_seen: tuple[str, int]
    pending_gap: str | None
    filter: Filter | None
    send_snapshot: bool
    may_command: bool
    last_admitted: tuple[str, int] = ("", 0)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    deadline: asyncio.Timeout | None = None  # of the message being sent

    def __post_init__(self) -> None:
        self.last_admitted = self.last_seen


class Fanout:
    """Serves the clients of one session; everything in it runs on the feed's event loop.

    A client is given up when it is more than `queue_limit` events behind and its socket has taken nothing for
    `patience_s`, or for `send_timeout_s` however few events wait.
    """

    def __init__(
        self,
        session: str,
        history: EventHistory,
        metrics: Metrics,
        *,
        queue_limit: int,
        patience_s: float,
        send_timeout_s: float,
    ) -> None:
        self._session, self._history, self._buffer, self._metrics = session, history, history.buffer, metrics
        self._queue_limit, self._patience_s, self._send_timeout_s = queue_limit, patience_s, send_timeout_s
        self._live: set[Client] = set()
        # Position of the event that live clients get next.
        self._live_position = history.buffer.end
        self._stopping = False
        self.clients: set[Client] = set()

    @property
    def lag(self) -> int:
        """Events by which the last of the clients is behind."""
        return max((self._buffer.end - client.position for client in list(self.clients)), default=0)

    def place_client(self, connection: ServerConnection, request: Subscription, may_command: bool) -> Client:
        """A client that asks for this, at the position where it begins."""
        end, gap = self._buffer.end, None
        position, last_seen = end, self._buffer.id_at(end - 1)
        if request.after is not None:
            epoch, number = request.after
            if epoch is None and number == 0:
                position, last_seen = 0, ("", 0)
            else:
                epoch = epoch or self._buffer.epoch
                position, gap = self._buffer.position_after(epoch, number)
                last_seen = epoch, number
        send_snapshot = request.after is None and request.history == "snapshot"
        return Client(connection, position, last_seen, gap, request.filter, send_snapshot, may_command)

    def stop(self) -> None:
        """Let every client go once it has everything."""
        self._stopping = True
        for client in self.clients:
            client.wake.set()

    def distribute_events(self) -> bool:
        """Send what was published to live clients, wake those that wait, disconnect those that do not read.

        Returns whether there is more, for another call when others have had their turn.
        """
        records = self._buffer.read(self._live_position, _BATCH)
        for record in records or ():
            self._write_to_live(record)
            self._live_position += 1
        if records is None:
            # Evicted before it was sent: clients that were live are woken.
            self._live_position = self._buffer.end
        now = asyncio.get_running_loop().time()
        for client in self.clients:
            if client.position != self._live_position:
                client.wake.set()
            deadline = client.deadline
            if deadline is None or self._buffer.end - client.position <= self._queue_limit:
                continue
            expiry = deadline.when()
            # The timeout began when the message was handed to the socket; a client that is also far behind has
            # only `patience_s` from then on.
            if expiry is not None and expiry - now < self._send_timeout_s - self._patience_s:
                client.deadline = None
                deadline.reschedule(now)
        return self._live_position < self._buffer.end

    def _write_to_live(self, record: Record) -> None:
        # The place of an event that is lost: a gap is announced by each client's own task.
        if not record.line:
            for client in list(self._live):
                self._live.discard(client)
                client.wake.set()
            return
        # The same bytes to everybody without a filter.
        frame = _build_frame(record.line)
        late = []
        for client in self._live:
            if client.position != self._live_position:
                continue
            transport = client.connection.transport
            if client.connection.protocol.state is not State.OPEN or transport.is_closing():
                late.append(client)
                continue
            line = self._line_for(client, record)
            if line is not None:
                transport.write(frame if line is record.line else _build_frame(line))
                if transport.get_write_buffer_size():
                    late.append(client)
        for client in late:
            self._live.discard(client)
            client.wake.set()

    async def serve_client(self, client: Client) -> tuple[int, str]:
        """Give a client its events until the session ends or it stops reading; returns the close code and why."""
        try:
            while True:
                if client.send_snapshot:
                    client.send_snapshot = False
                    client.position, snapshot = self._history.take_snapshot()
                    client.last_seen = client.last_admitted = snapshot.epoch, snapshot.seq
                    await self._send_line(client, events.encode(snapshot))
                elif client.position < self._buffer.end:
                    for record in await self._next_records(client):
                        await self._send_record(client, record)
                    # Sending to a socket with room does not yield: let others have a turn.
                    await asyncio.sleep(0)
                elif client.pending_gap and self._buffer.end:
                    epoch, seq = self._buffer.id_at(client.position - 1)
                    await self._announce_gap(client, client.position, epoch, seq + 1)
                elif self._stopping:
                    return GOING_AWAY, "the session is over"
                else:
                    await self._wait_for_events(client)
        except TimeoutError:
            self._send_final_gap(client)
            return TRY_AGAIN_LATER, "too slow: resume with from and epoch"

    async def _wait_for_events(self, client: Client) -> None:
        client.wake.clear()
        if not client.connection.transport.get_write_buffer_size():
            self._live.add(client)
        try:
            await client.wake.wait()
        finally:
            self._live.discard(client)

    async def _next_records(self, client: Client) -> list[Record]:
        records = self._buffer.read(client.position, _BATCH)
        if records is not None:
            return records
        records = await asyncio.to_thread(self._history.read_journal, client.position)
        if not records:
            client.position = self._buffer.next_available(client.position)
            client.pending_gap = client.pending_gap or "not_kept"
        return records

    async def _send_record(self, client: Client, record: Record) -> None:
        position = self._buffer.position_of(record)
        if not record.line:
            client.position, client.pending_gap = position + 1, client.pending_gap or "damaged"
            return
        if client.pending_gap or position > client.position:
            await self._announce_gap(client, position, record.epoch, record.seq)
        line = self._line_for(client, record)
        if line is not None:
            await self._send_line(client, line)

    def _line_for(self, client: Client, record: Record) -> bytes | None:
        """What this client gets of an event that is its next, None where its filter wants nothing of it."""
        client.position, client.last_seen = self._buffer.position_of(record) + 1, (record.epoch, record.seq)
        if client.filter is None:
            return record.line
        if not client.filter.admits_event(record.line):
            return None
        before = client.last_admitted[1] if client.last_admitted[0] == record.epoch else 0
        client.last_admitted = client.last_seen
        return record.line[:-1] + b',"prev_seq":%d}' % before

    async def _announce_gap(self, client: Client, position: int, epoch: str, seq: int) -> None:
        gap = self._build_gap(client, epoch, seq, client.pending_gap or "not_kept")
        # On a thread: folding a long journal takes a while, and the other clients go on meanwhile.
        snapshot = await asyncio.to_thread(self._history.snapshot_before, position, epoch, seq)
        client.pending_gap = None
        client.position, client.last_seen = position, (epoch, seq - 1)
        client.last_admitted = client.last_seen
        await self._send_line(client, events.encode(gap))
        await self._send_line(client, events.encode(snapshot))

    def _send_final_gap(self, client: Client) -> None:
        """Put what a client misses by being cut off behind what its socket has not taken yet."""
        end, snapshot = self._history.take_snapshot()
        connection = client.connection
        if client.position < end and connection.protocol.state is State.OPEN:
            gap = self._build_gap(client, snapshot.epoch, snapshot.seq + 1, "too_slow")
            for message in (gap, snapshot):
                connection.protocol.send_text(events.encode(message))
            connection.send_data()

    def _build_gap(self, client: Client, epoch: str, to: int, reason: str) -> events.StreamGap:
        self._metrics.gaps.labels(reason).inc()
        from_epoch, number = client.last_seen
        return events.StreamGap(
            session=self._session, from_epoch=from_epoch, from_=number, epoch=epoch, to=to, reason=reason
        )

    async def _send_line(self, client: Client, line: bytes) -> None:
        connection, transport = client.connection, client.connection.transport
        if transport.is_closing():
            await connection.wait_closed()  # then `send` says so
        # An empty socket takes the frame at once, without the locks and the drain of `send`.
        elif connection.protocol.state is State.OPEN and not transport.get_write_buffer_size():
            transport.write(_build_frame(line))
            return
        try:
            async with asyncio.timeout(self._send_timeout_s) as client.deadline:
                await connection.send(line, text=True)
        finally:
            client.deadline = None


def _build_frame(line: bytes) -> bytes:
    return Frame(Opcode.TEXT, line).serialize(mask=False)

"""Nothing from outside ends a call: descriptors, floods and reconnecting clients are bounded."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.feed_session import HANDSHAKE, FeedSession
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from realtime.feed.limits import AddressLimits, SocketGate
from realtime.protocol import commands, events


def reach(it: FeedSession) -> socket.socket:
    address = urlsplit(it.feed.url)
    return socket.create_connection((address.hostname or "", address.port or 0))


def is_cut(raw: socket.socket) -> bool:
    try:
        return raw.recv(1) == b""
    except ConnectionResetError:
        return True


def test_mute_tls_sockets_are_counted_before_they_say_anything(
    call: Callable[..., FeedSession], certificate: tuple[Path, Path]
) -> None:
    """Sockets that never begin TLS are cut as soon as others come, need no token for it, and keep nobody out."""
    it = call(max_clients=2, handshake_s=1e9, certificate=certificate[0], key=certificate[1], token="t")
    mute = [reach(it) for _ in range(60)]
    assert all(map(is_cut, mute[:40]))
    context = ssl.create_default_context(cafile=str(certificate[0]))
    with connect(it.feed.url, ssl=context, additional_headers={"Authorization": "Bearer t"}) as client:
        it.say(1)
        assert isinstance(events.decode(client.recv()), events.Error)
    for raw in mute:
        raw.close()


def test_who_pings_without_reading_is_cut_off(call: Callable[..., FeedSession]) -> None:
    """The answers that wait for such a client stay within bounds: its connection ends, the feed serves the next."""
    it = call()
    raw = reach(it)
    raw.sendall((HANDSHAKE + "\n").replace("\n", "\r\n").encode())
    assert raw.recv(12) == b"HTTP/1.1 101"
    ping = b"\x89\xfd" + bytes(4) + bytes(125)
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while True:
            raw.sendall(ping * 500)
    raw.close()
    with connect(it.feed.url) as client:
        it.say(1)
        assert client.recv()


def test_reconnecting_gets_nobody_round_the_limit_of_commands(call: Callable[..., FeedSession]) -> None:
    """Whoever connects anew for every command gives no more than one address may; events of others still come."""
    it = call()
    done = 0
    for _ in range(90):
        with connect(it.feed.url) as client, contextlib.suppress(ConnectionClosed):
            client.send(commands.encode(commands.MarkMoment(at_ms=1)).decode())
            while not isinstance(message := events.decode(client.recv()), events.CommandResult):
                pass
            done += message.ok
    assert 60 <= done < 90


def test_an_addresses_commands_come_again_with_time() -> None:
    """Sixty at once, then six a second; another address has its own; few are remembered."""
    limits = AddressLimits()
    assert [limits.take_command("a", 0.0) for _ in range(70)].count(True) == 60
    assert limits.take_command("b", 0.0)
    assert [limits.take_command("a", 1.0) for _ in range(10)].count(True) == 6
    for number in range(3000):
        limits.take_command(str(number), 1.0)
    assert len(limits._buckets) <= 1024


def test_an_address_beyond_this_machine_gets_half_of_the_sockets() -> None:
    """The others of it are turned away while sockets of other addresses are admitted."""
    gate = SocketGate(10)
    made = [socket.socket() for _ in range(12)]
    assert [gate.admit(one, "192.0.2.1") for one in made[:6]].count(True) == 5
    assert gate.admit(made[6], "192.0.2.2")
    assert all(gate.admit(one, "127.0.0.1") for one in made[7:11])
    for one in made:
        one.close()
    with contextlib.closing(socket.socket()) as again:
        assert gate.admit(again, "192.0.2.1")


def test_clients_that_are_served_are_not_cut_for_newcomers(call: Callable[..., FeedSession]) -> None:
    """Where every place is taken by somebody who is served the newcomer is turned away."""
    it = call(max_clients=4)
    it.feed._gate._most = 4
    served = [connect(it.feed.url) for _ in range(4)]
    with contextlib.closing(reach(it)) as late:
        assert is_cut(late)
    it.say(1)
    assert all(client.recv() for client in served)
    for client in served:
        client.close()


def test_a_snapshot_says_what_is_on_the_disk(call: Callable[..., FeedSession], monkeypatch: pytest.MonkeyPatch) -> None:
    """`durable_seq` follows what was forced to the disk, and is absent where there is no journal."""
    monkeypatch.setattr("realtime.journal.event_log.SYNC_S", 0.0)
    it = call()
    it.say(5)
    assert it.journal is not None
    while it.journal.durable[1] < 5:
        time.sleep(0.001)
    with connect(it.feed.url + "?history=snapshot") as client:
        snapshot = events.decode(client.recv())
    assert isinstance(snapshot, events.Snapshot)
    assert (snapshot.seq, snapshot.durable_seq) == (5, 5)

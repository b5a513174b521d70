"""Limits on who connects: sockets are counted when they are accepted, before TLS and before any byte is read."""

from __future__ import annotations

import ipaddress
import socket
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from realtime.sources.browser.limits import TokenBucket

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

# Journal, models, sources and the program's own files: a live session was seen to hold some 90.
_RESERVED_DESCRIPTORS = 192
# Sockets that have been told to go and are not gone, before newcomers are turned away.
_LEAVING = 64
# Twice what one connection may: a person with page and phone, not one who reconnects to get round the limit.
_COMMANDS_PER_S, _COMMANDS_AT_ONCE = 6.0, 60.0
# Addresses that are remembered: one that has not come for so many others has a full bucket again anyway.
_MOST_ADDRESSES = 1024

_Place = tuple[int, int, int, str, tuple[Any, ...]]
"""Family, kind, protocol, name and socket address, as `socket.getaddrinfo` gives them."""


@dataclass(eq=False)
class _Admitted:
    connection: socket.socket
    address: str
    served: bool = False
    leaving: bool = False


class SocketGate:
    """Admits sockets up to `most`, and of an address beyond this machine up to half of them.

    When it is full, a newcomer takes the place of whoever has been in its handshake for longest: those that say
    nothing keep nobody out. Where all are served it is turned away.
    """

    def __init__(self, most: int) -> None:
        self._most = _within_descriptors(most)
        self._admitted: dict[int, _Admitted] = {}

    def admit(self, connection: socket.socket, address: str) -> bool:
        """Whether a socket that was just accepted may stay."""
        self._admitted = {number: one for number, one in self._admitted.items() if one.connection.fileno() == number}
        alike = sum(one.address == address for one in self._admitted.values())
        if not _is_local(address) and alike >= self._most // 2:
            return False
        staying = [one for one in self._admitted.values() if not one.leaving]
        if len(staying) >= self._most:
            oldest = next((one for one in staying if not one.served), None)
            if oldest is None or len(self._admitted) >= self._most + _LEAVING:
                return False
            oldest.leaving = True
            # Not closed: the event loop still watches its descriptor, and reads the end that this makes.
            with suppress(OSError):
                oldest.connection.shutdown(socket.SHUT_RDWR)
        self._admitted[connection.fileno()] = _Admitted(connection, address)
        return True

    def mark_served(self, descriptor: int) -> None:
        """The handshake on this socket is done."""
        if (one := self._admitted.get(descriptor)) is not None:
            one.served = True


class GatedSocket(socket.socket):
    """A listening socket that hands out only what its gate admits."""

    gate: SocketGate

    def accept(self) -> tuple[socket.socket, object]:
        """The next socket that may stay; BlockingIOError where none waits."""
        while True:
            connection, address = super().accept()
            if self.gate.admit(connection, str(address[0])):
                return connection, address
            connection.close()


def listen_at(host: str, port: int, gate: SocketGate) -> list[GatedSocket]:
    """Sockets that are bound to every address of `host`, all on one port. OSError, UnicodeError."""
    listening: list[GatedSocket] = []
    places = _find_places(host, port)
    try:
        for family, kind, protocol, _, place in dict.fromkeys(places):
            one = GatedSocket(family, kind, protocol)
            listening.append(one)
            one.gate = gate
            one.setblocking(False)
            if hasattr(socket, "SO_REUSEPORT"):  # not on Windows, where it lets two programs have one port
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            taken = listening[0].getsockname()[1] if port == 0 and len(listening) > 1 else port
            one.bind((place[0], taken, *place[2:]))
    except OSError:
        for one in listening:
            one.close()
        raise
    return listening


def _find_places(host: str, port: int) -> list[_Place]:
    """What `host` is bound to; an address is taken as it stands, so that a session on one asks no name server."""
    try:
        address = None if "%" in host else ipaddress.ip_address(host)  # a scope is the system's to read
    except ValueError:
        address = None
    if address is None:
        return list(socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))
    if address.version == 6:
        return [(socket.AF_INET6, socket.SOCK_STREAM, 0, "", (host, port, 0, 0))]
    return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port))]


class AddressLimits:
    """Limits the commands of each address, however many connections they come by."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take_command(self, address: str, now_s: float) -> bool:
        """Whether this address may give a command now."""
        bucket = self._buckets.pop(address, None) or TokenBucket(per_s=_COMMANDS_PER_S, most=_COMMANDS_AT_ONCE)
        self._buckets[address] = bucket
        if len(self._buckets) > _MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return bucket.take(1, now_s)


def _is_local(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _within_descriptors(most: int) -> int:
    """So many sockets that the rest of the program never lacks a descriptor."""
    if resource is None:
        return most
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if limit == resource.RLIM_INFINITY else max(8, min(most, limit - _RESERVED_DESCRIPTORS))

"""One client's connection to the feed: the bound on its unread answers, its sub-protocol, and TLS below it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.typing import Subprotocol

from core_models.errors import UsageError
from realtime.feed.fanout import Client
from realtime.protocol import events

# Bytes that wait for a client which sends and does not read: events are written when this is near 0, so it is answers.
_MOST_UNREAD = 1024 * 1024


class FeedConnection(ServerConnection):
    """A connection whose answers are bounded, whatever its client asks and does not read."""

    client: Client
    sends: list[str] | None = None  # sources, where it is a page's
    speaks: str = events.SUBPROTOCOL

    def __init__(self, connections: set[ServerConnection], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The library answers pings at once and waits for nobody to read that: a flood of them grew the program to
        # 184 MiB in 25 s.
        if self.transport.get_write_buffer_size() > _MOST_UNREAD:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        super().connection_lost(exc)


def select_subprotocol(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The first that both sides speak; None ends the handshake."""
    assert isinstance(connection, FeedConnection)
    return next((one for one in offered if one == connection.speaks), None)


def load_tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """TLS 1.2 or newer from PEM files, the key in the certificate's own file unless given; None without either.

    UsageError where they cannot be used.
    """
    if certificate is None and key is None:
        return None
    if certificate is None:
        raise UsageError("the feed was given a key and no certificate: give both, as PEM files")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(
            f"the feed cannot use the certificate {certificate} with the key {key or certificate} ({why}): "
            "give a PEM certificate and the unencrypted key that belongs to it"
        ) from None
    return context

"""The socket of the page at /capture: `ws://HOST:PORT/capture/feed?sources=microphone,tab,camera`.

A page sends binary messages (realtime/sources/browser/wire.py) and receives nothing; it offers the sub-protocol
`capture.v1`, with the token beside it as for the feed (realtime/feed/access.py). GET /capture/wishes says beforehand
what the session wants of it.

How it ends: 1001 the session is over; 1003 text; 1007 a message that is none of the format, or
of another version; 1008 faster than real time, or time that goes back; 1009 a message of more than 128 KiB; 1013
another page sends one of these sources already, or the session has not begun: come back later. Before the handshake is
done: 400 sources that the session does not want, 401 no token, 403 the wrong Host or Origin, 404 no such session. What
a page sent before it was refused is used like anything else.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import parse_qs

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers

from realtime.feed.access import Access, HttpRefusal
from realtime.sources.browser.capture import Browser, CaptureRefused
from realtime.sources.browser.wire import LARGEST_MESSAGE, LARGEST_SIDE, VERSION

ENDPOINT, SUBPROTOCOL = "/capture/feed", "capture.v1"
# RFC 6455, 7.4.1.
UNSUPPORTED_DATA = 1003


class Capture:
    """Lets pages fill the sources of `browser`, by the rules of `access`."""

    def __init__(self, browser: Browser, access: Access) -> None:
        self._browser, self._access = browser, access

    def capture_settings(self, headers: Headers, query: str) -> bytes:
        """What a page may send here, as JSON; HttpRefusal where this page may not."""
        self._check_page(headers, query)
        settings = {
            "version": VERSION,
            "sources": list(self._browser.wanted),
            "pictures_per_second": self._browser.pictures_per_second,
            "largest_side": LARGEST_SIDE,
        }
        return msgspec.json.encode(settings)

    def admit_page(self, connection: ServerConnection, headers: Headers, query: str) -> list[str]:
        """The sources that this connection is going to send; HttpRefusal where it may not."""
        self._check_page(headers, query)
        names = parse_qs(query).get("sources", [""])[-1].split(",")
        if not set(names) <= set(self._browser.wanted):
            wanted = ", ".join(self._browser.wanted)
            raise HttpRefusal(HTTPStatus.BAD_REQUEST, f"expected `sources` to be some of {wanted}, with commas between")
        # The feed lets clients send 4 KiB; a picture needs more.
        connection.protocol.max_message_size = LARGEST_MESSAGE
        return sorted(set(names))

    async def serve_page(self, connection: ServerConnection, names: list[str]) -> tuple[int, str]:
        """Take what a page sends until it breaks the rules; the close code and why. ConnectionClosed when it goes."""
        try:
            page = self._browser.admit(names)
        except CaptureRefused as refused:
            return refused.code, str(refused)
        try:
            while True:
                message = await connection.recv()
                if isinstance(message, str):
                    return UNSUPPORTED_DATA, "sound and pictures are binary"
                page.take(message)
        except CaptureRefused as refused:
            return refused.code, str(refused)
        finally:
            page.leave()

    def _check_page(self, headers: Headers, query: str) -> None:
        if not self._access.check_client(headers, query):
            raise HttpRefusal(HTTPStatus.FORBIDDEN, "pages of another origin may send no sound here")

"""Access control: neither other web pages in the same browser nor unauthenticated clients may open the feed.

- `Host` must name this machine as its owner does: an IP address, `localhost`, the name that the feed was
  bound to or one of `hosts`. A name that somebody else's DNS points here is refused (403).
- `Origin`, which browsers send and nothing else has to, must be a page of the feed itself (same host and
  port; all loopback names count as one) or one of `origins` (403).
- The token, where there is one, stands in `Authorization: Bearer TOKEN`; a page, which cannot set that, offers
  the sub-protocols `emotion.v1` and `bearer.` with the token in base64url without padding; a client that can do neither
  gives `?token=` with a one-time token, of `GET /ticket`, good once and for a minute. The token
  itself is no good in a query, since addresses end up in histories and logs. Anything else is 401. Tokens are
  compared in constant time and never logged.
- Commands are taken from clients that showed the token, and on a feed without one from clients that may read it, but
  not from pages of `origins`: those only read.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from websockets.datastructures import Headers

from core_models.errors import UsageError

# A name or an IPv4 address, or an IPv6 address in brackets; then a port or nothing.
_HOST = re.compile(r"([^\[\]:@/]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_BEARER = "bearer."
# A page uses its ticket at once; a minute leaves room for a slow network, not for an address that somebody copied.
_TICKET_S = 60.0
# Bounds memory however often `/ticket` is asked: clients that connect at once are 100 at most, and most show the token.
_MOST_TICKETS = 64


class HttpRefusal(Exception):
    """A request that is answered with `status` and one sentence."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or a loopback address; a name is not looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _split_authority(url: str) -> tuple[str, int | None]:
    """(host, port) of a URL, the port None where it stands for the scheme's own; ValueError where broken."""
    parts = urlsplit(url)
    # `urlsplit` reads `[::1].evil` as the address ::1.
    if not _HOST.fullmatch(parts.netloc):
        raise ValueError(f"{url!r} has no host of a known form")
    if not parts.hostname or parts.username is not None or parts.path or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not scheme://host:port")
    default = {"http": 80, "https": 443}[parts.scheme] if parts.scheme in ("http", "https") else None
    return parts.hostname, parts.port or default


class Tickets:
    """One-time tokens: each lets one client in within a minute. Few are out at once; the oldest go first."""

    def __init__(self) -> None:
        self._valid: dict[str, float] = {}

    def issue_ticket(self) -> str:
        """A new one-time token."""
        # 192 random bits: not to be guessed within its minute.
        ticket = secrets.token_urlsafe(24)
        self._valid[ticket] = time.monotonic() + _TICKET_S
        while len(self._valid) > _MOST_TICKETS:
            del self._valid[next(iter(self._valid))]
        return ticket

    def redeem_ticket(self, offered: str) -> bool:
        """Whether `offered` was issued and not used before; it is used up."""
        found = None
        # All of them, so that the time taken reveals nothing.
        for ticket in list(self._valid):
            if hmac.compare_digest(ticket.encode(), offered.encode()):
                found = ticket
        return found is not None and self._valid.pop(found, 0.0) > time.monotonic()


@dataclass(frozen=True)
class Access:
    """The rules of one feed; UsageError where they would leave it open to the network."""

    host: str
    token: str | None = None
    origins: Collection[str] = ()
    hosts: Collection[str] = ()
    secure: bool = False
    tickets: Tickets = field(default_factory=Tickets)

    def __post_init__(self) -> None:
        if self.token is not None and not self.token.strip():
            raise UsageError("the feed's token is empty: give one that cannot be guessed, or none at all")
        if self.token is None and not is_loopback(self.host):
            raise UsageError(
                f"the feed will not listen on {self.host or 'every address'} without a token, since others "
                "could read the conversation: give a token, or listen on 127.0.0.1"
            )

    def check_host(self, headers: Headers) -> tuple[str, int | None]:
        """(host, port) by which the client calls this feed; HttpRefusal where that is an unknown Host."""
        values = headers.get_all("Host")
        try:
            (value,) = values
            host, port = _split_authority(f"{'https' if self.secure else 'http'}://{value}")
        except ValueError:
            raise HttpRefusal(HTTPStatus.BAD_REQUEST, "expected one Host header with a host and a port") from None
        # DNS rebinding: a page of evil.example whose name now leads to 127.0.0.1 still sends its own name as Host.
        known = {"localhost", self.host.lower(), *(name.lower() for name in self.hosts)}
        if host not in known and not _is_address(host):
            raise HttpRefusal(HTTPStatus.FORBIDDEN, "this feed is not known by that Host name")
        return host, port

    def check_client(self, headers: Headers, query: str = "") -> bool:
        """Whether this client may give commands; HttpRefusal unless Host, Origin and token are all in order."""
        host, port = self.check_host(headers)
        origins = headers.get_all("Origin")
        foreign = [origin for origin in origins if not self._is_own_page(origin, host, port)]
        if not set(foreign) <= set(self.origins):
            raise HttpRefusal(HTTPStatus.FORBIDDEN, "pages of that Origin may not read this feed")
        if self.token is None:
            return not foreign
        if not self._has_token(headers, query):
            raise HttpRefusal(HTTPStatus.UNAUTHORIZED, "this feed asks for its token")
        return True

    def _is_own_page(self, origin: str, host: str, port: int | None) -> bool:
        try:
            page_host, page_port = _split_authority(origin)
        except ValueError:  # `null` among others
            return False
        if not origin.startswith("https://" if self.secure else "http://") or page_port != port:
            return False
        # 127.0.0.1, ::1 and localhost are one machine: a page opened by one of them may connect by another.
        return page_host == host or (is_loopback(page_host) and is_loopback(host))

    def _has_token(self, headers: Headers, query: str) -> bool:
        assert self.token is not None
        offered = []
        for value in headers.get_all("Authorization"):
            scheme, _, credentials = value.partition(" ")
            if scheme.lower() == "bearer":
                offered.append(credentials.strip().encode())
        protocols = [name.strip() for name in ",".join(headers.get_all("Sec-WebSocket-Protocol")).split(",")]
        offered += [_decode_bearer(name.removeprefix(_BEARER)) for name in protocols if name.startswith(_BEARER)]
        if any(hmac.compare_digest(value, self.token.encode()) for value in offered):
            return True
        tickets = [value for name, value in parse_qsl(query) if name == "token"]
        return len(tickets) == 1 and self.tickets.redeem_ticket(tickets[0])


def _decode_bearer(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""

"""Who may open the feed: a web page that merely stands in the same browser may not, a stranger may not.

- `Host` must name this machine as its owner does: an IP address, `localhost`, the name that the feed was
  bound to or one of `hosts`. A name that somebody else's DNS points here is refused (403).
- `Origin`, which browsers send and nothing else has to, must be a page of the feed itself (same host and
  port; all loopback names count as one) or one of `origins` (403).
- The token, where there is one, stands in `Authorization: Bearer TOKEN` or in `?token=TOKEN` (401). It is
  compared in constant time and never logged.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from websockets.datastructures import Headers

from core_models.errors import UsageError


class Refusal(Exception):
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


def _authority(url: str) -> tuple[str, int | None]:
    """(host, port) of a URL, the port None where it stands for the scheme's own; ValueError where broken."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None or parts.path or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not scheme://host:port")
    default = {"http": 80, "https": 443}[parts.scheme] if parts.scheme in ("http", "https") else None
    return parts.hostname, parts.port or default


@dataclass(frozen=True)
class Access:
    """The rules of one feed; UsageError where they would leave it open to the network."""

    host: str
    token: str | None = None
    origins: Collection[str] = ()
    hosts: Collection[str] = ()

    def __post_init__(self) -> None:
        if self.token is not None and not self.token.strip():
            raise UsageError("the feed's token is empty: give one that cannot be guessed, or none at all")
        if self.token is None and not is_loopback(self.host):
            raise UsageError(
                f"the feed will not listen on {self.host or 'every address'} without a token, since others "
                "could read the conversation: give a token, or listen on 127.0.0.1"
            )

    def check_host(self, headers: Headers) -> tuple[str, int | None]:
        """(host, port) by which the client calls this feed; Refusal where that is a stranger's name."""
        values = headers.get_all("Host")
        try:
            (value,) = values
            host, port = _authority(f"http://{value}")
        except ValueError:
            raise Refusal(HTTPStatus.BAD_REQUEST, "expected one Host header with a host and a port") from None
        known = {"localhost", self.host.lower(), *(name.lower() for name in self.hosts)}
        if host not in known and not _is_address(host):
            raise Refusal(HTTPStatus.FORBIDDEN, "this feed is not known by that Host name")
        return host, port

    def check_client(self, headers: Headers, query: str) -> None:
        """Refusal unless Host, Origin and token are all in order."""
        host, port = self.check_host(headers)
        for origin in headers.get_all("Origin"):
            if origin not in self.origins and not self._is_own_page(origin, host, port):
                raise Refusal(HTTPStatus.FORBIDDEN, "pages of that Origin may not read this feed")
        if self.token is not None and not self._has_token(headers, query):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "this feed asks for its token")

    def _is_own_page(self, origin: str, host: str, port: int | None) -> bool:
        try:
            page_host, page_port = _authority(origin)
        except ValueError:  # `null` among others
            return False
        if not origin.startswith(("http://", "https://")) or page_port != port:
            return False
        return page_host == host or (is_loopback(page_host) and is_loopback(host))

    def _has_token(self, headers: Headers, query: str) -> bool:
        assert self.token is not None
        offered = [value for name, value in parse_qsl(query) if name == "token"]
        for value in headers.get_all("Authorization"):
            scheme, _, credentials = value.partition(" ")
            if scheme.lower() == "bearer":
                offered.append(credentials.strip())
        expected = self.token.encode()
        return any(hmac.compare_digest(value.encode(), expected) for value in offered)

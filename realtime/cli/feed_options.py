"""Where the feed of a live run or of a replay listens, and who may subscribe."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from core_models.errors import FeedError
from realtime.feed.server import Feed
from realtime.feed.static_files import page_address
from realtime.journal.event_log import Journal
from realtime.sources.browser.capture import Browser

# Of the feed's own default of 8 MiB, some 8,000 events; older ones come from the journal.
_MEMORY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class FeedOptions:
    """Options of every command that serves a feed."""

    host: str = "127.0.0.1"
    """Address of the feed; beyond 127.0.0.1 only with a token."""
    port: int = 8765
    """Port of the feed; 0 takes any free one, -1 serves no feed."""
    token: str | None = None
    """What clients of the feed must show; may also come from EMOTION_TRACKER_TOKEN."""
    origins: tuple[str, ...] = ()
    """Web origins besides the feed's own that may subscribe, such as http://localhost:5173."""
    hosts: tuple[str, ...] = ()
    """Names besides `host` and addresses by which clients may call the feed, such as studio.lan."""
    certificate: Path | None = None
    """PEM certificate; with it the feed and the page speak TLS."""
    key: Path | None = None
    """PEM key of the certificate, where it does not hold it itself."""

    @property
    def secret(self) -> str | None:
        """The token, from the option or the environment, which no list of processes shows."""
        return self.token or os.environ.get("EMOTION_TRACKER_TOKEN")


def build_feed(
    options: FeedOptions,
    session: str,
    *,
    history: Journal | None = None,
    browser: Browser | None = None,
    memory_bytes: int = _MEMORY_BYTES,
) -> Feed | None:
    """The feed of a session, not yet started; None where the port is negative.

    UsageError where the options do not go together, FeedError where another program has the port: both are known
    before models load, which takes seconds.
    """
    if options.port < 0:
        return None
    feed = Feed(
        session,
        history=history,
        host=options.host,
        port=options.port,
        token=options.secret,
        origins=options.origins,
        hosts=options.hosts,
        certificate=options.certificate,
        key=options.key,
        browser=browser,
        memory_bytes=memory_bytes,
    )
    if options.port > 0:
        _check_port(options.host, options.port)
    return feed


def start_feed(feed: Feed, options: FeedOptions, console: Console, stack: ExitStack, *, capture: bool = False) -> None:
    """Let clients in, until `stack` closes, and print where the feed, the page and the capture page are."""
    feed.start()
    stack.callback(feed.stop)
    console.print(f"feed: {feed.url}", style="dim", markup=False, soft_wrap=True)
    console.print(f"page: {page_address(feed.url, options.secret)}", style="bold", markup=False, soft_wrap=True)
    if capture:
        page = page_address(f"{feed.url}capture", options.secret)
        console.print(f"capture: {page}", style="bold", markup=False, soft_wrap=True)


def _check_port(host: str, port: int) -> None:
    """FeedError where nothing can listen there; a name that cannot be resolved is left to the feed's own start."""
    try:
        places = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return
    for family, _, _, _, place in places:
        try:
            socket.create_server(place[:2], family=family).close()
        except OSError as error:
            raise FeedError(
                f"The feed cannot listen on {host}:{port} ({error.strerror or error}): stop the program that does, or "
                "choose another --port (0 takes any free one)."
            ) from None

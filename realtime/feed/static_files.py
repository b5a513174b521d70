"""The dashboard's files as HTTP answers: read once from the package, tagged, and confined.

The pages load nothing from anywhere else and may not be made to: the content security policy allows scripts,
styles and connections of the feed's own origin alone, no inline script, no frame around them.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}

# Other origins may not load an answer as a picture, script or style, which would tell them that the feed runs.
_SAME_ORIGIN_RESOURCE = ("Cross-Origin-Resource-Policy", "same-origin")

_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    ),
    ("Cache-Control", "no-cache"),  # ask each time; an unchanged file costs a 304
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    _SAME_ORIGIN_RESOURCE,
)

# The client module alone, so that pages of other origins can use the feed (`--origins`).
_CROSS_ORIGIN = ("feed.js",)


@dataclass(frozen=True)
class Page:
    """An answer over HTTP: `status`, `headers` without Content-Length, and the `body` to send."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...]
    body: bytes


@functools.cache
def _load_pages() -> dict[str, Page]:
    """Every file of the dashboard by its path, and `/` and `/capture` for the pages themselves."""
    pages = {}
    folder = Path(__file__).parents[1] / "dashboard"
    for file in folder.rglob("*"):
        kind = _TYPES.get(file.suffix)
        if kind is None:
            continue
        body = file.read_bytes()
        headers = [("Content-Type", kind), ("ETag", f'"{hashlib.sha256(body).hexdigest()[:32]}"'), *_HEADERS]
        if file.name in _CROSS_ORIGIN:
            headers.remove(_SAME_ORIGIN_RESOURCE)
            headers += [("Access-Control-Allow-Origin", "*"), ("Cross-Origin-Resource-Policy", "cross-origin")]
        pages[f"/{file.relative_to(folder).as_posix()}"] = Page(HTTPStatus.OK, tuple(headers), body)
    return pages | {"/": pages["/index.html"], "/capture": pages["/capture.html"]}


def find_page(path: str, if_none_match: Iterable[str] = ()) -> Page | None:
    """The answer to GET of `path`; 304 without a body where a tag of `if_none_match` fits.

    None where the dashboard has no such file.
    """
    found = _load_pages().get(path)
    if found is None:
        return None
    tag = dict(found.headers)["ETag"]
    # Proxies may weaken a tag (W/) and browsers send several; the files of one version are the same either way.
    offered = {value.strip().removeprefix("W/") for line in if_none_match for value in line.split(",")}
    if offered & {tag, "*"}:
        return Page(HTTPStatus.NOT_MODIFIED, found.headers, b"")
    return found


def page_address(feed: str, token: str | None = None) -> str:
    """Where a browser finds the page of the feed at `feed` (ws:// or wss://).

    The token stands behind the `#`, which browsers keep to themselves: no request line and no log holds it.
    """
    url = "http" + feed.removeprefix("ws")
    return f"{url}#{urlencode({'token': token})}" if token else url

"""What the feed's port answers to plain HTTP.

`/` is the dashboard to a browser and a few lines to anything else; `/healthz` answers 200 while the feed lives,
`/readyz` while a session runs (503 before and after); `/metrics` is for Prometheus, `/schema` JSON Schema and
`/asyncapi.json` the AsyncAPI document of the feed; `/ticket` gives a one-time token. `/capture` is the page that sends
a browser's sound and pictures, `/capture/wishes` what it may send (404 where the session takes none). `/metrics`,
`/ticket` and `/capture/wishes` ask for the token where there is one.
"""

from __future__ import annotations

import functools
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Response

from realtime.feed import metrics
from realtime.feed.access import Access, HttpRefusal
from realtime.feed.capture_endpoint import Capture
from realtime.feed.history import EventHistory
from realtime.feed.metrics import Metrics
from realtime.feed.static_files import find_page
from realtime.protocol.schema import FOLDER

_GREETING = """Conversation emotion tracker: the live feed of one session.

Connect a WebSocket to this address: every message is one JSON event.
  ?from=0              everything from the start of the session
  ?from=N&epoch=E      what came after event N of epoch E
  ?history=snapshot    the state of the session, and then what follows
  ?types=A,B&speakers=A,B&min_confidence=X
                       only events of these
Where the feed asks for a token: Authorization: Bearer TOKEN

/schema and /asyncapi.json describe the events and the commands; /healthz, /readyz and /metrics the program.
"""

_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"


class Routes:
    """Answers by path."""

    def __init__(self, access: Access, history: EventHistory, metrics: Metrics, capture: Capture | None) -> None:
        self._access, self._history, self._metrics, self._capture = access, history, metrics, capture

    def answer_get(self, path: str, query: str, headers: Headers) -> Response:
        """The answer to GET of `path`; HttpRefusal where there is none or this client may not have it."""
        self._access.check_host(headers)
        match path:
            case "/healthz":
                return build_response(HTTPStatus.OK, b"ok\n")
            case "/readyz":
                return self._answer_ready()
            case "/schema":
                return build_response(HTTPStatus.OK, _read_document("events.json"), "application/schema+json")
            case "/asyncapi.json":
                return build_response(HTTPStatus.OK, _read_document("asyncapi.json"), _JSON)
            case "/metrics":
                self._access.check_client(headers, query)
                return build_response(HTTPStatus.OK, self._metrics.render_text(), metrics.CONTENT_TYPE)
            case "/ticket":
                self._access.check_client(headers, query)
                return build_response(HTTPStatus.OK, f"{self._access.tickets.issue_ticket()}\n".encode())
            case "/capture/wishes" if self._capture is not None:
                return build_response(HTTPStatus.OK, self._capture.capture_settings(headers, query), _JSON)
            case "/" if "text/html" not in headers.get("Accept", ""):
                return build_response(HTTPStatus.OK, _GREETING.encode())
        found = find_page(path, headers.get_all("If-None-Match"))
        if found is None:
            raise HttpRefusal(HTTPStatus.NOT_FOUND, "there is nothing here: the feed is at /")
        return build_response(found.status, found.body, "", found.headers)

    def _answer_ready(self) -> Response:
        state = self._history.latest
        if state.running:
            return build_response(HTTPStatus.OK, b"ready\n")
        why = "the session is over" if state.over else "the session has not begun"
        return build_response(HTTPStatus.SERVICE_UNAVAILABLE, f"{why}\n".encode())


def build_response(
    status: HTTPStatus, body: bytes, kind: str = _TEXT, further: tuple[tuple[str, str], ...] = ()
) -> Response:
    """A whole answer, after which the connection closes."""
    headers = Headers([*further, ("Content-Length", str(len(body))), ("Connection", "close")])
    if kind:
        headers["Content-Type"] = kind
        headers["Cache-Control"] = "no-store"
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return Response(status.value, status.phrase, headers, body)


@functools.cache
def _read_document(name: str) -> bytes:
    return (FOLDER / name).read_bytes()

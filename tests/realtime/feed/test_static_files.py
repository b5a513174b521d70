from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.feed_session import FeedSession

from realtime.feed.static_files import find_page, page_address

DASHBOARD = Path(__file__).parents[3] / "realtime" / "dashboard"
_FILES = sorted(file.relative_to(DASHBOARD).as_posix() for file in DASHBOARD.rglob("*") if file.is_file())


def _get(url: str, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


def test_the_feeds_port_gives_the_page_to_a_browser(call: Callable[..., FeedSession]) -> None:
    """`/` is the dashboard for whoever accepts HTML, and words on how to connect for anything else."""
    url = call().feed.url
    assert b"<!doctype html>" in _get(url, "/", Accept="text/html").read()
    assert b"WebSocket" in _get(url, "/").read()


@pytest.mark.parametrize("name", _FILES)
def test_every_file_has_its_type_and_the_fence(call: Callable[..., FeedSession], name: str) -> None:
    """Each file of the dashboard comes with its MIME type, a policy without inline script, and a tag."""
    response = _get(call().feed.url, f"/{name}")
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert response.status == 200
    assert response.headers["Content-Type"].startswith(kinds[name.rpartition(".")[2]])
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.read() == (DASHBOARD / name).read_bytes()


def test_an_unchanged_file_is_not_sent_again(call: Callable[..., FeedSession]) -> None:
    """A browser that has the file by its tag gets 304 and nothing; with another tag, the file."""
    url = call().feed.url
    first = _get(url, "/app.js")
    again = _get(url, "/app.js", If_None_Match=f'"other", W/{first.headers["ETag"]}')
    assert (again.status, again.read()) == (304, b"")
    assert _get(url, "/app.js", If_None_Match='"other"').status == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/nothing.js", "/../client.py", "/%2e%2e/client.py", "/views/../../client.py", "/views"),
        *("/dashboard/app.js", "//app.js", "/app.js/", "/.hidden"),
    ],
)
def test_nothing_but_the_dashboard_is_served(call: Callable[..., FeedSession], path: str) -> None:
    """Paths that are no file of the dashboard are 404, however they are written."""
    assert find_page(path) is None
    assert _get(call().feed.url, path).status == 404


def test_a_strangers_host_name_gets_no_page(call: Callable[..., FeedSession]) -> None:
    """The page is refused under a Host that is not the feed's, so that nobody's DNS can frame it."""
    assert _get(call().feed.url, "/app.js", Host="evil.example").status == 403


def test_other_origins_may_import_the_client_and_nothing_else(call: Callable[..., FeedSession]) -> None:
    """feed.js, the JavaScript client, may be imported by any page; the rest belongs to the dashboard."""
    url = call().feed.url
    open_to_all = {name for name in _FILES if _get(url, f"/{name}").headers["Access-Control-Allow-Origin"] == "*"}
    assert open_to_all == {"feed.js"}
    policies = {name: _get(url, f"/{name}").headers["Cross-Origin-Resource-Policy"] for name in _FILES}
    assert policies.pop("feed.js") == "cross-origin"
    assert set(policies.values()) == {"same-origin"}


def test_the_dashboard_names_no_other_place() -> None:
    """No file of the dashboard refers to another host: there is nothing to fetch from anywhere."""
    for name in _FILES:
        text = (DASHBOARD / name).read_text(encoding="utf-8")
        places = set(re.findall(r"(?:https?|wss?)://([^/\"'`\s]+)", text))
        assert places <= {"www.w3.org", "127.0.0.1:8765"}, name


def test_the_address_keeps_the_token_from_the_request() -> None:
    """The page's address has the feed's scheme, host and port, and the token behind the `#`."""
    assert page_address("ws://127.0.0.1:1/") == "http://127.0.0.1:1/"
    assert page_address("wss://[::1]:2/", "a&b c") == "https://[::1]:2/#token=a%26b+c"

from __future__ import annotations

from http import HTTPStatus

import pytest
from websockets.datastructures import Headers

from core_models.errors import UsageError
from realtime.access import Access, Refusal

LOCAL = Access("127.0.0.1")
GUARDED = Access("0.0.0.0", token="open sesame", hosts=("studio.lan",), origins=("https://show.example",))


def verdict(access: Access, query: str = "", **headers: str) -> HTTPStatus:
    named = Headers([(name.replace("_", "-"), value) for name, value in headers.items()])
    try:
        access.check_client(named, query)
    except Refusal as refusal:
        return refusal.status
    return HTTPStatus.OK


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.168.1.7", "studio.lan", "localhost.evil.example"])
def test_a_feed_beyond_this_machine_needs_a_token(host: str) -> None:
    """An address that others can reach is refused without a token, and taken with one."""
    with pytest.raises(UsageError, match="without a token"):
        Access(host)
    Access(host, token="open sesame")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_feed_on_this_machine_needs_none(host: str) -> None:
    """Loopback addresses listen without a token."""
    Access(host)


def test_an_empty_token_is_refused() -> None:
    """A token that is empty would let everybody in, so it is an error."""
    with pytest.raises(UsageError, match="empty"):
        Access("127.0.0.1", token=" ")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8765", 200),
        ("localhost:9000", 200),  # through a forwarded port
        ("LOCALHOST", 200),
        ("[::1]:8765", 200),
        ("192.168.1.7:8765", 200),  # an address cannot be rebound
        ("evil.example:8765", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("user@localhost", 400),
        ("localhost/evil", 400),
        ("localhost:port", 400),
        ("localhost:99999", 400),
        ("[::1", 400),
        ("", 400),
    ],
)
def test_a_name_that_is_not_this_machines_is_refused(host: str, status: int) -> None:
    """Only addresses, localhost and names that were given pass as Host."""
    assert verdict(LOCAL, Host=host) == status


def test_there_is_exactly_one_host() -> None:
    """A request without Host, or with two, is refused."""
    assert verdict(LOCAL) == 400
    with pytest.raises(Refusal):
        LOCAL.check_host(Headers([("Host", "localhost"), ("Host", "evil.example")]))


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8765", 200),
        ("http://localhost:8765", 200),
        ("http://[::1]:8765", 200),
        ("http://localhost:5173", 403),
        ("http://localhost", 403),
        ("http://evil.example:8765", 403),
        ("http://localhost.evil.example:8765", 403),
        ("http://evil@localhost:8765", 403),
        ("ftp://localhost:8765", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_only_the_feeds_own_pages_may_read_it(origin: str, status: int) -> None:
    """A page passes when it comes from the feed's own host and port, by whichever loopback name."""
    assert verdict(LOCAL, Host="127.0.0.1:8765", Origin=origin) == status


def test_a_page_by_another_address_is_not_the_feeds_own() -> None:
    """A page served from another machine's address does not pass because its port is the same."""
    assert verdict(LOCAL, Host="127.0.0.1:8765", Origin="http://192.168.1.9:8765") == 403


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({}, "", 401),
        ({"Authorization": "Bearer open sesame"}, "", 200),
        ({"Authorization": "bearer open sesame"}, "", 200),
        ({"Authorization": "Basic open sesame"}, "", 401),
        ({"Authorization": "Bearer open sesam"}, "", 401),
        ({"Authorization": "Bearer öpen"}, "", 401),
        ({"Authorization": "Bearer"}, "", 401),
        ({}, "token=open%20sesame", 200),
        ({}, "token=wrong&token=open+sesame", 200),
        ({}, "token=", 401),
        ({}, "from=0&epoch=open%20sesame", 401),
        ({"Origin": "https://show.example"}, "token=open%20sesame", 200),
        ({"Origin": "https://show.example"}, "", 401),
        ({"Origin": "https://show.example.evil"}, "token=open%20sesame", 403),
        ({"Origin": "http://studio.lan:8765"}, "token=open%20sesame", 200),
    ],
)
def test_a_token_opens_the_feed_and_nothing_else_does(headers: dict[str, str], query: str, status: int) -> None:
    """The right token in the header or the query passes; a wrong one, another scheme or none is 401."""
    assert verdict(GUARDED, query, Host="studio.lan:8765", **headers) == status

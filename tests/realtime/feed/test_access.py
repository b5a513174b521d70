from __future__ import annotations

from http import HTTPStatus

import pytest
from support.bearer_protocol import bearer_protocol
from websockets.datastructures import Headers

from core_models.errors import UsageError
from realtime.feed.access import Access, HttpRefusal, Tickets

LOCAL = Access("127.0.0.1")
PROTOCOL = bearer_protocol("open sesame")
GUARDED = Access("0.0.0.0", token="open sesame", hosts=("studio.lan",), origins=("https://show.example",))


def verdict(access: Access, query: str = "", **headers: str) -> HTTPStatus:
    named = Headers([(name.replace("_", "-"), value) for name, value in headers.items()])
    try:
        access.check_client(named, query)
    except HttpRefusal as refusal:
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
        ("[::1].evil.example", 400),
        ("[::1]evil", 400),
        ("[::1%evil]", 400),
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
    with pytest.raises(HttpRefusal):
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
        ({"Sec_WebSocket_Protocol": f"emotion.v1, {PROTOCOL}"}, "", 200),
        ({"Sec_WebSocket_Protocol": PROTOCOL}, "", 200),
        ({"Sec_WebSocket_Protocol": PROTOCOL + "x"}, "", 401),
        ({"Sec_WebSocket_Protocol": "emotion.v1, open sesame"}, "", 401),
        ({"Sec_WebSocket_Protocol": "bearer."}, "", 401),
        ({"Sec_WebSocket_Protocol": "bearer.ö"}, "", 401),
        ({}, "token=open%20sesame", 401),
        ({}, "token=", 401),
    ],
)
def test_a_token_opens_the_feed_and_nothing_else_does(headers: dict[str, str], query: str, status: int) -> None:
    """The right token in header or sub-protocol passes; a wrong one, another scheme, the query or none is 401."""
    assert verdict(GUARDED, query, Host="studio.lan:8765", **headers) == status


@pytest.mark.parametrize("token", ["none", "wrong", "header", "protocol", "ticket"])
@pytest.mark.parametrize(
    ("origin", "page"),
    [
        (None, "none"),
        ("http://studio.lan:8765", "own"),
        ("https://show.example", "allowed"),
        ("https://studio.lan:8765", "stranger"),
        ("http://studio.lan.evil:8765", "stranger"),
        ("null", "stranger"),
    ],
)
@pytest.mark.parametrize(
    ("host", "known"),
    [("studio.lan:8765", True), ("192.168.1.7:8765", True), ("localhost:8765", True), ("rebound.example:8765", False)],
)
@pytest.mark.parametrize("guarded", [True, False])
def test_the_matrix(guarded: bool, host: str, known: bool, origin: str | None, page: str, token: str) -> None:
    """Over token, Origin and Host: a strange Host or Origin is 403 whatever the token, no token where there is one
    401, and whoever showed it may command; without a token all may but pages of other origins, who only read."""
    access = Access(
        "127.0.0.1",
        token="open sesame" if guarded else None,
        hosts=("studio.lan",),
        origins=("https://show.example",),
    )
    headers, query = {"Host": host}, ""
    if origin is not None:
        headers["Origin"] = origin
    match token:
        case "wrong":
            headers["Authorization"] = "Bearer open sesam"
        case "header":
            headers["Authorization"] = "Bearer open sesame"
        case "protocol":
            headers["Sec_WebSocket_Protocol"] = f"emotion.v1, {PROTOCOL}"
        case "ticket":
            query = f"token={access.tickets.issue_ticket()}"
    own = page == "own" and host == "studio.lan:8765"
    shown = token in ("header", "protocol", "ticket")
    expected: int | bool
    if not known or (page == "stranger") or (page == "own" and not own):
        expected = 403
    elif guarded:
        expected = shown or 401
    else:
        expected = page != "allowed"
    named = Headers([(name.replace("_", "-"), value) for name, value in headers.items()])
    try:
        found: int | bool = access.check_client(named, query)
    except HttpRefusal as refusal:
        found = refusal.status
    assert found == expected


def test_a_secure_feed_knows_its_own_pages_by_https() -> None:
    """With TLS the feed's own page is one by https on the same port, 443 where none is named."""
    access = Access("127.0.0.1", hosts=("studio.lan",), secure=True)
    assert verdict(access, Host="studio.lan", Origin="https://studio.lan") == 200
    assert verdict(access, Host="studio.lan:8765", Origin="http://studio.lan:8765") == 403
    assert verdict(access, Host="studio.lan:8765", Origin="https://studio.lan") == 403


def test_one_time_tokens_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A one-time token is good once, for a minute, and few are good at once."""
    now = [100.0]
    monkeypatch.setattr("realtime.feed.access.time.monotonic", lambda: now[0])
    tickets = Tickets()
    first, second = tickets.issue_ticket(), tickets.issue_ticket()
    assert tickets.redeem_ticket(first)
    assert not tickets.redeem_ticket(first)
    now[0] += 60
    assert not tickets.redeem_ticket(second)
    many = [tickets.issue_ticket() for _ in range(65)]
    assert not tickets.redeem_ticket(many[0])
    assert tickets.redeem_ticket(many[1])
    assert not tickets.redeem_ticket("ö")

"""A browser as a source, over real sockets: what pages send is placed in time; hostile ones harm only themselves."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
import soxr
from numpy.typing import NDArray
from support.bearer_protocol import bearer_protocol
from support.capture_session import CaptureSession
from support.collecting_sink import alignment
from support.feed_session import Subscriber, numbers
from support.jpegs import SMALL, jpeg
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from realtime.feed.publisher import EventPublisher
from realtime.protocol import events
from realtime.sources.browser import capture
from realtime.sources.browser.capture import PageClock
from realtime.sources.browser.limits import TokenBucket
from realtime.sources.browser.wire import LARGEST_MESSAGE, encode
from realtime.sources.media import SAMPLE_RATE

Samples = NDArray[np.float32]


@pytest.fixture
def taking() -> Iterator[Callable[..., CaptureSession]]:
    made: list[CaptureSession] = []

    def make(**options: Any) -> CaptureSession:
        made.append(CaptureSession(**options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


class Sender:
    """A page's connection. Its clock is real; `sound` sends no faster than it was told to."""

    def __init__(self, it: CaptureSession, *sources: str, **options: Any) -> None:
        url = f"{it.feed.url}capture/feed?sources={','.join(sources)}"
        self.socket: ClientConnection = connect(url, subprotocols=[Subprotocol("capture.v1")], **options)
        self._begun = time.monotonic() - 5
        self.count = 1_000_000  # as where a page has been open for a while

    def now_ms(self) -> int:
        return round((time.monotonic() - self._begun) * 1000)

    def sound(self, samples: Samples, source: str = "microphone", *, rate: int = 16_000, pace: float = 1.0) -> None:
        """Send in blocks of 30 ms, each when it has ended, at so many times real time."""
        size = rate * 30 // 1000
        begun = time.monotonic()
        for at in range(0, len(samples) - size + 1, size):
            time.sleep(max(0.0, begun + (at + size) / rate / pace - time.monotonic()))
            pcm = (samples[at : at + size] * 32767).astype("<i2").tobytes()
            self.send(encode(source, rate=rate, at_ms=self.now_ms(), count=self.count, payload=pcm))
            self.count += size

    def picture(self, data: bytes, count: int) -> None:
        self.send(encode("camera", at_ms=self.now_ms(), count=count, payload=data))

    def send(self, message: bytes | str) -> None:
        self.socket.send(message)

    def ended(self) -> tuple[int | None, str]:
        """Close code and reason, once the server has closed."""
        with pytest.raises(ConnectionClosed):
            self.socket.recv()
        return self.socket.close_code, self.socket.close_reason or ""

    def vanish(self) -> None:
        """End as a crash does."""
        self.socket.socket.close()


STRETCH = encode("microphone", at_ms=0, count=0, rate=16_000, payload=b"ab")
QUIET = np.full(SAMPLE_RATE // 2, 0.1, np.float32)


def ending(it: CaptureSession, send: Callable[[Sender], None], *sources: str) -> tuple[int | None, str]:
    sender = Sender(it, *(sources or ("microphone",)))
    send(sender)
    return sender.ended()


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_what_a_page_sends_is_heard_in_its_place(
    taking: Callable[..., CaptureSession], librivox: list[tuple[str, Samples]], rate: int
) -> None:
    """Speech comes out whole at 16 kHz, at whichever rate it was sent, without a gap and on the session's clock."""
    it, speech = taking(), librivox[1][1]
    at_rate = speech if rate == SAMPLE_RATE else soxr.resample(speech, SAMPLE_RATE, rate).astype(np.float32)
    sender = Sender(it, "microphone")
    begun = it.clock()
    sender.sound(at_rate, rate=rate)
    sender.socket.close()
    it.until("microphone", "waiting", "opened", "lost")
    correlation, at = alignment(speech, it.keeper.sound("microphone"))
    assert correlation > 0.95
    assert begun - 30 <= at / 16
    assert (at + len(speech)) / 16 <= it.clock() + 30
    chunks = it.keeper.chunks
    assert all(one.start + len(one.samples) == other.start for one, other in pairwise(chunks))
    assert "page was closed" in it.keeper.said[-1].detail


def test_a_page_that_comes_back_goes_on_after_a_gap(taking: Callable[..., CaptureSession]) -> None:
    """A cut connection loses the source, the next one opens it again, and what lies between is missing from time."""
    it = taking()
    first = Sender(it, "microphone")
    first.sound(QUIET)
    it.keeper.until(lambda: len(it.keeper.chunks) > 3)
    first.vanish()
    it.until("microphone", "waiting", "opened", "lost")
    time.sleep(0.6)
    again = Sender(it, "microphone")
    again.sound(QUIET)
    it.until("microphone", "waiting", "opened", "lost", "opened")
    again.socket.close()
    it.until("microphone", "waiting", "opened", "lost", "opened", "lost")
    sound = it.keeper.sound("microphone")
    heard = np.abs(sound) > 0.05
    assert 0.9 * 2 * len(QUIET) < heard.sum() <= 2 * len(QUIET)
    edges = np.flatnonzero(np.diff(heard.astype(int)))
    assert edges[2] - edges[1] > 0.5 * SAMPLE_RATE


def test_a_page_that_falls_silent_is_noticed(taking: Callable[..., CaptureSession]) -> None:
    """A connection that stays open and gives nothing is lost, and opened when it goes on."""
    it = taking()
    sender = Sender(it, "microphone")
    sender.sound(QUIET)
    it.until("microphone", "waiting", "opened", "lost")
    assert "no more" in it.keeper.said[-1].detail
    sender.sound(QUIET)
    it.until("microphone", "waiting", "opened", "lost", "opened")


@pytest.mark.parametrize(
    ("send", "code", "why"),
    [
        (lambda it: it.send("hello"), 1003, "binary"),
        (lambda it: it.send(b"\2" + STRETCH[1:]), 1007, "version"),
        (lambda it: it.send(b"\0"), 1007, "header"),
        (lambda it: it.send(encode("camera", at_ms=0, count=0, payload=b"GIF89a" * 9)), 1007, "JPEG"),
        (lambda it: it.send(bytes(LARGEST_MESSAGE + 1)), 1009, ""),
        (lambda it: it.picture(SMALL, 1), 1013, "was not asked for"),
        (lambda it: it.sound(np.zeros(40 * SAMPLE_RATE, np.float32), pace=1e6), 1008, "faster than real time"),
    ],
)
def test_a_hostile_page_is_closed_and_what_it_said_is_heard(
    taking: Callable[..., CaptureSession], send: Callable[[Sender], None], code: int, why: str
) -> None:
    """Text, other versions, noise, oversize, foreign sources and haste end in their close codes; what came before
    is heard, another subscriber notices nothing, and the next page is served."""
    it = taking()
    publisher = EventPublisher("01JCAPTURE0000000000000000", feed=it.feed)

    def hostile(sender: Sender) -> None:
        sender.sound(QUIET)
        with contextlib.suppress(ConnectionClosed):
            send(sender)

    with Subscriber(it.feed.url) as other:
        got, reason = ending(it, hostile)
        assert got == code
        assert why in reason
        it.until("microphone", "waiting", "opened", "lost")
        assert (np.abs(it.keeper.sound("microphone")) > 0.05).sum() > 0.9 * len(QUIET)
        Sender(it, "microphone").sound(QUIET)
        it.keeper.until(lambda: it.statuses("microphone")[3:4] == ["opened"])
        publisher.append(events.Error(code="1", message="", fatal=False))
        assert numbers(other.wait_for(1)) == [1]


@pytest.mark.parametrize("what", ["count", "time"])
def test_time_that_goes_back_ends_a_page(taking: Callable[..., CaptureSession], what: str) -> None:
    """Samples that were counted already, or a clock that was later before, are 1008."""

    def back(sender: Sender) -> None:
        first = {"at_ms": 5_000, "count": 960}
        again = first | ({"count": 959 + 480} if what == "count" else {"at_ms": 4_999, "count": 1_440})
        for place in (first, again):
            sender.send(encode("microphone", rate=16_000, payload=bytes(960), **place))

    assert ending(taking(), back) == (1008, "the time of the microphone goes back")


def test_a_rate_that_changes_ends_a_page(taking: Callable[..., CaptureSession]) -> None:
    """One page's sound has one rate."""

    def change(sender: Sender) -> None:
        sender.send(encode("microphone", rate=16_000, at_ms=0, count=0, payload=bytes(960)))
        sender.send(encode("microphone", rate=48_000, at_ms=30, count=480, payload=bytes(960)))

    assert ending(taking(), change) == (1007, "the rate of the microphone changes")


def test_too_many_pictures_end_a_page(taking: Callable[..., CaptureSession]) -> None:
    """Some may come at once after a pause; more are 1008."""

    def flood(sender: Sender) -> None:
        for number in range(6):
            sender.picture(SMALL, number)

    it = taking()
    it.browser._allowances["camera"] = TokenBucket(per_s=0.01, most=5.0)
    assert ending(it, flood, "camera") == (1008, "there are too many pictures")


def test_a_source_has_one_page_and_pages_share_the_session(taking: Callable[..., CaptureSession]) -> None:
    """A second page for the same source is 1013 and costs the first nothing; for another source it is welcome."""
    it = taking()
    first = Sender(it, "microphone")
    first.sound(QUIET)
    code, reason = Sender(it, "camera", "microphone").ended()
    assert (code, reason) == (1013, "another page sends the microphone already")
    other = Sender(it, "tab")
    other.sound(QUIET, "tab")
    first.sound(QUIET)
    it.keeper.until(lambda: {chunk.source for chunk in it.keeper.chunks} == {"microphone", "tab"})
    assert it.statuses("microphone") == ["waiting", "opened"]


def test_a_dead_page_holds_no_source(taking: Callable[..., CaptureSession], monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of which nothing comes any more, closed or not, is taken over, and may not come back into it."""
    monkeypatch.setattr(capture, "_HELD_MS", 200)
    it = taking()
    dead, alive = Sender(it, "microphone"), None
    dead.sound(QUIET)
    time.sleep(0.3)
    alive = Sender(it, "microphone")
    alive.sound(QUIET)
    dead.sound(QUIET[:480])
    assert dead.ended()[0] == 1013
    alive.sound(QUIET)
    alive.socket.close()
    it.until("microphone", "waiting", "opened", "lost", "opened", "lost")
    assert (np.abs(it.keeper.sound("microphone")) > 0.05).sum() > 0.9 * 3 * len(QUIET)


def test_sound_that_a_page_lost_is_a_gap_and_told(taking: Callable[..., CaptureSession]) -> None:
    """Where the count of samples jumps, the clock says how much is missing, and a status says so."""
    it = taking()
    sender = Sender(it, "microphone")
    sender.sound(QUIET)
    before = it.clock()
    time.sleep(0.5)
    sender.count += 8_000
    sender.sound(QUIET)
    it.keeper.until(lambda: "overflow" in it.statuses("microphone"))
    (told,) = [said for said in it.keeper.said if said.status == "overflow"]
    lost_ms = int(told.detail.split()[0])
    assert 200 < lost_ms < it.clock() - before
    ends = [chunk.start + len(chunk.samples) for chunk in it.keeper.chunks]
    gaps = [chunk.start - end for chunk, end in zip(it.keeper.chunks[1:], ends, strict=False)]
    assert abs(max(gaps) - 16 * lost_ms) <= 16


def test_pictures_are_seen_when_they_were_taken(taking: Callable[..., CaptureSession]) -> None:
    """Pictures come out as RGB in order of time; a covered lens is told, and so is one that gives no more."""
    it = taking()
    sender = Sender(it, "camera")
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 2] = 200
    data = jpeg(64, 48)
    for number in range(5):
        sender.picture(data, number)
        time.sleep(0.1)
    it.keeper.until(lambda: len(it.keeper.frames) == 5)
    at = [frame.at_ms for frame in it.keeper.frames]
    assert at == sorted(at)
    assert at[-1] - at[0] > 200
    assert at[-1] <= it.clock()
    assert it.keeper.frames[0].rgb.shape == (48, 64, 3)
    _, coloured = cv2.imencode(".jpg", red)
    _, black = cv2.imencode(".jpg", red * 0)
    sender.picture(coloured.tobytes(), 5)
    sender.picture(black.tobytes(), 6)
    it.keeper.until(lambda: len(it.keeper.frames) == 7)
    assert it.keeper.frames[5].rgb[..., 0].mean() > 150
    assert it.statuses("camera") == ["waiting", "opened", "covered"]
    sender.socket.close()
    it.until("camera", "waiting", "opened", "covered", "lost")


def test_who_may_send_is_who_may_command(taking: Callable[..., CaptureSession]) -> None:
    """Without the token, from a foreign origin or Host, and for sources that are not wanted, there is no socket."""
    it = taking(token="open sesame", origins=("http://show.example",), browser={"pictures_per_second": 0.0})
    url = f"{it.feed.url}capture/feed?sources="
    right = [Subprotocol("capture.v1"), Subprotocol(bearer_protocol("open sesame"))]
    with connect(url + "microphone", subprotocols=right) as page:
        assert page.subprotocol == "capture.v1"
    for name, sources, protocols, origin, status in (
        ("127.0.0.1", "microphone", right[:1], None, 401),
        ("127.0.0.1", "microphone", right, Origin("http://evil.example"), 403),
        ("evil.example", "microphone", right, None, 403),
        ("127.0.0.1", "camera", right, None, 400),
        ("127.0.0.1", "", right, None, 400),
    ):
        raw = socket.create_connection(("127.0.0.1", urlsplit(url).port or 0))
        with pytest.raises(InvalidStatus) as refused:
            connect(url.replace("127.0.0.1", name) + sources, sock=raw, subprotocols=protocols, origin=origin)
        assert refused.value.response.status_code == status


def answer(url: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", "/capture/wishes", headers=headers)
    response = connection.getresponse()
    return response.status, response.read()


def test_a_page_of_another_origin_reads_and_sends_nothing(taking: Callable[..., CaptureSession]) -> None:
    """Pages of `origins` may read a feed without a token; they may not send it sound."""
    it = taking(origins=("http://show.example",))
    assert answer(it.feed.url, Origin="http://show.example")[0] == 403
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{it.feed.url}capture/feed?sources=tab", additional_headers={"Origin": "http://show.example"})
    assert refused.value.response.status_code == 403


def test_a_page_is_told_what_the_session_wants(taking: Callable[..., CaptureSession]) -> None:
    """/capture/wishes names the sources and how many pictures, to whoever has the token."""
    it = taking(token="open sesame", browser={"tab": False, "pictures_per_second": 4.0})
    assert answer(it.feed.url)[0] == 401
    status, body = answer(it.feed.url, Authorization="Bearer open sesame")
    assert status == 200
    wishes = json.loads(body)
    assert wishes["sources"] == ["microphone", "camera"]
    assert wishes["pictures_per_second"] == 4.0


def test_the_end_of_the_session_ends_its_pages(taking: Callable[..., CaptureSession]) -> None:
    """A page is closed with 1001 when the program stops, without being waited for."""
    it = taking()
    sender = Sender(it, "microphone")
    sender.sound(QUIET)
    it.stop()
    assert sender.ended() == (1001, "the session is over")
    assert it.statuses("microphone")[-1] == "ended"


def test_a_late_message_is_placed_by_the_pages_clock() -> None:
    """What a network held up for seconds is placed when it was taken, and never after it came; a clock that stood
    still, as a laptop's does that slept, is followed."""
    clock = PageClock()
    assert clock.media_ms(100, 1_100) == 1_100
    assert clock.media_ms(200, 4_200) == 1_200
    assert clock.media_ms(4_000, 4_990) == 4_990
    for second in range(60, 80):
        placed = clock.media_ms(5_000 + 1000 * (second - 60), 1000 * second)
    assert placed == 79_000


def test_an_allowance_is_what_may_come_in_the_long_run() -> None:
    """So much at once, and then at the rate alone."""
    allowance = TokenBucket(per_s=10.0, most=50.0)
    assert allowance.take(50.0, 100.0)
    assert not allowance.take(1.0, 100.05)
    assert allowance.take(1.0, 100.15)
    assert not allowance.take(51.0, 1_000.0)

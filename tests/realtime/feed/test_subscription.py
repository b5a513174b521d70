from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from support.feed_session import FeedSession, Subscriber
from support.sample_events import CREATED, began, final

from realtime.feed import subscription
from realtime.feed.access import HttpRefusal
from realtime.protocol import events

LINES = {
    "ann joy .8": events.encode(final(1)),
    "ben joy .8": events.encode(final(2, speaker="ben")),
    "ben begins": events.encode(began(3, "ben")),
    "created": events.encode(CREATED),
}


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("types=emotion.final", {"ann joy .8", "ben joy .8"}),
        ("types=emotion.final,session.created", {"ann joy .8", "ben joy .8", "created"}),
        ("speakers=ann", {"ann joy .8", "created"}),
        ("speakers=ann,ben", set(LINES)),
        ("min_confidence=0.8", set(LINES)),
        ("min_confidence=0.81", {"ben begins", "created"}),
        ("types=emotion.final&speakers=ben&min_confidence=0.5", {"ben joy .8"}),
        ("types=nothing.known", set()),
    ],
)
def test_a_filter_judges_events_by_what_they_have(query: str, wanted: set[str]) -> None:
    """Types are exact; a speaker and a confidence are asked only of events that have one."""
    filter_ = subscription.parse_query(query).filter
    assert filter_ is not None
    assert {name for name, line in LINES.items() if filter_.admits_event(line)} == wanted


@pytest.mark.parametrize(
    "query",
    [
        "history=all",
        "from=1&from=2",
        "types=",
        "types=a,,b",
        "types=" + ",".join("abcdefghijklmnopqrstuvwxyz" * 2),
        "min_confidence=2",
        "min_confidence=nan",
        "min_confidence=high",
        "epoch=01J",
        "from=¹",
        "&".join(f"x{n}=1" for n in range(21)),
    ],
)
def test_wishes_that_make_no_sense_are_refused(query: str) -> None:
    """A parameter that is twice there, empty, too long or out of range is a 400."""
    with pytest.raises(HttpRefusal) as refused:
        subscription.parse_query(query)
    assert refused.value.status == 400


def test_parameters_that_are_not_known_are_ignored() -> None:
    """A page may keep parameters of its own in the address."""
    assert subscription.parse_query("overlay=1&from=3") == subscription.Subscription((None, 3), "none", None)


class _Told(msgspec.Struct):
    seq: int
    type: str
    prev_seq: int


@pytest.mark.parametrize("memory_bytes", [1, 10**7])
def test_a_filtered_stream_is_a_chain(call: Callable[..., FeedSession], memory_bytes: int) -> None:
    """Events that pass carry the number of the one before them on this stream, from memory, from the journal, told at
    once or later; what is else missing between them was not wanted."""
    it = call(memory_bytes=memory_bytes)
    it.publisher.append(final(1))
    it.say(5)
    it.publisher.append(final(2))
    with Subscriber(it.feed.url, "?from=0&types=emotion.final") as late, Subscriber(
        it.feed.url, "?types=emotion.final"
    ) as live:
        late.wait_for(2)
        it.say(3)
        it.publisher.append(final(3))
        it.say(1)
        it.publisher.append(final(4))
        assert [(told.seq, told.prev_seq) for told in chain(late.lines(4))] == [(1, 0), (7, 1), (11, 7), (13, 11)]
        assert [(told.seq, told.prev_seq) for told in chain(live.lines(2))] == [(11, 7), (13, 11)]
    with Subscriber(it.feed.url, f"?from=7&epoch={it.epoch}&types=emotion.final") as resumed:
        assert [(told.seq, told.prev_seq) for told in chain(resumed.lines(2))] == [(11, 7), (13, 11)]


def chain(lines: list[bytes]) -> list[_Told]:
    return [msgspec.json.decode(line, type=_Told) for line in lines]

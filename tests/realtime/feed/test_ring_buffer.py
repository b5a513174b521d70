from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.feed.ring_buffer import RingBuffer
from realtime.journal.event_log import Record

LINE = b"x" * 10


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), kept=st.integers(1, 12), earlier=st.integers(0, 4))
def test_places_are_those_of_one_long_list(lengths: list[int], kept: int, earlier: int) -> None:
    """Names, places, resumption and what is kept agree with a plain list of all events, however epochs divide it."""
    runs = [(f"e{index}", length) for index, length in enumerate(lengths)]
    everything = [Record(epoch, seq, LINE) for epoch, length in runs for seq in range(1, length + 1)]
    before = min(earlier, len(runs))
    tail = RingBuffer([(epoch, 1, length) for epoch, length in runs[:before]], kept * len(LINE))
    written = sum(length for _, length in runs[:before])
    for record in everything[written:]:
        tail.append(record)

    assert tail.end == len(everything)
    assert tail.first == max(written, len(everything) - kept)
    for place, record in enumerate(everything):
        assert tail.name(place) == (record.epoch, record.seq)
        assert tail.place(record) == place
        assert tail.find(record.epoch, record.seq) == (place + 1, None)
        assert tail.since(place, 3) == (everything[place : place + 3] if place >= tail.first else None)
    for epoch, length in runs:
        start = everything.index(Record(epoch, 1, LINE))
        assert tail.find(epoch, 0) == (start, None)
        assert tail.find(epoch, length + 1) == (start + length, "ahead")
    assert tail.find("unknown", 1) == (0, "unknown_epoch")
    assert tail.epoch == runs[-1][0]


def test_an_epoch_is_continued_where_it_was_left() -> None:
    """After an earlier run of an epoch the next number is taken, and no other."""
    tail = RingBuffer([("e", 1, 5)], 1000)
    with pytest.raises(ValueError, match="number 7"):
        tail.append(Record("e", 7, LINE))
    tail.append(Record("e", 6, LINE))
    assert tail.name(5) == ("e", 6)


def test_an_epoch_that_was_left_does_not_come_back() -> None:
    """A number of an ended epoch is refused."""
    tail = RingBuffer([], 1000)
    for epoch in ("a", "b"):
        tail.append(Record(epoch, 1, LINE))
    with pytest.raises(ValueError, match="has ended"):
        tail.append(Record("a", 2, LINE))


def test_skipping_ends_at_an_epoch_or_at_memory() -> None:
    """Where nothing can be had the next place to try is the next epoch's first, or the oldest that is kept."""
    tail = RingBuffer([("a", 1, 5), ("b", 1, 5)], 2 * len(LINE))
    for seq in range(6, 12):
        tail.append(Record("b", seq, LINE))
    assert tail.skip(2) == 5
    assert tail.skip(5) == tail.first == 14


def test_the_latest_event_is_kept_however_long_it_is() -> None:
    """An event larger than the limit is still there for those who wait for it."""
    tail = RingBuffer([], 5)
    tail.append(Record("a", 1, LINE))
    tail.append(Record("a", 2, LINE * 3))
    assert tail.since(1, 5) == [Record("a", 2, LINE * 3)]

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
    buffer = RingBuffer([(epoch, 1, length) for epoch, length in runs[:before]], kept * len(LINE))
    written = sum(length for _, length in runs[:before])
    for record in everything[written:]:
        buffer.append(record)

    assert buffer.end == len(everything)
    assert buffer.first == max(written, len(everything) - kept)
    for position, record in enumerate(everything):
        assert buffer.id_at(position) == (record.epoch, record.seq)
        assert buffer.position_of(record) == position
        assert buffer.position_after(record.epoch, record.seq) == (position + 1, None)
        assert buffer.read(position, 3) == (everything[position : position + 3] if position >= buffer.first else None)
    for epoch, length in runs:
        start = everything.index(Record(epoch, 1, LINE))
        assert buffer.position_after(epoch, 0) == (start, None)
        assert buffer.position_after(epoch, length + 1) == (start + length, "ahead")
    assert buffer.position_after("unknown", 1) == (0, "unknown_epoch")
    assert buffer.epoch == runs[-1][0]


def test_an_epoch_is_continued_where_it_was_left() -> None:
    """After an earlier run of an epoch the next number is taken, and no other."""
    buffer = RingBuffer([("e", 1, 5)], 1000)
    with pytest.raises(ValueError, match="number 7"):
        buffer.append(Record("e", 7, LINE))
    buffer.append(Record("e", 6, LINE))
    assert buffer.id_at(5) == ("e", 6)


def test_an_epoch_that_was_left_does_not_come_back() -> None:
    """A number of an ended epoch is refused."""
    buffer = RingBuffer([], 1000)
    for epoch in ("a", "b"):
        buffer.append(Record(epoch, 1, LINE))
    with pytest.raises(ValueError, match="has ended"):
        buffer.append(Record("a", 2, LINE))


def test_skipping_ends_at_an_epoch_or_at_memory() -> None:
    """Where nothing can be had the next position to try is the next epoch's first, or the oldest that is kept."""
    buffer = RingBuffer([("a", 1, 5), ("b", 1, 5)], 2 * len(LINE))
    for seq in range(6, 12):
        buffer.append(Record("b", seq, LINE))
    assert buffer.next_available(2) == 5
    assert buffer.next_available(5) == buffer.first == 14


def test_the_latest_event_is_kept_however_long_it_is() -> None:
    """An event larger than the limit is still there for those who wait for it."""
    buffer = RingBuffer([], 5)
    buffer.append(Record("a", 1, LINE))
    buffer.append(Record("a", 2, LINE * 3))
    assert buffer.read(1, 5) == [Record("a", 2, LINE * 3)]

"""Commit order, whatever order utterances are ready in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realtime.pipeline.reorder_buffer import ReorderBuffer


def leaving(order: ReorderBuffer[str]) -> list[str]:
    left = []
    while (item := order.release()) is not None:
        left.append(item)
    return left


@given(
    decided=st.lists(st.tuples(st.integers(0, 5_000), st.sampled_from("ab")), min_size=1, max_size=20, unique=True),
    data=st.data(),
)
def test_utterances_leave_in_the_order_of_their_decisions(decided: list[tuple[int, str]], data: st.DataObject) -> None:
    """Placed as each source decides and made ready in any order, they leave by media time."""
    order: ReorderBuffer[str] = ReorderBuffer(capacity=64, patience_ms=10_000)
    left = []
    for source in "ab":
        for decided_ms, _ in sorted(d for d in decided if d[1] == source):
            order.place(f"{decided_ms}{source}", source, decided_ms)
    order.advance("a", 6_000)
    order.advance("b", 6_000)
    for decided_ms, source in data.draw(st.permutations(decided)):
        order.ready(f"{decided_ms}{source}", f"{decided_ms}{source}")
        left += leaving(order)
    assert left == [f"{decided_ms}{source}" for decided_ms, source in sorted(decided)]


def test_a_source_that_may_still_decide_an_earlier_one_is_waited_for() -> None:
    """An utterance leaves only when the other source has been followed up to its decision."""
    order: ReorderBuffer[str] = ReorderBuffer(capacity=8)
    order.advance("a", 1_000)
    order.advance("b", 900)
    order.place("u1", "a", 1_000)
    order.ready("u1", "later")
    assert leaving(order) == []
    order.place("u2", "b", 950)
    order.ready("u2", "earlier")
    order.advance("b", 1_000)
    assert leaving(order) == ["earlier", "later"]


def test_a_source_that_has_stalled_is_not_waited_for() -> None:
    """Half a second behind the others, a source holds nobody up."""
    order: ReorderBuffer[str] = ReorderBuffer(capacity=8)
    order.advance("b", 100)
    order.advance("a", 1_000)
    order.place("u1", "a", 1_000)
    order.ready("u1", "one")
    assert leaving(order) == ["one"]


def test_a_full_buffer_waits_for_no_source() -> None:
    """The buffer is bounded: with `capacity` utterances held, those that are ready leave."""
    order: ReorderBuffer[str] = ReorderBuffer(capacity=2, patience_ms=10_000)
    order.advance("b", 0)
    for number in (1, 2):
        order.place(f"u{number}", "a", number)
        order.ready(f"u{number}", str(number))
        order.advance("a", number)
    assert order.full
    assert leaving(order) == ["1"]

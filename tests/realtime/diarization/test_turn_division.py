"""Spans of voices become turns: nothing of the speech is lost, whoever is said to speak in it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from realtime.diarization.turn_division import LEAST_FLOOR, LEAST_TURN, Span, divide_turns, first_is_over

SECOND = 16_000


def spans_of(*times: tuple[str, float, float]) -> list[Span]:
    return [Span(who, number, round(a * SECOND), round(b * SECOND)) for number, (who, a, b) in enumerate(times)]


@given(
    st.integers(0, 5 * SECOND),
    st.integers(1, 20 * SECOND),
    st.lists(st.tuples(st.integers(0, 3), st.integers(-SECOND, 25 * SECOND), st.integers(1, 8 * SECOND)), max_size=12),
    st.floats(-0.5, 1.5),
)
def test_the_union_of_the_turns_is_the_speech(
    start: int, length: int, voices: list[tuple[int, int, int]], where: float
) -> None:
    """Whatever the diarizer says and wherever a cut is put, every sample is in a turn and none is outside."""
    end = start + length
    spans = [Span(who, number, first, first + long) for number, (who, first, long) in enumerate(voices)]
    turns = divide_turns(start, end, spans, lambda a, b: round(a + where * (b - a)))
    covered = np.zeros(end + 1, bool)
    for turn in turns:
        assert start <= turn.start < turn.end <= end
        covered[turn.start : turn.end] = True
    assert covered[start:end].all()
    assert [turn.start for turn in turns] == sorted(turn.start for turn in turns)


def test_a_pause_ends_no_turn_and_an_answer_does() -> None:
    """One person goes on after a pause, and after a murmur of somebody else, but not after an answer."""
    spans = spans_of(("a", 0, 1), ("a", 1.6, 3), ("b", 3.1, 4), ("a", 4.1, 6))
    turns = divide_turns(0, 6 * SECOND, spans)
    assert [turn.person for turn in turns] == ["a", "b", "a"]
    assert first_is_over(turns)
    murmur = spans_of(("a", 0, 3), ("b", 2.5, 2.9), ("a", 3.4, 5))
    divided = divide_turns(0, 5 * SECOND, murmur)
    assert [(turn.person, turn.overlapped) for turn in divided] == [("a", True), ("b", True)]


def test_both_have_what_is_overlapped() -> None:
    """Who interrupts has a turn from there on, the other one to their end; both are marked."""
    turns = divide_turns(0, 6 * SECOND, spans_of(("a", 0, 4), ("b", 3.2, 6)))
    assert [(t.start / SECOND, t.end / SECOND, t.overlapped) for t in turns] == [(0, 4, True), (3.2, 6, True)]


def test_turns_meet_where_they_are_told_to() -> None:
    """Between two people there is one cut, also where the network lets them overlap by a tenth of a second."""
    asked: list[tuple[int, int]] = []

    def boundary(a: int, b: int) -> int:
        asked.append((a, b))
        return b

    turns = divide_turns(0, round(5.5 * SECOND), spans_of(("a", 0.2, 3.1), ("b", 3, 5)), boundary)
    assert asked == [(3 * SECOND, round(3.1 * SECOND))]
    assert [(t.start, t.end) for t in turns] == [(0, asked[0][1]), (asked[0][1], round(5.5 * SECOND))]
    assert not any(turn.overlapped for turn in turns)


def test_nobody_is_somebody() -> None:
    """Speech of which the diarizer knows nothing, or flickers only, is one turn; a syllable has not the floor."""
    (turn,) = divide_turns(0, SECOND, [Span("a", 0, 100, 100 + LEAST_TURN - 1)])
    assert (turn.person, turn.start, turn.end) == (None, 0, SECOND)
    spans = [Span("a", 0, 0, SECOND), Span("b", 1, SECOND, SECOND + LEAST_FLOOR - 1)]
    assert not first_is_over(divide_turns(0, SECOND + LEAST_FLOOR - 1, spans))

"""Which person's turn each moment of a stretch of speech belongs to: spans of several voices become turns. Pure.

Turns may overlap, where two people speak at once; together they cover the stretch without a gap, so that no division
loses sound (a property test holds this).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from realtime.sources.media import SAMPLE_RATE

# Samples of voice below which there is no turn: a syllable; shorter ones are the network's flicker.
LEAST_TURN = round(0.2 * SAMPLE_RATE)
# Samples that somebody else must have alone to end a turn; through less, a turn goes on.
LEAST_FLOOR = round(0.3 * SAMPLE_RATE)
# Samples of overlap that count: the edges that the network finds are off by a tenth of a second on either side.
LEAST_OVERLAP = round(0.25 * SAMPLE_RATE)


LEAST_UNKNOWN = round(0.5 * SAMPLE_RATE)
"""Samples of an unknown voice within another's turn below which it is taken for the network's doubt."""


@dataclass(frozen=True)
class Span:
    """A voice from sample `start` to `end`; `person` is whose it is, or what stands for somebody `unknown`."""

    person: Hashable
    stretch: int
    start: int
    end: int
    unknown: bool = False


@dataclass
class DividedTurn:
    """A person's turn from sample `start` to `end`: `stretches` are the voice's it consists of."""

    person: Hashable | None
    start: int
    end: int
    stretches: list[int] = field(default_factory=list)
    overlapped: bool = False


def divide_turns(
    start: int, end: int, spans: Iterable[Span], boundary: Callable[[int, int], int] = lambda a, b: (a + b) // 2
) -> list[DividedTurn]:
    """The turns of the speech from sample `start` to `end`, by start, one at least; their union is all of it.

    `boundary` says where to cut between two samples where the one has ended and the other not begun, or both about so.
    """
    turns: list[DividedTurn] = []
    spans = sorted(spans, key=lambda one: (one.start, one.end))
    for span in spans:
        first, last = max(start, span.start), min(end, span.end)
        if last - first < LEAST_TURN or (span.unknown and last - first < LEAST_UNKNOWN and _within(span, spans)):
            continue
        before = next((turn for turn in reversed(turns) if turn.person == span.person), None)
        if before is not None and _alone(turns, before, first) < LEAST_FLOOR:
            before.end = max(before.end, last)
            before.stretches.append(span.stretch)
        else:
            turns.append(DividedTurn(span.person, first, last, [span.stretch]))
    if not turns:
        return [DividedTurn(None, start, end)]
    _cover(turns, start, end, boundary)
    turns = _without_slivers(turns)
    for turn in turns:
        turn.overlapped = any(
            min(turn.end, other.end) - max(turn.start, other.start) >= LEAST_OVERLAP
            for other in turns
            if other is not turn
        )
    return turns


def first_is_over(turns: Sequence[DividedTurn]) -> bool:
    """Whether somebody else has the floor since the first turn ended."""
    return any(turn.end - max(turn.start, turns[0].end) >= LEAST_FLOOR for turn in turns[1:])


def _alone(turns: Sequence[DividedTurn], before: DividedTurn, until: int) -> int:
    """Samples that others have between the end of a turn and `until`."""
    return sum(max(0, min(turn.end, until) - max(turn.start, before.end)) for turn in turns if turn is not before)


def _within(span: Span, spans: Sequence[Span]) -> bool:
    return any(
        other.start <= span.start and span.end <= other.end and other.person != span.person for other in spans
    )


def _without_slivers(turns: list[DividedTurn]) -> list[DividedTurn]:
    """Turns of which an edge left less than a syllable go to the neighbour that they touch."""
    kept: list[DividedTurn] = []
    for number, turn in enumerate(turns):
        after = next((other for other in turns[number + 1 :] if other.start <= turn.end), None)
        if turn.end - turn.start >= LEAST_TURN or (after is None and not kept):
            kept.append(turn)
        elif kept and max(other.end for other in kept) >= turn.start:
            reaches = max(kept, key=lambda other: other.end)
            reaches.end = max(reaches.end, turn.end)
        elif after is not None:
            after.start = turn.start
    return kept


def _cover(turns: list[DividedTurn], start: int, end: int, boundary: Callable[[int, int], int]) -> None:
    """Extend turns over what lies between them, and let those that barely overlap meet."""
    turns[0].start = start
    reaches = turns[0]
    for turn in turns[1:]:
        overlap = reaches.end - turn.start
        if overlap < LEAST_OVERLAP and turn.end > reaches.end and turn.start > reaches.start:
            at = boundary(min(reaches.end, turn.start), max(reaches.end, turn.start))
            reaches.end = turn.start = min(max(at, reaches.start + 1), turn.end - 1)
        if turn.end > reaches.end:
            reaches = turn
    reaches.end = end

"""When real people take turns: the start and end times of IEMOCAP's dialogues, as they are or with less overlap.

Busso et al., IEMOCAP: interactive emotional dyadic motion capture database (2008). Times alone are taken.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core_models.errors import UsageError

_LINE = re.compile(r"^\S+_([FM])\d+\S* \[(\d+\.\d+)-(\d+\.\d+)\]:")
_SHORTEST_S = 0.3  # what is left of a turn must still be a syllable
_LEAST_SHARE = 0.2  # of the speech, of each side: a layout in which one only listens asks nothing
_TRIES = 400
_LEAD_S = 0.6  # a recording begins with a breath of silence, by which the noise floor is found

# Where no corpus is at hand: sides, starts and ends in seconds, with an answer, a back-channel and an interruption.
BUILT_IN = (
    *((0, 0.0, 3.1), (1, 3.2, 5.0), (0, 4.8, 9.4), (1, 9.3, 9.8)),
    *((0, 9.9, 12.2), (1, 11.6, 17.0), (0, 17.4, 18.1)),
)


@dataclass(frozen=True)
class LaidTurn:
    """One person's turn: `side` is 0, 1, ..., times are seconds from the beginning."""

    side: int
    start_s: float
    end_s: float


def read_layouts(corpus: Path | None) -> list[list[LaidTurn]]:
    """Every dialogue's turns by start time; without a corpus, one short built-in dialogue. UsageError."""
    if corpus is None:
        return [[LaidTurn(*turn) for turn in BUILT_IN]]
    layouts = []
    for file in sorted(corpus.glob("Session[1-4]/dialog/transcriptions/*.txt")):
        found = [_LINE.match(line) for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
        turns = [LaidTurn("FM".index(m[1]), float(m[2]), float(m[3])) for m in found if m is not None]
        if turns:
            layouts.append(sorted(turns, key=lambda turn: turn.start_s))
    if not layouts:
        raise UsageError(f"{corpus} holds no transcriptions of IEMOCAP: give its folder IEMOCAP_full_release.")
    return layouts


def draw_layout(
    layouts: Sequence[Sequence[LaidTurn]], seconds: float, people: int, chance: random.Random
) -> list[LaidTurn]:
    """A stretch of some dialogue, of `seconds` at most, in which everybody has a fair share, from `_LEAD_S` on.

    More than two people share the two sides: whoever takes a side's next turn is drawn.
    """
    best: tuple[float, list[LaidTurn]] = (-1.0, [])
    for _ in range(_TRIES):
        turns = chance.choice(list(layouts))
        first = chance.randrange(len(turns))
        begun = turns[first].start_s
        part = [t for t in turns[first:] if t.end_s - begun <= seconds - _LEAD_S - 0.5]
        moved = [LaidTurn(t.side, t.start_s - begun + _LEAD_S, t.end_s - begun + _LEAD_S) for t in part]
        shared = _share_sides(moved, people, chance)
        share = _least_share(shared, people)
        if share > best[0]:
            best = share, shared
        if share >= _LEAST_SHARE * 2 / people and shared[-1].end_s > 0.8 * seconds:
            break
    return best[1]


def _share_sides(turns: list[LaidTurn], people: int, chance: random.Random) -> list[LaidTurn]:
    """Sides 0 and 1 become people 0 to `people` - 1; nobody overlaps themselves, since a side does not."""
    members = [[person for person in range(people) if person % 2 == side] for side in (0, 1)]
    return [replace(turn, side=chance.choice(members[turn.side])) for turn in turns]


def _least_share(turns: Sequence[LaidTurn], people: int) -> float:
    spoken = [sum(t.end_s - t.start_s for t in turns if t.side == person) for person in range(people)]
    return min(spoken) / (sum(spoken) or 1.0)


def overlap_share(turns: Sequence[LaidTurn]) -> float:
    """Time in which two or more speak, as a share of the time in which anybody does."""
    edges = sorted([(t.start_s, 1) for t in turns] + [(t.end_s, -1) for t in turns])
    speech = overlap = 0.0
    active, before = 0, 0.0
    for at, step in edges:
        speech += (at - before) * (active > 0)
        overlap += (at - before) * (active > 1)
        active, before = active + step, at
    return overlap / (speech or 1.0)


def cut_overlaps(turns: Sequence[LaidTurn], share: float) -> list[LaidTurn]:
    """The same turns with their overlaps shortened alike until no more than `share` of the speech is overlapped.

    Who comes in early comes in later; of a turn within another's, the rest is its beginning, or nothing.
    """
    low, high = 0.0, 1.0
    if overlap_share(turns) <= share:
        return list(turns)
    for _ in range(20):  # halvings: to a millionth
        middle = (low + high) / 2
        low, high = (middle, high) if overlap_share(_shortened(turns, middle)) <= share else (low, middle)
    return _shortened(turns, low)


def _shortened(turns: Sequence[LaidTurn], kept: float) -> list[LaidTurn]:
    """Each overlap with an earlier turn, of which a share `kept` stays."""
    out: list[LaidTurn] = []
    for turn in turns:
        others = [other.end_s for other in out if other.side != turn.side]
        latest = max(others, default=0.0)
        if latest <= turn.start_s:
            out.append(turn)
        elif turn.end_s <= latest:  # within another's turn
            short = replace(turn, end_s=turn.start_s + kept * (turn.end_s - turn.start_s))
            out += [short] if short.end_s - short.start_s >= _SHORTEST_S else []
        else:
            start = latest - kept * (latest - turn.start_s)
            out += [replace(turn, start_s=start)] if turn.end_s - start >= _SHORTEST_S else []
    return out
